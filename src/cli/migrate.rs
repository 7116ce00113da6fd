//! `migrate`: brings the queue to the format of this version.

use super::args::Global;
use super::exit::Exit;
use super::render;
use super::setup::Setup;

/// Creates the queue, or migrates an older one.
pub(super) async fn migrate(global: &Global) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let (before, after) = setup.app.migrate_queue().await?;
    let queue = &setup.app.config.queue;
    render::print_line(match before {
        0 => format!("created the queue {queue} in format version {after}"),
        before if before == after => {
            format!("{queue} is in format version {after}: nothing to migrate")
        }
        before => format!("migrated {queue} from format version {before} to {after}"),
    })?;
    Ok(Exit::Success)
}
