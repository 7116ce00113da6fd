//! The pool over hours of virtual time, against a provider that does what a test tells it to.
//!
//! Time goes on by itself whenever nobody has anything to do; the machine's clock can be set besides.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use overnight::catalog;
use overnight::clock::Clock;
use overnight::domain::{
    Backoff, Failure, Input, JobState, Money, NewJob, PredictionHandle, ProviderName, RetryPolicy,
    SavedFile,
};
use overnight::image::LocalImages;
use overnight::output::{
    ByteStream, ClipDamage, ClipLocation, ClipSource, ClipStream, DownloadError, Downloader,
    LocalStore, OutputError, OutputStore,
};
use overnight::provider::{
    Acceptance, LostSubmission, PollResult, Probe, Provider, Reconciliation, Submission,
};
use overnight::queue::sqlite::SqliteQueue;
use overnight::queue::{JobFilter, JobRecord, NewBatch, ProviderLimits, Queue, Selection};
use overnight::worker::{Pool, PoolError, PoolExit, PoolOptions, ProcessingTimes, StepContext};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The machine's clock: the time that has really passed, and by how much it was set.
struct SetClock {
    began: Instant,
    set_by_ms: AtomicI64,
}

impl SetClock {
    fn set_by(&self, by: SignedDuration) {
        self.set_by_ms.fetch_add(
            i64::try_from(by.as_millis()).expect("a few hours"),
            Ordering::SeqCst,
        );
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let began: Timestamp = "2026-08-20T22:00:00Z".parse().expect("a time");
        let passed = i64::try_from(self.began.elapsed().as_millis()).expect("a few hours");
        let now = began.as_millisecond() + passed + self.set_by_ms.load(Ordering::SeqCst);
        Timestamp::from_millisecond(now).expect("a time")
    }
}

type Answer<T> = Box<dyn Fn(u32) -> Result<T, Failure> + Send + Sync>;
type Search = Box<dyn Fn(u32, &LostSubmission) -> Result<Reconciliation, Failure> + Send + Sync>;

/// A provider that answers each call by its number, from 1.
struct Scripted {
    submit: Answer<PredictionHandle>,
    poll: Answer<PollResult>,
    search: Search,
    calls: [AtomicU32; 3],
}

impl Scripted {
    fn polls(&self) -> u32 {
        self.calls[1].load(Ordering::SeqCst)
    }

    fn creates(&self) -> u32 {
        self.calls[0].load(Ordering::SeqCst)
    }

    fn count(&self, call: usize) -> u32 {
        self.calls[call].fetch_add(1, Ordering::SeqCst) + 1
    }
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> ProviderName {
        ProviderName::Fal
    }

    async fn submit(&self, _: &Submission) -> Result<Acceptance, Failure> {
        let prediction = (self.submit)(self.count(0))?;
        Ok(Acceptance {
            prediction,
            early_cost: None,
        })
    }

    async fn poll(&self, _: &PredictionHandle, _: &Submission) -> Result<PollResult, Failure> {
        (self.poll)(self.count(1))
    }

    async fn reconcile(&self, doubt: &LostSubmission) -> Result<Reconciliation, Failure> {
        (self.search)(self.count(2), doubt)
    }

    async fn cancel(&self, _: &PredictionHandle, _: &Submission) -> Result<(), Failure> {
        Ok(())
    }

    async fn probe(&self, _: &str, _: Timestamp) -> Vec<Probe> {
        Vec::new()
    }

    fn is_loopback(&self) -> bool {
        false
    }
}

struct Night {
    clock: Arc<SetClock>,
    provider: Arc<Scripted>,
    queue: Arc<SqliteQueue>,
    _dir: TempDir,
}

impl Night {
    /// A queue with so many rows.
    fn new(
        rows: usize,
        submit: Answer<PredictionHandle>,
        poll: Answer<PollResult>,
        search: Search,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("q.db");
        let queue = SqliteQueue::open_or_create(&path).expect("a queue");
        let clock = Arc::new(SetClock {
            began: Instant::now(),
            set_by_ms: AtomicI64::new(0),
        });
        let batch = NewBatch {
            name: "b".into(),
            model: "kling-v1-standard".into(),
            folder: PathBuf::from("/renders/b"),
            budget: None,
        };
        let mut staging = queue.stage(batch).expect("a staging");
        for row in 0..rows {
            let input = format!(r#"{{"image":"https://e.com/{row}.png","prompt":"{row}"}}"#);
            let input: Input = serde_json::from_str(&input).expect("an input");
            let providers = vec![ProviderName::Fal];
            let estimate = Money::from_micros(225_000);
            let job = NewJob::new(
                "kling-v1-standard",
                format!("r{row}"),
                1,
                input,
                providers,
                estimate,
            );
            staging.add(&[job], clock.now()).expect("added");
        }
        staging.commit(clock.now()).expect("committed");
        drop((staging, queue));
        // Virtual time goes on while a thread is waited for, so that the queue must have none of its own.
        let queue = SqliteQueue::for_rehearsal(&path).expect("a queue");
        let provider = Arc::new(Scripted {
            submit,
            poll,
            search,
            calls: Default::default(),
        });
        Self {
            clock,
            provider,
            queue: Arc::new(queue),
            _dir: dir,
        }
    }

    fn tools(&self) -> StepContext {
        let provider: Arc<dyn Provider> = Arc::clone(&self.provider) as _;
        let mut processing_times = ProcessingTimes::default();
        processing_times.poll_min = Duration::from_secs(2);
        StepContext {
            queue: Arc::clone(&self.queue) as _,
            providers: BTreeMap::from([(ProviderName::Fal, provider)]),
            output: Arc::new(LocalStore),
            clips: Arc::new(Downloader::new().expect("a fetcher")),
            images: Arc::new(LocalImages),
            catalog: Arc::new(catalog::load(&[]).expect("the catalogue")),
            clock: Arc::clone(&self.clock) as _,
            policy: RetryPolicy {
                backoff: Backoff {
                    base: Duration::from_secs(1),
                    cap: MINUTE,
                },
                attempts: 3,
                downloads: 8,
            },
            processing_times,
            observer: Arc::new(|_| {}),
        }
    }

    fn options(creates_per_minute: u32) -> PoolOptions {
        let limits = ProviderLimits {
            provider: ProviderName::Fal,
            in_flight: 4,
            creates_per_minute,
            has_storage: false,
        };
        PoolOptions {
            workers: 8,
            batch: None,
            budget: None,
            canary: None,
            watch: false,
            // Hours of nights go by.
            maintenance_interval: Duration::from_secs(10),
            limits: vec![limits],
        }
    }

    /// Works until the pool comes to rest, and tells how long that took.
    async fn run(&self) -> Duration {
        let began = Instant::now();
        let (_stop, stopped) = watch::channel(false);
        let rest = Pool::run(Arc::new(self.tools()), Self::options(60), stopped).await;
        let rest = rest.expect("a run without faults");
        assert!(matches!(rest, PoolExit::Drained(_)));
        began.elapsed()
    }

    async fn job(&self) -> JobRecord {
        self.queue
            .jobs(JobFilter::default(), None, 1)
            .await
            .expect("the jobs")
            .remove(0)
    }
}

/// A disk that turns out to be full some time after a download has begun.
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
    async fn save(
        &self,
        place: &ClipLocation,
        _: ByteStream,
        _: Option<u64>,
    ) -> Result<SavedFile, OutputError> {
        Err(OutputError::Store {
            path: place.folder.clone(),
            error: ErrorKind::StorageFull.into(),
        })
    }

    async fn check(&self, _: &SavedFile) -> Option<ClipDamage> {
        None
    }

    async fn space(&self, _: &Path) -> Result<Option<u64>, OutputError> {
        Ok(Some(0))
    }
}

fn accept() -> Answer<PredictionHandle> {
    Box::new(|number| Ok(PredictionHandle::from_id(format!("p-{number}"))))
}

fn never_searched() -> Search {
    Box::new(|_, _| panic!("nothing is in doubt"))
}

fn lost() -> Failure {
    Failure::Unknown {
        reason: "the connection broke off".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_prediction_that_never_ends_is_given_up_with_its_id_and_looked_at_again_for_nothing() {
    let night = Night::new(
        1,
        accept(),
        Box::new(|_| Ok(PollResult::Running)),
        never_searched(),
    );
    let took = night.run().await;
    assert!((30 * MINUTE..90 * MINUTE).contains(&took), "{took:?}");
    assert!(
        night.provider.polls() < 150,
        "{} looks",
        night.provider.polls()
    );
    let job = night.job().await;
    assert_eq!(
        (job.state, job.prediction_id.as_deref()),
        (JobState::Failed, Some("p-1"))
    );
    let error = job.error.expect("a reason");
    assert!(
        error.contains("p-1") && error.contains("`retry` polls it again without paying"),
        "{error}"
    );
    let looks = night.provider.polls();
    night
        .queue
        .retry(Selection::default(), night.clock.now())
        .await
        .expect("retried");
    night.run().await;
    assert!(night.provider.polls() > looks);
    assert_eq!(night.provider.creates(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_prediction_the_provider_forgot_is_given_up_with_its_id_after_some_minutes() {
    let missing = || PollResult::Missing {
        reason: "fal answered 404: not found".into(),
    };
    let night = Night::new(
        1,
        accept(),
        Box::new(move |_| Ok(missing())),
        never_searched(),
    );
    let took = night.run().await;
    assert!((10 * MINUTE..20 * MINUTE).contains(&took), "{took:?}");
    let job = night.job().await;
    assert_eq!(
        (job.state, job.prediction_id.as_deref()),
        (JobState::Failed, Some("p-1"))
    );
    assert_eq!(night.provider.creates(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_hours_is_waited_out_and_counts_against_nobody() {
    let began = Instant::now();
    let poll: Answer<PollResult> = Box::new(move |_| {
        if began.elapsed() < 8 * 60 * MINUTE {
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
    let night = Night::new(1, accept(), poll, never_searched());
    let took = night.run().await;
    assert!(took < 8 * 60 * MINUTE + 2 * MINUTE, "{took:?}");
    assert_eq!(night.job().await.error.as_deref(), Some("the model failed"));
    assert!(
        night.provider.polls() < 8 * 60 * 3,
        "{} looks",
        night.provider.polls()
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_with_the_id_of_another_job_is_no_answer() {
    let submit: Answer<PredictionHandle> = Box::new(|_| Ok(PredictionHandle::from_id("p-1")));
    let failed = |_| {
        Ok(PollResult::Failed {
            reason: "no".into(),
            cost: None,
            retryable: false,
        })
    };
    let search: Search = Box::new(|_, doubt| {
        assert_eq!(doubt.owned, ["p-1"]);
        Ok(Reconciliation::Found(PredictionHandle::from_id("p-2")))
    });
    let night = Night::new(2, submit, Box::new(failed), search);
    night.run().await;
    let jobs = night
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
    assert_eq!(night.provider.creates(), 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_paid_once_clips_cannot_be_written() {
    let done = |_| {
        let output_url = "https://e.com/a.mp4".into();
        Ok(PollResult::Done {
            output_url,
            cost: None,
            processing: None,
        })
    };
    let night = Night::new(2, accept(), Box::new(done), never_searched());
    // The disk is found full after the minute in which no second create may be sent.
    let disk = Arc::new(FullDisk(2 * MINUTE));
    let tools = StepContext {
        clips: Arc::clone(&disk) as _,
        output: disk,
        ..night.tools()
    };
    // One worker, so that the second row is next when the download has ended.
    let options = PoolOptions {
        workers: 1,
        ..Night::options(1)
    };
    let (_stop, stopped) = watch::channel(false);
    let ended = Pool::run(Arc::new(tools), options, stopped).await;
    assert!(matches!(ended, Err(PoolError::Output(_))), "{ended:?}");
    assert_eq!(night.provider.creates(), 1);
}

/// A create whose answer is lost, at a provider that lists it only after `listed`; after the first search the clock is set.
async fn clock_set_in_doubt(by: SignedDuration, listed: Duration) -> (Night, Vec<Timestamp>) {
    let began = Instant::now();
    let windows = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&windows);
    let clock = Arc::new(SetClock {
        began,
        set_by_ms: AtomicI64::new(0),
    });
    let to_set = Arc::clone(&clock);
    let search: Search = Box::new(move |number, doubt| {
        seen.lock().expect("a list").push(doubt.window().0);
        if number == 1 {
            to_set.set_by(by);
        }
        let is_listed = began.elapsed() >= listed;
        let absent = Reconciliation::Absent {
            lists_running: false,
        };
        Ok(if is_listed {
            Reconciliation::Found(PredictionHandle::from_id("p-1"))
        } else {
            absent
        })
    });
    let failed = |_| {
        Ok(PollResult::Failed {
            reason: "no".into(),
            cost: None,
            retryable: false,
        })
    };
    let night = Night {
        clock,
        ..Night::new(1, Box::new(|_| Err(lost())), Box::new(failed), search)
    };
    night.run().await;
    let windows = windows.lock().expect("a list").clone();
    (night, windows)
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_proves_nothing_absent() {
    let by = SignedDuration::from_hours(3);
    let (night, _) = clock_set_in_doubt(by, 8 * MINUTE).await;
    assert_eq!(
        night.provider.creates(),
        1,
        "it was there, and not listed yet"
    );
    assert_eq!(night.job().await.prediction_id.as_deref(), Some("p-1"));
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_keeps_nothing_waiting_for_hours_and_is_searched_around() {
    let began = Instant::now();
    let (night, windows) = clock_set_in_doubt(SignedDuration::from_hours(-5), 8 * MINUTE).await;
    assert!(began.elapsed() < 12 * MINUTE, "{:?}", began.elapsed());
    assert_eq!(night.provider.creates(), 1);
    let submitted: Timestamp = "2026-08-20T22:00:00Z".parse().expect("a time");
    let last = windows.last().expect("a search");
    assert!(
        *last < submitted - SignedDuration::from_hours(24),
        "{windows:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_never_arrived_is_sent_again_once_the_wait_is_over_and_not_before() {
    let search: Search = Box::new(|_, _| {
        Ok(Reconciliation::Absent {
            lists_running: false,
        })
    });
    let submit: Answer<PredictionHandle> = Box::new(|number| {
        if number == 1 {
            Err(lost())
        } else {
            Ok(PredictionHandle::from_id("p-2"))
        }
    });
    let failed = |_| {
        Ok(PollResult::Failed {
            reason: "no".into(),
            cost: None,
            retryable: false,
        })
    };
    let night = Night::new(1, submit, Box::new(failed), search);
    let took = night.run().await;
    // 60 seconds for the history, and three times the 270 a prediction takes, because it lists only what has ended.
    assert!((870..1000).contains(&took.as_secs()), "{took:?}");
    assert_eq!(night.provider.creates(), 2);
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
    // While there is only one subscriber, tracing caches for each call site what the thread that reaches
    // it first is interested in, and the other tests' threads are interested in nothing.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let poll: Answer<PollResult> = Box::new(|number| match number {
        1 => {
            tracing::warn!("unknown status, taken for running");
            Ok(PollResult::Running)
        }
        _ => Err(Failure::Rejected {
            reason: "gone".into(),
        }),
    });
    let scripted = Night::new(1, accept(), poll, never_searched());
    scripted.run().await;
    let log = String::from_utf8(log.0.lock().expect("the log").clone()).expect("text");
    let line = log
        .lines()
        .find(|line| line.contains("unknown status"))
        .expect("the adapter's line");
    for field in ["job.id=1", "attempt=1", "provider=fal", "step=\"poll\""] {
        assert!(line.contains(field), "{field} in {line}");
    }
}
