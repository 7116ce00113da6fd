//! Machines that fall asleep right before they pay: `OVERNIGHT_FREEZE_S=50 cargo test --test it frozen --
//! --nocapture`, and as long as you like. Leases end after 45 seconds, which no test of the suite waits for.

#![expect(
    clippy::print_stdout,
    reason = "the printed figures are a result of this test"
)]

use std::fs;
use std::time::Duration;

use crate::postgres_server::{self, Server};
use crate::support::{TestEnv, high_limits, number_from_env, send_signal, wait_until};

const ROWS: usize = 8;

fn freeze(env: &TestEnv, what: &str) {
    let seconds = number_from_env("OVERNIGHT_FREEZE_S", 0);
    if seconds == 0 {
        println!("SKIPPED: OVERNIGHT_FREEZE_S is not set");
        return;
    }
    // An absence is proven only once no request that was sent under a lease can arrive any more: later than a
    // lease and the time limit of a submission, 105 seconds.
    env.set_config("history_delay_s = 1\n", "history_delay_s = 110\n");
    env.load(ROWS, "fal");
    let mut sleeper = env.command(&["run"]);
    let mut sleeper = sleeper
        .env("OVERNIGHT_FAILPOINT", "submit unsent#3:stop")
        .spawn()
        .expect("the binary starts");
    let status = format!("/proc/{}/stat", sleeper.id());
    wait_until("it sleeps", || {
        fs::read_to_string(&status).is_ok_and(|stat| stat.contains(") T "))
    });
    let mut other = env.start(&["run"]);
    std::thread::sleep(Duration::from_secs(seconds));
    let taken_over = other.try_wait().expect("a status").is_some();
    let before = env.ledger().entries.len();
    send_signal("CONT", sleeper.id());
    assert!(sleeper.wait().expect("the process exits").success());
    other.wait().expect("the process exits");
    let last = env.run(&["run"]);
    assert_eq!(last.code, 0, "{last:?}");
    env.assert_all_rendered_once(ROWS);
    println!(
        "{what}: asleep for {seconds} s before a submission; {before} of {ROWS} submitted by others meanwhile, the \
         other run {}; 0 paid twice",
        if taken_over { "ended" } else { "waited" }
    );
}

#[test]
fn a_frozen_run_on_a_file_sends_nothing_that_another_has_taken_over() {
    freeze(&TestEnv::new(high_limits()), "file");
}

#[test]
fn a_frozen_run_on_a_database_sends_nothing_that_another_has_taken_over() {
    if !postgres_server::is_available() {
        return;
    }
    let server = Server::start();
    let env = TestEnv::new(high_limits()).on_database(server.create_database());
    freeze(&env, "database");
}
