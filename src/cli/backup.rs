//! `backup`: writes a whole copy of the queue.

use super::args::{BackupArgs, Global};
use super::exit::Exit;
use super::render;
use super::setup::Setup;

/// Copies the queue to a new file, also while runs are active.
pub(super) fn backup(global: &Global, args: &BackupArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    setup.app.back_up_queue(&args.file)?;
    let path = std::path::absolute(&args.file)?;
    render::print_line(format_args!("{} is a whole copy", path.display()))?;
    Ok(Exit::Success)
}
