//! `backup`: writes a whole copy of the queue.

use crate::app;
use crate::domain::QueueAddress;

use super::args::{BackupArgs, Global};
use super::exit::{Exit, Usage};
use super::render;
use super::setup::Setup;

/// Copies the queue to a new file, also while runs are active.
pub(super) fn backup(global: &Global, args: &BackupArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let queue = match &setup.app.config.queue {
        QueueAddress::File(path) => path,
        QueueAddress::Database(url) => {
            return Err(Usage(format!(
                "{url} is a database, and `backup` copies files\nhint: `pg_dump --schema=overnight` of its \
                 server writes a whole copy, also while runs are active"
            ))
            .into());
        }
    };
    app::back_up(queue, &args.file)?;
    let path = std::path::absolute(&args.file)?;
    render::print_line(format_args!("{} is a whole copy", path.display()))?;
    Ok(Exit::Success)
}
