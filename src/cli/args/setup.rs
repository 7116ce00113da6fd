//! The flags of the commands that help to find the way: `init`, `doctor`, `completions`, `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

use crate::cli::examples;

/// `init`.
#[derive(Debug, Args)]
#[command(after_help = examples::INIT)]
pub struct InitArgs {
    /// Overwrite the file that is there
    #[arg(long)]
    pub force: bool,
}

/// `doctor`.
#[derive(Debug, Args)]
#[command(after_help = examples::DOCTOR)]
pub struct DoctorArgs {
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `completions`.
#[derive(Debug, Args)]
#[command(after_help = examples::COMPLETIONS)]
pub struct CompletionsArgs {
    /// The shell that completes
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, Args)]
#[command(after_help = examples::MAN)]
pub struct ManArgs {
    /// Folder for one page a command [default: the first page, to standard output]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}
