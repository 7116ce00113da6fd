//! `queue`: moves the queue between a file and a database.

use super::args::{Global, QueueArgs, QueueCommand, QueueCopyArgs};
use super::exit::Exit;
use super::render;
use super::setup::Setup;

/// Does what a subcommand of `queue` says.
pub(super) async fn queue(global: &Global, args: QueueArgs) -> anyhow::Result<Exit> {
    match args.command {
        QueueCommand::Copy(args) => copy(global, args).await,
    }
}

/// Copies a queue, and marks it as moved.
async fn copy(global: &Global, args: QueueCopyArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let QueueCopyArgs { from, to } = args;
    let jobs = setup.app.copy_queue(&from, &to).await?;
    let what = match jobs {
        0 => "the queue".to_owned(),
        jobs => render::format_count(jobs as u64, "job"),
    };
    render::print_line(format_args!("moved {what} from {from} to {to}"))?;
    let to = super::shell::quote(&to.to_string()).into_owned();
    render::print_note(format_args!("next: export OVERNIGHT_QUEUE={to}"));
    Ok(Exit::Success)
}
