//! A queue in a database: how people move to it, and what may happen to its server and to the wire.

#[cfg(debug_assertions)]
mod frozen;
mod hosts;
mod moving;
mod partition;
mod proxy;
mod standby;
mod wire;
