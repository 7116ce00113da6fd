//! The pure model of the simulated providers. It has no clock: methods take the current time as
//! `now`, in milliseconds since 1970.

pub(crate) mod capacity;
mod create;
mod history;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use crate::api::{Api, Call};
use crate::fault::Fault;
use crate::ledger::{Entry, Ledger, Requests};
use crate::limits::RateWindow;
use crate::options::SimulatorOptions;
use crate::prediction::{NewPrediction, Prediction, PredictionOutcome};
use crate::random::{ID_STREAM, PREDICTION_STREAM, new_id, seeded_rng};
use crate::storage::{FileUpload, Storage, UploadRefusal, UploadSlot};

/// The state of all simulated providers.
#[derive(Debug)]
pub struct World {
    options: SimulatorOptions,
    predictions: Vec<Prediction>,
    /// Index into `predictions`.
    by_id: HashMap<(Api, String), usize>,
    storage: Storage,
    ledger: Ledger,
    requests: Requests,
    accounts: HashMap<Api, Account>,
}

/// The state that one provider keeps for its only customer.
#[derive(Debug, Default)]
struct Account {
    creates: RateWindow,
    /// Number of creates accepted so far.
    accepted: u64,
    /// Indexes of the predictions that had not ended at the last check, in order of acceptance.
    unfinished: Vec<usize>,
    /// The end of the latest `Retry-After` sent to the client, in milliseconds since 1970.
    retry_after_until: i64,
    /// The end of the latest one sent for a create, which limits creates alone.
    creates_retry_after_until: i64,
    /// When the last create came, accepted or not.
    last_create_at: Option<i64>,
}

/// The random decisions for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultDraw {
    /// The fault to inject; `None` if the call succeeds.
    pub fault: Option<Fault>,
    /// A fair coin that selects between two variants of a fault, such as 500 and 503.
    pub coin: bool,
}

/// The result of cancelling a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// It was removed from the queue before its processing started.
    Queued,
    /// Its processing was stopped, or goes on in spite of the acknowledgement.
    Running,
    /// It had already ended.
    TooLate,
}

impl World {
    /// Creates providers that have received no call yet.
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

    /// Returns the options in force.
    pub fn options(&self) -> &SimulatorOptions {
        &self.options
    }

    /// Returns the options, to change them for later calls.
    pub fn options_mut(&mut self) -> &mut SimulatorOptions {
        &mut self.options
    }

    /// Returns a copy of the ledger.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Returns a copy of the call and fault counters.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Returns the upload slots of all APIs.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Allocates a slot in an API's storage for one file of the given content type.
    pub fn allocate_slot(&mut self, api: Api, content_type: &str, now: i64) -> UploadSlot {
        self.storage.allocate_slot(api, content_type, now)
    }

    /// Stores a file in the slot with this name, and records it in the ledger.
    pub fn store_file(
        &mut self,
        api: Api,
        name: &str,
        file: FileUpload<'_>,
        now: i64,
    ) -> Result<(), UploadRefusal> {
        let stored = self.storage.store(api, name, file, now)?;
        self.ledger.files.push(stored);
        Ok(())
    }

    /// Adds one to a counter of the ledger.
    pub fn increment(&mut self, counter: impl FnOnce(&mut Ledger) -> &mut u64) {
        *counter(&mut self.ledger) += 1;
    }

    /// Counts a call and draws its fault. The nth call of a kind at an API always draws the same,
    /// however calls of other kinds and to other APIs are interleaved.
    pub fn record_call(&mut self, api: Api, call: Call, now: i64) -> FaultDraw {
        self.record(api, call, |fault| fault.is_possible_for(call), now)
    }

    /// Counts the upload of a file to an API's storage, which is a [`Call::Upload`], and draws its
    /// fault among those that a storage can have.
    pub fn record_file_upload(&mut self, api: Api, now: i64) -> FaultDraw {
        self.record(api, Call::Upload, Fault::is_possible_for_file, now)
    }

    fn record(
        &mut self,
        api: Api,
        call: Call,
        is_possible: impl Fn(Fault) -> bool,
        now: i64,
    ) -> FaultDraw {
        // Clips are served by another host, which never sends `Retry-After`.
        let account = self.account(api);
        let limited_until = match call {
            Call::Create => account
                .retry_after_until
                .max(account.creates_retry_after_until),
            _ => account.retry_after_until,
        };
        if call != Call::Download && now < limited_until {
            self.ledger.ignored_retry_after += 1;
        }
        if api == Api::Fal {
            // Its queue may have stood still until now.
            self.assign_runners(now);
        }
        let number = self.requests.count_call(api, call);
        let mut random = seeded_rng(self.options.seed, [api as u64, call as u64, number]);
        let fault = self
            .options
            .faults
            .draw(api, call, is_possible, &mut random);
        if let Some(fault) = fault {
            self.requests.count_fault(api, fault);
        }
        FaultDraw {
            fault,
            coin: random.bool(),
        }
    }

    /// Records that the client was sent a `Retry-After` of `seconds` for a call. One for a create
    /// says nothing about other calls.
    pub fn record_retry_after(&mut self, api: Api, call: Call, seconds: u64, now: i64) {
        let until = now.saturating_add(millis(Duration::from_secs(seconds)));
        let account = self.account(api);
        let limit = match call {
            Call::Create => &mut account.creates_retry_after_until,
            _ => &mut account.retry_after_until,
        };
        *limit = until.max(*limit);
    }

    /// Returns the random generator for the next prediction of an API. It is independent of what
    /// other predictions and calls have drawn.
    pub fn next_prediction_rng(&self, api: Api) -> fastrand::Rng {
        let accepted = self
            .accounts
            .get(&api)
            .map_or(0, |account| account.accepted);
        seeded_rng(
            self.options.seed,
            [api as u64, PREDICTION_STREAM, accepted + 1],
        )
    }

    /// Accepts a create without checking limits: see [`check_limits`](Self::check_limits).
    pub fn accept(&mut self, new: NewPrediction, now: i64) -> &Prediction {
        let NewPrediction {
            api,
            model,
            input,
            client_request_id,
            price,
            processing,
            outcome,
        } = new;
        let index = self.predictions.len();
        let account = self.account(api);
        account.creates.record(now);
        account.unfinished.push(index);
        account.accepted += 1;
        let number = account.accepted;
        let mut random = seeded_rng(self.options.seed, [api as u64, ID_STREAM, number]);
        let processing = millis(processing).max(1);
        // fal.ai's runners take queued predictions in turn, so the start is assigned below. The
        // others start at once.
        let starts_at = if api == Api::Fal {
            i64::MAX - processing
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
            ends_at: starts_at + processing,
            outcome,
            client_request_id,
            secret: random.u64(..),
            is_answered: true,
        };
        self.ledger
            .entries
            .push(Entry::from_prediction(&prediction));
        self.by_id.insert((api, prediction.id.clone()), index);
        self.predictions.push(prediction);
        if api == Api::Fal {
            self.assign_runners(now);
        }
        &self.predictions[index]
    }

    /// Adds the predictions in the ledger of an earlier simulator, which have ended since. They
    /// count against no limit.
    pub fn restore(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let index = self.predictions.len();
            let account = self.account(entry.api);
            // Ids are derived from this number, and must not be given twice.
            account.accepted += 1;
            let number = account.accepted;
            let mut random = seeded_rng(self.options.seed, [entry.api as u64, ID_STREAM, number]);
            let prediction = Prediction {
                api: entry.api,
                id: entry.prediction_id.clone(),
                model: entry.model.clone(),
                input: entry.input.as_object().cloned().unwrap_or_default(),
                price: entry.price,
                accepted_at: entry.accepted_at,
                starts_at: entry.accepted_at,
                ends_at: entry.accepted_at + 1,
                outcome: if entry.succeeds {
                    PredictionOutcome::Clip
                } else {
                    PredictionOutcome::Failed
                },
                client_request_id: entry.client_request_id.clone(),
                secret: random.u64(..),
                is_answered: true,
            };
            self.by_id.insert((entry.api, prediction.id.clone()), index);
            self.predictions.push(prediction);
            self.ledger.entries.push(entry);
        }
    }

    /// Returns all accepted predictions, in order of acceptance.
    pub fn predictions(&self) -> &[Prediction] {
        &self.predictions
    }

    /// Returns whether there is a prediction with this id whose model id satisfies `is_model`.
    /// Counts no poll.
    pub fn has_prediction(&self, api: Api, id: &str, is_model: impl Fn(&str) -> bool) -> bool {
        self.index(api, id)
            .is_some_and(|index| is_model(&self.predictions[index].model))
    }

    /// Returns a prediction and counts a poll of it; `None` if the id is unknown.
    pub fn poll(&mut self, api: Api, id: &str) -> Option<&Prediction> {
        let index = self.index(api, id)?;
        self.ledger.entries[index].polls += 1;
        Some(&self.predictions[index])
    }

    /// Returns the prediction whose clip is requested and counts a download of it; `None` if the id
    /// is unknown.
    pub fn download(&mut self, api: Api, id: &str) -> Option<&Prediction> {
        let index = self.index(api, id)?;
        self.ledger.entries[index].downloads += 1;
        Some(&self.predictions[index])
    }

    /// Expires the links of a prediction. The next poll returns a new one.
    pub fn expire_links(&mut self, api: Api, id: &str) {
        if let Some(index) = self.index(api, id) {
            self.predictions[index].expire_links();
        }
    }

    /// Expires the links of all predictions.
    pub fn expire_all_links(&mut self) {
        self.predictions
            .iter_mut()
            .for_each(Prediction::expire_links);
    }

    /// Cancels a prediction unless it has ended; `None` if the id is unknown.
    pub fn cancel(&mut self, api: Api, id: &str, now: i64) -> Option<CancelOutcome> {
        let index = self.index(api, id)?;
        let prediction = &mut self.predictions[index];
        if prediction.has_ended(now) {
            return Some(CancelOutcome::TooLate);
        }
        if self.options.ignores_cancellations {
            return Some(CancelOutcome::Running);
        }
        let cancelled = if prediction.is_queued(now) {
            CancelOutcome::Queued
        } else {
            CancelOutcome::Running
        };
        prediction.outcome = PredictionOutcome::Cancelled;
        prediction.starts_at = prediction.starts_at.min(now);
        prediction.ends_at = now;
        let entry = &mut self.ledger.entries[index];
        entry.charged = 0;
        entry.succeeds = false;
        if api == Api::Fal {
            self.assign_runners(now);
        }
        Some(cancelled)
    }

    fn account(&mut self, api: Api) -> &mut Account {
        self.accounts.entry(api).or_default()
    }

    fn index(&self, api: Api, id: &str) -> Option<usize> {
        self.by_id.get(&(api, id.to_owned())).copied()
    }
}

/// Returns whole milliseconds; the largest number if there are more.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
