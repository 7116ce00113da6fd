//! Writes what the rules change in a job and its attempt.

use super::connection::Connection;
use crate::domain::{Attempt, AttemptProgress};
use crate::policy::Change;
use crate::policy::tally::Tally;
use crate::queue::Result;
use crate::queue::stored_update::{Before, LeaseChange, Update, update_attempt};

/// Writes a change of a job whose lease is known to be the one that it must have, and adds it to a tally, which
/// the caller writes.
pub(super) fn post(
    tx: &Connection,
    before: &Before<'_>,
    change: &Change,
    lease: LeaseChange,
    tally: &mut Tally,
) -> Result<()> {
    tx.post_update(before.update_job(&change.job, lease))?;
    // The clip is in the other table, which hardly ever changes.
    let mut clip = Update::new("rows", ("job_id", before.job_id));
    before.update_clip(&mut clip, &change.job, |file| file.location.to_string());
    if !clip.is_empty() {
        tx.post_update(clip)?;
    }
    if let Some(update) = before.update_attempt(change)? {
        tx.post_update(update)?;
    }
    before.add_to(tally, change);
    Ok(())
}

/// Writes a change of an attempt.
pub(super) fn write_attempt(
    tx: &Connection,
    attempt: &Attempt,
    new: &AttemptProgress,
) -> Result<()> {
    match update_attempt(attempt, new)? {
        Some(update) => tx.post_update(update),
        None => Ok(()),
    }
}
