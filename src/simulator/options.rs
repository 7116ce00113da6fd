//! How the simulated APIs behave: limits, speed, faults, and what their publishers leave open.

use std::str::FromStr;

use serde::Serialize;

use super::Api;

/// How the simulated APIs behave.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// How many times faster than in life predictions are made.
    pub speed: f64,
    /// Seed of all chance.
    pub seed: u64,
    /// Limits of each::labs: 100 creates a minute and 10 at once, by its model pages.
    pub eachlabs: Limits,
    /// Limits of AI/ML API, which publishes none.
    pub aimlapi: Limits,
    /// Limits of fal.ai: what exceeds `at_once` waits in its queue and is never refused.
    pub fal: Limits,
    /// The span that creates are counted over, in seconds of the caller's time, whatever the speed.
    pub rate_window_s: u64,
    /// What `Retry-After` says where a limit refuses a create, in seconds; not sent where `None`.
    pub limit_retry_after_s: Option<u64>,
    /// How long the link of a clip is good, in seconds. each::labs promises a day.
    pub link_life_s: u64,
    /// How many bytes a clip has at least. In life they are megabytes.
    pub clip_bytes: usize,
    /// What goes wrong, and how often.
    pub faults: Faults,
    /// Whether the history endpoints answer.
    pub history: bool,
    /// Whether the histories of fal.ai and AI/ML API list predictions that have not ended. Neither says.
    pub history_lists_running: bool,
    /// Whether each::labs reports `metrics.cost`. Its API reference has it, its model pages do not.
    pub eachlabs_reports_cost: bool,
    /// Whether AI/ML API reports credits in its create answer. Some of its published examples do.
    pub aimlapi_reports_credits: bool,
    /// Whether AI/ML API reports credits with a finished clip. Its schema allows it, its published example lacks it.
    pub aimlapi_ends_with_credits: bool,
    /// How long after a create AI/ML API does not find it, in seconds; its users report such a gap.
    pub aimlapi_hides_new_s: f64,
    /// Whether an empty balance refuses creates: 402 at each::labs, 403 at the others.
    pub no_balance: bool,
    /// The one key that is accepted; any where `None`.
    pub key: Option<String>,
    /// Whether everything that is said quotes the caller's key, a signed link, and the prompt where it is known.
    pub quotes_secrets: bool,
}

/// What one API allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Creates in any 60 seconds, or in any [`rate_window_s`](SimulatorOptions::rate_window_s).
    pub creates_per_minute: u32,
    /// Predictions at once.
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
            rate_window_s: 60,
            limit_retry_after_s: None,
            link_life_s: 24 * 60 * 60,
            clip_bytes: 0,
            faults: Faults::default(),
            history: true,
            history_lists_running: false,
            eachlabs_reports_cost: true,
            aimlapi_reports_credits: true,
            aimlapi_ends_with_credits: false,
            aimlapi_hides_new_s: 0.0,
            no_balance: false,
            key: None,
            quotes_secrets: false,
        }
    }
}

impl SimulatorOptions {
    /// Tells the limits of one API.
    pub fn limits(&self, api: Api) -> Limits {
        match api {
            Api::Eachlabs => self.eachlabs,
            Api::Aimlapi => self.aimlapi,
            Api::Fal => self.fal,
        }
    }

    /// Gives the limits of one API, to change them.
    pub fn limits_mut(&mut self, api: Api) -> &mut Limits {
        match api {
            Api::Eachlabs => &mut self.eachlabs,
            Api::Aimlapi => &mut self.aimlapi,
            Api::Fal => &mut self.fal,
        }
    }

    /// Sets the limits of all three.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        (self.eachlabs, self.aimlapi, self.fal) = (limits, limits, limits);
        self
    }
}

/// A kind of call that something can go wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// A create.
    Create,
    /// A look at a prediction or its result.
    Poll,
    /// A download.
    Download,
    /// A search in a history.
    History,
    /// A question for a place to upload to, or the upload.
    Upload,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// 500 or 503 with the provider's own error body; nothing is done.
    ServerError,
    /// 502 with somebody else's page; nothing is done.
    BadGateway,
    /// 429 with `Retry-After`; nothing is done.
    RateLimited,
    /// The connection closes without an answer; nothing is done.
    DropBefore,
    /// The call is carried out, then the connection closes without an answer.
    DropAfter,
    /// The call is carried out or not, then 200 with a body that is not JSON.
    Garbage,
    /// The call is carried out, then a redirect to another address, which no key may follow.
    Redirect,
    /// The call is carried out, then 200 with a body of a hundred megabytes.
    HugeBody,
    /// The call is carried out, then 200 with a compressed body that nobody asked for and that grows a thousandfold.
    GzipBomb,
    /// The call is carried out, and its answer comes late.
    Slow,
    /// The prediction fails, and is not billed.
    FailedPrediction,
    /// Half of the clip, then the connection closes.
    Truncated,
    /// The link has expired; a new look gives a new one.
    Expired,
}

impl Fault {
    /// Every fault with its name.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::ServerError, "server-error"),
        (Self::BadGateway, "bad-gateway"),
        (Self::RateLimited, "rate-limited"),
        (Self::DropBefore, "drop-before"),
        (Self::DropAfter, "drop-after"),
        (Self::Garbage, "garbage"),
        (Self::Redirect, "redirect"),
        (Self::HugeBody, "huge-body"),
        (Self::GzipBomb, "gzip-bomb"),
        (Self::Slow, "slow"),
        (Self::FailedPrediction, "failed-prediction"),
        (Self::Truncated, "truncated"),
        (Self::Expired, "expired"),
    ];

    fn fits(self, call: Call) -> bool {
        match self {
            Self::FailedPrediction => call == Call::Create,
            Self::Truncated | Self::Expired => call == Call::Download,
            Self::RateLimited | Self::HugeBody | Self::GzipBomb => call != Call::Download,
            _ => true,
        }
    }
}

/// What goes wrong, and how often.
#[derive(Clone, Debug)]
pub struct Faults {
    rules: Vec<Rule>,
    /// What `Retry-After` says, in seconds.
    pub retry_after_s: u64,
    /// How late a slow answer is, in seconds.
    pub slow_s: f64,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    api: Option<Api>,
    call: Option<Call>,
    fault: Fault,
    probability: f64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            retry_after_s: 1,
            slow_s: 5.0,
        }
    }
}

impl Faults {
    /// Adds a fault with its probability, for one kind of call or wherever it fits.
    pub fn with(mut self, call: impl Into<Option<Call>>, fault: Fault, probability: f64) -> Self {
        self.rules.push(Rule {
            api: None,
            call: call.into(),
            fault,
            probability,
        });
        self
    }

    /// Adds a fault of one API.
    pub fn at(
        mut self,
        api: Api,
        call: impl Into<Option<Call>>,
        fault: Fault,
        probability: f64,
    ) -> Self {
        self.rules.push(Rule {
            api: Some(api),
            call: call.into(),
            fault,
            probability,
        });
        self
    }

    /// Decides what goes wrong with a call.
    pub fn roll(&self, api: Api, call: Call, random: &mut fastrand::Rng) -> Option<Fault> {
        let mut hit = None;
        for rule in &self.rules {
            // Every rule draws, so that one rule's luck does not shift another's.
            let drawn = random.f64() < rule.probability;
            if drawn && hit.is_none() && rule.concerns(api, call) {
                hit = Some(rule.fault);
            }
        }
        hit
    }
}

impl Rule {
    fn concerns(self, api: Api, call: Call) -> bool {
        self.api.is_none_or(|only| only == api)
            && self.call.is_none_or(|only| only == call)
            && self.fault.fits(call)
    }
}

/// One `--fault` as written: `garbage=0.2`, or `poll:garbage=0.2` for one kind of call.
#[derive(Clone, Copy, Debug)]
pub struct FaultRule {
    /// The kind of call; wherever it fits where `None`.
    pub call: Option<Call>,
    /// The fault.
    pub fault: Fault,
    /// How often, from 0 to 1.
    pub probability: f64,
}

impl FromStr for FaultRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (what, probability) = text
            .split_once('=')
            .ok_or("write it like garbage=0.2 or poll:garbage=0.2")?;
        let (call, name) = match what.split_once(':') {
            None => (None, what),
            Some(("create", name)) => (Some(Call::Create), name),
            Some(("poll", name)) => (Some(Call::Poll), name),
            Some(("download", name)) => (Some(Call::Download), name),
            Some(("history", name)) => (Some(Call::History), name),
            Some(("upload", name)) => (Some(Call::Upload), name),
            Some((other, _)) => {
                return Err(format!(
                    "unknown call `{other}`, one of create, poll, download, history, upload"
                ));
            }
        };
        let names = Fault::ALL.map(|(_, name)| name).join(", ");
        let fault = Fault::ALL.into_iter().find(|(_, known)| *known == name);
        let (fault, _) = fault.ok_or_else(|| format!("unknown fault `{name}`, one of {names}"))?;
        let probability: f64 = probability
            .parse()
            .map_err(|_| "the probability is a number from 0 to 1")?;
        if !(0.0..=1.0).contains(&probability) {
            return Err("the probability is a number from 0 to 1".into());
        }
        Ok(Self {
            call,
            fault,
            probability,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_written_as_the_ledger_writes_it() {
        for (fault, name) in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), name);
            assert_eq!(
                format!("poll:{name}=0.5")
                    .parse::<FaultRule>()
                    .unwrap()
                    .fault,
                fault
            );
        }
    }

    #[test]
    fn a_fault_of_one_api_and_call_hits_no_other() {
        let faults = Faults::default().at(Api::Fal, Call::Create, Fault::DropAfter, 1.0);
        let mut random = fastrand::Rng::with_seed(1);
        assert_eq!(
            faults.roll(Api::Fal, Call::Create, &mut random),
            Some(Fault::DropAfter)
        );
        assert_eq!(faults.roll(Api::Fal, Call::Poll, &mut random), None);
        assert_eq!(faults.roll(Api::Aimlapi, Call::Create, &mut random), None);
    }

    #[test]
    fn a_probability_outside_of_0_to_1_is_refused() {
        for text in [
            "slow=1.5",
            "slow=-1",
            "slow=NaN",
            "slow",
            "slow=x",
            "eat:slow=1",
            "lazy=1",
        ] {
            assert!(text.parse::<FaultRule>().is_err(), "{text}");
        }
    }
}
