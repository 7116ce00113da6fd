//! `move`: moves the clips of a batch to another folder.

use std::fs;

use anyhow::Context;

use crate::domain::Location;
use crate::output::{self, Marker, Relocation};
use crate::queue::BatchClips;

use super::args::{Global, MoveArgs};
use super::exit::{Exit, Usage};
use super::render;
use super::setup::Setup;

/// Moves the clips of a batch, or finds those that were moved already, and records their folder.
pub(super) async fn move_batch(global: &Global, args: MoveArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let queue = setup.app.queue()?;
    let folder = args.dir.absolute()?;
    let old = queue.clips_to_move(args.batch.clone(), folder.clone());
    let old = old.await?;
    let relocation = relocate(&setup, &old, &folder).await?;
    let placed = relocation.moved + relocation.found;
    if placed == 0 && !relocation.lost.is_empty() {
        return Err(Usage(format!(
            "no clip of batch `{}` is in {} or in {}; nothing was changed",
            args.batch, old.folder, folder
        ))
        .into());
    }
    let from = old.folder.clone();
    let recorded = queue.set_folder(args.batch.clone(), old, folder.clone());
    recorded.await?;
    let is_same = match (&from, &folder) {
        (Location::Path(from), Location::Path(folder)) => output::is_same_place(from, folder),
        _ => from == folder,
    };
    if !is_same {
        remove_marker(&setup, &from).await;
    }
    print_moved(&setup, &args.batch, &folder, &relocation)
}

/// Moves the clips, or finds those that were moved already.
async fn relocate(setup: &Setup, old: &BatchClips, to: &Location) -> anyhow::Result<Relocation> {
    let clips = old.clips.clone();
    match (old.folder.clone(), to.clone()) {
        (Location::Path(from), Location::Path(to)) => {
            let moved = tokio::task::spawn_blocking(move || output::relocate(&clips, &from, &to));
            Ok(moved.await.context("the files were not moved")??)
        }
        (from, to) => {
            let output = setup.app.output();
            Ok(output::transfer_clips(output.as_ref(), &clips, &from, &to).await?)
        }
    }
}

/// Removes the marker of runs from a folder that has no clip of the batch any more, and the folder, if
/// that leaves it empty.
async fn remove_marker(setup: &Setup, folder: &Location) {
    // Whatever remains there does no harm.
    let _ = setup.app.output().remove(&Marker::in_folder(folder)).await;
    if let Location::Path(folder) = folder {
        let _ = fs::remove_dir(folder.join("earlier"));
        let _ = fs::remove_dir(folder);
    }
}

fn print_moved(
    setup: &Setup,
    batch: &str,
    folder: &Location,
    relocation: &Relocation,
) -> anyhow::Result<Exit> {
    render::print_line(format_args!(
        "{batch}: {} moved, {} found there: {}",
        render::format_count(relocation.moved as u64, "clip"),
        relocation.found,
        folder
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
