//! Downloads while their host, this machine or the program itself is in trouble.

use overnight::output::{ContentError, SavedClip};
use overnight::worker::FilePorts;

use super::*;

type ClipScript = Box<dyn Fn(&str) -> Result<(), OutputError> + Send + Sync>;

/// Clips whose downloads succeed or fail as a script says, without files.
struct ScriptedClips(ClipScript);

#[async_trait]
impl ClipSource for ScriptedClips {
    async fn get(&self, url: &str, _: bool) -> Result<ClipStream, DownloadError> {
        let link = url.to_owned();
        Ok(ClipStream {
            bytes: Box::pin(futures_util::stream::once(async move { Ok(link.into()) })),
            length: None,
        })
    }
}

#[async_trait]
impl OutputStore for ScriptedClips {
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
        mut bytes: ByteStream,
        _: Option<u64>,
    ) -> Result<SavedClip, OutputError> {
        use futures_util::StreamExt;
        let link = bytes.next().await.expect("a chunk").expect("the link");
        (self.0)(std::str::from_utf8(&link).expect("text"))?;
        Ok(SavedClip {
            file: SavedFile {
                location: place.folder.join(&place.file_name),
                bytes: 1,
                sha256: "0".into(),
            },
            duration: None,
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
        Ok(Some(1 << 40))
    }
}

/// Runs a pool until nothing is left to do, with the downloads of a script.
async fn run_with(run: &VirtualRun, script: ClipScript) -> Duration {
    let started = Instant::now();
    let clips = Arc::new(ScriptedClips(script));
    let context = run.context();
    let context = StepContext {
        files: FilePorts {
            output: Arc::clone(&clips) as _,
            clips,
            ..context.files.clone()
        },
        ..context
    };
    let (_stop, stopped) = watch::channel(false);
    let exit = Pool::run(Arc::new(context), VirtualRun::options(60), stopped).await;
    let exit = exit.expect("a run without errors");
    assert!(matches!(exit, PoolExit::Drained(_)));
    started.elapsed()
}

/// Returns the states of all jobs and their errors.
async fn jobs(run: &VirtualRun) -> Vec<(JobState, Option<String>)> {
    let jobs = run.queue.jobs(JobFilter::default(), None, 100).await;
    let jobs = jobs.expect("the jobs").into_iter();
    jobs.map(|job| (job.state, job.error)).collect()
}

/// Returns a poll that finds each prediction done, with its clip at a host.
fn done_at(host: impl Fn(u32) -> &'static str + Send + Sync + 'static) -> Script<PollResult> {
    Box::new(move |number| {
        Ok(PollResult::Done {
            output_url: format!("https://{}/{number}.mp4", host(number)),
            cost: None,
            processing: None,
        })
    })
}

fn unavailable() -> OutputError {
    DownloadError::Unavailable {
        reason: "the clip's URL returned 503".into(),
        retry_after: None,
    }
    .into()
}

fn is_all_saved(jobs: &[(JobState, Option<String>)]) -> bool {
    jobs.iter().all(|(state, _)| *state == JobState::Succeeded)
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_away_for_hours_is_waited_for_and_asked_by_one_download_at_a_time() {
    type Trouble = fn() -> OutputError;
    let page: Trouble = || ContentError::Foreign("it starts with `<html>`".into()).into();
    let gone: Trouble = || DownloadError::Expired(404).into();
    for trouble in [unavailable as Trouble, page, gone] {
        let run = VirtualRun::new(8, accept(), done_at(|_| "cdn.example"), no_search());
        let started = Instant::now();
        let tries = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&tries);
        let script: ClipScript = Box::new(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            if started.elapsed() < 5 * 60 * MINUTE {
                Err(trouble())
            } else {
                Ok(())
            }
        });
        let elapsed = run_with(&run, script).await;
        let jobs = jobs(&run).await;
        assert!(is_all_saved(&jobs), "{}: {jobs:?}", trouble());
        assert!(elapsed < 5 * 60 * MINUTE + 20 * MINUTE, "{elapsed:?}");
        let tries = tries.load(Ordering::SeqCst);
        assert!((30..400).contains(&tries), "{tries} tries");
        assert_eq!(run.provider.submissions(), 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_away_does_not_delay_the_clips_of_another() {
    let host = |number: u32| {
        if number.is_multiple_of(2) {
            "away.example"
        } else {
            "cdn.example"
        }
    };
    let run = VirtualRun::new(12, accept(), done_at(host), no_search());
    let started = Instant::now();
    let last: Arc<Mutex<Duration>> = Arc::default();
    let saved = Arc::clone(&last);
    let script: ClipScript = Box::new(move |link| {
        let elapsed = started.elapsed();
        if !link.contains("away.example") {
            *saved.lock().expect("the time") = elapsed;
            return Ok(());
        }
        if elapsed < 120 * MINUTE {
            Err(unavailable())
        } else {
            Ok(())
        }
    });
    run_with(&run, script).await;
    let jobs = jobs(&run).await;
    assert!(is_all_saved(&jobs), "{jobs:?}");
    let last = *last.lock().expect("the time");
    assert!(last < 30 * MINUTE, "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn one_link_that_never_works_fails_its_job_and_no_other() {
    let run = VirtualRun::new(8, accept(), done_at(|_| "cdn.example"), no_search());
    let first: Arc<Mutex<Option<String>>> = Arc::default();
    let script: ClipScript = Box::new(move |link| {
        let mut first = first.lock().expect("the link");
        let first = first.get_or_insert_with(|| link.to_owned());
        if *first == link {
            Err(ContentError::Broken("it is truncated".into()).into())
        } else {
            Ok(())
        }
    });
    run_with(&run, script).await;
    let jobs = jobs(&run).await;
    assert!(is_all_saved(&jobs), "a fresh link was not tried: {jobs:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_written_fails_its_job_after_some_tries_and_the_others_get_theirs() {
    let run = VirtualRun::new(6, accept(), done_at(|_| "cdn.example"), no_search());
    let first: Arc<Mutex<Option<String>>> = Arc::default();
    let script: ClipScript = Box::new(move |link| {
        let mut first = first.lock().expect("the link");
        if first.get_or_insert_with(|| link.to_owned()) != link {
            return Ok(());
        }
        Err(OutputError::Store {
            location: "/renders/b/r0.mp4".into(),
            error: ErrorKind::IsADirectory.into(),
        })
    });
    run_with(&run, script).await;
    let jobs = jobs(&run).await;
    let failed: Vec<_> = jobs
        .iter()
        .filter(|(state, _)| *state == JobState::Failed)
        .collect();
    assert_eq!(failed.len(), 1, "{jobs:?}");
    let reason = failed[0].1.as_deref().expect("a reason");
    assert!(reason.contains("directory"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_step_ends_no_run_and_its_job_waits_for_the_user_after_ten() {
    let polls: Script<PollResult> = Box::new(|number| {
        assert!(number != 1, "the first poll");
        Ok(PollResult::Done {
            output_url: format!("https://cdn.example/{number}.mp4"),
            cost: None,
            processing: None,
        })
    });
    let run = VirtualRun::new(4, accept(), polls, no_search());
    let first: Arc<Mutex<Option<String>>> = Arc::default();
    let script: ClipScript = Box::new(move |link| {
        let mut first = first
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(
            first.get_or_insert_with(|| link.to_owned()) != link,
            "no such codec"
        );
        Ok(())
    });
    run_with(&run, script).await;
    let jobs = jobs(&run).await;
    let failed: Vec<_> = jobs
        .iter()
        .filter_map(|(state, error)| (*state == JobState::Failed).then_some(error))
        .collect();
    assert_eq!(failed.len(), 1, "{jobs:?}");
    let reason = failed[0].as_deref().expect("a reason");
    assert!(
        reason.contains("10 times") && reason.contains("no such codec"),
        "{reason}"
    );
    assert_eq!(run.provider.submissions(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_submission_leaves_it_in_doubt_and_it_is_found() {
    let submit: Script<PredictionHandle> = Box::new(|number| {
        assert!(number != 1, "after it was sent");
        Ok(PredictionHandle::from_id(format!("p-{number}")))
    });
    let search: SearchScript =
        Box::new(|_, _| Ok(Reconciliation::Found(PredictionHandle::from_id("p-1"))));
    let run = VirtualRun::new(3, submit, done_at(|_| "cdn.example"), search);
    run_with(&run, Box::new(|_| Ok(()))).await;
    let jobs = jobs(&run).await;
    assert!(is_all_saved(&jobs), "{jobs:?}");
    assert_eq!(run.provider.submissions(), 3);
}
