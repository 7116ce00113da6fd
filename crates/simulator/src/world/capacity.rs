//! What the providers have room for: the limits that refuse a create, and fal.ai's queue.

use std::time::Duration;

use crate::api::Api;
use crate::limits::Runners;
use crate::prediction::Prediction;

use super::{World, millis};

/// The limit that refuses a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitExceeded {
    /// Too many predictions are running.
    Slots,
    /// Too many creates came within the rate window.
    Throughput,
}

impl World {
    /// Fails with the limit that a create would exceed now, and counts it in the ledger as refused.
    pub fn check_limits(&mut self, api: Api, now: i64) -> Result<(), LimitExceeded> {
        let Some(limit) = self.exceeded_limit(api, now) else {
            return Ok(());
        };
        match limit {
            LimitExceeded::Throughput => self.ledger.over_rate += 1,
            LimitExceeded::Slots => self.ledger.over_slots += 1,
        }
        Err(limit)
    }

    /// Returns whether the cost of the unfinished predictions uses up the balance, as
    /// [`affordable_at_once`](crate::SimulatorOptions::affordable_at_once) says.
    pub fn is_balance_in_use(&self, api: Api, now: i64) -> bool {
        let unfinished = self.accounts.get(&api).map_or(0, |account| {
            let indexes = account.unfinished.iter();
            indexes
                .filter(|index| !self.predictions[**index].has_ended(now))
                .count()
        });
        let affordable = self.options.affordable_at_once;
        affordable.is_some_and(|affordable| unfinished >= affordable as usize)
    }

    /// Counts a create, and returns whether it comes too soon after the last one, as
    /// [`silence_s`](crate::SimulatorOptions::silence_s) says.
    pub fn is_too_soon(&mut self, api: Api, now: i64) -> bool {
        let silence = self
            .options
            .silence_s
            .map(Duration::from_secs_f64)
            .map(millis);
        let account = self.accounts.entry(api).or_default();
        let last = account.last_create_at.replace(now);
        silence
            .zip(last)
            .is_some_and(|(silence, last)| now < last + silence)
    }

    /// Returns the number of predictions ahead of this one in fal.ai's queue.
    pub fn queue_position(&self, prediction: &Prediction, now: i64) -> usize {
        let Some(account) = self.accounts.get(&Api::Fal) else {
            return 0;
        };
        let unfinished = account
            .unfinished
            .iter()
            .map(|index| &self.predictions[*index]);
        unfinished
            .take_while(|other| other.id != prediction.id)
            .filter(|other| other.is_queued(now))
            .count()
    }

    fn exceeded_limit(&mut self, api: Api, now: i64) -> Option<LimitExceeded> {
        let limits = self.options.limits(api);
        let window = millis(Duration::from_secs(self.options.rate_window_s));
        let account = self.accounts.entry(api).or_default();
        account
            .unfinished
            .retain(|index| !self.predictions[*index].has_ended(now));
        if !account
            .creates
            .has_capacity(limits.creates_per_minute, window, now)
        {
            return Some(LimitExceeded::Throughput);
        }
        // fal.ai queues what exceeds its slots.
        if api != Api::Fal && account.unfinished.len() >= limits.at_once as usize {
            return Some(LimitExceeded::Slots);
        }
        None
    }

    /// Recomputes when each queued prediction of fal.ai starts and ends.
    pub(super) fn assign_runners(&mut self, now: i64) {
        let account = self.accounts.get(&Api::Fal);
        let Some(account) = account.filter(|_| !self.options.fal_queue_stalls) else {
            return;
        };
        let unfinished = account
            .unfinished
            .iter()
            .copied()
            .filter(|index| !self.predictions[*index].has_ended(now));
        let (queued, running): (Vec<_>, Vec<_>) =
            unfinished.partition(|index| self.predictions[*index].is_queued(now));
        let busy_until = running
            .iter()
            .map(|index| self.predictions[*index].ends_at)
            .collect();
        let mut runners = Runners::new(self.options.fal.at_once, busy_until, now);
        for index in queued {
            let prediction = &mut self.predictions[index];
            let processing = prediction.ends_at - prediction.starts_at;
            prediction.starts_at = runners.assign(processing, now);
            prediction.ends_at = prediction.starts_at + processing;
        }
    }
}
