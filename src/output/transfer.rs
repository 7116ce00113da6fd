//! Moving the clips of a batch into object storage, out of it, or within it.

use std::collections::HashSet;

use crate::domain::{KeptClip, Location, SavedFile};
use crate::failpoint::fail_point;

use super::relocate::{Relocation, RelocationError};
use super::{CheckDepth, ClipDamage, OutputStore};

/// As [`relocate`](fn@super::relocate), but each clip is copied through its store.
///
/// # Errors
/// [`RelocationError`]; nothing is lost.
pub async fn transfer_clips(
    store: &dyn OutputStore,
    clips: &[KeptClip],
    from: &Location,
    to: &Location,
) -> Result<Relocation, RelocationError> {
    let mut relocation = Relocation::default();
    // A clip may be that of a job and of an earlier input at once.
    let mut seen = HashSet::new();
    for clip in clips {
        match find(store, clip, from, to).await? {
            Some(found) if !seen.insert(found.to.location.clone()) => {}
            Some(found) => {
                if found.is_there {
                    relocation.found += 1;
                } else {
                    copy(store, &found).await?;
                    relocation.moved += 1;
                }
                fail_point!("clip at its new place");
                if is_whole(store, &found.from).await? {
                    let removed = store.remove(&found.from.location).await;
                    removed.map_err(|error| failed(&found.from, error))?;
                }
                fail_point!("clip moved");
            }
            None => relocation.lost.push(clip.file.location.clone()),
        }
    }
    fail_point!("clips moved");
    Ok(relocation)
}

/// A clip and its place in the new folder.
struct Found {
    from: SavedFile,
    to: SavedFile,
    /// Whether it is in its new place already.
    is_there: bool,
}

/// Finds a clip in the folders; `None` if it is in neither.
async fn find(
    store: &dyn OutputStore,
    clip: &KeptClip,
    from: &Location,
    to: &Location,
) -> Result<Option<Found>, RelocationError> {
    // A clip of an earlier input is where it was saved, or was moved aside.
    for location in [clip.file.location.clone(), clip.earlier_location()] {
        let Some(name) = location.name_in(from) else {
            continue;
        };
        let mut found = Found {
            to: clip.file.at(to.join(name)),
            from: clip.file.at(location),
            is_there: false,
        };
        found.is_there = is_whole(store, &found.to).await?;
        if found.is_there || is_whole(store, &found.from).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

async fn copy(store: &dyn OutputStore, found: &Found) -> Result<(), RelocationError> {
    let copied = store.copy(&found.from, &found.to.location).await;
    if !copied.map_err(|error| failed(&found.from, error))? {
        return Err(RelocationError::Occupied(found.to.location.clone()));
    }
    if !is_whole(store, &found.to).await? {
        return Err(failed(&found.from, "the copy differs"));
    }
    Ok(())
}

async fn is_whole(store: &dyn OutputStore, file: &SavedFile) -> Result<bool, RelocationError> {
    match store.check(file, CheckDepth::Stored).await {
        Some(ClipDamage::Unreadable(reason)) => Err(failed(file, reason)),
        damage => Ok(damage.is_none()),
    }
}

fn failed(
    file: &SavedFile,
    reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> RelocationError {
    RelocationError::Failed {
        location: file.location.clone(),
        error: std::io::Error::other(reason),
    }
}
