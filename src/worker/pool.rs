//! The pool: claims what is due, runs the steps, and stops cleanly.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::domain::{Money, PoolId};
use crate::output::OutputError;
use crate::queue::{Claim, ClaimRequest, ProviderLimits, QueueError, Standing, UploadClaim};

use super::begun::{Begun, First};
use super::ended::{Ended, record, record_all, stopped, take, upload};
use super::in_hand::InHand;
use super::steering::{Change, Steering};
use super::{Event, Tools};

/// How long a pool that stops renewing keeps its leases: a hung one's work is free within a minute.
const LEASE: SignedDuration = SignedDuration::from_secs(45);

/// How often leases are renewed; several renewals may fail before the leases end.
const RENEW: Duration = Duration::from_secs(10);

/// How often a pool looks around.
pub const LOOK_AROUND: Duration = Duration::from_secs(1);

/// A clock that moves by so much more or less than time did was set, or the machine slept.
const TREMOR: SignedDuration = SignedDuration::from_secs(2);

/// What a pool works on, and how much at once.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Steps at once.
    pub workers: usize,
    /// Only this batch.
    pub batch: Option<String>,
    /// `spent + reserved` over the batches in question never passes this.
    pub budget: Option<Money>,
    /// How many jobs to make before it is told whether to go on; what is under way already goes on. `None` is all there
    /// are.
    pub first: Option<First>,
    /// Whether to wait for more work for ever.
    pub watch: bool,
    /// How often to look for dead pools, and for work another process has loaded: [`LOOK_AROUND`], but where the queue is
    /// nobody else's.
    pub look_around: Duration,
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
    /// It has made the first jobs, and was told not to go on.
    Enough,
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
    steering: Steering,
    begun: Begun,
    pool_id: PoolId,
    steps: JoinSet<Ended>,
    in_hand: InHand,
    stop: StopSignal,
    leases_end: Timestamp,
    /// What the clock said last, and when that was.
    clock_read: (Timestamp, Instant),
}

/// With nothing due the pool still looks up from time to time; a step's end or a new load wakes it long before.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

impl Pool {
    /// Works until nothing is left to do, or until it is told to stop.
    pub async fn run(tools: Arc<Tools>, options: PoolOptions, stop: StopSignal) -> Result<Rest, PoolError> {
        let pool_id = PoolId(uuid::Uuid::new_v4().simple().to_string()[..12].to_owned());
        let now = tools.clock.now();
        let leases_end = now + LEASE;
        tools.queue.join(pool_id.clone(), now, leases_end).await?;
        let (steps, in_hand) = (JoinSet::new(), InHand::default());
        let clock_read = (now, Instant::now());
        let (steering, begun) = (Steering::begin(&options), Begun::new(options.first.clone()));
        let mut pool =
            Self { tools, options, steering, begun, pool_id, steps, in_hand, stop, leases_end, clock_read };
        let rest = pool.work().await;
        match &rest {
            // Let the creates in hand end, rather than leave them in doubt: with full clips' folders the queue still works,
            // with a full disk under the queue each tells at least which prediction it could not record.
            Err(PoolError::Output(_) | PoolError::Queue(QueueError::Unusable(_))) => {
                while let Some(ended) = pool.steps.join_next().await {
                    if let Ok(ended) = ended {
                        // The run ends with what came first.
                        let _ = record(&pool.tools, ended).await;
                    }
                }
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
        self.heed().await?;
        let mut renewal = interval(RENEW);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut around = interval(self.options.look_around);
        around.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended = Vec::new();
        loop {
            if *self.stop.borrow() {
                return self.drain(ended).await;
            }
            let standing = self.record_and_claim(std::mem::take(&mut ended)).await?;
            if self.steps.is_empty()
                && let Some(standing) = &standing
            {
                self.show_first(standing).await?;
                let waits =
                    self.options.watch || self.begun.awaits_answer() || self.is_kept_waiting(standing);
                if standing.is_at_rest() && !waits {
                    return Ok(Rest::Done(standing.clone()));
                }
            }
            let until_due = self.until(standing.and_then(|standing| standing.next_due));
            // Whatever happens first is followed by another claim. In this order, not by chance, so that a rehearsal can be
            // repeated; what is rare comes first, so that no stream of steps that end holds it up.
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => {}
                _ = renewal.tick() => self.renew().await?,
                _ = around.tick() => {
                    self.check_clock().await?;
                    self.take_over().await?;
                    self.heed().await?;
                }
                goes_on = self.begun.answer() => if !goes_on {
                    return self.drain(ended).await.map(|_| Rest::Enough);
                },
                Some(first) = self.steps.join_next() => ended = self.let_go(first)?,
                () = sleep(until_due) => {}
            }
        }
    }

    /// Records steps that ended, and claims as many as there is room for then. The records are with the queue before the
    /// claim is, so that it finds what they free, and one commit carries them all.
    async fn record_and_claim(&mut self, ended: Vec<Ended>) -> Result<Option<Standing>, PoolError> {
        let tools = Arc::clone(&self.tools);
        // A run that has to end pays for nothing more.
        if ended.iter().any(Ended::is_the_end) {
            return record_all(&tools, ended).await.map(|()| None);
        }
        let (recorded, standing) = tokio::join!(biased; record_all(&tools, ended), self.claim());
        recorded?;
        standing
    }

    /// Claims as many steps as there is room for, and starts them. Tells how things stand, where there is room left.
    async fn claim(&mut self) -> Result<Option<Standing>, PoolError> {
        let mut room = self.in_hand.room(self.steering.workers);
        room.creates = if self.steering.paused { 0 } else { room.creates.min(self.begun.room()) };
        if room.steps == 0 {
            return Ok(None);
        }
        let request = ClaimRequest {
            pool_id: self.pool_id.clone(),
            now: self.tools.clock.now(),
            batch: self.options.batch.clone(),
            budget: self.steering.budget,
            room,
            providers: self.steering.limits.clone(),
            catalog: Arc::clone(&self.tools.catalog),
        };
        let claimed = self.tools.queue.claim(request).await?;
        claimed.claims.into_iter().for_each(|claim| self.start(claim));
        claimed.uploads.into_iter().for_each(|upload| self.start_upload(upload));
        Ok(claimed.standing)
    }

    fn start(&mut self, claim: Claim) {
        let tools = Arc::clone(&self.tools);
        let leases_end = self.leases_end;
        let stop = self.stop.clone();
        self.in_hand.take(claim.step);
        self.begun.take(&claim);
        self.steps.spawn(async move { take(&tools, claim, leases_end, stop).await });
    }

    fn start_upload(&mut self, claim: UploadClaim) {
        let tools = Arc::clone(&self.tools);
        let stop = self.stop.clone();
        self.in_hand.take_upload();
        self.steps.spawn(async move { upload(&tools, claim, stop).await });
    }

    /// Lets a step go that has ended, and those that have ended with it.
    fn let_go(&mut self, first: Result<Ended, JoinError>) -> Result<Vec<Ended>, PoolError> {
        let mut together = Vec::new();
        let mut next = Some(first);
        while let Some(ended) = next {
            let ended = ended.map_err(|error| PoolError::Fault(format!("a step failed: {error}")))?;
            match &ended {
                Ended::Step { claim, end } => {
                    self.in_hand.let_go(claim.step);
                    if let Some(event) = end.event(claim.step) {
                        self.begun.let_go(claim, event);
                    }
                }
                Ended::Upload { .. } => self.in_hand.let_go_of_upload(),
            }
            together.push(ended);
            next = self.steps.try_join_next();
        }
        Ok(together)
    }

    /// Records what has ended, and waits for the steps in hand.
    async fn drain(&mut self, ended: Vec<Ended>) -> Result<Rest, PoolError> {
        record_all(&self.tools, ended).await?;
        if !self.steps.is_empty() {
            (self.tools.observer)(Event::Stopping { steps: self.steps.len() });
        }
        while let Some(first) = self.steps.join_next().await {
            let ended = self.let_go(first)?;
            record_all(&self.tools, ended).await?;
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

    /// Takes over what a person changed of the runs that are going on.
    async fn heed(&mut self) -> Result<(), PoolError> {
        for Change { what, by } in self.steering.heed(self.tools.queue.controls().await?) {
            tracing::warn!(%by, "{what}");
            (self.tools.observer)(Event::Steered);
        }
        Ok(())
    }

    /// Lets the first jobs be looked at, once they have come to an end and more are left.
    async fn show_first(&mut self, standing: &Standing) -> Result<(), PoolError> {
        let Some(jobs) = self.begun.to_show().filter(|_| standing.queued > 0) else { return Ok(()) };
        if self.tools.queue.are_settled(jobs.clone()).await? {
            self.begun.show();
            (self.tools.observer)(Event::FirstDone { jobs });
        }
        Ok(())
    }

    /// Tells whether creates wait for the end of a pause, and for nothing else that is known.
    fn is_kept_waiting(&self, standing: &Standing) -> bool {
        self.steering.paused && standing.queued > 0
    }

    fn until(&self, due: Option<Timestamp>) -> Duration {
        let Some(due) = due else { return LONGEST_SLEEP };
        let left = due.duration_since(self.tools.clock.now());
        Duration::try_from(left).unwrap_or(Duration::ZERO).min(LONGEST_SLEEP)
    }
}
