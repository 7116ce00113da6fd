//! `move`: moves the clips of a batch to another folder.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::output::{self, Marker, Relocation};

use super::args::{Global, MoveArgs};
use super::exit::{Exit, Usage};
use super::render;
use super::setup::Setup;

/// Moves the clips of a batch, or finds those that were moved already, and records their folder.
pub(super) async fn move_batch(global: &Global, args: MoveArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let queue = setup.app.queue()?;
    let folder = std::path::absolute(&args.dir)?;
    let old = queue.clips_to_move(args.batch.clone(), folder.clone().into());
    let old = old.await?;
    let to = folder.clone();
    let from = old.folder.on_disk()?.to_owned();
    let clips = old.clips.clone();
    let moved = tokio::task::spawn_blocking(move || output::relocate(&clips, &from, &to));
    let relocation = moved.await.context("the files were not moved")??;
    let placed = relocation.moved + relocation.found;
    if placed == 0 && !relocation.lost.is_empty() {
        return Err(Usage(format!(
            "no clip of batch `{}` is in {} or in {}; nothing was changed",
            args.batch,
            old.folder,
            folder.display()
        ))
        .into());
    }
    let from = old.folder.on_disk()?.to_owned();
    let recorded = queue.set_folder(args.batch.clone(), old, folder.clone().into());
    recorded.await?;
    if !output::is_same_place(&from, &folder) {
        remove_marker(&from);
    }
    print_moved(&setup, &args.batch, &folder, &relocation)
}

/// Removes the marker of runs from a folder that has no clip of the batch any more, and the folder, if
/// that leaves it empty.
fn remove_marker(folder: &Path) {
    // Whatever remains there does no harm.
    let _ = fs::remove_file(folder.join(Marker::FILE_NAME));
    let _ = fs::remove_dir(folder);
}

fn print_moved(
    setup: &Setup,
    batch: &str,
    folder: &Path,
    relocation: &Relocation,
) -> anyhow::Result<Exit> {
    render::print_line(format_args!(
        "{batch}: {} moved, {} found there: {}",
        render::format_count(relocation.moved as u64, "clip"),
        relocation.found,
        folder.display()
    ))?;
    if relocation.lost.is_empty() {
        return Ok(Exit::Success);
    }
    for clip in &relocation.lost {
        render::print_line(format_args!("missing or damaged: {clip}"))?;
    }
    let fix = setup
        .suggest("verify")
        .arg("--fix")
        .option("--batch", Some(batch));
    render::print_note(format_args!(
        "hint: `{fix}` downloads missing clips again without paying"
    ));
    Ok(Exit::Incomplete)
}
