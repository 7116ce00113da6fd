//! The clips that were made: which one a row asks for again, and those that stay when a job is rendered
//! anew.

use super::connection::Connection;
use super::progress::attempt_columns;
use super::row::{bigint, params};
use crate::domain::{Fingerprint, JobClips, JobId, KeptClip, Location, SavedFile};
use crate::queue::load::{MadeClip, Reuse};
use crate::queue::storage::StoredJob;
use crate::queue::stored_values::{read_attempt, read_clip};
use crate::queue::{QueueError, Result};

/// Returns whether any clip was made in this queue.
pub(super) fn any(tx: &Connection) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM attempts WHERE state = 'done' AND reuses IS NULL)";
    Ok(tx.value(sql, &[])?.unwrap_or(false))
}

/// Returns the attempt that made a clip for what a fingerprint stands for and that no other job of the batch
/// has taken.
pub(super) fn find(
    tx: &Connection,
    fingerprint: &Fingerprint,
    batch_id: i64,
    job: JobId,
) -> Result<Option<MadeClip>> {
    let found = tx.select(
        concat!(
            "SELECT b.name AS batch, ",
            attempt_columns!(),
            " FROM attempts a JOIN batches b USING (batch_id)
              WHERE a.fingerprint = $1 AND a.state = 'done' AND a.reuses IS NULL
                AND NOT EXISTS (
                    SELECT 1 FROM attempts r JOIN jobs j ON j.job_id = r.job_id
                    WHERE r.reuses = a.attempt_id AND r.batch_id = $2 AND r.job_id <> $3
                      AND j.attempt_id = r.attempt_id)
              ORDER BY a.job_id <> $3, a.attempt_id LIMIT 1"
        ),
        params![fingerprint.as_slice(), batch_id, job.0],
        |columns| {
            Ok(MadeClip {
                batch: columns.get("batch")?,
                attempt: read_attempt(columns)?,
            })
        },
    )?;
    Ok(found.into_iter().next())
}

/// Gives a queued job a new attempt that takes a clip.
pub(super) fn reuse(
    tx: &Connection,
    batch_id: i64,
    job: &StoredJob,
    made: &MadeClip,
    reuse: &Reuse,
) -> Result<()> {
    let attempt = &reuse.attempt;
    let prediction = attempt.prediction.as_ref().map(serde_json::to_string);
    let prediction = prediction.transpose();
    let prediction = prediction.map_err(|error| QueueError::Fault(error.to_string()))?;
    let now = reuse.job.state_since.as_millisecond();
    let attempt_id: Option<i64> = tx.value(
        "INSERT INTO attempts (attempt_id, job_id, batch_id, number, state, provider, wire_model, request,
                               request_digest, clip_s, fingerprint, reuses, client_token, estimate,
                               cost_source, prediction, output_url, submitted_at, finished_at)
         SELECT (SELECT max(attempt_id) + 1 FROM attempts), $1, $2, (SELECT coalesce(max(number), 0) + 1 FROM attempts WHERE job_id = $1), $3,
                provider, wire_model, request, request_digest, clip_s, fingerprint, attempt_id,
                client_token, $4, $5, $6, $7, $8, $8
         FROM attempts WHERE attempt_id = $9 RETURNING attempt_id",
        params![
            job.job_id.0,
            batch_id,
            attempt.state.as_str(),
            attempt.estimate.micros(),
            attempt.cost.map(|cost| cost.source.as_str()),
            prediction,
            attempt.output_url,
            now,
            made.attempt.attempt_id.0,
        ],
    )?;
    tx.execute(
        "UPDATE jobs SET state = $2, state_since = $3, due_at = $3, attempt_id = $4, at_provider = $5
         WHERE job_id = $1",
        params![
            job.job_id.0,
            reuse.job.state.as_str(),
            now,
            attempt_id,
            made.attempt.provider.as_str(),
        ],
    )?;
    Ok(())
}

/// Keeps the clip of a job's current attempt with that attempt, before the job is rendered anew.
pub(super) fn keep(tx: &Connection, JobId(job_id): JobId, clip: &SavedFile) -> Result<()> {
    tx.execute(
        "UPDATE attempts SET output = $2, bytes = $3, sha256 = $4
         WHERE attempt_id = (SELECT attempt_id FROM jobs WHERE job_id = $1)",
        params![
            job_id,
            clip.location.to_string(),
            bigint(clip.bytes),
            clip.sha256
        ],
    )?;
    Ok(())
}

/// Forgets the clip that the attempt of this number keeps.
pub(super) fn forget(tx: &Connection, JobId(job_id): JobId, number: u32) -> Result<()> {
    tx.execute(
        "UPDATE attempts SET output = NULL, bytes = NULL, sha256 = NULL
         WHERE job_id = $1 AND number = $2",
        params![job_id, i64::from(number)],
    )?;
    Ok(())
}

/// Returns the clips that a download of a job may find on disk.
pub(super) fn of_job(tx: &Connection, JobId(job_id): JobId) -> Result<JobClips> {
    let kept = tx.select(
        "SELECT number, output, bytes, sha256 FROM attempts
         WHERE job_id = $1 AND output IS NOT NULL ORDER BY number",
        params![job_id],
        |columns| read_clip(columns),
    )?;
    // The clip of an attempt is that of its job when that has succeeded, and kept with the attempt when the job
    // asks for another.
    let reused = tx.select(
        "SELECT s.number, coalesce(s.output, o.output) AS output, coalesce(s.bytes, o.bytes) AS bytes,
                coalesce(s.sha256, o.sha256) AS sha256
         FROM jobs j JOIN attempts a ON a.attempt_id = j.attempt_id
              JOIN attempts s ON s.attempt_id = a.reuses
              LEFT JOIN jobs m ON m.job_id = s.job_id AND m.attempt_id = s.attempt_id
                            AND m.state = 'succeeded'
              LEFT JOIN rows o ON o.job_id = m.job_id
         WHERE j.job_id = $1 AND coalesce(s.output, o.output) IS NOT NULL",
        params![job_id],
        |columns| read_clip(columns),
    )?;
    Ok(JobClips {
        kept,
        reused: reused.into_iter().next(),
    })
}

/// Returns the clips of a batch: those of its jobs, with the number 0, and those that are kept.
pub(super) fn of_batch(tx: &Connection, batch_id: i64) -> Result<Vec<KeptClip>> {
    tx.select(
        "SELECT 0::BIGINT AS number, output, bytes, sha256 FROM rows
         WHERE batch_id = $1 AND sha256 IS NOT NULL
         UNION ALL
         SELECT number, output, bytes, sha256 FROM attempts
         WHERE batch_id = $1 AND output IS NOT NULL",
        params![batch_id],
        |columns| read_clip(columns),
    )
}

/// Sets the folder of a batch, and the paths of those of its clips that are in the old one.
pub(super) fn set_folder(
    tx: &Connection,
    batch_id: i64,
    old: &Location,
    new: &Location,
) -> Result<()> {
    tx.execute(
        "UPDATE batches SET folder = $2 WHERE batch_id = $1",
        params![batch_id, new.to_string()],
    )?;
    let in_old = old.join("").to_string();
    let in_new = new.join("").to_string();
    for table in ["rows", "attempts"] {
        tx.execute(
            &format!(
                "UPDATE {table} SET output = $3 || substr(output, length($2) + 1)
                 WHERE batch_id = $1 AND starts_with(output, $2)"
            ),
            params![batch_id, in_old, in_new],
        )?;
    }
    Ok(())
}
