//! What the rows of a store say of jobs, attempts, gates, uploads and pools. The columns have these names in
//! every store.

use crate::domain::{
    Attempt, AttemptId, AttemptProgress, Cost, Job, JobId, JobProgress, JobState, KeptClip, Lease,
    Money, PoolId, PredictionHandle, SavedFile,
};
use crate::policy::claim::{BatchTotals, BatchView};
use crate::policy::gate::ProviderGate;
use crate::policy::route_gate::{LearnedPrice, RouteGate};
use crate::policy::tally::Tally;
use crate::policy::upload::UploadProgress;

use super::storage::StoredJob;
use super::stored_cost::parse_cost;
use super::stored_row::StoredRow;
use super::{
    AbsentAttempt, BillLine, BillSums, ClipVersion, JobRecord, LiveSetting, PoolRecord, QueueError,
    Result, SettingChange,
};

/// Reads a job and its current attempt.
pub(super) fn read_job_and_attempt(row: &impl StoredRow) -> Result<(Job, Attempt)> {
    let job = Job {
        job_id: JobId(row.integer("job_id")?),
        batch: row.text("batch")?,
        row_key: row.text("row_key")?,
        model: row.text("model")?,
        input: row.input("input")?,
        folder: row.location("folder")?,
        file_name: row.text("file_name")?,
        absent_attempts: row.number("absent_attempts")?,
        progress: read_job_progress(row)?,
    };
    Ok((job, read_attempt(row)?))
}

/// Reads a job as the rules see it.
pub(super) fn read_stored_job(row: &impl StoredRow) -> Result<StoredJob> {
    let job_id = JobId(row.integer("job_id")?);
    let batch = row.text("batch")?;
    let token = row.optional_integer("lease_token")?;
    let progress = read_job_progress(row)?;
    let attempt = row.optional_integer("attempt_id")?;
    Ok(StoredJob {
        job_id,
        batch,
        lease: token.map(|token| Lease { job_id, token }),
        progress,
        attempt: attempt.map(|_| read_attempt(row)).transpose()?,
    })
}

/// Reads what the steps of a job have changed in it.
pub(super) fn read_job_progress(row: &impl StoredRow) -> Result<JobProgress> {
    Ok(JobProgress {
        state: row.parse("state")?,
        state_since: row.time("state_since")?,
        due_at: row.optional_time("due_at")?,
        failures: row.number("failures")?,
        attempts: row.number("attempts")?,
        refusals: row.number("refusals")?,
        polls: row.number("polls")?,
        downloads: row.number("downloads")?,
        crashes: row.number("crashes")?,
        output: read_output(row)?,
        error: row.optional_text("error")?,
        finished_at: row.optional_time("finished_at")?,
    })
}

/// Reads the clip of a job.
fn read_output(row: &impl StoredRow) -> Result<Option<SavedFile>> {
    let location = row.optional_location("output")?;
    let bytes = row.optional_number("bytes")?;
    let sha256 = row.optional_text("sha256")?;
    Ok(match (location, bytes, sha256) {
        (Some(location), Some(bytes), Some(sha256)) => Some(SavedFile {
            location,
            bytes,
            sha256,
        }),
        _ => None,
    })
}

/// Reads an attempt.
pub(super) fn read_attempt(row: &impl StoredRow) -> Result<Attempt> {
    Ok(Attempt {
        attempt_id: AttemptId(row.integer("attempt_id")?),
        number: row.number("number")?,
        provider: row.parse("provider")?,
        wire_model: row.text("wire_model")?,
        request: row.json("request")?,
        client_token: row.text("client_token")?,
        submitted_at: row.time("submitted_at")?,
        progress: read_attempt_progress(row)?,
    })
}

fn read_attempt_progress(row: &impl StoredRow) -> Result<AttemptProgress> {
    let state = row.parse("attempt_state")?;
    let estimate = row.money("attempt_estimate")?;
    let answered_at = row.optional_time("answered_at")?;
    let prediction = row.optional_text("prediction")?.map(|text| {
        serde_json::from_str::<PredictionHandle>(&text)
            .map_err(|error| QueueError::unparsable("prediction", error))
    });
    let early_cost = row.optional_text("early_cost")?;
    let output_url = row.optional_text("output_url")?;
    let processing = row.optional_duration("processing_ms")?;
    let amount = row.money("cost")?;
    let source = row.parse_optional("cost_source")?;
    Ok(AttemptProgress {
        state,
        estimate,
        answered_at,
        prediction: prediction.transpose()?,
        early_cost: early_cost.as_deref().and_then(parse_cost),
        output_url,
        processing,
        cost: source.map(|source| Cost { amount, source }),
        error: row.optional_text("attempt_error")?,
        finished_at: row.optional_time("closed_at")?,
    })
}

/// Reads an attempt that is presumed absent, or absent.
pub(super) fn read_absent_attempt(row: &impl StoredRow) -> Result<AbsentAttempt> {
    Ok(AbsentAttempt {
        job: JobId(row.integer("job_id")?),
        batch: row.text("batch")?,
        attempt: read_attempt(row)?,
    })
}

/// Reads a clip that an attempt keeps, or that of a job, whose number is 0.
pub(super) fn read_clip(row: &impl StoredRow) -> Result<KeptClip> {
    Ok(KeptClip {
        number: row.number("number")?,
        file: SavedFile {
            location: row.location("output")?,
            bytes: row.number("bytes")?,
            sha256: row.text("sha256")?,
        },
    })
}

/// A clip that an attempt keeps, as a job record has it.
#[derive(serde::Deserialize)]
struct StoredClip {
    number: u32,
    output: String,
    bytes: u64,
    sha256: String,
}

/// Reads what a list says of a job.
pub(super) fn read_job_record(row: &impl StoredRow) -> Result<JobRecord> {
    let state = row.parse("state")?;
    let output = read_output(row)?;
    let kept: Vec<StoredClip> = row.json("kept")?;
    let kept = kept.into_iter().map(|clip| KeptClip {
        number: clip.number,
        file: SavedFile {
            location: row.to_location(&clip.output),
            bytes: clip.bytes,
            sha256: clip.sha256,
        },
    });
    let kept: Vec<KeptClip> = kept.collect();
    let attempt: Option<u32> = row.optional_number("attempt_number")?;
    let attempt = attempt.filter(|_| state == JobState::Succeeded);
    let estimate = row.optional_money("attempt_estimate")?;
    Ok(JobRecord {
        versions: ClipVersion::list(output.as_ref(), attempt, &kept),
        job_id: JobId(row.integer("job_id")?),
        batch: row.text("batch")?,
        id: row.text("row_key")?,
        line: row.number("line")?,
        state,
        model: row.text("model")?,
        provider: row.parse_optional("provider")?,
        prediction_id: row.optional_text("prediction_id")?,
        attempts: row.number("attempts")?,
        estimate_usd: estimate.map_or_else(|| row.money("estimate"), Ok::<Money, QueueError>)?,
        cost_usd: row.optional_money("cost")?,
        cost_source: row.parse_optional("cost_source")?,
        bytes: output.as_ref().map(|file| file.bytes),
        sha256: output.as_ref().map(|file| file.sha256.clone()),
        output: output.map(|file| file.location.to_string()),
        error: row.optional_text("error")?,
        queued_at: row.time("queued_at")?,
        submitted_at: row.optional_time("submitted_at")?,
        finished_at: row.optional_time("finished_at")?,
        input: row.input("input")?,
        due_at: row.optional_time("due_at")?,
        attempt_state: row.parse_optional("attempt_state")?,
    })
}

/// Reads a batch, as it will be once a tally is written.
pub(super) fn read_batch(row: &impl StoredRow, tally: &Tally) -> Result<BatchView> {
    let name = row.text("name")?;
    let unwritten = tally.of_batch(&name);
    Ok(BatchView {
        batch_id: row.integer("batch_id")?,
        name,
        model: row.text("model")?,
        folder: row.location("folder")?.to_string(),
        budget: row.optional_money("budget")?,
        has_local_images: row.boolean("has_files")?,
        totals: BatchTotals {
            spent: row.money("spent")?,
            reserved: row.money("reserved")?,
            at_risk: row.money("at_risk")?,
            jobs: row.job_counts()?,
        }
        .after(&unwritten),
        lanes: None,
    })
}

/// Reads the gate of a provider.
pub(super) fn read_provider_gate(row: &impl StoredRow) -> Result<ProviderGate> {
    Ok(ProviderGate {
        submits_held_until: row.time("creates_from")?,
        calls_held_until: row.time("calls_from")?,
        failures: row.number("failures")?,
        suspended: row.optional_text("paused")?,
        refuses_polls: row.boolean("refuses_looks")?,
        hold_reason: row.optional_text("hold_reason")?,
        is_alone: row.boolean("alone")?,
        alone_until: row.time("alone_until")?,
        waits_below: row.optional_number("waits_below")?,
        lost_responses: row.number("lost_responses")?,
        lost_at: row.time("lost_at")?,
    })
}

/// Reads the gate of a route.
pub(super) fn read_route_gate(row: &impl StoredRow) -> Result<RouteGate> {
    let priced = row.optional_money("priced")?;
    let price = match (priced, row.optional_time("learned_at")?) {
        (Some(priced), Some(learned_at)) => Some(LearnedPrice {
            priced,
            billed: row.money("billed")?,
            learned_at,
            is_accepted: row.boolean("price_accepted")?,
        }),
        _ => None,
    };
    Ok(RouteGate {
        held_until: row.time("held_until")?,
        alone_until: row.time("alone_until")?,
        hold_reason: row.optional_text("hold_reason")?,
        price,
    })
}

/// Reads what became of an upload.
pub(super) fn read_upload_progress(row: &impl StoredRow) -> Result<UploadProgress> {
    Ok(UploadProgress {
        url: row.optional_text("url")?,
        expires_at: row.optional_time("expires_at")?,
        due_at: row.optional_time("due_at")?,
        failures: row.number("failures")?,
        error: row.optional_text("error")?,
    })
}

/// Reads a pool.
pub(super) fn read_pool(row: &impl StoredRow) -> Result<(PoolId, PoolRecord)> {
    let record = PoolRecord {
        host: row.text("host")?,
        pid: row.number("pid")?,
        started_at: row.time("started_at")?,
        expires_at: row.time("expires_at")?,
    };
    Ok((PoolId(row.text("pool_id")?), record))
}

/// Reads a lease.
pub(super) fn read_lease(row: &impl StoredRow) -> Result<Lease> {
    Ok(Lease {
        job_id: JobId(row.integer("job_id")?),
        token: row.integer("lease_token")?,
    })
}

/// Reads a setting that was changed.
pub(super) fn read_setting(row: &impl StoredRow) -> Result<SettingChange> {
    let name = row.text("name")?;
    let parse = |value: String| LiveSetting::parse(&name, &value).map_err(QueueError::corrupt);
    Ok(SettingChange {
        setting: parse(row.text("value")?)?,
        previous: row.optional_text("was")?.map(parse).transpose()?,
        set_by: row.text("set_by")?,
        set_at: row.time("set_at")?,
    })
}

/// Reads a line of a bill.
pub(super) fn read_bill_line(row: &impl StoredRow) -> Result<BillLine> {
    let sums = BillSums {
        attempts: row.number("attempts")?,
        refused: row.number("refused")?,
        estimate_usd: row.money("estimate")?,
        cost_usd: row.money("cost")?,
        refunds: row.number("refunds")?,
        refunded_usd: row.money("refunded")?,
        reserved_usd: row.money("reserved")?,
        at_risk_usd: row.money("at_risk")?,
        first_submitted_at: row.optional_time("first_submitted_at")?,
        last_finished_at: row.optional_time("last_finished_at")?,
    };
    Ok(BillLine {
        name: row.text("line_name")?,
        sums,
    })
}
