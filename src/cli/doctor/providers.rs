//! The providers: their keys, whether they answer, their clocks, and the limits kept to.

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::cli::setup::Setup;
use crate::domain::ProviderName;
use crate::provider::{Probe, ProbeResult};
use crate::queue::Status;

use super::check::Check;

/// A `Date` counts whole seconds, and an answer is some time under way.
const CLOCK_OFF: SignedDuration = SignedDuration::from_secs(5);

/// Beyond this a search of the history proves nothing any more.
const CLOCK_WRONG: SignedDuration = SignedDuration::from_secs(60);

/// Checks all providers at once.
pub(super) async fn look(setup: &Setup, status: Option<&Status>) -> Vec<Check> {
    if !ProviderName::ALL
        .into_iter()
        .any(|name| setup.has_key(name))
    {
        let variables = ProviderName::ALL.map(ProviderName::key_variable).join(", ");
        let hint =
            format!("set one or more of {variables}; `overnight demo` and `rehearse` need none");
        return vec![Check::problem("keys", "no provider's key is set", hint)];
    }
    join_all(ProviderName::ALL.map(|name| one(setup, name, status)))
        .await
        .concat()
}

async fn one(setup: &Setup, name: ProviderName, status: Option<&Status>) -> Vec<Check> {
    let variable = name.key_variable();
    let key = format!("{name}.key");
    let provider = match setup.provider(name) {
        Ok(Some(provider)) => provider,
        Ok(None) => {
            return vec![Check::ok(
                key,
                format!("{variable} is not set: {name} is not used"),
            )];
        }
        Err(error) => return vec![Check::failed(key, &error, &format!("set {variable} anew"))],
    };
    let routes = setup.catalog.models.iter().flat_map(|model| &model.routes);
    let wire_model = routes
        .filter(|route| route.provider == name)
        .map(|route| route.wire_model.as_str())
        .next();
    let now: Timestamp = setup.clock.now();
    let probes = provider.probe(wire_model.unwrap_or_default(), now).await;
    let mut checks = vec![Check::ok(key, format!("{variable} is set"))];
    checks.extend(probes.iter().map(|probe| answer(name, probe)));
    checks.extend(clock(name, &probes));
    checks.push(limits(setup, name, status));
    checks
}

fn answer(provider: ProviderName, probe: &Probe) -> Check {
    let (name, address) = (format!("{provider}.{}", probe.what), &probe.address);
    match &probe.finding {
        ProbeResult::Ok => Check::ok(name, format!("{address} answers and takes the key")),
        ProbeResult::Refused { reason, remedy } => Check::problem(name, reason, remedy),
        ProbeResult::Busy { reason } => Check::warning(
            name,
            format!("{address}: {reason}"),
            "a run waits until this has passed",
        ),
        ProbeResult::Unexpected { reason } => Check::warning(
            name,
            format!("{address}: {reason}"),
            "is the address right? If it is, and has no history, a create whose answer is lost waits for you",
        ),
        ProbeResult::Unreachable { reason } => Check::problem(
            name,
            format!("{address}: {reason}"),
            "is this machine online, and the address right? A run waits until it answers",
        ),
    }
}

/// Judges by the answer that is furthest off; `None` where nobody answered.
fn clock(provider: ProviderName, probes: &[Probe]) -> Option<Check> {
    let name = format!("{provider}.clock");
    let ahead = probes
        .iter()
        .filter_map(|probe| probe.clock_ahead)
        .max_by_key(|ahead| ahead.abs())?;
    let side = if ahead.is_positive() {
        "ahead of"
    } else {
        "behind"
    };
    let message = format!(
        "this machine's clock is {} s {side} {provider}'s",
        ahead.abs().as_secs()
    );
    let hint = "set this machine's clock, or let it be kept by the network's time";
    Some(match ahead.abs() {
        off if off > CLOCK_WRONG => Check::problem(
            name,
            message,
            format!("{hint}; until then no lost create is found in the history or proven absent"),
        ),
        off if off > CLOCK_OFF => Check::warning(name, message, hint),
        _ => Check::ok(
            name,
            format!("this machine's clock agrees with {provider}'s"),
        ),
    })
}

fn limits(setup: &Setup, provider: ProviderName, status: Option<&Status>) -> Check {
    let limits = setup.limits(provider);
    let name = format!("{provider}.limits");
    let mut message = format!(
        "{} in flight, {} creates a minute",
        limits.in_flight, limits.creates_per_minute
    );
    let stands = status.and_then(|status| {
        status
            .providers
            .iter()
            .find(|stands| stands.provider == provider)
    });
    let Some(stands) = stands else {
        return Check::ok(name, message);
    };
    message.push_str(&format!("; {} in flight now", stands.in_flight));
    match &stands.paused {
        Some(reason) => Check::warning(
            name,
            format!("{message}; paused: {reason}"),
            "the next `overnight run` asks again",
        ),
        None => Check::ok(name, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off_to_either_side() {
        let judged = |seconds| {
            let probe = |ahead| Probe {
                what: "api",
                address: "http://127.0.0.1:1".into(),
                finding: ProbeResult::Ok,
                clock_ahead: ahead,
            };
            let probes = [
                probe(None),
                probe(Some(SignedDuration::ZERO)),
                probe(Some(SignedDuration::from_secs(seconds))),
            ];
            clock(ProviderName::Fal, &probes).unwrap().to_string()
        };
        for (seconds, level) in [
            (0, "ok"),
            (5, "ok"),
            (-5, "ok"),
            (6, "warning"),
            (-60, "warning"),
            (61, "problem"),
        ] {
            assert!(judged(seconds).starts_with(level), "{}", judged(seconds));
        }
        assert!(
            judged(-3600).contains("3600 s behind fal's"),
            "{}",
            judged(-3600)
        );
        assert_eq!(clock(ProviderName::Fal, &[]), None);
    }
}
