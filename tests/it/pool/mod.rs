//! The pool over hours of virtual time, against a provider that follows a script.
//!
//! Virtual time advances whenever all tasks wait; the wall clock can be adjusted independently of
//! it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use overnight::app;
use overnight::catalog;
use overnight::clock::Clock;
use overnight::domain::{
    Failure, Input, InputComparison, JobState, KeptClip, LaterSubmissions, Location, Money, NewJob,
    PredictionHandle, ProviderName, SavedFile,
};
use overnight::output::{
    ByteStream, CheckDepth, ClipDamage, ClipLocation, ClipSource, ClipStream, DownloadError,
    OutputError, OutputStore, SavedClip,
};
use overnight::provider::{
    AbsenceEvidence, Acceptance, Cancellation, History, HistoryQuery, LostSubmission, PollResult,
    Probe, Provider, Reconciliation, Submission,
};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{
    JobFilter, JobRecord, Loader, NewBatch, Operator, ProviderLimits, RemovedRows, Reports,
    Selection, WorkQueue,
};
use overnight::worker::{
    Pool, PoolError, PoolEvent, PoolExit, PoolOptions, ProcessingTimes, StepContext,
};
use tempfile::TempDir;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

mod downloads;

const MINUTE: Duration = Duration::from_secs(60);

/// The wall clock: the virtual time, plus an adjustment.
struct AdjustableClock {
    started: Instant,
    offset_ms: AtomicI64,
}

impl AdjustableClock {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            offset_ms: AtomicI64::new(0),
        })
    }

    fn adjust(&self, by: SignedDuration) {
        self.offset_ms.fetch_add(
            i64::try_from(by.as_millis()).expect("a few hours"),
            Ordering::SeqCst,
        );
    }
}

impl Clock for AdjustableClock {
    fn now(&self) -> Timestamp {
        let started: Timestamp = "2026-08-20T22:00:00Z".parse().expect("a time");
        let passed = i64::try_from(self.started.elapsed().as_millis()).expect("a few hours");
        let now = started.as_millisecond() + passed + self.offset_ms.load(Ordering::SeqCst);
        Timestamp::from_millisecond(now).expect("a time")
    }
}

/// Returns what a history shows that lists later submissions and not the lost one.
fn absent(lists_running: bool) -> Reconciliation {
    Reconciliation::Absent(AbsenceEvidence {
        lists_running,
        later: LaterSubmissions::Listed,
        is_later_certain: true,
    })
}

type Script<T> = Box<dyn Fn(u32) -> Result<T, Failure> + Send + Sync>;
type SearchScript =
    Box<dyn Fn(u32, &LostSubmission) -> Result<Reconciliation, Failure> + Send + Sync>;

/// A provider whose responses depend on how often a method was called, counted from 1.
struct ScriptedProvider {
    submit: Script<PredictionHandle>,
    /// How long each submit call takes.
    submit_takes: Duration,
    /// What each submit call waits for; `None` for nothing.
    submits_after: Option<Arc<Semaphore>>,
    poll: Script<PollResult>,
    search: SearchScript,
    cancel: Mutex<Script<Cancellation>>,
    calls: [AtomicU32; 4],
}

impl ScriptedProvider {
    fn polls(&self) -> u32 {
        self.calls[1].load(Ordering::SeqCst)
    }

    fn submissions(&self) -> u32 {
        self.calls[0].load(Ordering::SeqCst)
    }

    fn count(&self, call: usize) -> u32 {
        self.calls[call].fetch_add(1, Ordering::SeqCst) + 1
    }
}

#[async_trait]
impl Provider for ScriptedProvider {
    fn name(&self) -> ProviderName {
        ProviderName::Fal
    }

    async fn submit(&self, _: &Submission) -> Result<Acceptance, Failure> {
        tokio::time::sleep(self.submit_takes).await;
        if let Some(permits) = &self.submits_after {
            permits.acquire().await.expect("a permit").forget();
        }
        let prediction = (self.submit)(self.count(0))?;
        Ok(Acceptance {
            prediction,
            early_cost: None,
        })
    }

    async fn poll(&self, _: &PredictionHandle, _: &str) -> Result<PollResult, Failure> {
        (self.poll)(self.count(1))
    }

    async fn history(&self, _: &HistoryQuery) -> Result<History, Failure> {
        unreachable!("only searches are scripted")
    }

    async fn reconcile(&self, lost: &LostSubmission) -> Result<Reconciliation, Failure> {
        (self.search)(self.count(2), lost)
    }

    async fn cancel(&self, _: &PredictionHandle, _: &str) -> Result<Cancellation, Failure> {
        (self.cancel.lock().expect("the script"))(self.count(3))
    }

    async fn probe(&self, _: &str, _: Timestamp) -> Vec<Probe> {
        Vec::new()
    }

    fn is_loopback(&self) -> bool {
        false
    }
}

struct VirtualRun {
    clock: Arc<AdjustableClock>,
    provider: Arc<ScriptedProvider>,
    queue: Arc<SqliteQueue>,
    /// What the pool has reported.
    events: Arc<Mutex<Vec<PoolEvent>>>,
    dir: TempDir,
}

impl VirtualRun {
    /// Creates a queue with the given number of rows.
    fn new(
        rows: usize,
        submit: Script<PredictionHandle>,
        poll: Script<PollResult>,
        search: SearchScript,
    ) -> Self {
        Self::with_clock(AdjustableClock::new(), rows, submit, poll, search)
    }

    /// Creates the same with a clock that the test adjusts.
    fn with_clock(
        clock: Arc<AdjustableClock>,
        rows: usize,
        submit: Script<PredictionHandle>,
        poll: Script<PollResult>,
        search: SearchScript,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("q.db");
        let queue = SqliteQueue::open_or_create(&path, Arc::clone(&clock) as _).expect("a queue");
        let batch = NewBatch {
            name: "b".into(),
            model: "kling-v1-standard".into(),
            folder: "/renders/b".into(),
            budget: None,
            comparison: InputComparison::default(),
            reuses_clips: false,
        };
        let mut staging = queue.stage(batch).expect("a staging");
        for row in 0..rows {
            let input = format!(r#"{{"image":"https://e.com/{row}.png","prompt":"{row}"}}"#);
            let input: Input = serde_json::from_str(&input).expect("an input");
            let providers = vec![ProviderName::Fal];
            let estimate = Money::from_micros(225_000);
            let job = NewJob::new(
                input.fingerprint("kling-v1-standard"),
                format!("r{row}"),
                1,
                input,
                providers,
                estimate,
            );
            staging.add(&[job]).expect("added");
        }
        staging.commit(RemovedRows::Keep).expect("committed");
        drop((staging, queue));
        // Virtual time would advance while another thread works, so the queue must not have one.
        let queue = SqliteQueue::for_rehearsal(&path, Arc::clone(&clock) as _).expect("a queue");
        let provider = Arc::new(ScriptedProvider {
            submit,
            submit_takes: Duration::ZERO,
            submits_after: None,
            poll,
            search,
            cancel: Mutex::new(Box::new(|_| Ok(Cancellation::Requested))),
            calls: Default::default(),
        });
        Self {
            clock,
            provider,
            queue: Arc::new(queue),
            events: Arc::default(),
            dir,
        }
    }

    /// Opens the queue as one that other processes use as well, which takes real time.
    fn shared(self) -> Self {
        let Self {
            clock,
            provider,
            queue,
            events,
            dir,
        } = self;
        drop(queue);
        let queue = open_shared(&dir, &clock);
        Self {
            clock,
            provider,
            queue: Arc::new(queue),
            events,
            dir,
        }
    }

    fn context(&self) -> StepContext {
        let provider: Arc<dyn Provider> = Arc::clone(&self.provider) as _;
        let events = Arc::clone(&self.events);
        let mut processing_times = ProcessingTimes::default();
        processing_times.poll_min = Duration::from_secs(2);
        StepContext {
            processing_times,
            observer: Arc::new(move |event| events.lock().expect("the events").push(event)),
            ..StepContext::new(
                Arc::clone(&self.queue) as _,
                BTreeMap::from([(ProviderName::Fal, provider)]),
                app::file_ports(
                    overnight::link_client::ProxiedLinks::default(),
                    &BTreeMap::new(),
                )
                .expect("the files of this machine"),
                Arc::new(catalog::load(&[]).expect("the catalogue")),
                Arc::clone(&self.clock) as _,
            )
        }
    }

    fn options(creates_per_minute: u32) -> PoolOptions {
        let limits = ProviderLimits {
            provider: ProviderName::Fal,
            in_flight: 4,
            creates_per_minute,
            history_delay: Duration::from_secs(900),
            has_storage: false,
        };
        PoolOptions {
            workers: 8,
            batch: None,
            budget: None,
            canary: None,
            watch: false,
            // These tests run for hours of virtual time.
            maintenance_interval: Duration::from_secs(10),
            limits: vec![limits],
        }
    }

    /// Runs a pool until nothing is left to do, and returns the elapsed virtual time.
    async fn until_drained(&self) -> Duration {
        let started = Instant::now();
        let (_stop, stopped) = watch::channel(false);
        let exit = Pool::run(Arc::new(self.context()), Self::options(60), stopped).await;
        let exit = exit.expect("a run without errors");
        assert!(matches!(exit, PoolExit::Drained(_)));
        started.elapsed()
    }

    async fn job(&self) -> JobRecord {
        self.queue
            .jobs(JobFilter::default(), None, 1)
            .await
            .expect("the jobs")
            .remove(0)
    }
}

/// Opens the queue of a folder as another process does.
fn open_shared(dir: &TempDir, clock: &Arc<AdjustableClock>) -> SqliteQueue {
    let path = dir.path().join("q.db");
    SqliteQueue::open_or_create(&path, Arc::clone(clock) as _).expect("a queue")
}

/// An output folder on a disk that turns out to be full this long after a download has started.
struct FullDisk(Duration);

#[async_trait]
impl ClipSource for FullDisk {
    async fn get(&self, _: &str, _: bool) -> Result<ClipStream, DownloadError> {
        tokio::time::sleep(self.0).await;
        Ok(ClipStream {
            bytes: Box::pin(futures_util::stream::empty()),
            length: None,
        })
    }
}

#[async_trait]
impl OutputStore for FullDisk {
    async fn reuse(
        &self,
        _: &KeptClip,
        _: &ClipLocation,
    ) -> Result<Option<SavedFile>, OutputError> {
        Ok(None)
    }

    async fn save(
        &self,
        place: &ClipLocation,
        _: ByteStream,
        _: Option<u64>,
    ) -> Result<SavedClip, OutputError> {
        Err(OutputError::Store {
            location: place.folder.clone(),
            error: ErrorKind::StorageFull.into(),
        })
    }

    async fn read(&self, _: &Location) -> Result<Option<ByteStream>, OutputError> {
        Ok(None)
    }

    async fn write_note(&self, _: &Location, _: Vec<u8>) -> Result<(), OutputError> {
        Ok(())
    }

    async fn remove(&self, _: &Location) -> Result<(), OutputError> {
        Ok(())
    }

    async fn write(&self, _: &SavedFile, _: ByteStream) -> Result<bool, OutputError> {
        Ok(false)
    }

    async fn list(&self, _: &Location) -> Result<Vec<Location>, OutputError> {
        Ok(Vec::new())
    }

    async fn inspect(&self, _: &Location) -> Result<Result<SavedFile, String>, OutputError> {
        Ok(Err("there is nothing".into()))
    }

    async fn check(&self, _: &SavedFile, _: CheckDepth) -> Option<ClipDamage> {
        None
    }

    async fn space(&self, _: &Location) -> Result<Option<u64>, OutputError> {
        Ok(Some(0))
    }
}

fn accept() -> Script<PredictionHandle> {
    Box::new(|number| Ok(PredictionHandle::from_id(format!("p-{number}"))))
}

fn no_search() -> SearchScript {
    Box::new(|_, _| panic!("nothing is in lost"))
}

/// Returns the response to a poll of a prediction that failed.
fn failed(_: u32) -> Result<PollResult, Failure> {
    Ok(PollResult::Failed {
        reason: "no".into(),
        cost: None,
        retryable: false,
    })
}

fn lost_response() -> Failure {
    Failure::Unknown {
        reason: "connection reset".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_prediction_that_never_ends_is_given_up_with_its_id_and_polled_again_without_paying() {
    let run = VirtualRun::new(
        1,
        accept(),
        Box::new(|_| Ok(PollResult::Running)),
        no_search(),
    );
    let elapsed = run.until_drained().await;
    assert!((30 * MINUTE..90 * MINUTE).contains(&elapsed), "{elapsed:?}");
    assert!(run.provider.polls() < 150, "{} polls", run.provider.polls());
    let job = run.job().await;
    assert_eq!(
        (job.state, job.prediction_id.as_deref()),
        (JobState::Failed, Some("p-1"))
    );
    let error = job.error.expect("a reason");
    assert!(error.ends_with("(prediction p-1)"), "{error}");
    let polls = run.provider.polls();
    run.queue
        .retry(Selection::default())
        .await
        .expect("retried");
    run.until_drained().await;
    assert!(run.provider.polls() > polls);
    assert_eq!(run.provider.submissions(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_submitted_behind_a_queue_that_does_not_move_and_all_of_it_is_cancelled_unpaid()
{
    let started = Instant::now();
    let submitted: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let submit: Script<PredictionHandle> = {
        let submitted = Arc::clone(&submitted);
        Box::new(move |number| {
            submitted.lock().expect("the times").push(started.elapsed());
            Ok(PredictionHandle::from_id(format!("p-{number}")))
        })
    };
    let queued: Script<PollResult> = Box::new(|_| Ok(PollResult::Queued { position: Some(7) }));
    let run = VirtualRun::new(8, submit, queued, no_search());
    *run.provider.cancel.lock().expect("the script") = Box::new(|_| Ok(Cancellation::NeverRan));
    run.until_drained().await;
    let submitted = submitted.lock().expect("the times").clone();
    // Each of the 8 jobs three times, 4 at a time; every 4 only when the 4 before are cancelled.
    assert_eq!(submitted.len(), 24);
    for waves in submitted.chunks(4).collect::<Vec<_>>().windows(2) {
        assert!(waves[1][0] - waves[0][3] >= 54 * MINUTE, "{submitted:?}");
    }
    assert_eq!(run.provider.calls[3].load(Ordering::SeqCst), 24);
    let jobs = run.queue.jobs(JobFilter::default(), None, 10).await;
    for job in jobs.expect("the jobs") {
        assert_eq!(job.state, JobState::Failed);
        assert_eq!(job.cost_usd, Some(Money::ZERO));
        let error = job.error.expect("a reason");
        assert!(error.contains("fal's queue at position 7"), "{error}");
    }
    let events = run.events.lock().expect("the events").clone();
    let is_wait = |event: &PoolEvent| {
        matches!(event, PoolEvent::StepRecorded { state: JobState::Running, reason: Some(reason), .. }
            if reason.contains("at position 7"))
    };
    assert!(events.iter().any(is_wait), "the wait is not shown");
}

#[tokio::test(start_paused = true)]
async fn a_prediction_that_ends_while_it_is_cancelled_is_not_lost() {
    let cancelled = Arc::new(AtomicU32::new(0));
    let queued: Script<PollResult> = {
        let cancelled = Arc::clone(&cancelled);
        Box::new(move |_| {
            Ok(if cancelled.load(Ordering::SeqCst) == 0 {
                PollResult::Queued { position: None }
            } else {
                PollResult::Done {
                    output_url: "ftp://not.allowed/a.mp4".into(),
                    cost: None,
                    processing: None,
                }
            })
        })
    };
    let run = VirtualRun::new(1, accept(), queued, no_search());
    *run.provider.cancel.lock().expect("the script") = Box::new(move |number| {
        cancelled.store(number, Ordering::SeqCst);
        let reason = "fal returned 400: already completed".into();
        Err(Failure::Rejected { reason })
    });
    run.until_drained().await;
    let job = run.job().await;
    // The download was tried.
    assert!(job.error.expect("a reason").contains("scheme"));
    assert_eq!(run.provider.submissions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_prediction_the_provider_does_not_know_is_given_up_with_its_id_after_ten_minutes() {
    let missing = || PollResult::Missing {
        reason: "fal returned 404: not found".into(),
    };
    let run = VirtualRun::new(1, accept(), Box::new(move |_| Ok(missing())), no_search());
    let elapsed = run.until_drained().await;
    assert!((10 * MINUTE..20 * MINUTE).contains(&elapsed), "{elapsed:?}");
    let job = run.job().await;
    assert_eq!(
        (job.state, job.prediction_id.as_deref()),
        (JobState::Failed, Some("p-1"))
    );
    assert_eq!(run.provider.submissions(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_hours_is_waited_out_and_counts_against_no_job() {
    let started = Instant::now();
    let poll: Script<PollResult> = Box::new(move |_| {
        if started.elapsed() < 8 * 60 * MINUTE {
            return Err(Failure::Transient {
                reason: "fal cannot be reached".into(),
                retry_after: None,
            });
        }
        let (reason, cost) = ("the model failed".into(), None);
        Ok(PollResult::Failed {
            reason,
            cost,
            retryable: false,
        })
    });
    let run = VirtualRun::new(1, accept(), poll, no_search());
    let elapsed = run.until_drained().await;
    assert!(elapsed < 8 * 60 * MINUTE + 2 * MINUTE, "{elapsed:?}");
    assert_eq!(run.job().await.error.as_deref(), Some("the model failed"));
    assert!(
        run.provider.polls() < 8 * 60 * 3,
        "{} polls",
        run.provider.polls()
    );
}

#[tokio::test(start_paused = true)]
async fn a_response_with_the_id_of_another_job_leaves_the_submission_in_doubt() {
    let submit: Script<PredictionHandle> = Box::new(|_| Ok(PredictionHandle::from_id("p-1")));
    let search: SearchScript = Box::new(|_, lost| {
        assert!(lost.owned.keys().eq(["p-1"]), "{:?}", lost.owned);
        Ok(Reconciliation::Found(PredictionHandle::from_id("p-2")))
    });
    let run = VirtualRun::new(2, submit, Box::new(failed), search);
    run.until_drained().await;
    let jobs = run
        .queue
        .jobs(JobFilter::default(), None, 10)
        .await
        .expect("the jobs");
    let mut ids: Vec<_> = jobs
        .into_iter()
        .filter_map(|job| job.prediction_id)
        .collect();
    ids.sort();
    assert_eq!(ids, ["p-1", "p-2"]);
    assert_eq!(run.provider.submissions(), 2);
    let events = run.events.lock().expect("the events").clone();
    let reasons: Vec<Option<String>> = events
        .into_iter()
        .filter_map(|event| match event {
            PoolEvent::StepRecorded {
                state: JobState::InDoubt,
                reason,
                ..
            } => Some(reason),
            _ => None,
        })
        .collect();
    let taken = "prediction p-1 already belongs to another job";
    assert_eq!(reasons, [Some(taken.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_finds_nothing_is_not_recorded() {
    let poll: Script<PollResult> = Box::new(|number| match number {
        10 => Err(Failure::Transient {
            reason: "503".into(),
            retry_after: None,
        }),
        30 => failed(number),
        _ => Ok(PollResult::Running),
    });
    let run = VirtualRun::new(1, accept(), poll, no_search());
    run.until_drained().await;
    assert_eq!(run.provider.polls(), 30);
    let events = run.events.lock().expect("the events").clone();
    let recorded: Vec<(JobState, bool)> = events
        .iter()
        .filter_map(|event| match event {
            PoolEvent::StepRecorded { state, reason, .. } => Some((*state, reason.is_some())),
            _ => None,
        })
        .collect();
    // The submission, the failed poll, the one after it that resets its failure, and the end.
    let running = JobState::Running;
    let expected = [
        (running, false),
        (running, true),
        (running, false),
        (JobState::Failed, true),
    ];
    assert_eq!(recorded, expected);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_cancelled_while_a_pool_holds_it_is_no_longer_polled() {
    let running: Script<PollResult> = Box::new(|_| Ok(PollResult::Running));
    let run = VirtualRun::new(2, accept(), running, no_search());
    let queue = Arc::clone(&run.queue);
    let cancel = tokio::spawn(async move {
        tokio::time::sleep(10 * MINUTE).await;
        let selection = Selection {
            states: vec![JobState::Running],
            ..Selection::default()
        };
        queue.cancel(selection).await.expect("cancelled").jobs
    });
    let elapsed = run.until_drained().await;
    assert_eq!(cancel.await.expect("a result"), 2);
    assert!((600..630).contains(&elapsed.as_secs()), "{elapsed:?}");
}

#[tokio::test]
async fn a_pool_that_was_removed_while_it_submitted_joins_anew_and_keeps_what_was_accepted() {
    let mut run = VirtualRun::new(3, accept(), Box::new(failed), no_search());
    let is_removed = Arc::new(Semaphore::new(0));
    let provider = Arc::get_mut(&mut run.provider).expect("no other owner");
    provider.submits_after = Some(Arc::clone(&is_removed));
    let run = run.shared();
    let other = open_shared(&run.dir, &run.clock);
    let (stop, stopped) = watch::channel(false);
    let count = async |state| {
        let status = run.queue.status(None).await;
        status.expect("the status").count(state)
    };
    let removed = async {
        // What another host does, which finds the leases ended.
        while run
            .queue
            .status(None)
            .await
            .expect("the status")
            .count(JobState::Submitting)
            < 3
        {}
        // A heartbeat between the two renews the leases by the new time.
        let mut taken_over = 0;
        while taken_over == 0 {
            run.clock.adjust(SignedDuration::from_secs(60));
            taken_over = other.take_over().await.expect("taken over");
        }
        is_removed.add_permits(3);
        while count(JobState::Running).await < 3 {}
        stop.send(true).expect("a pool");
    };
    let pool = Pool::run(Arc::new(run.context()), VirtualRun::options(60), stopped);
    let (exit, ()) = tokio::join!(pool, removed);
    assert_eq!(exit.expect("a run without errors"), PoolExit::Interrupted);
    assert_eq!(run.provider.submissions(), 3, "none was repeated");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_pool_gives_its_jobs_up_to_the_next_one() {
    let poll: Script<PollResult> = Box::new(|number| match number {
        0..60 => Ok(PollResult::Running),
        _ => failed(number),
    });
    let run = VirtualRun::new(1, accept(), poll, no_search());
    let (stop, stopped) = watch::channel(false);
    let pool = Pool::run(Arc::new(run.context()), VirtualRun::options(60), stopped);
    let stopper = async {
        tokio::time::sleep(Duration::from_secs(240)).await;
        stop.send(true).expect("a pool");
    };
    let (exit, ()) = tokio::join!(pool, stopper);
    assert_eq!(exit.expect("a run without errors"), PoolExit::Interrupted);
    let due_at = run.job().await.due_at.expect("a due time");
    assert!(due_at > run.clock.now(), "its next poll is not due yet");
    run.until_drained().await;
    assert_eq!(run.job().await.state, JobState::Failed);
    assert_eq!(run.provider.submissions(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_submitted_once_clips_cannot_be_written() {
    let done = |_| {
        let output_url = "https://e.com/a.mp4".into();
        Ok(PollResult::Done {
            output_url,
            cost: None,
            processing: None,
        })
    };
    let run = VirtualRun::new(2, accept(), Box::new(done), no_search());
    // The disk is full only after the minute in which the submit rate allows one submission.
    let disk = Arc::new(FullDisk(2 * MINUTE));
    let mut context = run.context();
    context.files.clips = Arc::clone(&disk) as _;
    context.files.output = disk;
    // One worker, so that the second row is next when the download ends.
    let options = PoolOptions {
        workers: 1,
        ..VirtualRun::options(1)
    };
    let (_stop, stopped) = watch::channel(false);
    let exit = Pool::run(Arc::new(context), options, stopped).await;
    assert!(matches!(exit, Err(PoolError::Output(_))), "{exit:?}");
    assert_eq!(run.provider.submissions(), 1);
}

/// Runs a job whose response is lost at a provider that lists it only after `listed`, and adjusts
/// the wall clock after the first search. Returns the start of each searched period.
async fn adjust_clock_while_in_doubt(
    by: SignedDuration,
    listed: Duration,
) -> (VirtualRun, Vec<Timestamp>) {
    let started = Instant::now();
    let windows = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&windows);
    let clock = AdjustableClock::new();
    let adjusted = Arc::clone(&clock);
    let search: SearchScript = Box::new(move |number, lost| {
        seen.lock().expect("a list").push(lost.window().0);
        if number == 1 {
            adjusted.adjust(by);
        }
        let is_listed = started.elapsed() >= listed;
        let absent = absent(false);
        Ok(if is_listed {
            Reconciliation::Found(PredictionHandle::from_id("p-1"))
        } else {
            absent
        })
    });
    let run = VirtualRun::with_clock(
        clock,
        1,
        Box::new(|_| Err(lost_response())),
        Box::new(failed),
        search,
    );
    run.until_drained().await;
    let windows = windows.lock().expect("a list").clone();
    (run, windows)
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_proves_no_submission_absent() {
    let by = SignedDuration::from_hours(3);
    let (run, _) = adjust_clock_while_in_doubt(by, 8 * MINUTE).await;
    assert_eq!(
        run.provider.submissions(),
        1,
        "it was accepted, and not listed yet"
    );
    assert_eq!(run.job().await.prediction_id.as_deref(), Some("p-1"));
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_delays_no_search_and_widens_the_searched_period() {
    let started = Instant::now();
    let (run, windows) =
        adjust_clock_while_in_doubt(SignedDuration::from_hours(-5), 8 * MINUTE).await;
    assert!(started.elapsed() < 12 * MINUTE, "{:?}", started.elapsed());
    assert_eq!(run.provider.submissions(), 1);
    let submitted: Timestamp = "2026-08-20T22:00:00Z".parse().expect("a time");
    let last = windows.last().expect("a search");
    assert!(
        *last < submitted - SignedDuration::from_hours(24),
        "{windows:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_submission_that_never_arrived_is_sent_again_only_after_the_history_delay() {
    let search: SearchScript = Box::new(|_, _| Ok(absent(false)));
    let submit: Script<PredictionHandle> = Box::new(|number| {
        if number == 1 {
            Err(lost_response())
        } else {
            Ok(PredictionHandle::from_id("p-2"))
        }
    });
    let run = VirtualRun::new(1, submit, Box::new(failed), search);
    let elapsed = run.until_drained().await;
    // 15 minutes for the history, and three times the typical 270 seconds, because it lists only
    // finished predictions.
    assert!((1710..1840).contains(&elapsed.as_secs()), "{elapsed:?}");
    assert_eq!(run.provider.submissions(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_submission_accepted_after_the_call_gave_up_and_listed_late_is_found_and_not_repeated() {
    let started = Instant::now();
    // The call gives up after 60 seconds, the provider accepts the submission 4 seconds later, and
    // its history lists it 15 seconds after that.
    let search: SearchScript = Box::new(move |_, _| {
        Ok(if started.elapsed() >= Duration::from_secs(79) {
            Reconciliation::Found(PredictionHandle::from_id("p-1"))
        } else {
            absent(true)
        })
    });
    let mut run = VirtualRun::new(
        1,
        Box::new(|_| Err(lost_response())),
        Box::new(failed),
        search,
    );
    Arc::get_mut(&mut run.provider)
        .expect("no other owner")
        .submit_takes = MINUTE;
    run.until_drained().await;
    assert_eq!(run.provider.submissions(), 1);
    assert_eq!(run.job().await.prediction_id.as_deref(), Some("p-1"));
}

#[tokio::test(start_paused = true)]
async fn absence_is_proven_by_the_time_since_the_call_ended_not_since_it_began() {
    let started = Instant::now();
    let call = 20 * MINUTE;
    let listed = call + 10 * MINUTE;
    let search: SearchScript = Box::new(move |_, _| {
        Ok(if started.elapsed() >= listed {
            Reconciliation::Found(PredictionHandle::from_id("p-1"))
        } else {
            absent(true)
        })
    });
    let mut run = VirtualRun::new(
        1,
        Box::new(|_| Err(lost_response())),
        Box::new(failed),
        search,
    );
    Arc::get_mut(&mut run.provider)
        .expect("no other owner")
        .submit_takes = call;
    run.until_drained().await;
    assert_eq!(run.provider.submissions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_response_is_lost_again_after_an_absence_is_held_and_stays_reserved() {
    let search: SearchScript = Box::new(|_, _| Ok(absent(true)));
    let submit: Script<PredictionHandle> = Box::new(|number| {
        // Without a bound, a run that submits again and again would never end.
        if number > 5 {
            let reason = "enough".into();
            return Err(Failure::Rejected { reason });
        }
        Err(lost_response())
    });
    let run = VirtualRun::new(1, submit, Box::new(failed), search);
    run.until_drained().await;
    assert_eq!(run.provider.submissions(), 2);
    let job = run.job().await;
    assert_eq!(job.state, JobState::InDoubt);
    let error = job.error.expect("a reason");
    assert!(error.contains("they may be paid"), "{error}");
    let status = run.queue.status(None).await.expect("the status");
    assert_eq!(status.batches[0].reserved, Money::from_micros(225_000));
    assert_eq!(status.batches[0].at_risk, Money::from_micros(225_000));
}

/// Collects the log of a test.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_line_of_a_provider_adapter_names_its_job() {
    let log = LogBuffer::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _log = tracing::subscriber::set_default(subscriber);
    // While there is only one subscriber, tracing caches for each call site what the thread that
    // reaches it first is interested in, and the other tests' threads are interested in nothing.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let poll: Script<PollResult> = Box::new(|number| match number {
        1 => {
            tracing::warn!("unknown status, taken for running");
            Ok(PollResult::Running)
        }
        _ => Err(Failure::Rejected {
            reason: "gone".into(),
        }),
    });
    let run = VirtualRun::new(1, accept(), poll, no_search());
    run.until_drained().await;
    let log = String::from_utf8(log.0.lock().expect("the log").clone()).expect("text");
    let line = log
        .lines()
        .find(|line| line.contains("unknown status"))
        .expect("the adapter's line");
    for field in ["job.id=1", "attempt=1", "provider=fal", "step=\"poll\""] {
        assert!(line.contains(field), "{field} in {line}");
    }
}
