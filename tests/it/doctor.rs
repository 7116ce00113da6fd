//! Finding the way: a config to begin with, a check of everything, help that can be typed, names that were mistyped.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser};
use overnight::cli::Cli;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{CommandOutput, TestEnv, high_limits};

/// What `doctor --json` said, one check a name.
struct Doctor {
    code: i32,
    told: Value,
}

impl Doctor {
    fn visits(workplace: &TestEnv) -> Self {
        Self::visits_with(workplace, &[])
    }

    /// With these variables set, or unset where they are empty.
    fn visits_with(workplace: &TestEnv, variables: &[(&str, &str)]) -> Self {
        let mut command = workplace.command(&["doctor", "--json"]);
        for (name, value) in variables {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        let run = CommandOutput::from_output(command.output().expect("the binary starts"));
        let told =
            serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        Self {
            code: run.code,
            told,
        }
    }

    fn check(&self, name: &str) -> &Value {
        let checks = self.told["checks"].as_array().expect("checks");
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {}", self.told))
    }

    fn assert(&self, name: &str, level: &str, said: &str) {
        let check = self.check(name);
        assert_eq!(check["level"], level, "{check}");
        let (message, hint) = (
            check["message"].as_str().expect("a message"),
            check["hint"].as_str(),
        );
        assert!(
            format!("{message} {}", hint.unwrap_or_default()).contains(said),
            "{check}"
        );
        assert_eq!(hint.is_some(), level != "ok", "{check}");
    }

    fn assert_ends(&self, ok: bool) {
        assert_eq!(
            (self.code, &self.told["ok"]),
            (i32::from(!ok), &json!(ok)),
            "{}",
            self.told
        );
    }
}

#[test]
fn a_workplace_where_all_is_well_has_no_problem_and_no_warning() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(3, "eachlabs");
    let doctor = Doctor::visits(&workplace);
    doctor.assert_ends(true);
    for check in doctor.told["checks"].as_array().expect("checks") {
        // The disk this runs on is not ours to judge.
        assert!(check["level"] == "ok" || check["name"] == "disk", "{check}");
    }
    for provider in ["eachlabs", "aimlapi", "fal"] {
        doctor.assert(
            &format!("{provider}.api"),
            "ok",
            "answers and takes the key",
        );
        doctor.assert(&format!("{provider}.clock"), "ok", "agrees");
    }
    doctor.assert("fal.history", "ok", "answers");
    doctor.assert(
        "eachlabs.limits",
        "ok",
        "10 in flight, 60000 creates a minute",
    );
    assert!(
        doctor.check("disk")["message"]
            .as_str()
            .expect("text")
            .contains("3 waiting clips may take 30 MB")
    );
    let ledger = workplace.ledger();
    assert_eq!(
        (ledger.entries.len(), ledger.creates_seen),
        (0, 0),
        "a look around sent a create"
    );
    let said = workplace.run(&["doctor"]);
    assert_eq!((said.code, said.stderr.as_str()), (0, ""), "{said:?}");
    assert_eq!(
        said.stdout.matches("\nok ").count() + 1,
        said.stdout.lines().count(),
        "{said:?}"
    );
}

#[test]
fn a_wrong_key_is_a_problem_with_its_variable_and_is_not_shown() {
    let workplace = TestEnv::new(high_limits());
    workplace
        .simulator
        .update_options(|options| options.key = Some("simulated-eachlabs-key".into()));
    let doctor = Doctor::visits(&workplace);
    doctor.assert_ends(false);
    doctor.assert("eachlabs.api", "ok", "takes the key");
    doctor.assert("aimlapi.api", "problem", "check the key in AIML_API_KEY");
    doctor.assert("fal.history", "problem", "check the key in FAL_KEY");
    doctor.assert("aimlapi.clock", "ok", "agrees");
    for key in ["simulated-aimlapi-key", "simulated-eachlabs-key", "fal-key"] {
        assert!(!doctor.told.to_string().contains(key), "{}", doctor.told);
    }
    let doctor = Doctor::visits_with(&workplace, &[("AIML_API_KEY", "two words")]);
    doctor.assert(
        "aimlapi.key",
        "problem",
        "AIML_API_KEY is empty or contains characters that a key cannot have",
    );
    doctor.assert("eachlabs.api", "ok", "takes the key");
}

#[test]
fn without_a_key_a_queue_and_a_config_it_says_what_to_do() {
    let workplace = TestEnv::new(high_limits());
    fs::remove_file(workplace.dir.path().join("overnight.toml")).expect("removed");
    let keys = [
        ("EACHLABS_API_KEY", ""),
        ("AIML_API_KEY", ""),
        ("FAL_KEY", ""),
    ];
    let doctor = Doctor::visits_with(&workplace, &keys);
    doctor.assert_ends(false);
    doctor.assert("keys", "problem", "EACHLABS_API_KEY, AIML_API_KEY, FAL_KEY");
    doctor.assert("queue", "ok", "`overnight load` makes it");
    doctor.assert("config", "ok", "`overnight init`");
    let one_key = Doctor::visits_with(&workplace, &keys[1..]);
    one_key.assert_ends(true);
    one_key.assert("fal.key", "ok", "FAL_KEY is not set");
    assert_eq!(
        fs::read_dir(workplace.dir.path())
            .expect("a folder")
            .count(),
        0,
        "something was made"
    );
}

#[test]
fn a_provider_that_does_not_listen_is_a_problem_and_no_crash() {
    let workplace = TestEnv::new(high_limits());
    let nobody = ("OVERNIGHT_EACHLABS_URL", "http://127.0.0.1:9/v1");
    let doctor = Doctor::visits_with(&workplace, &[nobody]);
    doctor.assert_ends(false);
    doctor.assert(
        "eachlabs.api",
        "problem",
        "http://127.0.0.1:9: eachlabs cannot be reached",
    );
    doctor.assert("eachlabs.api", "problem", "is this machine online");
    doctor.assert("fal.api", "ok", "answers");
}

#[test]
fn a_provider_that_never_answers_is_waited_for_as_long_as_a_person_waits() {
    let workplace = TestEnv::new(high_limits());
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", deaf.local_addr().expect("an address"));
    let variables = [
        ("OVERNIGHT_EACHLABS_URL", url.as_str()),
        ("OVERNIGHT_AIMLAPI_URL", url.as_str()),
    ];
    let begun = Instant::now();
    let doctor = Doctor::visits_with(&workplace, &variables);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "one after the other: {:?}",
        begun.elapsed()
    );
    doctor.assert("eachlabs.api", "problem", "did not respond within 5 s");
    doctor.assert("aimlapi.api", "problem", "did not respond within 5 s");
}

#[test]
fn a_history_that_is_not_there_and_an_outage_are_warnings() {
    let workplace = TestEnv::new(high_limits());
    workplace
        .simulator
        .update_options(|options| options.history = false);
    let doctor = Doctor::visits(&workplace);
    doctor.assert_ends(true);
    doctor.assert("fal.api", "ok", "answers");
    for check in ["fal.history", "eachlabs.api", "aimlapi.api"] {
        doctor.assert(
            check,
            "warning",
            "a create whose answer is lost waits for you",
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
    // Whoever has gone needs no answer.
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

#[test]
fn a_clock_that_is_off_is_a_problem() {
    let workplace = TestEnv::new(high_limits());
    let past = serve_with_date("Thu, 20 Aug 2020 10:00:00 GMT");
    let doctor = Doctor::visits_with(&workplace, &[("OVERNIGHT_EACHLABS_URL", &past)]);
    doctor.assert_ends(false);
    doctor.assert("eachlabs.api", "ok", "answers");
    doctor.assert("eachlabs.clock", "problem", "s ahead of eachlabs's");
    doctor.assert("eachlabs.clock", "problem", "set this machine's clock");
    doctor.assert("fal.clock", "ok", "agrees");
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_in_is_a_problem() {
    let workplace = TestEnv::new(high_limits());
    // Not even root makes a file there.
    std::os::unix::fs::symlink("/sys", workplace.dir.path().join("renders")).expect("a link");
    let doctor = Doctor::visits(&workplace);
    doctor.assert_ends(false);
    doctor.assert("output", "problem", "cannot write renders");
    doctor.assert("output", "problem", "make the folder writable");
    fs::remove_file(workplace.dir.path().join("renders")).expect("removed");
    workplace.load(1, "fal");
    workplace.write("renders", "in the way");
    Doctor::visits(&workplace).assert("output", "problem", "renders is a file");
}

#[test]
fn a_config_that_cannot_be_read_is_told_with_its_place() {
    let workplace = TestEnv::new(high_limits());
    workplace.write("overnight.toml", "[provider.eachlab]\nin_flight = 2\n");
    let doctor = Doctor::visits(&workplace);
    doctor.assert_ends(false);
    doctor.assert(
        "config",
        "problem",
        "overnight.toml:1:11: unknown name `eachlab`, did you mean `eachlabs`?",
    );
}

#[test]
fn what_is_wrong_with_a_queue_is_told_and_left_as_it_is() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(2, "eachlabs");
    let path = workplace.dir.path().join("overnight.db");
    let sql = |text: &str| {
        Connection::open(&path)
            .expect("a file")
            .execute_batch(text)
            .expect("it is done")
    };
    sql("UPDATE batches SET spent = 5");
    for _ in 0..2 {
        let doctor = Doctor::visits(&workplace);
        doctor.assert_ends(true);
        doctor.assert(
            "queue.sums",
            "warning",
            "1 sum not as the jobs have it, batch: spent: kept 5, counted 0",
        );
    }
    sql("INSERT INTO pools VALUES ('dead', 'elsewhere', 1, 0, 0);
         UPDATE jobs SET lease_token = 1, lease_pool = 'dead' WHERE job_id = 1");
    for _ in 0..2 {
        Doctor::visits(&workplace).assert(
            "queue.runs",
            "warning",
            "1 run gone and still holding 1 job",
        );
    }
    workplace.write(
        "overnight.db",
        "no queue at all, but long enough to be looked at as one",
    );
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(workplace.dir.path().join(format!("overnight.db{end}")));
    }
    let doctor = Doctor::visits(&workplace);
    doctor.assert_ends(false);
    doctor.assert("queue", "problem", "it is not a SQLite file");
}

#[test]
fn jobs_that_wait_for_a_person_are_a_warning_with_the_way_to_decide() {
    let workplace = TestEnv::new(high_limits());
    workplace.simulator.update_options(|options| {
        options.history = false;
        options.faults = overnight::simulator::Faults::default().with(
            Some(overnight::simulator::Call::Create),
            overnight::simulator::Fault::DropAfter,
            1.0,
        );
    });
    workplace.load(1, "fal");
    assert_eq!(workplace.run(&["run"]).code, 3);
    let doctor = Doctor::visits(&workplace);
    doctor.assert("queue.in_doubt", "warning", "overnight resolve");
    doctor.assert("fal.limits", "ok", "1 in flight now");
}

#[test]
fn a_queue_of_an_older_version_is_looked_at_and_not_brought_over() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(1, "fal");
    let path = workplace.dir.path().join("overnight.db");
    let file = Connection::open(&path).expect("a file");
    file.pragma_update(None, "user_version", 2)
        .expect("it is set");
    let doctor = Doctor::visits(&workplace);
    doctor.assert_ends(true);
    doctor.assert(
        "queue",
        "ok",
        "of version 2: the next `overnight run` or `load` brings it to 4",
    );
    let version: i64 = file
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a version");
    assert_eq!(version, 2);
}

#[test]
fn a_config_is_written_once_and_read_by_every_command() {
    let workplace = TestEnv::new(high_limits());
    let path = workplace.dir.path().join("overnight.toml");
    let mine = fs::read_to_string(&path).expect("the workplace's own");
    let refused = workplace.run(&["init"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("hint: --force overwrites it"),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(&path).expect("a config"), mine);
    assert_eq!(workplace.run(&["init", "--force"]).code, 0);
    let written = fs::read_to_string(&path).expect("a config");
    assert!(written.contains("# workers = 16") && written != mine);
    assert_eq!(workplace.run(&["init", "--config", "other.toml"]).code, 0);
    assert_eq!(
        fs::read_to_string(workplace.dir.path().join("other.toml")).expect("a config"),
        written
    );
    let nowhere = workplace.run(&["init", "--config", "none/other.toml"]);
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    assert!(
        nowhere.stderr.contains("cannot write none/other.toml"),
        "{nowhere:?}"
    );
    assert_eq!(workplace.run(&["models"]).code, 0);
}

#[test]
fn a_mistyped_name_is_told_the_nearest() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(12, "eachlabs");
    for (args, said) in [
        (
            &["status", "--batch", "bacth"][..],
            "there is no batch `bacth`, did you mean `batch`?",
        ),
        (&["jobs", "--batch", "bacth"], "did you mean `batch`?"),
        (&["run", "--batch", "bacth"], "did you mean `batch`?"),
        (&["retry", "--batch", "bacth"], "did you mean `batch`?"),
        (&["cancel", "--batch", "bacth"], "did you mean `batch`?"),
        (
            &["show", "row-1", "--batch", "bacth"],
            "there is no batch `bacth`, did you mean `batch`?",
        ),
        (
            &["show", "rwo-11"],
            "there is no job `rwo-11`, did you mean `row-11`?",
        ),
        (&["retry", "ROW_11"], "did you mean `row-11`?"),
        (
            &["jobs", "--state", "faild"],
            "a similar value exists: 'failed'",
        ),
        (
            &[
                "load",
                "batch.csv",
                "--model",
                "kling-v1-standard",
                "--via",
                "eachlab",
            ],
            "'eachlabs'",
        ),
        (
            &["models", "kling-v1-standart"],
            "did you mean `kling-v1-standard`?",
        ),
        (&["docter"], "'doctor'"),
    ] {
        let run = workplace.run(args);
        assert_eq!(run.code, 2, "{args:?} {run:?}");
        assert!(run.stderr.contains(said), "{args:?} {run:?}");
        assert_eq!(run.stdout, "", "{args:?}");
    }
    assert!(
        workplace
            .run(&["status", "--batch", "zzz"])
            .stderr
            .contains("existing batches: batch")
    );
}

#[test]
fn every_commands_help_has_an_example_that_can_be_typed() {
    let help = Cli::command();
    for command in help.get_subcommands() {
        let name = command.get_name();
        let text = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        let (_, examples) = text
            .split_once("Examples:\n")
            .unwrap_or_else(|| panic!("{name} has none"));
        let lines = typed(examples);
        assert!((1..=5).contains(&lines.len()), "{name}: {lines:?}");
        for words in lines {
            assert_eq!(words[1], name, "{words:?}");
            assert_parses(&words);
        }
        assert!(
            command
                .get_about()
                .is_some_and(|about| about.to_string().chars().count() < 100),
            "{name}"
        );
    }
    let text = help
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let (_, night) = text
        .split_once("Your first night:\n")
        .expect("a first night");
    let steps = typed(night);
    assert_eq!(
        steps
            .iter()
            .map(|words| words[1].as_str())
            .collect::<Vec<_>>(),
        ["demo", "load", "run", "status"]
    );
    steps.iter().for_each(|words| assert_parses(words));
}

#[test]
fn no_help_is_wider_than_a_hundred_columns_and_no_example_is_wrapped() {
    let workplace = TestEnv::new(high_limits());
    let help = Cli::command();
    for command in help.get_subcommands().chain([&help]) {
        let name = command.get_name();
        let args = if name == help.get_name() {
            vec!["--help"]
        } else {
            vec![name, "--help"]
        };
        let shown = workplace.run(&args);
        assert_eq!(shown.code, 0, "{name}");
        for line in shown.stdout.lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
        }
        let text = command
            .get_after_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        for example in text.lines().filter(|line| line.starts_with("  ")) {
            assert!(
                shown.stdout.lines().any(|line| line == example),
                "{name} wraps: {example}"
            );
        }
    }
}

fn assert_parses(words: &[String]) {
    if let Err(error) = Cli::try_parse_from(words) {
        panic!("{words:?}: {error}");
    }
}

/// The examples as words, as a shell would give them.
fn typed(examples: &str) -> Vec<Vec<String>> {
    let joined = examples.replace("\\\n", " ");
    let lines = joined.lines().take_while(|line| line.starts_with("  "));
    lines
        .map(|line| words(line.split([';', '>']).next().unwrap_or(line)))
        .collect()
}

/// Splits at spaces outside of single quotes, and leaves a comment out.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in line.chars().chain([' ']) {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()))
            }
            '#' if !quoted && word.is_empty() => break,
            letter => word.push(letter),
        }
    }
    words
}

#[test]
fn shells_and_man_know_every_command() {
    let workplace = TestEnv::new(high_limits());
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = workplace.run(&["completions", shell]);
        assert_eq!((script.code, script.stderr.as_str()), (0, ""), "{shell}");
        for word in ["doctor", "rehearse", "in_doubt"] {
            // Two of the shells' scripts name no values.
            let has_values = !matches!(shell, "powershell" | "elvish");
            assert!(
                script.stdout.contains(word) || (word == "in_doubt" && !has_values),
                "{shell}: {word}"
            );
        }
    }
    assert_eq!(workplace.run(&["completions", "bsh"]).code, 2);
    let page = workplace.run(&["man"]);
    assert!(
        page.code == 0 && page.stdout.contains(".TH overnight 1"),
        "{page:?}"
    );
    let all = workplace.run(&["man", "--out", "share/man1"]);
    assert_eq!((all.code, all.stdout.as_str()), (0, ""), "{all:?}");
    let folder = workplace.dir.path().join("share/man1");
    let there = |name: &str| Path::new(&folder).join(name).is_file();
    assert!(there("overnight.1"));
    for command in Cli::command().get_subcommands() {
        assert!(
            there(&format!("overnight-{}.1", command.get_name())),
            "{}",
            command.get_name()
        );
    }
}
