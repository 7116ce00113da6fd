//! Hosts that differ in their keys and clocks.

use overnight_simulator::SimulatorOptions;

use crate::postgres_server;
use crate::support::{TestEnv, high_limits};

const ROWS: usize = 40;

#[test]
fn a_run_leaves_a_provider_alone_at_which_an_active_run_uses_another_key() {
    if !postgres_server::is_available() {
        return;
    }
    let env = TestEnv::new(high_limits()).on_database(postgres_server::create_database());
    env.load(1, "fal");
    let mut active = env.start(&["run", "--watch"]);
    env.await_submissions(1);
    env.load(3, "fal,eachlabs");
    let with_other_key = |args: &[&str]| {
        let mut command = env.command(args);
        command.env("FAL_KEY", "other:account");
        crate::support::CommandOutput::from_output(command.output().expect("the binary starts"))
    };
    let other = with_other_key(&["run"]);
    let told = "an active run uses another key of fal, so that this one leaves fal to it";
    assert!(other.stderr.contains(told), "{other:?}");
    let added = with_other_key(&["ctl", "key", "fal", "--same-account"]);
    assert_eq!(added.code, 0, "{added:?}");
    let other = with_other_key(&["run"]);
    assert!(!other.stderr.contains("another key"), "{other:?}");
    active.kill().expect("the process is killed");
    active.wait().expect("the process exits");
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(3);
    // Once nobody is at work, another key is a change, as before.
    let mut command = env.command(&["run"]);
    command.env("FAL_KEY", "third:account");
    let later = command.output().expect("the binary starts");
    let later = String::from_utf8_lossy(&later.stderr).into_owned();
    assert!(later.contains("the key of fal has changed"), "{later}");
}

#[test]
fn a_run_with_other_limits_and_prices_than_an_active_one_says_so_and_keeps_to_the_lower_limits() {
    let database = postgres_server::is_available().then(postgres_server::create_database);
    for database in [None, database] {
        let env = TestEnv::new(high_limits());
        let env = match database {
            Some(url) => env.on_database(url),
            None => env,
        };
        env.load(1, "fal");
        let mut active = env.start(&["run", "--watch"]);
        env.await_submissions(1);
        let config = std::fs::read_to_string(env.dir.path().join("overnight.toml")).expect("read");
        let other = config.replace("in_flight = 10", "in_flight = 5000");
        assert_ne!(other, config);
        env.write("other.toml", &other);
        let run = env.run(&["run", "--config", "other.toml"]);
        let told = "for fal and this one 5000: this run keeps to";
        assert!(run.stderr.contains(told), "{run:?}");
        assert!(!run.stderr.contains("catalogue"), "{run:?}");
        active.kill().expect("the process is killed");
        active.wait().expect("the process exits");
        // Alone, it has the limits of its config.
        let run = env.run(&["run", "--config", "other.toml"]);
        assert!(!run.stderr.contains(told), "{run:?}");
    }
}

#[cfg(debug_assertions)]
#[test]
fn hosts_whose_clocks_are_five_minutes_apart_keep_every_limit_and_their_leases() {
    if !postgres_server::is_available() {
        return;
    }
    let env = TestEnv::new(SimulatorOptions {
        speed: 300.0,
        ..high_limits()
    });
    let env = env.on_database(postgres_server::create_database());
    env.load(ROWS, "eachlabs,fal,aimlapi");
    let started = std::time::Instant::now();
    let runs = ["-300", "300", "0", "-120"].map(|skew| {
        let mut command = env.command(&["run"]);
        command.env("OVERNIGHT_TEST_SKEW_S", skew);
        command.stderr(std::process::Stdio::piped());
        command.spawn().expect("the binary starts")
    });
    let told = runs.map(|run| {
        let output = run.wait_with_output().expect("the process exits");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        stderr
    });
    assert!(
        told[0].contains(" s behind that of the queue's server"),
        "{told:?}"
    );
    assert!(
        told[1].contains(" s ahead of that of the queue's server"),
        "{told:?}"
    );
    assert!(!told[2].contains("the clock of this machine"), "{told:?}");
    env.assert_all_rendered_once(ROWS);
    // A time of one host that another took for its own would have held jobs back for minutes.
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    let jobs = env.export();
    assert!(jobs.iter().all(|job| job["attempts"] == 1), "{jobs:?}");
}
