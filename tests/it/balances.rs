//! What the providers tell of the account's money.

use overnight_simulator::SimulatorOptions;

use crate::support::{TestEnv, high_limits};

#[test]
fn a_balance_that_does_not_cover_the_queued_jobs_is_told_before_the_first_submission() {
    let env = TestEnv::new(SimulatorOptions {
        balance_usd: 0.5,
        ..high_limits()
    });
    env.load(4, "eachlabs,aimlapi,fal");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    let all =
        "the balances (eachlabs $0.50, aimlapi $0.50, fal $0.50) do not cover the queued jobs";
    assert!(!run.stderr.contains("do not cover"), "$1.50 do: {run:?}");
    env.load(12, "eachlabs,aimlapi,fal");
    let run = env.run(&["run", "--budget", "2"]);
    assert!(
        !run.stderr.contains("do not cover"),
        "they cover the budget: {run:?}"
    );
    let run = env.run(&["run"]);
    assert!(run.stderr.contains(all), "{run:?}");
}

#[test]
fn doctor_tells_the_balances_and_a_refusal_of_money_names_it() {
    let env = TestEnv::new(SimulatorOptions {
        no_balance: true,
        ..high_limits()
    });
    let doctor = env.run(&["doctor"]);
    for provider in ["eachlabs", "aimlapi", "fal"] {
        let told = format!("{provider} reports a balance of $0");
        assert!(doctor.stdout.contains(&told), "{doctor:?}");
    }
    env.load(1, "aimlapi");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("(balance $0.00)"), "{run:?}");
}
