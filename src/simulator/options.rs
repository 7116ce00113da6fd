//! Options of the simulated APIs: limits, speed, faults, and behaviour that the providers leave
//! unspecified.

use std::str::FromStr;

use serde::Serialize;

use super::Api;

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
    /// Length of the window over which creates are counted, in real seconds: `speed` does not
    /// shorten it.
    pub rate_window_s: u64,
    /// `Retry-After` of a create that a limit refuses, in seconds; `None` omits the header.
    pub limit_retry_after_s: Option<u64>,
    /// Lifetime of a clip link, in seconds. each::labs promises a day.
    pub link_life_s: u64,
    /// Minimum size of a clip, in bytes. Real clips are megabytes.
    pub clip_bytes: usize,
    /// Faults to inject, with their probabilities.
    pub faults: Faults,
    /// Whether the history endpoints are available.
    pub history: bool,
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
    /// Whether the balance is empty, so that creates are refused: 402 at each::labs, 403 at the
    /// others.
    pub no_balance: bool,
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
            rate_window_s: 60,
            limit_retry_after_s: None,
            link_life_s: 24 * 60 * 60,
            clip_bytes: 0,
            faults: Faults::default(),
            history: true,
            history_lists_running: false,
            eachlabs_reports_cost: true,
            aimlapi_reports_credits: true,
            aimlapi_reports_final_credits: false,
            aimlapi_visibility_delay_s: 0.0,
            no_balance: false,
            key: None,
            quotes_secrets: false,
        }
    }
}

impl SimulatorOptions {
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

/// A kind of API call. Its kebab-case name is used in `--fault` and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// The provider's create call.
    Create,
    /// A poll of a prediction's status or result, or its cancellation.
    Poll,
    /// A download of a clip.
    Download,
    /// A query of the history, the bill or the balance.
    History,
    /// A request for an upload slot, or the upload itself.
    Upload,
}

/// A fault that the simulator can inject. Its kebab-case name is used in `--fault` and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// 500 or 503 with the provider's own error body; the call has no effect.
    ServerError,
    /// 502 with an HTML page that is not the provider's; the call has no effect.
    BadGateway,
    /// 429 with `Retry-After`; the call has no effect.
    RateLimited,
    /// The connection closes without a response; the call has no effect.
    DropBefore,
    /// The call takes effect, then the connection closes without a response.
    DropAfter,
    /// 200 with a body that is not JSON; whether the call takes effect is random.
    Garbage,
    /// The call takes effect, then the response redirects to another address, which must not
    /// receive the key.
    Redirect,
    /// The call takes effect, then 200 with a body of 100 MiB.
    HugeBody,
    /// The call takes effect, then 200 with an unrequested gzip body that expands a thousandfold.
    GzipBomb,
    /// The call takes effect, and its response comes late.
    Slow,
    /// The prediction fails and is not billed.
    FailedPrediction,
    /// The connection closes after half of the clip.
    Truncated,
    /// The clip link has expired. The next poll returns a new one.
    Expired,
}

impl Fault {
    /// All faults with their names.
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

    /// Returns whether this fault can happen to a call of this kind.
    fn is_possible_for(self, call: Call) -> bool {
        match self {
            Self::FailedPrediction => call == Call::Create,
            Self::Truncated | Self::Expired => call == Call::Download,
            Self::RateLimited | Self::HugeBody | Self::GzipBomb => call != Call::Download,
            _ => true,
        }
    }
}

/// The faults to inject, with their probabilities.
#[derive(Clone, Debug)]
pub struct Faults {
    rules: Vec<Rule>,
    /// `Retry-After` of [`Fault::RateLimited`], in seconds.
    pub retry_after_s: u64,
    /// Delay of [`Fault::Slow`], in seconds.
    pub slow_s: f64,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    /// The API it is limited to; `None` for all.
    api: Option<Api>,
    /// The kind of call it is limited to; `None` for all that the fault is possible for.
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
    /// Adds a fault at all APIs, for one kind of call or, with `None`, for every kind it is
    /// possible for.
    pub fn with(mut self, call: impl Into<Option<Call>>, fault: Fault, probability: f64) -> Self {
        self.rules.push(Rule {
            api: None,
            call: call.into(),
            fault,
            probability,
        });
        self
    }

    /// Adds a fault at one API, for one kind of call or, with `None`, for every kind it is possible
    /// for.
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

    /// Draws the fault of one call. The rule that was added first takes precedence.
    pub fn draw(&self, api: Api, call: Call, random: &mut fastrand::Rng) -> Option<Fault> {
        let mut fault = None;
        for rule in &self.rules {
            // Every rule draws a number, so that the outcome of one rule does not shift the draws
            // of the others.
            let is_drawn = random.f64() < rule.probability;
            if is_drawn && fault.is_none() && rule.applies_to(api, call) {
                fault = Some(rule.fault);
            }
        }
        fault
    }
}

impl Rule {
    fn applies_to(self, api: Api, call: Call) -> bool {
        self.api.is_none_or(|only| only == api)
            && self.call.is_none_or(|only| only == call)
            && self.fault.is_possible_for(call)
    }
}

/// A parsed `--fault` argument: `garbage=0.2`, or `poll:garbage=0.2` for one kind of call.
#[derive(Clone, Copy, Debug)]
pub struct FaultRule {
    /// The kind of call; `None` for every kind that the fault is possible for.
    pub call: Option<Call>,
    /// The fault to inject.
    pub fault: Fault,
    /// Its probability, from 0 to 1.
    pub probability: f64,
}

impl FromStr for FaultRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (target, probability) = text
            .split_once('=')
            .ok_or("expected FAULT=P or CALL:FAULT=P, such as garbage=0.2 or poll:garbage=0.2")?;
        let (call, name) = match target.split_once(':') {
            None => (None, target),
            Some(("create", name)) => (Some(Call::Create), name),
            Some(("poll", name)) => (Some(Call::Poll), name),
            Some(("download", name)) => (Some(Call::Download), name),
            Some(("history", name)) => (Some(Call::History), name),
            Some(("upload", name)) => (Some(Call::Upload), name),
            Some((other, _)) => {
                return Err(format!(
                    "unknown call `{other}`, expected one of create, poll, download, history, \
                     upload"
                ));
            }
        };
        let names = Fault::ALL.map(|(_, name)| name).join(", ");
        let fault = Fault::ALL.into_iter().find(|(_, known)| *known == name);
        let (fault, _) =
            fault.ok_or_else(|| format!("unknown fault `{name}`, expected one of {names}"))?;
        let probability: f64 = probability
            .parse()
            .map_err(|_| "the probability must be a number from 0 to 1")?;
        if !(0.0..=1.0).contains(&probability) {
            return Err("the probability must be a number from 0 to 1".into());
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
    fn faults_have_the_same_names_on_the_command_line_and_in_json() {
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
    fn a_fault_limited_to_one_api_and_call_is_drawn_for_no_other() {
        let faults = Faults::default().at(Api::Fal, Call::Create, Fault::DropAfter, 1.0);
        let mut random = fastrand::Rng::with_seed(1);
        assert_eq!(
            faults.draw(Api::Fal, Call::Create, &mut random),
            Some(Fault::DropAfter)
        );
        assert_eq!(faults.draw(Api::Fal, Call::Poll, &mut random), None);
        assert_eq!(faults.draw(Api::Aimlapi, Call::Create, &mut random), None);
    }

    #[test]
    fn malformed_fault_rules_are_rejected() {
        for text in [
            "slow=1.5",
            "slow=-1",
            "slow=NaN",
            "slow",
            "slow=x",
            "invalid:slow=1",
            "invalid=1",
        ] {
            assert!(text.parse::<FaultRule>().is_err(), "{text}");
        }
    }
}
