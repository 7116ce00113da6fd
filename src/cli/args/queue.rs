//! Flags of `queue`.

use clap::{Args, Subcommand};

use crate::cli::examples;
use crate::domain::QueueAddress;

/// Arguments of `queue`.
#[derive(Debug, Args)]
#[command(after_help = examples::QUEUE)]
pub struct QueueArgs {
    /// What to do
    #[command(subcommand)]
    pub command: QueueCommand,
}

/// What `queue` does.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Copy a queue to another place, and mark it as moved there
    #[command(after_help = examples::QUEUE_COPY)]
    Copy(QueueCopyArgs),
}

/// Arguments of `queue copy`.
#[derive(Debug, Args)]
pub struct QueueCopyArgs {
    /// The queue: a file, or the postgres:// URL of a database
    #[arg(value_name = "FROM")]
    pub from: QueueAddress,
    /// Where it goes: a new file, or a database without a queue
    #[arg(value_name = "TO")]
    pub to: QueueAddress,
}
