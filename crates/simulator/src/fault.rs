//! The faults that the simulator can inject, the rules that say how often, and their spelling on a
//! command line.

use std::str::FromStr;

use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};

use crate::api::{Api, Call};

/// A fault that the simulator can inject. Its kebab-case name is used in `--fault` and in JSON.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
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
    /// The connection closes without a response; the call takes effect as long after that as a slow
    /// response takes.
    TakenLate,
    /// The call takes effect, then 200 with an HTML page that is not the provider's.
    Page,
    /// The call takes effect, then the response has the id of the first prediction.
    SameId,
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
    /// Returns whether the client receives no usable response to a call that took effect.
    pub fn loses_response(self) -> bool {
        matches!(
            self,
            Self::DropAfter
                | Self::TakenLate
                | Self::Garbage
                | Self::Page
                | Self::SameId
                | Self::Redirect
                | Self::HugeBody
                | Self::GzipBomb
        )
    }

    /// Every fault, in the order in which messages list them.
    pub const ALL: [Self; Self::VARIANTS.len()] =
        *Self::VARIANTS.first_chunk().expect("all variants");

    /// Returns the name used in `--fault` and in JSON.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Returns whether this fault can happen to a call of this kind.
    pub(crate) fn is_possible_for(self, call: Call) -> bool {
        match self {
            Self::FailedPrediction | Self::TakenLate | Self::SameId => call == Call::Create,
            Self::Truncated | Self::Expired => call == Call::Download,
            Self::RateLimited | Self::HugeBody | Self::GzipBomb => call != Call::Download,
            _ => true,
        }
    }

    /// Returns whether this fault can happen to the upload of a file. A storage answers with a
    /// status alone, so that there is no body to spoil.
    pub(crate) fn is_possible_for_file(self) -> bool {
        matches!(
            self,
            Self::ServerError | Self::BadGateway | Self::DropBefore | Self::DropAfter | Self::Slow
        )
    }
}

/// The faults to inject, with their probabilities.
#[derive(Clone, Debug)]
pub struct Faults {
    rules: Vec<Rule>,
    /// `Retry-After` of [`Fault::RateLimited`], in seconds.
    pub retry_after_s: u64,
    /// Delay of [`Fault::Slow`] and [`Fault::TakenLate`], in seconds.
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

    /// Draws the fault of one call, among those that are possible for it. The rule that was added
    /// first takes precedence.
    pub(crate) fn draw(
        &self,
        api: Api,
        call: Call,
        is_possible: impl Fn(Fault) -> bool,
        random: &mut fastrand::Rng,
    ) -> Option<Fault> {
        let mut fault = None;
        for rule in &self.rules {
            // Every rule draws a number, so that the outcome of one rule does not shift the draws
            // of the others.
            let is_drawn = random.f64() < rule.probability;
            if is_drawn && fault.is_none() && rule.applies_to(api, call) && is_possible(rule.fault)
            {
                fault = Some(rule.fault);
            }
        }
        fault
    }
}

impl Rule {
    fn applies_to(self, api: Api, call: Call) -> bool {
        self.api.is_none_or(|only| only == api) && self.call.is_none_or(|only| only == call)
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
            Some((call, name)) => {
                let known = Call::ALL.into_iter().find(|known| known.name() == call);
                let known = known.ok_or_else(|| {
                    let names = Call::ALL.map(Call::name).join(", ");
                    format!("unknown call `{call}`, expected one of {names}")
                })?;
                (Some(known), name)
            }
        };
        let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
        let fault = fault.ok_or_else(|| {
            let names = Fault::ALL.map(Fault::name).join(", ");
            format!("unknown fault `{name}`, expected one of {names}")
        })?;
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
        for fault in Fault::ALL {
            let name = fault.name();
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
        let draw = |api, call| faults.draw(api, call, |_| true, &mut fastrand::Rng::with_seed(1));
        assert_eq!(draw(Api::Fal, Call::Create), Some(Fault::DropAfter));
        assert_eq!(draw(Api::Fal, Call::Poll), None);
        assert_eq!(draw(Api::Aimlapi, Call::Create), None);
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
