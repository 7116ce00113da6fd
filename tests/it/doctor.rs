//! `doctor`: every check, its level, and what it says to do.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{CommandOutput, TestEnv, high_limits};

/// The exit code and output of one `doctor --json`.
struct Doctor {
    code: i32,
    report: Value,
}

impl Doctor {
    fn run(env: &TestEnv) -> Self {
        Self::run_with(env, &[])
    }

    /// Runs with these variables set, or unset if they are empty.
    fn run_with(env: &TestEnv, variables: &[(&str, &str)]) -> Self {
        let mut command = env.command(&["doctor", "--json"]);
        for (name, value) in variables {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        let run = CommandOutput::from_output(command.output().expect("the binary starts"));
        let report =
            serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        Self {
            code: run.code,
            report,
        }
    }

    /// Returns the check of this name.
    fn check(&self, name: &str) -> &Value {
        let checks = self.report["checks"].as_array().expect("checks");
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {}", self.report))
    }

    /// Asserts a check's level, and that its message or hint contains a text.
    fn assert(&self, name: &str, level: &str, expected: &str) {
        let check = self.check(name);
        assert_eq!(check["level"], level, "{check}");
        let message = check["message"].as_str().expect("a message");
        let hint = check["hint"].as_str();
        assert!(
            format!("{message} {}", hint.unwrap_or_default()).contains(expected),
            "{check}"
        );
        assert_eq!(hint.is_some(), level != "ok", "{check}");
    }

    /// Asserts the overall result, in the exit code and in the JSON.
    fn assert_ok(&self, ok: bool) {
        assert_eq!(
            (self.code, &self.report["ok"]),
            (i32::from(!ok), &json!(ok)),
            "{}",
            self.report
        );
    }
}

#[test]
fn a_healthy_environment_has_no_problem_and_no_warning() {
    let env = TestEnv::new(high_limits());
    env.load(3, "eachlabs");
    let doctor = Doctor::run(&env);
    doctor.assert_ok(true);
    for check in doctor.report["checks"].as_array().expect("checks") {
        // The disk of the machine that runs the tests may be full.
        assert!(check["level"] == "ok" || check["name"] == "disk", "{check}");
    }
    for provider in ["eachlabs", "aimlapi", "fal"] {
        doctor.assert(
            &format!("{provider}.api"),
            "ok",
            "responds and accepts the key",
        );
        doctor.assert(&format!("{provider}.clock"), "ok", "agrees");
    }
    doctor.assert("fal.history", "ok", "responds");
    doctor.assert(
        "eachlabs.limits",
        "ok",
        "at most 10 in flight, 60000 submissions a minute",
    );
    assert!(
        doctor.check("disk")["message"]
            .as_str()
            .expect("text")
            .contains("3 unfinished clips may need 30 MB")
    );
    let ledger = env.ledger();
    assert_eq!(
        (ledger.entries.len(), ledger.creates_seen),
        (0, 0),
        "doctor sent a create"
    );
    let run = env.run(&["doctor"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:?}");
    assert_eq!(
        run.stdout.matches("\nok ").count() + 1,
        run.stdout.lines().count(),
        "{run:?}"
    );
}

#[test]
fn a_wrong_key_is_a_problem_that_names_its_variable_and_hides_the_key() {
    let env = TestEnv::new(high_limits());
    env.simulator
        .update_options(|options| options.key = Some("simulated-eachlabs-key".into()));
    let doctor = Doctor::run(&env);
    doctor.assert_ok(false);
    doctor.assert("eachlabs.api", "ok", "accepts the key");
    doctor.assert("aimlapi.api", "problem", "check the key in AIML_API_KEY");
    doctor.assert("fal.history", "problem", "check the key in FAL_KEY");
    doctor.assert("aimlapi.clock", "ok", "agrees");
    for key in ["simulated-aimlapi-key", "simulated-eachlabs-key", "fal-key"] {
        assert!(
            !doctor.report.to_string().contains(key),
            "{}",
            doctor.report
        );
    }
    let doctor = Doctor::run_with(&env, &[("AIML_API_KEY", "two words")]);
    doctor.assert(
        "aimlapi.key",
        "problem",
        "AIML_API_KEY is empty or contains characters that a key cannot have",
    );
    doctor.assert("eachlabs.api", "ok", "accepts the key");
}

#[test]
fn in_an_empty_folder_doctor_says_how_to_start() {
    let env = TestEnv::new(high_limits());
    fs::remove_file(env.dir.path().join("overnight.toml")).expect("removed");
    let keys = [
        ("EACHLABS_API_KEY", ""),
        ("AIML_API_KEY", ""),
        ("FAL_KEY", ""),
    ];
    let doctor = Doctor::run_with(&env, &keys);
    doctor.assert_ok(false);
    doctor.assert("keys", "problem", "EACHLABS_API_KEY, AIML_API_KEY, FAL_KEY");
    doctor.assert("queue", "ok", "`overnight load FILE` creates it");
    doctor.assert("config", "ok", "`overnight init`");
    let one_key = Doctor::run_with(&env, &keys[1..]);
    one_key.assert_ok(true);
    one_key.assert("fal.key", "ok", "FAL_KEY is not set");
    assert_eq!(
        fs::read_dir(env.dir.path()).expect("a folder").count(),
        0,
        "doctor created a file"
    );
}

#[test]
fn an_unreachable_provider_is_a_problem() {
    let env = TestEnv::new(high_limits());
    let unreachable = ("OVERNIGHT_EACHLABS_URL", "http://127.0.0.1:9/v1");
    let doctor = Doctor::run_with(&env, &[unreachable]);
    doctor.assert_ok(false);
    doctor.assert(
        "eachlabs.api",
        "problem",
        "http://127.0.0.1:9: eachlabs cannot be reached",
    );
    doctor.assert("eachlabs.api", "problem", "check the network");
    doctor.assert("fal.api", "ok", "responds");
}

#[test]
fn providers_are_probed_concurrently() {
    let env = TestEnv::new(high_limits());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    // Answers neither of two requests before it has both.
    let server = std::thread::spawn(move || {
        let streams = [(); 2].map(|()| listener.accept().expect("a connection").0);
        for stream in streams {
            answer(stream, "Thu, 20 Aug 2020 10:00:00 GMT");
        }
    });
    let variables = [
        ("OVERNIGHT_EACHLABS_URL", url.as_str()),
        ("OVERNIGHT_AIMLAPI_URL", url.as_str()),
    ];
    let doctor = Doctor::run_with(&env, &variables);
    server.join().expect("both requests");
    doctor.assert("eachlabs.api", "ok", "responds");
    doctor.assert(
        "aimlapi.api",
        "warning",
        "returned a body that is not one of its API",
    );
}

#[test]
fn a_missing_history_and_an_outage_are_warnings() {
    let env = TestEnv::new(high_limits());
    env.simulator
        .update_options(|options| options.history = false);
    let doctor = Doctor::run(&env);
    doctor.assert_ok(true);
    doctor.assert("fal.api", "ok", "responds");
    for check in ["fal.history", "eachlabs.api", "aimlapi.api"] {
        doctor.assert(
            check,
            "warning",
            "a submission whose response is lost stays in doubt",
        );
    }
}

/// Answers every call with an empty history and this date, until the test ends.
fn serve_with_date(date: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream, date);
        }
    });
    url
}

fn answer(mut stream: TcpStream, date: &str) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        request.push(byte[0]);
    }
    let body = r#"{"executions":[]}"#;
    // The client may have closed the connection.
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

#[test]
fn a_wrong_clock_is_a_problem() {
    let env = TestEnv::new(high_limits());
    let past = serve_with_date("Thu, 20 Aug 2020 10:00:00 GMT");
    let doctor = Doctor::run_with(&env, &[("OVERNIGHT_EACHLABS_URL", &past)]);
    doctor.assert_ok(false);
    doctor.assert("eachlabs.api", "ok", "responds");
    doctor.assert("eachlabs.clock", "problem", "s ahead of eachlabs's");
    doctor.assert("eachlabs.clock", "problem", "set this machine's clock");
    doctor.assert("fal.clock", "ok", "agrees");
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_folder_that_cannot_be_written_is_a_problem() {
    let env = TestEnv::new(high_limits());
    // Not even root can create a file there.
    std::os::unix::fs::symlink("/sys", env.dir.path().join("renders")).expect("a link");
    let doctor = Doctor::run(&env);
    doctor.assert_ok(false);
    doctor.assert("output", "problem", "cannot write renders");
    doctor.assert("output", "problem", "make the folder writable");
    fs::remove_file(env.dir.path().join("renders")).expect("removed");
    env.load(1, "fal");
    env.write("renders", "in the way");
    Doctor::run(&env).assert("output", "problem", "renders is a file");
}

#[test]
fn an_invalid_config_is_reported_with_its_line_and_column() {
    let env = TestEnv::new(high_limits());
    env.write("overnight.toml", "[provider.eachlab]\nin_flight = 2\n");
    let doctor = Doctor::run(&env);
    doctor.assert_ok(false);
    doctor.assert(
        "config",
        "problem",
        "overnight.toml:1:11: unknown name `eachlab`, did you mean `eachlabs`?",
    );
}

#[test]
fn defects_of_a_queue_are_reported_and_not_changed() {
    let env = TestEnv::new(high_limits());
    env.load(2, "eachlabs");
    let path = env.dir.path().join("overnight.db");
    let sql = |text: &str| {
        Connection::open(&path)
            .expect("a file")
            .execute_batch(text)
            .expect("it is done")
    };
    sql("UPDATE batches SET spent = 5");
    for _ in 0..2 {
        let doctor = Doctor::run(&env);
        doctor.assert_ok(true);
        doctor.assert(
            "queue.sums",
            "warning",
            "1 stored counter disagrees with the jobs; batch: spent: stored 5, actual 0",
        );
    }
    sql("INSERT INTO pools VALUES ('dead', 'elsewhere', 1, 0, 0);
         UPDATE jobs SET lease_token = 1, lease_pool = 'dead' WHERE job_id = 1");
    for _ in 0..2 {
        Doctor::run(&env).assert("queue.runs", "warning", "1 dead run holds 1 job");
    }
    env.write(
        "overnight.db",
        "not a queue, but long enough to be taken for a database",
    );
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(env.dir.path().join(format!("overnight.db{end}")));
    }
    let doctor = Doctor::run(&env);
    doctor.assert_ok(false);
    doctor.assert("queue", "problem", "it is not a SQLite file");
}

#[test]
fn jobs_in_doubt_are_a_warning_that_says_how_to_settle_them() {
    let env = TestEnv::new(high_limits());
    env.simulator.update_options(|options| {
        options.history = false;
        options.faults = overnight_simulator::Faults::default().with(
            Some(overnight_simulator::Call::Create),
            overnight_simulator::Fault::DropAfter,
            1.0,
        );
    });
    env.load(1, "fal");
    assert_eq!(env.run(&["run"]).code, 3);
    let doctor = Doctor::run(&env);
    doctor.assert("queue.in_doubt", "warning", "overnight resolve");
    doctor.assert("fal.limits", "ok", "1 in flight now");
}

#[test]
fn a_queue_of_an_older_version_is_reported_and_not_migrated() {
    let env = TestEnv::new(high_limits());
    env.load(1, "fal");
    let path = env.dir.path().join("overnight.db");
    let file = Connection::open(&path).expect("a file");
    file.pragma_update(None, "user_version", 2)
        .expect("it is set");
    let doctor = Doctor::run(&env);
    doctor.assert_ok(true);
    doctor.assert(
        "queue",
        "ok",
        "in format version 2; the next `overnight run` or `load` migrates it to version 7",
    );
    let version: i64 = file
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a version");
    assert_eq!(version, 2);
}
