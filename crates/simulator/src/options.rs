//! Options of the simulated APIs: limits, speed, faults, and behaviour that the providers leave
//! unspecified.

use crate::api::Api;
use crate::clip::ClipKind;
use crate::fault::Faults;
use crate::history::HistoryScope;
use crate::link::{LinkDefect, Links};

/// Options of the simulated APIs.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Port on 127.0.0.1; 0 picks a free one.
    pub port: u16,
    /// Speed-up of predictions: at 10, a prediction takes a tenth of its real processing time.
    pub speed: f64,
    /// Seed of all random decisions.
    pub seed: u64,
    /// Limits of each::labs. Its model pages state 100 creates a minute and 10 concurrent
    /// predictions.
    pub eachlabs: Limits,
    /// Limits of AI/ML API, which publishes none.
    pub aimlapi: Limits,
    /// Limits of fal.ai. Predictions beyond `at_once` wait in its queue and are never refused.
    pub fal: Limits,
    /// Whether fal.ai's queue stands still: what is queued waits until it is cancelled.
    pub fal_queue_stalls: bool,
    /// Whether cancellations are acknowledged and not carried out.
    pub ignores_cancellations: bool,
    /// Length of the window over which creates are counted, in real seconds: `speed` does not
    /// shorten it.
    pub rate_window_s: u64,
    /// `Retry-After` of a create that a limit refuses, in seconds; `None` omits the header.
    pub limit_retry_after_s: Option<u64>,
    /// Lifetime of a clip link, in seconds. each::labs promises a day.
    pub link_life_s: u64,
    /// What a finished prediction returns in place of its link; `None` returns the link.
    pub link_defect: Option<LinkDefect>,
    /// How long after the end of its prediction a link is returned in spite of `link_defect`, in
    /// seconds.
    pub link_defect_s: f64,
    /// What a clip's link returns.
    pub clip_kind: ClipKind,
    /// Minimum size of a clip, in bytes. Real clips are megabytes.
    pub clip_bytes: usize,
    /// Faults to inject, with their probabilities.
    pub faults: Faults,
    /// Whether the history endpoints are available.
    pub history: bool,
    /// Which predictions the histories list.
    pub history_scope: HistoryScope,
    /// How long after its acceptance a prediction appears in a history, in seconds. No provider
    /// documents it.
    pub history_lag_s: f64,
    /// Whether the histories of fal.ai and AI/ML API list unfinished predictions. Neither documents
    /// it.
    pub history_lists_running: bool,
    /// Whether each::labs reports `metrics.cost`. Its API reference has the field, its model pages
    /// do not.
    pub eachlabs_reports_cost: bool,
    /// Whether AI/ML API reports credits in the response to a create. Some of its published
    /// examples do.
    pub aimlapi_reports_credits: bool,
    /// Whether AI/ML API reports credits with a finished clip. Its schema allows them; its
    /// published example omits them.
    pub aimlapi_reports_final_credits: bool,
    /// How long AI/ML API returns 404 for a new prediction, in seconds. Its users report such a
    /// delay.
    pub aimlapi_visibility_delay_s: f64,
    /// The balance that each API tells, in dollars.
    pub balance_usd: f64,
    /// Whether the balance is empty, so that creates are refused: 402 at each::labs, 403 at the
    /// others.
    pub no_balance: bool,
    /// Number of unfinished predictions at which each::labs refuses a create with 402, because their
    /// cost uses up the balance; `None` if the balance covers any number.
    pub affordable_at_once: Option<u32>,
    /// Time that must pass without a create before each::labs accepts one, as at a low balance, in
    /// seconds: one that comes sooner is refused with 429. `None` accepts any.
    pub silence_s: Option<f64>,
    /// The models for which fal.ai has locked the account: creates are refused with 403.
    pub locked_models: Vec<String>,
    /// What a prediction is billed at, in catalogue prices.
    pub price_factor: i64,
    /// The only accepted key; `None` accepts any.
    pub key: Option<String>,
    /// Whether every message in a response quotes the caller's key, a signed link and, if known,
    /// the prompt.
    pub quotes_secrets: bool,
}

/// Limits of one API.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of creates in any 60 seconds, or in any
    /// [`rate_window_s`](SimulatorOptions::rate_window_s).
    pub creates_per_minute: u32,
    /// Maximum number of concurrent predictions.
    pub at_once: u32,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            port: 0,
            speed: 1.0,
            seed: 1,
            eachlabs: Limits {
                creates_per_minute: 100,
                at_once: 10,
            },
            aimlapi: Limits {
                creates_per_minute: 100,
                at_once: 10,
            },
            fal: Limits {
                creates_per_minute: 600,
                at_once: 2,
            },
            fal_queue_stalls: false,
            ignores_cancellations: false,
            rate_window_s: 60,
            limit_retry_after_s: None,
            link_life_s: 24 * 60 * 60,
            link_defect: None,
            link_defect_s: f64::INFINITY,
            clip_kind: ClipKind::Mp4,
            clip_bytes: 0,
            faults: Faults::default(),
            history: true,
            history_scope: HistoryScope::All,
            history_lag_s: 0.0,
            history_lists_running: false,
            eachlabs_reports_cost: true,
            aimlapi_reports_credits: true,
            aimlapi_reports_final_credits: false,
            aimlapi_visibility_delay_s: 0.0,
            balance_usd: 100.0,
            no_balance: false,
            affordable_at_once: None,
            silence_s: None,
            locked_models: Vec::new(),
            price_factor: 1,
            key: None,
            quotes_secrets: false,
        }
    }
}

impl SimulatorOptions {
    /// Returns the balance that each API tells, in dollars.
    pub fn balance(&self) -> f64 {
        if self.no_balance {
            0.0
        } else {
            self.balance_usd
        }
    }

    /// Returns how the links of finished predictions are.
    pub fn links(&self) -> Links {
        Links {
            life_s: self.link_life_s,
            defect: self.link_defect,
            defect_s: self.link_defect_s,
        }
    }

    /// Returns the limits of one API.
    pub fn limits(&self, api: Api) -> Limits {
        match api {
            Api::Eachlabs => self.eachlabs,
            Api::Aimlapi => self.aimlapi,
            Api::Fal => self.fal,
        }
    }

    /// Returns the limits of one API, to change them.
    pub fn limits_mut(&mut self, api: Api) -> &mut Limits {
        match api {
            Api::Eachlabs => &mut self.eachlabs,
            Api::Aimlapi => &mut self.aimlapi,
            Api::Fal => &mut self.fal,
        }
    }

    /// Sets the limits of all three APIs.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.eachlabs = limits;
        self.aimlapi = limits;
        self.fal = limits;
        self
    }
}
