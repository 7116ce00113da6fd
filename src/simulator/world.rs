//! What the simulated providers know: a pure model. Time is milliseconds since 1970 and comes in as an argument.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value};

use super::rules::ModelRules;
use super::{Api, Call, Entry, Fault, Ledger, SimulatorOptions};

/// The span a create rate counts over, in milliseconds.
const RATE_WINDOW: i64 = 60_000;

/// Predictions take up to this much more or less than usual.
const SPREAD: f64 = 0.15;

/// The simulated providers.
#[derive(Debug)]
pub struct World {
    options: SimulatorOptions,
    random: fastrand::Rng,
    predictions: Vec<Prediction>,
    by_id: HashMap<(Api, String), usize>,
    ledger: Ledger,
    recent: HashMap<Api, VecDeque<i64>>,
    /// When each of fal's runners is free.
    runners: Vec<i64>,
    /// Until when each caller was told to wait.
    patience: HashMap<Api, i64>,
}

/// One accepted create.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// Who took it.
    pub api: Api,
    /// Its id.
    pub id: String,
    /// Its model.
    pub rules: &'static ModelRules,
    /// Its input.
    pub input: Map<String, Value>,
    /// When it was accepted.
    pub accepted_at: i64,
    /// When work on it begins.
    pub starts_at: i64,
    /// When it ends.
    pub ends_at: i64,
    /// How it ends.
    pub end: End,
    /// The client's own name for it.
    pub client_request_id: Option<String>,
    /// Counts its links; only the latest works once one has expired.
    pub link: u32,
}

/// How a prediction ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With a clip.
    Clip,
    /// The provider failed.
    Failure,
    /// The input was refused by the runner, which only fal.ai does so late.
    Refusal {
        /// The field.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// It was cancelled.
    Cancelled,
}

/// Why a create is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// Too many run.
    Slots,
    /// Too many came.
    Rate,
}

impl World {
    /// Makes providers that have seen nothing yet.
    pub fn new(options: SimulatorOptions) -> Self {
        let runners = vec![0; options.fal.at_once.max(1) as usize];
        Self {
            random: fastrand::Rng::with_seed(options.seed),
            options,
            predictions: Vec::new(),
            by_id: HashMap::new(),
            ledger: Ledger::default(),
            recent: HashMap::new(),
            runners,
            patience: HashMap::new(),
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

    /// Counts something in the ledger.
    pub fn count(&mut self, counter: impl FnOnce(&mut Ledger) -> &mut u64) {
        *counter(&mut self.ledger) += 1;
    }

    /// Decides what goes wrong with a call, and remembers whom it told to wait.
    pub fn roll(&mut self, api: Option<Api>, call: Call, now: i64) -> Option<Fault> {
        if let Some(api) = api
            && self.patience.get(&api).is_some_and(|until| now < *until)
        {
            self.ledger.impatient += 1;
        }
        let fault = self.options.faults.roll(call, &mut self.random);
        if let (Some(api), Some(Fault::RateLimited)) = (api, fault) {
            let until = now + i64::try_from(self.options.faults.retry_after_s * 1000).unwrap_or(i64::MAX);
            let told = self.patience.entry(api).or_default();
            *told = until.max(*told);
        }
        fault
    }

    /// Draws a coin.
    pub fn coin(&mut self) -> bool {
        self.random.bool()
    }

    /// Takes a create, or says why there is no room for it.
    pub fn create(
        &mut self,
        rules: &'static ModelRules,
        input: Map<String, Value>,
        client_request_id: Option<String>,
        fails: bool,
        now: i64,
    ) -> Result<&Prediction, NoRoom> {
        let api = rules.api;
        let limits = self.options.limits(api);
        let recent = self.recent.entry(api).or_default();
        while recent.front().is_some_and(|at| *at <= now - RATE_WINDOW) {
            recent.pop_front();
        }
        if recent.len() >= limits.creates_per_minute as usize {
            self.ledger.over_rate += 1;
            return Err(NoRoom::Rate);
        }
        let running = self.predictions.iter().filter(|known| known.api == api && known.is_open(now)).count();
        if api != Api::Fal && running >= limits.at_once as usize {
            self.ledger.over_slots += 1;
            return Err(NoRoom::Slots);
        }
        self.recent.entry(api).or_default().push_back(now);
        let spread = 1.0 + SPREAD * (2.0 * self.random.f64() - 1.0);
        let millis = rules.typical_s * 1000.0 * spread / self.options.speed.max(0.001);
        let takes = format!("{millis:.0}").parse::<i64>().unwrap_or(1).max(1);
        let starts_at = if api == Api::Fal { self.next_runner(now, takes) } else { now };
        let end = match rules.check(&input) {
            Err(wrong) => End::Refusal { field: wrong.field, message: wrong.message },
            Ok(()) if fails => End::Failure,
            Ok(()) => End::Clip,
        };
        let price = rules.price(&input);
        let prediction = Prediction {
            api,
            id: self.new_id(api),
            rules,
            accepted_at: now,
            starts_at,
            ends_at: starts_at + takes,
            end,
            client_request_id,
            link: 0,
            input,
        };
        let succeeds = prediction.end == End::Clip;
        self.ledger.entries.push(Entry {
            api,
            prediction_id: prediction.id.clone(),
            model: rules.id.to_owned(),
            input: Value::Object(prediction.input.clone()),
            client_request_id: prediction.client_request_id.clone(),
            accepted_at: now,
            price,
            charged: if succeeds { price } else { 0 },
            succeeds,
            polls: 0,
            downloads: 0,
        });
        self.by_id.insert((api, prediction.id.clone()), self.predictions.len());
        self.predictions.push(prediction);
        Ok(&self.predictions[self.predictions.len() - 1])
    }

    /// Looks a prediction up, and counts the look.
    pub fn look(&mut self, api: Api, id: &str) -> Option<&Prediction> {
        let index = *self.by_id.get(&(api, id.to_owned()))?;
        self.ledger.entries[index].polls += 1;
        Some(&self.predictions[index])
    }

    /// Looks up a prediction whose clip is fetched, and counts the download.
    pub fn fetch(&mut self, api: Api, id: &str) -> Option<&Prediction> {
        let index = *self.by_id.get(&(api, id.to_owned()))?;
        self.ledger.entries[index].downloads += 1;
        Some(&self.predictions[index])
    }

    /// Lets the links of a prediction expire; the next look gives another.
    pub fn expire(&mut self, api: Api, id: &str) {
        if let Some(index) = self.by_id.get(&(api, id.to_owned())) {
            self.predictions[*index].link += 1;
        }
    }

    /// Cancels a prediction that has not ended; `None` where there is none of this id.
    pub fn cancel(&mut self, api: Api, id: &str, now: i64) -> Option<bool> {
        let index = *self.by_id.get(&(api, id.to_owned()))?;
        let prediction = &mut self.predictions[index];
        if !prediction.is_open(now) {
            return Some(false);
        }
        (prediction.end, prediction.ends_at) = (End::Cancelled, now);
        (self.ledger.entries[index].charged, self.ledger.entries[index].succeeds) = (0, false);
        Some(true)
    }

    /// Lists the predictions of a model accepted in a span of time, newest first.
    pub fn history(&self, api: Api, model: Option<&str>, from: i64, to: i64) -> Vec<&Prediction> {
        let fits = |known: &&Prediction| {
            known.api == api
                && model.is_none_or(|model| model == known.rules.id)
                && (from..=to).contains(&known.accepted_at)
        };
        self.predictions.iter().rev().filter(fits).collect()
    }

    /// Takes the runner that is free first.
    fn next_runner(&mut self, now: i64, takes: i64) -> i64 {
        let first = self.runners.iter_mut().min();
        let Some(free_at) = first else { return now };
        let starts_at = now.max(*free_at);
        *free_at = starts_at + takes;
        starts_at
    }

    fn new_id(&mut self, api: Api) -> String {
        match api {
            // AI/ML API's ids are 21 characters that need no encoding.
            Api::Aimlapi => (0..21).map(|_| self.random.alphanumeric()).collect(),
            Api::Eachlabs | Api::Fal => uuid::Builder::from_random_bytes(self.random.u128(..).to_be_bytes())
                .into_uuid()
                .hyphenated()
                .to_string(),
        }
    }
}

impl Prediction {
    /// Tells whether it has not ended.
    pub fn is_open(&self, now: i64) -> bool {
        now < self.ends_at
    }

    /// Tells how long it was worked on, in seconds.
    pub fn worked_s(&self) -> f64 {
        std::time::Duration::from_millis(u64::try_from(self.ends_at - self.starts_at).unwrap_or(0))
            .as_secs_f64()
    }

    /// What is billed for it, in micro-dollars, once it has ended.
    pub fn charged(&self) -> i64 {
        if self.end == End::Clip { self.rules.price(&self.input) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::simulator::Limits;

    fn input(duration: Value) -> Map<String, Value> {
        let input = json!({"prompt": "x", "image_url": "https://example.com/a.png", "duration": duration});
        input.as_object().unwrap().clone()
    }

    fn world(limits: Limits) -> World {
        World::new(SimulatorOptions::default().with_limits(limits))
    }

    fn each() -> &'static ModelRules {
        ModelRules::find(Api::Eachlabs, "kling-v1-standard-image-to-video").unwrap()
    }

    #[test]
    fn no_sixty_seconds_hold_more_creates_than_the_limit() {
        let mut world = world(Limits { creates_per_minute: 2, at_once: 100 });
        let create =
            |world: &mut World, now| world.create(each(), input(json!(5)), None, false, now).map(|_| ());
        assert_eq!(create(&mut world, 0), Ok(()));
        assert_eq!(create(&mut world, 30_000), Ok(()));
        assert_eq!(create(&mut world, 59_999), Err(NoRoom::Rate));
        assert_eq!(create(&mut world, 60_000), Ok(()));
        assert_eq!(world.ledger().over_rate, 1);
    }

    #[test]
    fn what_exceeds_the_slots_is_refused_by_eachlabs_and_waits_at_fal() {
        let mut world = world(Limits { creates_per_minute: 100, at_once: 1 });
        assert!(world.create(each(), input(json!(5)), None, false, 0).is_ok());
        assert_eq!(world.create(each(), input(json!(5)), None, false, 1).unwrap_err(), NoRoom::Slots);
        let fal = ModelRules::find(Api::Fal, "fal-ai/kling-video/v1/standard/image-to-video").unwrap();
        let first = world.create(fal, input(json!("5")), None, false, 0).unwrap().ends_at;
        assert_eq!(world.create(fal, input(json!("5")), None, false, 0).unwrap().starts_at, first);
    }

    #[test]
    fn only_clips_are_billed() {
        let mut world = world(Limits { creates_per_minute: 100, at_once: 100 });
        world.create(each(), input(json!(10)), None, false, 0).unwrap();
        world.create(each(), input(json!(5)), None, true, 0).unwrap();
        let cancelled = world.create(each(), input(json!(5)), None, false, 0).unwrap().id.clone();
        assert_eq!(world.cancel(Api::Eachlabs, &cancelled, 1), Some(true));
        assert_eq!(world.ledger().charged(), 450_000);
    }

    #[test]
    fn each_api_insists_on_its_own_spelling_of_the_length() {
        let fal = ModelRules::find(Api::Fal, "fal-ai/kling-video/v1/standard/image-to-video").unwrap();
        assert!(fal.check(&input(json!("5"))).is_ok() && fal.check(&input(json!(5))).is_err());
        assert!(each().check(&input(json!(5))).is_ok() && each().check(&input(json!("5"))).is_err());
    }
}
