//! The `overnight` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    overnight::cli::main().into()
}
