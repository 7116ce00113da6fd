//! Reads what a claim is planned from.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::domain::{Input, JobCounts, JobId, LocalImage, Money, ProviderName};
use crate::policy::claim::{
    BatchTotals, BatchView, ClaimRequest, ClaimView, DueStep, DueUpload, LaneView, Missing,
    ProviderLimits, ProviderView, QueuedJob, Reads, Step, UnresolvedRequest, UploadView,
    rate_window_start,
};
use crate::queue::{QueueError, Result};

use super::change::{job_progress_columns, read_job_progress};
use super::gate;
use super::row::{query_value, read_job_counts, select, timestamp_from_millis};

/// The last exact count of each provider's recent submissions.
///
/// Saves a query per claim. Attempt ids grow over all providers and processes, so the count plus
/// the number of attempts since is an upper bound of the submissions that count now. A provider is
/// counted again only when this bound reaches its rate.
#[derive(Clone, Debug, Default)]
pub(super) struct RateCounts(HashMap<ProviderName, RateCount>);

#[derive(Clone, Copy, Debug)]
struct RateCount {
    /// Submissions that counted against the rate.
    submits: u32,
    /// The highest attempt id at the time, of any provider.
    last_attempt: i64,
}

/// Reads a view, first as far as the request needs it, then as far as a plan asks for more.
pub(super) struct ViewReader<'a> {
    tx: &'a Connection,
    reads: Reads,
    /// The highest attempt id of any provider before the claim.
    last_attempt: i64,
    /// Number of batches whose lanes are read when the next one is asked for.
    read_ahead: usize,
    rate_counts: RateCounts,
}

impl<'a> ViewReader<'a> {
    /// Reads batches, providers and due steps.
    pub(super) fn read(
        tx: &'a Connection,
        request: &ClaimRequest,
        now: Timestamp,
        rate_counts: RateCounts,
    ) -> Result<(Self, ClaimView)> {
        let mut batches = read_batches(tx)?;
        let mut total_jobs = JobCounts::default();
        batches
            .iter()
            .for_each(|batch| total_jobs += batch.totals.jobs);
        let requested_batch = request.batch.as_deref();
        batches.retain(|batch| requested_batch.is_none_or(|name| batch.name == name));
        let providers = read_providers(tx, &request.providers)?;
        let mut view = ClaimView::new(now, batches, total_jobs, providers);
        let mut reader = Self {
            tx,
            reads: Reads::default(),
            last_attempt: 0,
            read_ahead: 1,
            rate_counts,
        };
        if view.batches.iter().any(BatchView::has_queued_jobs) {
            reader.last_attempt =
                query_value(tx, "SELECT max(attempt_id) FROM attempts", [])?.unwrap_or(0);
            for index in 0..view.providers.len() {
                reader.bound_recent_submits(&mut view, index)?;
            }
        }
        reader.reads = view.reads(request);
        reader.read_due_steps(&mut view, request)?;
        if reader.reads.rows > 0 {
            view.unresolved = read_unresolved(tx)?;
        }
        if reader.reads.uploads > 0 {
            reader.read_due_uploads(&mut view)?;
        }
        Ok((reader, view))
    }

    /// Returns the rate counts for the next claim, which are valid once the transaction is
    /// committed.
    pub(super) fn into_rate_counts(self) -> RateCounts {
        self.rate_counts
    }

    /// Reads what a plan found missing.
    pub(super) fn read_missing(&mut self, view: &mut ClaimView, missing: Missing) -> Result<()> {
        match missing {
            Missing::RecentSubmits(provider) => self.count_recent_submits(view, provider),
            Missing::Lanes(first) => {
                // The first batch usually fills a claim. Where it does not, because its budget is
                // used up or its jobs are not due, the next ones are read by twos, fours, eights.
                let last = view.batches.len().min(first + self.read_ahead);
                self.read_ahead *= 2;
                (first..last).try_for_each(|batch| self.read_lanes(view, batch))
            }
            Missing::Rows(batch, lane) => self.extend_lane(view, batch, lane),
        }
    }

    /// Sets a provider's recent submissions to the cached bound, or to the exact count if the bound
    /// reaches the rate.
    fn bound_recent_submits(&mut self, view: &mut ClaimView, index: usize) -> Result<()> {
        let provider = &mut view.providers[index];
        let Some(cached) = self.rate_counts.0.get(&provider.limits.provider) else {
            return self.count_recent_submits(view, index);
        };
        let since = u32::try_from(self.last_attempt - cached.last_attempt).unwrap_or(u32::MAX);
        provider.recent_submits = cached.submits.saturating_add(since);
        if provider.needs_exact_count() {
            return self.count_recent_submits(view, index);
        }
        Ok(())
    }

    fn count_recent_submits(&mut self, view: &mut ClaimView, index: usize) -> Result<()> {
        let provider = &mut view.providers[index];
        let name = provider.limits.provider;
        let submits = query_value(
            self.tx,
            "SELECT (SELECT count(*) FROM jobs
                     WHERE lease_pool IS NOT NULL AND state = 'submitting' AND at_provider = ?1)
                  + (SELECT count(*) FROM attempts WHERE provider = ?1 AND answered_at >= ?2)",
            params![name.as_str(), rate_window_start(view.now).as_millisecond()],
        )?
        .unwrap_or(0);
        provider.recent_submits = submits;
        provider.is_exact = true;
        let count = RateCount {
            submits,
            last_attempt: self.last_attempt,
        };
        self.rate_counts.0.insert(name, count);
        Ok(())
    }

    fn read_due_steps(&self, view: &mut ClaimView, request: &ClaimRequest) -> Result<()> {
        let polled_batch = view.polled_batch(request);
        let requested = request.providers.iter();
        let polled: Vec<ProviderName> = requested.map(|limits| limits.provider).collect();
        for (step, limit) in [
            (Step::Poll, self.reads.polls),
            (Step::Reconcile, self.reads.reconciles),
            (Step::Download, self.reads.downloads),
        ] {
            if limit == 0 {
                continue;
            }
            let (batch, providers) = if step == Step::Download {
                (request.batch.as_deref(), ProviderName::ALL.as_slice())
            } else {
                (polled_batch, polled.as_slice())
            };
            for provider in providers {
                let due = DueQuery {
                    step,
                    provider: *provider,
                    from: i64::MIN,
                    to: view.now.as_millisecond(),
                    batch,
                    limit,
                };
                view.due.extend(due.run(self.tx)?);
            }
        }
        Ok(())
    }

    fn read_lanes(&self, view: &mut ClaimView, index: usize) -> Result<()> {
        let batch = &mut view.batches[index];
        if !batch.has_queued_jobs() || batch.lanes.is_some() {
            batch.lanes.get_or_insert_default();
            return Ok(());
        }
        let mut lanes = Vec::new();
        for text in provider_orders(self.tx, batch.batch_id)? {
            let mut lane = LaneView {
                providers: parse_providers(&text)?,
                rows: Vec::new(),
                is_complete: false,
                upcoming: Vec::new(),
            };
            self.read_rows(&mut lane, batch.batch_id, view.now, self.reads.rows)?;
            if batch.has_local_images && self.reads.upcoming > 0 {
                lane.upcoming = select(
                    self.tx,
                    "SELECT input FROM jobs
                     WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2
                     ORDER BY due_at, job_id LIMIT ?3",
                    params![batch.batch_id, text, sql_limit(self.reads.upcoming)],
                    |columns| columns.json::<Input>("input"),
                )?;
            }
            lanes.push(lane);
        }
        let has_local_images = batch.has_local_images;
        batch.lanes = Some(lanes);
        if has_local_images {
            self.read_uploads(view, index)?;
        }
        Ok(())
    }

    fn extend_lane(&self, view: &mut ClaimView, batch: usize, lane: usize) -> Result<()> {
        let now = view.now;
        let batch_view = &mut view.batches[batch];
        let batch_id = batch_view.batch_id;
        if let Some(lane) = batch_view
            .lanes
            .as_mut()
            .and_then(|lanes| lanes.get_mut(lane))
        {
            let rows = (lane.rows.len() * 2).max(8);
            self.read_rows(lane, batch_id, now, rows)?;
        }
        if batch_view.has_local_images {
            self.read_uploads(view, batch)?;
        }
        Ok(())
    }

    /// Reads the first `limit` due jobs of a lane.
    fn read_rows(
        &self,
        lane: &mut LaneView,
        batch_id: i64,
        now: Timestamp,
        limit: usize,
    ) -> Result<()> {
        lane.rows = select(
            self.tx,
            concat!(
                "SELECT j.job_id, j.row_key, j.input, j.file_name,
                        (SELECT ifnull(max(number), 0) FROM attempts a WHERE a.job_id = j.job_id)
                            AS last_attempt_number,
                        (SELECT count(*) FROM attempts a
                         WHERE a.job_id = j.job_id AND a.state = 'absent') AS absent_attempts, ",
                job_progress_columns!(),
                " FROM jobs j
                 WHERE state = 'queued' AND batch_id = ?1 AND providers = ?2 AND due_at <= ?3
                 ORDER BY due_at, job_id LIMIT ?4"
            ),
            params![
                batch_id,
                ProviderName::join(&lane.providers),
                now.as_millisecond(),
                sql_limit(limit)
            ],
            |columns| {
                Ok(QueuedJob {
                    job_id: JobId(columns.get("job_id")?),
                    row_key: columns.get("row_key")?,
                    input: columns.json("input")?,
                    file_name: columns.get("file_name")?,
                    last_attempt_number: columns.get("last_attempt_number")?,
                    absent_attempts: columns.get("absent_attempts")?,
                    progress: read_job_progress(columns)?,
                })
            },
        )?;
        lane.is_complete = lane.rows.len() < limit;
        Ok(())
    }

    /// Reads the uploads of the images that the jobs of a batch name.
    fn read_uploads(&self, view: &mut ClaimView, batch: usize) -> Result<()> {
        let lanes = view.batches[batch].lanes.iter().flatten();
        let inputs = lanes.flat_map(|lane| {
            let due = lane.rows.iter().map(|row| &row.input);
            due.chain(&lane.upcoming)
        });
        let images: HashSet<String> = inputs
            .flat_map(Input::local_images)
            .map(|image| image.sha256().to_owned())
            .collect();
        let stores = view.providers.iter().filter(|view| view.limits.has_storage);
        let stores: Vec<ProviderName> = stores.map(|view| view.limits.provider).collect();
        for sha256 in images {
            for provider in &stores {
                let key = (*provider, sha256.clone());
                if view.uploads.contains_key(&key) {
                    continue;
                }
                let upload = select(
                    self.tx,
                    "SELECT url, expires_at, due_at, failures, error FROM uploads
                     WHERE provider = ?1 AND sha256 = ?2",
                    params![provider.as_str(), sha256],
                    |columns| {
                        Ok(UploadView {
                            url: columns.get("url")?,
                            expires_at: columns.optional_time("expires_at")?,
                            due_at: columns.optional_time("due_at")?,
                            failures: columns.get("failures")?,
                            error: columns.get("error")?,
                        })
                    },
                )?;
                view.uploads
                    .extend(upload.into_iter().map(|upload| (key.clone(), upload)));
            }
        }
        Ok(())
    }

    fn read_due_uploads(&self, view: &mut ClaimView) -> Result<()> {
        let mut due: Vec<(i64, DueUpload)> = Vec::new();
        for provider in view.providers.iter().filter(|view| view.receives_uploads()) {
            let provider = provider.limits.provider;
            due.extend(select(
                self.tx,
                "SELECT upload_id, file, failures FROM uploads
                 WHERE provider = ?1 AND due_at <= ?2 AND lease_token IS NULL
                 ORDER BY due_at, upload_id LIMIT ?3",
                params![
                    provider.as_str(),
                    view.now.as_millisecond(),
                    sql_limit(self.reads.uploads)
                ],
                |columns| {
                    let upload_id = columns.get("upload_id")?;
                    let file: String = columns.get("file")?;
                    let image = LocalImage::parse(&file).ok_or_else(|| {
                        QueueError::corrupt(format!("upload {upload_id} of {file}"))
                    })?;
                    let failures = columns.get("failures")?;
                    let upload = DueUpload {
                        provider,
                        image,
                        failures,
                    };
                    Ok((upload_id, upload))
                },
            )?);
        }
        due.sort_by_key(|(upload_id, _)| *upload_id);
        view.due_uploads = due.into_iter().map(|(_, upload)| upload).collect();
        Ok(())
    }
}

/// A query for the first unleased jobs of a provider whose next step is due in a period.
pub(super) struct DueQuery<'a> {
    /// A poll, a reconciliation or a download.
    pub(super) step: Step,
    pub(super) provider: ProviderName,
    /// The period, both ends included, in milliseconds.
    pub(super) from: i64,
    pub(super) to: i64,
    /// Only jobs of this batch; `None` for every batch.
    pub(super) batch: Option<&'a str>,
    pub(super) limit: usize,
}

impl DueQuery<'_> {
    /// Returns the jobs, earliest first.
    pub(super) fn run(&self, tx: &Connection) -> Result<Vec<DueStep>> {
        macro_rules! select_due {
            ($state:literal) => {
                concat!(
                    "SELECT due_at, job_id FROM jobs
                     WHERE state = '",
                    $state,
                    "' AND at_provider = ?1 AND lease_token IS NULL AND due_at BETWEEN ?2 AND ?3
                       AND (?4 IS NULL OR batch_id = (SELECT batch_id FROM batches WHERE name = ?4))
                     ORDER BY due_at LIMIT ?5"
                )
            };
        }
        // SQLite matches a partial index against the literals of a statement, never against bound
        // values, so the state is written out.
        let sql = match self.step {
            Step::Poll => select_due!("running"),
            Step::Reconcile => select_due!("in_doubt"),
            Step::Download => select_due!("downloading"),
            Step::Submit => return Ok(Vec::new()),
        };
        select(
            tx,
            sql,
            params![
                self.provider.as_str(),
                self.from,
                self.to,
                self.batch,
                sql_limit(self.limit)
            ],
            |columns| {
                Ok(DueStep {
                    step: self.step,
                    provider: self.provider,
                    due_at: columns.time("due_at")?,
                    job_id: JobId(columns.get("job_id")?),
                })
            },
        )
    }
}

fn read_batches(tx: &Connection) -> Result<Vec<BatchView>> {
    select(
        tx,
        "SELECT * FROM batches ORDER BY batch_id",
        [],
        |columns| {
            Ok(BatchView {
                batch_id: columns.get("batch_id")?,
                name: columns.get("name")?,
                model: columns.get("model")?,
                folder: columns.get("folder")?,
                budget: columns
                    .get::<Option<i64>>("budget")?
                    .map(Money::from_micros),
                has_local_images: columns.get("has_files")?,
                totals: BatchTotals {
                    spent: columns.money("spent")?,
                    reserved: columns.money("reserved")?,
                    jobs: read_job_counts(columns)?,
                },
                lanes: None,
            })
        },
    )
}

/// Reads the providers' slots and gates. A provider without a row has had no attempt and is unused.
fn read_providers(tx: &Connection, limits: &[ProviderLimits]) -> Result<Vec<ProviderView>> {
    let unused = |limits: &ProviderLimits| ProviderView {
        limits: *limits,
        gate: Default::default(),
        in_flight: 0,
        recent_submits: 0,
        is_exact: false,
    };
    let mut providers: Vec<ProviderView> = limits.iter().map(unused).collect();
    select(tx, "SELECT * FROM providers", [], |columns| {
        let name: String = columns.get("provider")?;
        let stored = providers
            .iter_mut()
            .find(|provider| provider.limits.provider.as_str() == name);
        if let Some(provider) = stored {
            provider.in_flight = columns.get("in_flight")?;
            provider.gate = gate::from_columns(columns)?;
        }
        Ok(())
    })?;
    Ok(providers)
}

fn read_unresolved(tx: &Connection) -> Result<Vec<UnresolvedRequest>> {
    select(
        tx,
        "SELECT provider, wire_model, request_digest FROM attempts
         WHERE (state = 'submitting' OR state = 'in_doubt')",
        [],
        |columns| {
            Ok(UnresolvedRequest {
                provider: columns.parse("provider")?,
                wire_model: columns.get("wire_model")?,
                digest: columns.get("request_digest")?,
            })
        },
    )
}

/// Lists the distinct `providers` values of a batch's queued jobs, with one index lookup each.
pub(super) fn provider_orders(tx: &Connection, batch_id: i64) -> Result<Vec<String>> {
    let mut orders = Vec::new();
    let mut last = String::new();
    while let Some(next) = query_value::<String>(
        tx,
        "SELECT providers FROM jobs WHERE state = 'queued' AND batch_id = ?1 AND providers > ?2
         ORDER BY providers LIMIT 1",
        params![batch_id, last],
    )? {
        last.clone_from(&next);
        orders.push(next);
    }
    Ok(orders)
}

/// Parses a list of providers as [`ProviderName::join`] writes it.
pub(super) fn parse_providers(text: &str) -> Result<Vec<ProviderName>> {
    text.split(',')
        .map(|name| name.parse().map_err(QueueError::corrupt))
        .collect()
}

/// Returns a number of rows as SQLite takes it.
fn sql_limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// Returns when the oldest submission that counts against a provider's rate was answered; `None` if
/// all of them are still unanswered.
pub(super) fn oldest_recent_submit(
    tx: &Connection,
    provider: ProviderName,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    let oldest: Option<i64> = query_value(
        tx,
        "SELECT answered_at FROM attempts
         WHERE provider = ?1 AND answered_at >= ?2 ORDER BY answered_at LIMIT 1",
        params![provider.as_str(), rate_window_start(now).as_millisecond()],
    )?;
    oldest.map(timestamp_from_millis).transpose()
}
