//! The `overnight` command.

use std::process::ExitCode;

/// Rows are made on one thread and dropped on another: where that is dear, a load takes half as long again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    overnight::cli::main().into()
}
