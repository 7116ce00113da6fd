//! The pool: claims what is due, runs the steps, and stops cleanly.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::domain::{Money, PoolId};
use crate::output::OutputError;
use crate::queue::{Claim, ClaimRequest, ProviderLimits, QueueError, Standing, Step};

use super::{Event, Tools};

/// How long a pool that stops renewing keeps its leases: a hung one's work is free within a minute.
const LEASE: SignedDuration = SignedDuration::from_secs(45);

/// How often leases are renewed; several renewals may fail before the leases end.
const RENEW: Duration = Duration::from_secs(10);

/// How often the pool looks for dead pools, and for work another process has loaded.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// A clock that moves by so much more or less than time did was set, or the machine slept.
const TREMOR: SignedDuration = SignedDuration::from_secs(2);

/// A create is not begun with less left of the lease than the longest call takes: whoever took the job over could
/// look for it in the provider's history before it was sent.
const LEASE_FOR_CREATE: SignedDuration = SignedDuration::from_secs(5);

/// What a pool works on, and how much at once.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Steps at once.
    pub workers: usize,
    /// Only this batch.
    pub batch: Option<String>,
    /// `spent + reserved` over the batches in question never passes this.
    pub budget: Option<Money>,
    /// Whether to wait for more work for ever.
    pub watch: bool,
    /// The providers that can be called, with their limits.
    pub limits: Vec<ProviderLimits>,
}

/// Tells a pool to stop: `true` once it shall.
pub type StopSignal = watch::Receiver<bool>;

/// Why a pool came to rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing is left that can go on by itself.
    Done(Standing),
    /// It was told to stop; everything in hand is recorded or given back.
    Stopped,
}

/// Why a pool could not go on. The queue is as it should be; a new run goes on.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Clips cannot be written.
    #[error("{0}\nhint: free some space, or make the folder writable, and run again: nothing is lost")]
    Output(OutputError),
    /// A fault in the program.
    #[error("{0}")]
    Fault(String),
}

/// One process's workers on one queue.
pub struct Pool {
    tools: Arc<Tools>,
    options: PoolOptions,
    pool_id: PoolId,
    steps: JoinSet<Ended>,
    /// Downloads among the steps.
    downloads: usize,
    stop: StopSignal,
    leases_end: Timestamp,
    /// What the clock said last, and when that was.
    clock_read: (Timestamp, Instant),
}

/// A step that ended, and how.
type Ended = (Step, Result<(), PoolError>);

/// With nothing due the pool still looks up from time to time; a step's end or a new load wakes it long before.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

impl Pool {
    /// Works until nothing is left to do, or until it is told to stop.
    pub async fn run(tools: Arc<Tools>, options: PoolOptions, stop: StopSignal) -> Result<Rest, PoolError> {
        let pool_id = PoolId(uuid::Uuid::new_v4().simple().to_string()[..12].to_owned());
        let now = tools.clock.now();
        let leases_end = now + LEASE;
        tools.queue.join(pool_id.clone(), now, leases_end).await?;
        let steps = JoinSet::new();
        let clock_read = (now, Instant::now());
        let mut pool = Self { tools, options, pool_id, steps, downloads: 0, stop, leases_end, clock_read };
        let rest = pool.work().await;
        match &rest {
            // Let the creates in hand end, rather than leave them in doubt: with full clips' folders the queue still works,
            // with a full disk under the queue each tells at least which prediction it could not record.
            Err(PoolError::Output(_) | PoolError::Queue(QueueError::Unusable(_))) => {
                while pool.steps.join_next().await.is_some() {}
            }
            // What is cut off is found under this pool's name when it leaves: submitted is in doubt, the rest is due.
            Err(_) => pool.steps.shutdown().await,
            Ok(_) => {}
        }
        let left = pool.tools.queue.leave(pool.pool_id.clone(), pool.tools.clock.now()).await;
        let rest = rest?;
        left?;
        Ok(rest)
    }

    async fn work(&mut self) -> Result<Rest, PoolError> {
        self.take_over().await?;
        let mut renewal = interval(RENEW);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut around = interval(LOOK_AROUND);
        around.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if *self.stop.borrow() {
                return self.drain().await;
            }
            let standing = self.claim().await?;
            if self.steps.is_empty() && standing.is_at_rest() && !self.options.watch {
                return Ok(Rest::Done(standing));
            }
            let until_due = self.until(standing.next_due);
            // Whatever happens first is followed by another claim.
            tokio::select! {
                Some(ended) = self.steps.join_next() => {
                    self.ended(ended)?;
                    // Steps that ended together are followed by one claim.
                    while let Some(ended) = self.steps.try_join_next() {
                        self.ended(ended)?;
                    }
                }
                () = sleep(until_due) => {}
                _ = renewal.tick() => self.renew().await?,
                _ = around.tick() => {
                    self.check_clock().await?;
                    self.take_over().await?;
                }
                () = stopped(&mut self.stop) => {}
            }
        }
    }

    /// Claims as many steps as there is room for, and starts them.
    async fn claim(&mut self) -> Result<Standing, PoolError> {
        // Downloads may take minutes; a part of the workers is kept for the calls that keep the slots busy.
        let most_downloads = (self.options.workers * 3 / 4).max(1);
        let request = ClaimRequest {
            pool_id: self.pool_id.clone(),
            now: self.tools.clock.now(),
            batch: self.options.batch.clone(),
            budget: self.options.budget,
            steps: self.options.workers.saturating_sub(self.steps.len()),
            downloads: most_downloads.saturating_sub(self.downloads),
            providers: self.options.limits.clone(),
            catalog: Arc::clone(&self.tools.catalog),
        };
        let claimed = self.tools.queue.claim(request).await?;
        for claim in claimed.claims {
            self.start(claim);
        }
        Ok(claimed.standing)
    }

    fn start(&mut self, claim: Claim) {
        let tools = Arc::clone(&self.tools);
        let leases_end = self.leases_end;
        let stop = self.stop.clone();
        if claim.step == Step::Download {
            self.downloads += 1;
        }
        self.steps.spawn(async move { (claim.step, one_step(&tools, claim, leases_end, stop).await) });
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) -> Result<(), PoolError> {
        let (step, result) = ended.map_err(|error| PoolError::Fault(format!("a step failed: {error}")))?;
        if step == Step::Download {
            self.downloads -= 1;
        }
        result
    }

    /// Waits for the steps in hand.
    async fn drain(&mut self) -> Result<Rest, PoolError> {
        if !self.steps.is_empty() {
            (self.tools.observer)(Event::Stopping { steps: self.steps.len() });
        }
        while let Some(ended) = self.steps.join_next().await {
            self.ended(ended)?;
        }
        Ok(Rest::Stopped)
    }

    async fn renew(&mut self) -> Result<(), PoolError> {
        let now = self.tools.clock.now();
        let leases_end = now + LEASE;
        self.tools.queue.renew(self.pool_id.clone(), now, leases_end).await?;
        self.leases_end = leases_end;
        Ok(())
    }

    /// Finds out whether the machine's clock was set while nobody slept: it moved by more than time did.
    async fn check_clock(&mut self) -> Result<(), PoolError> {
        let (wall, since) = self.clock_read;
        let now = self.tools.clock.now();
        self.clock_read = (now, Instant::now());
        let moved = now.duration_since(wall) - SignedDuration::try_from(since.elapsed()).unwrap_or_default();
        if moved.abs() > TREMOR {
            tracing::warn!("this machine's clock was set by {} seconds", moved.as_secs());
            self.tools.queue.clock_was_set(now).await?;
            self.renew().await?;
        }
        Ok(())
    }

    async fn take_over(&self) -> Result<(), PoolError> {
        let jobs = self.tools.queue.reap(self.tools.clock.now()).await?;
        if jobs > 0 {
            tracing::info!(jobs, "took over the work of a pool that is gone");
            (self.tools.observer)(Event::TookOver { jobs });
        }
        Ok(())
    }

    fn until(&self, due: Option<Timestamp>) -> Duration {
        let Some(due) = due else { return LONGEST_SLEEP };
        let left = due.duration_since(self.tools.clock.now());
        Duration::try_from(left).unwrap_or(Duration::ZERO).min(LONGEST_SLEEP)
    }
}

/// Takes one step and records what it found out, or gives it back.
async fn one_step(
    tools: &Tools,
    claim: Claim,
    leases_end: Timestamp,
    mut stop: StopSignal,
) -> Result<(), PoolError> {
    let may_begin = !*stop.borrow() && tools.clock.now() + LEASE_FOR_CREATE <= leases_end;
    if claim.step == Step::Submit && !may_begin {
        return release(tools, claim).await;
    }
    let finding = if claim.step == Step::Download {
        tokio::select! {
            finding = tools.take(&claim) => finding,
            // A download may take minutes, and can be begun again for nothing.
            () = stopped(&mut stop) => return release(tools, claim).await,
        }
    } else {
        tools.take(&claim).await
    };
    match finding {
        Ok(finding) => tools.record(&claim, finding).await,
        Err(error) => {
            release(tools, claim).await?;
            Err(error)
        }
    }
}

async fn stopped(stop: &mut StopSignal) {
    // A signal that can never come any more is none.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn release(tools: &Tools, claim: Claim) -> Result<(), PoolError> {
    match tools.queue.release(claim.lease, tools.clock.now()).await {
        Ok(()) | Err(QueueError::LeaseLost(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
