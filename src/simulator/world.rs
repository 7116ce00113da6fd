//! What the simulated providers know: a pure model. Time is milliseconds since 1970 and comes in as an argument.

use std::collections::HashMap;
use std::time::Duration;

use super::limits::{RateWindow, Runners};
use super::prediction::{End, NewPrediction, Prediction};
use super::storage::Storage;
use super::{Api, Call, Entry, Fault, Ledger, Requests, SimulatorOptions, StoredFile};

/// The streams of chance that predictions and their ids draw from; calls draw from streams of their own.
const PREDICTIONS: u64 = 100;
const IDS: u64 = 101;

/// The simulated providers.
#[derive(Debug)]
pub struct World {
    options: SimulatorOptions,
    predictions: Vec<Prediction>,
    by_id: HashMap<(Api, String), usize>,
    storage: Storage,
    ledger: Ledger,
    requests: Requests,
    accounts: HashMap<Api, Account>,
}

/// What one provider remembers of its one customer.
#[derive(Debug, Default)]
struct Account {
    creates: RateWindow,
    accepted: u64,
    /// The predictions that had not ended when last looked at, in order of acceptance.
    open: Vec<usize>,
    /// Until when the caller was told to wait.
    told_to_wait_until: i64,
}

/// What chance has in store for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultDraw {
    /// What goes wrong with it.
    pub fault: Option<Fault>,
    /// A coin, for a fault that leaves something open.
    pub coin: bool,
}

/// Why a create is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitExceeded {
    /// Too many run.
    Slots,
    /// Too many came.
    Throughput,
}

/// What became of a wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// Nobody had begun to work on it.
    Waiting,
    /// The work on it was stopped.
    Running,
    /// It had ended already.
    TooLate,
}

impl World {
    /// Makes providers that have seen nothing yet.
    pub fn new(options: SimulatorOptions) -> Self {
        Self {
            options,
            predictions: Vec::new(),
            by_id: HashMap::new(),
            storage: Storage::default(),
            ledger: Ledger::default(),
            requests: Requests::default(),
            accounts: HashMap::new(),
        }
    }

    /// Tells how they behave.
    pub fn options(&self) -> &SimulatorOptions {
        &self.options
    }

    /// Changes how they behave from now on.
    pub fn options_mut(&mut self) -> &mut SimulatorOptions {
        &mut self.options
    }

    /// Tells what they took.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Tells what they were asked.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Tells what is stored.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Gives what is stored, to change it.
    pub fn storage_mut(&mut self) -> &mut Storage {
        &mut self.storage
    }

    /// Enters an uploaded file into the ledger.
    pub fn store(&mut self, file: StoredFile) {
        self.ledger.files.push(file);
    }

    /// Counts something in the ledger.
    pub fn count(&mut self, counter: impl FnOnce(&mut Ledger) -> &mut u64) {
        *counter(&mut self.ledger) += 1;
    }

    /// Counts a call, and decides what goes wrong with it. The same call in its provider's sequence of such calls always
    /// has the same luck, however calls to other providers fall between.
    pub fn arrive(&mut self, api: Api, call: Call, now: i64) -> FaultDraw {
        // Clips come from another host, which nobody is told to wait for.
        if call != Call::Download && now < self.account(api).told_to_wait_until {
            self.ledger.impatient += 1;
        }
        let number = self.requests.count_call(api, call);
        let mut random = seeded_rng(self.options.seed, [api as u64, call as u64, number]);
        let fault = self.options.faults.roll(api, call, &mut random);
        if let Some(fault) = fault {
            self.requests.count_fault(api, fault);
        }
        FaultDraw {
            fault,
            coin: random.bool(),
        }
    }

    /// Remembers that a caller was told to wait for so many seconds.
    pub fn tell_to_wait(&mut self, api: Api, seconds: u64, now: i64) {
        let until = now.saturating_add(millis(Duration::from_secs(seconds)));
        let account = self.account(api);
        account.told_to_wait_until = account.told_to_wait_until.max(until);
    }

    /// Tells whether there is room for another create, and counts it as refused where there is none.
    pub fn find_room(&mut self, api: Api, now: i64) -> Result<(), LimitExceeded> {
        self.check_room(api, now)
            .inspect_err(|no_room| match no_room {
                LimitExceeded::Throughput => self.ledger.over_rate += 1,
                LimitExceeded::Slots => self.ledger.over_slots += 1,
            })
    }

    /// The chance that the next prediction of an API draws from, whatever was drawn for others.
    pub fn chance_of_next(&self, api: Api) -> fastrand::Rng {
        let accepted = self
            .accounts
            .get(&api)
            .map_or(0, |account| account.accepted);
        seeded_rng(self.options.seed, [api as u64, PREDICTIONS, accepted + 1])
    }

    /// Takes a create that there is room for.
    pub fn accept(&mut self, order: NewPrediction, now: i64) -> &Prediction {
        let NewPrediction {
            api,
            model,
            input,
            client_request_id,
            price,
            takes,
            end,
        } = order;
        let index = self.predictions.len();
        let account = self.account(api);
        account.creates.take(now);
        account.open.push(index);
        account.accepted += 1;
        let number = account.accepted;
        let mut random = seeded_rng(self.options.seed, [api as u64, IDS, number]);
        let takes = millis(takes).max(1);
        // fal.ai's runners take what waits in turn; the others begin at once.
        let starts_at = if api == Api::Fal {
            i64::MAX - takes
        } else {
            now
        };
        let prediction = Prediction {
            api,
            id: new_id(api, &mut random),
            model,
            input,
            price,
            accepted_at: now,
            starts_at,
            ends_at: starts_at + takes,
            end,
            client_request_id,
            secret: random.u64(..),
        };
        self.ledger.entries.push(Entry::of(&prediction));
        self.by_id.insert((api, prediction.id.clone()), index);
        self.predictions.push(prediction);
        if api == Api::Fal {
            self.give_to_runners(now);
        }
        &self.predictions[index]
    }

    /// Lists every prediction that was accepted, in order.
    pub fn predictions(&self) -> &[Prediction] {
        &self.predictions
    }

    /// Tells whether there is a prediction of this id, of such a model.
    pub fn knows(&self, api: Api, id: &str, is_such: impl Fn(&str) -> bool) -> bool {
        self.index(api, id)
            .is_some_and(|index| is_such(&self.predictions[index].model))
    }

    /// Looks a prediction up, and counts the look.
    pub fn look(&mut self, api: Api, id: &str) -> Option<&Prediction> {
        let index = self.index(api, id)?;
        self.ledger.entries[index].polls += 1;
        Some(&self.predictions[index])
    }

    /// Looks up a prediction whose clip is fetched, and counts the download.
    pub fn fetch(&mut self, api: Api, id: &str) -> Option<&Prediction> {
        let index = self.index(api, id)?;
        self.ledger.entries[index].downloads += 1;
        Some(&self.predictions[index])
    }

    /// Lets the links of a prediction expire; the next look gives another.
    pub fn expire(&mut self, api: Api, id: &str) {
        if let Some(index) = self.index(api, id) {
            self.predictions[index].expire_links();
        }
    }

    /// Lets the links of all predictions expire.
    pub fn expire_all(&mut self) {
        self.predictions
            .iter_mut()
            .for_each(Prediction::expire_links);
    }

    /// Cancels a prediction that has not ended; `None` where there is none of this id.
    pub fn cancel(&mut self, api: Api, id: &str, now: i64) -> Option<CancelOutcome> {
        let index = self.index(api, id)?;
        let prediction = &mut self.predictions[index];
        if !prediction.is_open(now) {
            return Some(CancelOutcome::TooLate);
        }
        let cancelled = if prediction.is_waiting(now) {
            CancelOutcome::Waiting
        } else {
            CancelOutcome::Running
        };
        prediction.end = End::Cancelled;
        (prediction.starts_at, prediction.ends_at) = (prediction.starts_at.min(now), now);
        (
            self.ledger.entries[index].charged,
            self.ledger.entries[index].succeeds,
        ) = (0, false);
        if api == Api::Fal {
            self.give_to_runners(now);
        }
        Some(cancelled)
    }

    /// Tells how many of fal.ai's predictions wait before another.
    pub fn queue_position(&self, prediction: &Prediction, now: i64) -> usize {
        let Some(account) = self.accounts.get(&Api::Fal) else {
            return 0;
        };
        let open = account.open.iter().map(|index| &self.predictions[*index]);
        open.take_while(|known| known.id != prediction.id)
            .filter(|known| known.is_waiting(now))
            .count()
    }

    /// Lists the predictions of an API accepted in a span of time, newest first.
    pub fn history(&self, api: Api, from: i64, to: i64) -> impl Iterator<Item = &Prediction> {
        let fits =
            move |known: &&Prediction| known.api == api && (from..=to).contains(&known.accepted_at);
        self.predictions.iter().rev().filter(fits)
    }

    fn check_room(&mut self, api: Api, now: i64) -> Result<(), LimitExceeded> {
        let limits = self.options.limits(api);
        let window = millis(Duration::from_secs(self.options.rate_window_s));
        let account = self.accounts.entry(api).or_default();
        account
            .open
            .retain(|index| self.predictions[*index].is_open(now));
        if !account
            .creates
            .has_room(limits.creates_per_minute, window, now)
        {
            return Err(LimitExceeded::Throughput);
        }
        // What exceeds fal.ai's slots waits in its queue.
        if api != Api::Fal && account.open.len() >= limits.at_once as usize {
            return Err(LimitExceeded::Slots);
        }
        Ok(())
    }

    /// Settles anew when each waiting prediction of fal.ai begins.
    fn give_to_runners(&mut self, now: i64) {
        let Some(account) = self.accounts.get(&Api::Fal) else {
            return;
        };
        let open = account
            .open
            .iter()
            .copied()
            .filter(|index| self.predictions[*index].is_open(now));
        let (waiting, running): (Vec<_>, Vec<_>) =
            open.partition(|index| self.predictions[*index].is_waiting(now));
        let busy_until = running
            .iter()
            .map(|index| self.predictions[*index].ends_at)
            .collect();
        let mut runners = Runners::new(self.options.fal.at_once, busy_until, now);
        for index in waiting {
            let prediction = &mut self.predictions[index];
            let takes = prediction.ends_at - prediction.starts_at;
            prediction.starts_at = runners.give(takes, now);
            prediction.ends_at = prediction.starts_at + takes;
        }
    }

    fn account(&mut self, api: Api) -> &mut Account {
        self.accounts.entry(api).or_default()
    }

    fn index(&self, api: Api, id: &str) -> Option<usize> {
        self.by_id.get(&(api, id.to_owned())).copied()
    }
}

/// Chance that depends on the seed and on a place in some sequence, and on nothing that came before.
fn seeded_rng(seed: u64, place: [u64; 3]) -> fastrand::Rng {
    let step = |mut random: fastrand::Rng, part| fastrand::Rng::with_seed(random.u64(..) ^ part);
    place.into_iter().fold(fastrand::Rng::with_seed(seed), step)
}

fn new_id(api: Api, random: &mut fastrand::Rng) -> String {
    match api {
        // AI/ML API's ids are 21 characters that need no encoding.
        Api::Aimlapi => (0..21).map(|_| random.alphanumeric()).collect(),
        Api::Eachlabs | Api::Fal => uuid::Builder::from_random_bytes(random.u128(..).to_be_bytes())
            .into_uuid()
            .hyphenated()
            .to_string(),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
