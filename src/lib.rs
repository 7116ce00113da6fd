//! Overnight.

pub mod clock;
pub mod domain;
