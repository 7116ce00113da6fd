//! What the providers tell of the account's money.

use overnight_simulator::SimulatorOptions;

use crate::support::{TestEnv, high_limits};

/// Loads rows at accounts with half a dollar each, and returns what a run says.
fn run_with_low_balances(rows: usize, budget: &[&str]) -> String {
    let env = TestEnv::new(SimulatorOptions {
        balance_usd: 0.5,
        ..high_limits()
    });
    env.load(rows, "eachlabs,aimlapi,fal");
    env.run(&[&["run"][..], budget].concat()).stderr
}

#[test]
fn balances_that_do_not_cover_the_queued_jobs_are_told_before_the_first_submission() {
    let told =
        "the balances (eachlabs $0.50, aimlapi $0.50, fal $0.50) do not cover the queued jobs";
    let said = run_with_low_balances(12, &[]);
    assert!(said.contains(told), "{said}");
    for (rows, budget) in [(4, &[][..]), (12, &["--budget", "1.4"])] {
        let said = run_with_low_balances(rows, budget);
        assert!(!said.contains("do not cover"), "{said}");
    }
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
