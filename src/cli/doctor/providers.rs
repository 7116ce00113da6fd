//! Checks of the providers: key, address, clock and limits.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::cli::setup::Setup;
use crate::domain::{Money, ProviderName};
use crate::provider::{Probe, ProbeResult};
use crate::queue::Status;

use super::check::Check;

/// Clock difference above which the check is a warning. A `Date` header has whole seconds, and a
/// response is some time under way.
const MAX_CLOCK_DRIFT: SignedDuration = SignedDuration::from_secs(5);

/// Clock difference above which a search of the history proves nothing, and the check is a problem.
const MAX_USABLE_CLOCK_DRIFT: SignedDuration = SignedDuration::from_secs(60);

/// How long to wait for a balance.
const BALANCE_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks all providers concurrently.
pub(super) async fn check(setup: &Setup, status: Option<&Status>) -> Vec<Check> {
    if !ProviderName::ALL
        .into_iter()
        .any(|name| setup.app.has_key(name))
    {
        let variables = ProviderName::ALL.map(ProviderName::key_variable).join(", ");
        let hint = format!(
            "set one or more of {variables}, such as `export {}=YOUR-KEY`; `overnight demo` and \
             `overnight rehearse` need none",
            ProviderName::Eachlabs.key_variable()
        );
        return vec![Check::problem("keys", "no API key is set", hint)];
    }
    join_all(ProviderName::ALL.map(|name| check_provider(setup, name, status)))
        .await
        .concat()
}

async fn check_provider(setup: &Setup, name: ProviderName, status: Option<&Status>) -> Vec<Check> {
    let variable = name.key_variable();
    let key = format!("{name}.key");
    let provider = match setup.app.provider(name) {
        Ok(Some(provider)) => provider,
        Ok(None) => {
            return vec![Check::ok(
                key,
                format!("{variable} is not set, so {name} is not used"),
            )];
        }
        Err(error) => {
            let hint = format!("set {variable} to a valid key");
            return vec![Check::failed(key, error, &hint)];
        }
    };
    let routes = setup
        .app
        .catalog
        .models
        .iter()
        .flat_map(|model| &model.routes);
    let wire_model = routes
        .filter(|route| route.provider == name)
        .map(|route| route.wire_model.as_str())
        .next();
    let now: Timestamp = setup.app.clock.now();
    let probes = provider.probe(wire_model.unwrap_or_default(), now).await;
    let mut checks = vec![Check::ok(key, format!("{variable} is set"))];
    checks.extend(probes.iter().map(|probe| check_address(name, probe)));
    let is_usable = probes
        .iter()
        .any(|probe| matches!(probe.finding, ProbeResult::Ok));
    if is_usable {
        let balance = tokio::time::timeout(BALANCE_TIMEOUT, provider.balance()).await;
        checks.push(check_balance(name, balance.ok().flatten()));
    }
    checks.extend(check_clock(name, &probes));
    checks.push(check_limits(setup, name, status));
    checks
}

fn check_balance(provider: ProviderName, balance: Option<Money>) -> Check {
    let name = format!("{provider}.balance");
    match balance {
        Some(Money::ZERO) => Check::warning(
            name,
            format!("{provider} reports a balance of $0"),
            "top up the account: submissions are refused until then",
        ),
        Some(balance) => Check::ok(
            name,
            format!("{provider} reports a balance of ${balance:#}"),
        ),
        None => Check::ok(
            name,
            format!("{provider} does not tell this key its balance"),
        ),
    }
}

fn check_address(provider: ProviderName, probe: &Probe) -> Check {
    let name = format!("{provider}.{}", probe.what);
    let address = &probe.address;
    match &probe.finding {
        ProbeResult::Ok => Check::ok(name, format!("{address} responds and accepts the key")),
        ProbeResult::Refused { reason, remedy } => Check::problem(name, reason, remedy),
        ProbeResult::Busy { reason } => Check::warning(
            name,
            format!("{address}: {reason}"),
            "no action is needed: a run waits until this has passed",
        ),
        ProbeResult::Unexpected { reason } => Check::warning(
            name,
            format!("{address}: {reason}"),
            "check the address. If it is right and has no history, a submission whose response is \
             lost stays in doubt until you resolve it",
        ),
        ProbeResult::Unreachable { reason } => Check::problem(
            name,
            format!("{address}: {reason}"),
            "check the network and the address; a run waits until the provider responds",
        ),
    }
}

/// Checks the clock against the response that differs most. Returns `None` if no response had a
/// time.
fn check_clock(provider: ProviderName, probes: &[Probe]) -> Option<Check> {
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
    let hint = "set this machine's clock, or synchronize it over the network";
    Some(match ahead.abs() {
        drift if drift > MAX_USABLE_CLOCK_DRIFT => Check::problem(
            name,
            message,
            format!(
                "{hint}; until then a submission whose response is lost cannot be reconciled with \
                 the provider's history"
            ),
        ),
        drift if drift > MAX_CLOCK_DRIFT => Check::warning(name, message, hint),
        _ => Check::ok(
            name,
            format!("this machine's clock agrees with {provider}'s"),
        ),
    })
}

fn check_limits(setup: &Setup, provider: ProviderName, status: Option<&Status>) -> Check {
    let limits = setup.app.limits(provider);
    let name = format!("{provider}.limits");
    let mut message = format!(
        "at most {} in flight, {} submissions a minute",
        limits.in_flight, limits.creates_per_minute
    );
    let provider_status = status.and_then(|status| {
        status
            .providers
            .iter()
            .find(|status| status.provider == provider)
    });
    let Some(provider_status) = provider_status else {
        return Check::ok(name, message);
    };
    message.push_str(&format!("; {} in flight now", provider_status.in_flight));
    match &provider_status.paused {
        Some(reason) => Check::warning(
            name,
            format!("{message}; paused: {reason}"),
            format!("the next `{}` tries again", setup.suggest("run")),
        ),
        None => Check::ok(name, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_judged_by_its_difference_in_either_direction() {
        let check = |seconds| {
            let probe = |clock_ahead| Probe {
                what: "api",
                address: "http://127.0.0.1:1".into(),
                finding: ProbeResult::Ok,
                clock_ahead,
            };
            let probes = [
                probe(None),
                probe(Some(SignedDuration::ZERO)),
                probe(Some(SignedDuration::from_secs(seconds))),
            ];
            check_clock(ProviderName::Fal, &probes).unwrap().to_string()
        };
        for (seconds, level) in [
            (0, "ok"),
            (5, "ok"),
            (-5, "ok"),
            (6, "warning"),
            (-60, "warning"),
            (61, "problem"),
        ] {
            assert!(check(seconds).starts_with(level), "{}", check(seconds));
        }
        assert!(
            check(-3600).contains("3600 s behind fal's"),
            "{}",
            check(-3600)
        );
        assert_eq!(check_clock(ProviderName::Fal, &[]), None);
    }
}
