//! Commands as the user types them: output, errors and exit codes.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use overnight_simulator::{Call, Fault, Faults};
use serde_json::{Value, json};

use crate::support::{TestEnv, high_limits, load_args, micros, wait_until};

#[test]
fn loading_a_manifest_again_queues_only_the_changed_rows() {
    let env = TestEnv::new(high_limits());
    env.load(20, "eachlabs");
    let load = load_args("eachlabs");
    let again = env.run(&load);
    assert_eq!(again.code, 0);
    assert!(
        again.stdout.contains("0 new, 0 changed, 20 same"),
        "{again:?}"
    );
    assert_eq!(env.run(&["run"]).code, 0);
    let changed = fs::read_to_string(env.dir.path().join("batch.csv")).expect("the manifest");
    env.write(
        "batch.csv",
        &changed.replace("Turn number 7,", "Turn it the other way,"),
    );
    let again = env.run(&load);
    assert!(
        again.stdout.contains("0 new, 1 changed, 19 same"),
        "{again:?}"
    );
    assert_eq!(env.run(&["run"]).code, 0);
    assert_eq!(env.ledger().entries.len(), 21);
    let spent = env
        .export()
        .iter()
        .map(|job| micros(&job["cost_usd"]))
        .sum::<f64>();
    assert_eq!(spent, micros(&env.status()["batches"][0]["spent_usd"]));
}

#[test]
fn a_bad_manifest_shows_every_mistake_and_loads_nothing() {
    let env = TestEnv::new(high_limits());
    let mut text = String::from("id,image,prompt,duration\n");
    for row in 0..1000 {
        match row % 50 {
            49 => text.push_str(&format!("bad-{row},photo.jpg,turn,5\n")),
            _ => text.push_str(&format!(
                "row-{row},https://images.example.com/{row}.png,turn,5\n"
            )),
        }
    }
    env.write("bad.csv", &text);
    let load = env.run(&["load", "bad.csv", "--model", "kling-v1-standard"]);
    assert_eq!(load.code, 2);
    assert_eq!(
        load.stderr
            .lines()
            .filter(|line| line.starts_with("bad.csv:"))
            .count(),
        20,
        "{load:?}"
    );
    assert!(
        load.stderr.contains("bad.csv:51: image: there is no file "),
        "{load:?}"
    );
    assert!(
        load.stderr
            .contains("20 mistakes in 1000 rows; nothing was loaded"),
        "{load:?}"
    );
    assert!(!env.dir.path().join("overnight.db").exists());
}

#[test]
fn a_duplicate_id_is_reported_with_both_lines() {
    let env = TestEnv::new(high_limits());
    env.write(
        "twice.jsonl",
        "{\"id\":\"a\",\"image\":\"https://e.com/1.png\",\"prompt\":\"x\"}\n\
         {\"id\":\"a\",\"image\":\"https://e.com/2.png\",\"prompt\":\"y\"}\n",
    );
    let load = env.run(&["load", "twice.jsonl", "--model", "kling-v1-standard"]);
    assert_eq!(load.code, 2);
    assert!(
        load.stderr
            .contains("twice.jsonl:2: id: `a` is on line 1 already"),
        "{load:?}"
    );
}

#[test]
fn a_check_prices_the_batch_and_leaves_nothing_behind() {
    let env = TestEnv::new(high_limits());
    env.write_manifest("batch.csv", 8);
    let check = env.run(&[
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--check",
    ]);
    assert_eq!(check.code, 0, "{check:?}");
    assert!(
        check.stdout.contains("8 new") && check.stdout.contains("$2.3625"),
        "{check:?}"
    );
    for route in ["eachlabs", "fal", "aimlapi"] {
        assert!(check.stdout.contains(route), "{check:?}");
    }
    assert!(!env.dir.path().join("overnight.db").exists());
}

#[test]
fn a_run_stops_at_its_budget_and_continues_with_a_higher_one() {
    let env = TestEnv::new(high_limits());
    env.write_manifest("batch.csv", 3);
    env.load(10, "eachlabs");
    let run = env.run(&["run", "--budget", "1.00"]);
    assert_eq!(run.code, 4, "{run:?}");
    assert!(
        run.stderr.contains("stopped at the budget of $1.00") && run.stderr.contains("jobs wait"),
        "{run:?}"
    );
    assert!(env.ledger().charged() <= 1_000_000);
    assert_eq!(env.run(&["run", "--budget", "1.00"]).code, 4);
    assert!(env.ledger().charged() <= 1_000_000);
    assert_eq!(env.run(&["run", "--budget", "100"]).code, 0);
    env.assert_all_rendered_once(10);
}

#[test]
fn a_run_stops_at_a_batchs_own_budget() {
    let env = TestEnv::new(high_limits());
    env.write_manifest("batch.csv", 10);
    let load = [
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "fal",
        "--budget",
        "0.70",
    ];
    assert_eq!(env.run(&load).code, 0);
    assert_eq!(env.run(&["run"]).code, 4);
    assert_eq!(env.ledger().entries.len(), 3);
    assert_eq!(env.status()["batches"][0]["budget_usd"], "0.7");
}

#[test]
fn the_json_of_status_has_its_documented_form() {
    let env = TestEnv::new(high_limits());
    env.load(3, "eachlabs");
    assert_eq!(env.run(&["run"]).code, 0);
    let expected = json!({
        "batches": [{
            "batch": "batch",
            "jobs": {
                "queued": 0, "submitting": 0, "in_doubt": 0, "running": 0, "downloading": 0,
                "succeeded": 3, "failed": 0, "cancelled": 0,
            },
            "spent_usd": "0.675", "reserved_usd": "0", "at_risk_usd": "0", "budget_usd": null,
            "eta_s": null,
        }],
        "providers": [
            {"provider": "eachlabs", "in_flight": 0, "limit": 10, "paused": null, "held": null},
            {"provider": "aimlapi", "in_flight": 0, "limit": 10, "paused": null, "held": null},
            {"provider": "fal", "in_flight": 0, "limit": 10, "paused": null, "held": null},
        ],
        "routes": [],
    });
    assert_eq!(env.status(), expected);
}

#[test]
fn the_records_of_export_have_their_documented_fields_in_both_formats() {
    let env = TestEnv::new(high_limits());
    env.load(2, "fal");
    assert_eq!(env.run(&["run"]).code, 0);
    let fields = [
        "batch",
        "id",
        "line",
        "state",
        "model",
        "provider",
        "prediction_id",
        "attempts",
        "estimate_usd",
        "cost_usd",
        "cost_source",
        "output",
        "bytes",
        "sha256",
        "error",
        "queued_at",
        "submitted_at",
        "finished_at",
        "versions",
    ];
    let jobs = env.export();
    for job in &jobs {
        let mut keys: Vec<&str> = job
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        let mut expected = fields.to_vec();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert!(job["finished_at"].as_str().expect("a time").ends_with('Z'));
        assert_eq!(
            (&job["attempts"], &job["estimate_usd"]),
            (&json!(1), &json!("0.225"))
        );
    }
    let csv = env.run(&["export"]).stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], fields.join(","));
    assert!(
        lines[1].starts_with("batch,row-0,2,succeeded,kling-v1-standard,fal,"),
        "{csv}"
    );
}

#[test]
fn one_job_is_shown_with_its_attempts() {
    let env = TestEnv::new(high_limits());
    env.load(2, "eachlabs");
    assert_eq!(env.run(&["run"]).code, 0);
    let shown: Value =
        serde_json::from_str(&env.run(&["show", "row-1", "--json"]).stdout).expect("JSON");
    assert_eq!(shown["state"], "succeeded");
    assert_eq!(shown["attempt_list"][0]["state"], "done");
    assert!(env.run(&["show", "row-1"]).stdout.contains("attempt 1"));
    let missing = env.run(&["show", "row-9"]);
    assert_eq!(missing.code, 2);
    assert!(
        missing.stderr.contains("there is no job `row-9`"),
        "{missing:?}"
    );
    let listed: Value = serde_json::from_str(&env.run(&["jobs", "--json"]).stdout).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
}

#[test]
fn a_job_that_needs_the_user_is_shown_with_the_commands_that_help() {
    let env = TestEnv::new(high_limits());
    env.simulator.update_options(|options| {
        options.history = false;
        options.faults = Faults::default().with(Call::Create, Fault::DropAfter, 1.0);
    });
    env.load(1, "fal");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 3);
    let held = "it is unknown whether it was paid; `resolve` it";
    assert!(
        run.stderr.contains("row-0 is in doubt: ") && run.stderr.contains(held),
        "{run:?}"
    );
    // The stored reason names no command; `show` adds it.
    let exported = env.export();
    let error = exported[0]["error"].as_str().expect("a reason");
    assert!(!error.contains('`'), "{error}");
    let cancelled = env.run(&["cancel", "row-0"]);
    assert_eq!(cancelled.code, 2);
    assert_eq!(
        cancelled.stderr,
        "error: job 1 is in_doubt: it may be paid for already; nothing was changed\n\
         hint: decide with `overnight resolve`\n"
    );
    let show = || env.run(&["show", "row-0"]).stderr;
    for decision in ["--adopt ID", "--resubmit", "--fail"] {
        let command = format!("overnight resolve row-0 --batch batch {decision}");
        assert!(show().contains(&command), "{}", show());
    }
    assert_eq!(env.run(&["show", "row-0", "--json"]).stderr, "");
    assert_eq!(env.run(&["resolve", "row-0", "--adopt", "p"]).code, 0);
    assert_eq!(show(), "");
    assert_eq!(env.run(&["cancel", "row-0"]).code, 0);
    assert_eq!(
        show(),
        "hint: `overnight retry row-0 --batch batch` continues with its prediction without paying\n"
    );
    let listed = env.run(&["jobs"]).stdout;
    assert!(
        listed.contains("cancelled by the user; `retry` continues with it without paying"),
        "{listed}"
    );
}

#[test]
fn cancelled_jobs_can_be_retried() {
    let env = TestEnv::new(high_limits());
    env.load(4, "eachlabs");
    assert!(
        env.run(&["cancel", "row-0", "row-1"])
            .stdout
            .contains("2 jobs cancelled")
    );
    assert_eq!(env.run(&["run"]).code, 0);
    assert_eq!(env.ledger().entries.len(), 2);
    assert!(
        env.run(&["retry", "--state", "cancelled"])
            .stdout
            .contains("2 jobs will be retried")
    );
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(4);
}

#[test]
fn cancelling_a_running_job_cancels_its_prediction_and_keeps_its_price_booked() {
    let env = TestEnv::new(overnight_simulator::SimulatorOptions {
        speed: 1.0,
        ..high_limits()
    });
    env.load(1, "eachlabs");
    let run = env.start(&["run"]);
    wait_until("the start of the job", || {
        env.status()["batches"][0]["jobs"]["running"] == 1
    });
    assert!(env.ledger().entries[0].succeeds);
    let cancel = env.run(&["cancel", "row-0"]);
    assert_eq!(cancel.code, 0, "{cancel:?}");
    assert!(!env.ledger().entries[0].succeeds);
    assert!(run.wait_with_output().expect("it ended").status.success());
    let status = env.status();
    assert_eq!(
        (
            &status["batches"][0]["jobs"]["cancelled"],
            &status["batches"][0]["spent_usd"]
        ),
        (&json!(1), &json!("0.225"))
    );
}

#[test]
fn a_finished_clip_is_neither_retried_nor_cancelled() {
    let env = TestEnv::new(high_limits());
    env.load(2, "eachlabs");
    assert_eq!(env.run(&["run"]).code, 0);
    for (verb, expected) in [
        ("retry", "nothing to retry"),
        ("cancel", "nothing to cancel"),
    ] {
        let refused = env.run(&[verb, "row-0"]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(
            refused.stderr.contains("job 1 is succeeded") && refused.stderr.contains(expected),
            "{refused:?}"
        );
    }
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(2);
}

#[test]
fn an_output_folder_that_cannot_be_written_stops_the_run_and_loses_nothing() {
    let env = TestEnv::new(high_limits());
    // A file is where the batch's folder belongs.
    env.write("renders", "in the way");
    env.load(6, "eachlabs");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.contains("cannot write") && run.stderr.contains("nothing is lost"),
        "{run:?}"
    );
    fs::remove_file(env.dir.path().join("renders")).expect("removed");
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(6);
}

#[test]
fn usage_errors_are_reported_with_a_remedy() {
    let env = TestEnv::new(high_limits());
    env.write_manifest("batch.csv", 1);
    for (args, code, expected) in [
        (&["status"][..], 1, "there is no queue at overnight.db"),
        (&["run"], 1, "create one with `overnight load`"),
        (
            &["load", "batch.csv", "--model", "kling-v1-standart"],
            2,
            "did you mean `kling-v1-standard`?",
        ),
        (
            &["load", "none.csv", "--model", "kling-v1-standard"],
            2,
            "cannot read none.csv",
        ),
        (
            &[
                "load",
                "batch.csv",
                "--model",
                "kling-v2.1-standard",
                "--via",
                "fal",
            ],
            2,
            "fal does not offer",
        ),
        (
            &[
                "load",
                "batch.csv",
                "--model",
                "kling-v1-standard",
                "--set",
                "duration=7",
            ],
            2,
            "7 is not one of 5, 10",
        ),
        (
            &[
                "load",
                "batch.csv",
                "--model",
                "kling-v1-standard",
                "--map",
                "imgae=x",
            ],
            2,
            "did you mean `image`?",
        ),
        (
            &[
                "load",
                "batch.csv",
                "--model",
                "kling-v1-standard",
                "--budget",
                "ten",
            ],
            2,
            "write it like 12.50",
        ),
        (&["lod", "batch.csv"], 2, "load"),
        (
            &["--config", "none.toml", "models"],
            2,
            "cannot read none.toml",
        ),
    ] {
        let run = env.run(args);
        assert_eq!(run.code, code, "{args:?} {run:?}");
        assert!(run.stderr.contains(expected), "{args:?} {run:?}");
        assert_eq!(run.stdout, "", "{args:?}");
    }
}

#[test]
fn a_run_without_keys_names_the_variables_to_set() {
    let env = TestEnv::new(high_limits());
    env.load(1, "eachlabs");
    let mut command = env.command(&["run"]);
    let output = command
        .env_remove("EACHLABS_API_KEY")
        .env_remove("FAL_KEY")
        .env_remove("AIML_API_KEY")
        .output();
    let output = output.expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("EACHLABS_API_KEY, AIML_API_KEY, FAL_KEY")
    );
}

#[test]
fn a_manifest_may_come_from_standard_input() {
    use std::io::Write;
    let env = TestEnv::new(high_limits());
    let mut command = env.command(&[
        "load",
        "-",
        "--model",
        "kling-v1-standard",
        "--batch",
        "piped",
    ]);
    let mut load = command
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let row = b"{\"id\":\"a\",\"image\":\"https://e.com/1.png\",\"prompt\":\"x\"}\n";
    load.stdin
        .take()
        .expect("a pipe")
        .write_all(row)
        .expect("it reads");
    assert!(load.wait().expect("it ends").success());
    assert_eq!(env.status()["batches"][0]["batch"], "piped");
}

#[test]
fn hostile_ids_become_distinct_files_inside_the_output_folder() {
    let env = TestEnv::new(high_limits());
    let ids = [
        "../../escape",
        "a/b",
        "a\\\\b",
        "CON",
        "mug",
        "MUG",
        "Mug",
        ".hidden",
        "x:y",
        "trailing.",
    ];
    let rows: Vec<String> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            format!("{{\"id\":\"{id}\",\"image\":\"https://e.com/{n}.png\",\"prompt\":\"{n}\"}}")
        })
        .collect();
    env.write("hostile.jsonl", &rows.join("\n"));
    assert_eq!(
        env.run(&["load", "hostile.jsonl", "--model", "kling-v1-standard"])
            .code,
        0
    );
    assert_eq!(env.run(&["run"]).code, 0);
    env.assert_all_rendered_once(ids.len());
    let files = fs::read_dir(env.dir.path().join("renders/hostile")).expect("the folder");
    let mut names: Vec<String> = files
        .map(|file| {
            file.expect("a file")
                .file_name()
                .to_string_lossy()
                .to_lowercase()
        })
        .filter(|name| name != ".overnight.json")
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), ids.len());
}

#[test]
fn models_prints_fields_prices_and_routes() {
    let env = TestEnv::new(high_limits());
    let models = env.run(&["models"]).stdout;
    assert!(
        models.contains("kling-v1-standard")
            && models.contains("$0.28 for 5 s, then $0.056 per second"),
        "{models}"
    );
    let model = env.run(&["models", "kling-v1-standard"]).stdout;
    assert!(
        model.contains("dynamic_masks") && model.contains("number 0 to 1"),
        "{model}"
    );
}

#[test]
fn a_suggested_command_can_be_pasted_into_a_shell() {
    let env = TestEnv::new(high_limits());
    env.write_manifest("export (1).csv", 2);
    let load = env.run(&[
        "--queue",
        "my queue.db",
        "load",
        "export (1).csv",
        "--model",
        "kling-v1-standard",
    ]);
    assert_eq!(load.code, 0, "{load:?}");
    let suggestion = load
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("next: "))
        .expect("a suggested command");
    let run = env.shell(suggestion);
    assert_eq!(run.code, 0, "{suggestion}: {run:?}");
    assert_eq!(env.ledger().entries.len(), 2, "{suggestion}: {run:?}");
}

#[test]
fn init_writes_a_config_and_overwrites_one_only_with_force() {
    let env = TestEnv::new(high_limits());
    let path = env.dir.path().join("overnight.toml");
    let own = fs::read_to_string(&path).expect("the test's own config");
    let refused = env.run(&["init"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("hint: `overnight init --force` overwrites it"),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(&path).expect("a config"), own);
    assert_eq!(env.run(&["init", "--force"]).code, 0);
    let written = fs::read_to_string(&path).expect("a config");
    assert!(written.contains("# workers = 16") && written != own);
    assert_eq!(env.run(&["init", "--config", "other.toml"]).code, 0);
    assert_eq!(
        fs::read_to_string(env.dir.path().join("other.toml")).expect("a config"),
        written
    );
    let missing_folder = env.run(&["init", "--config", "none/other.toml"]);
    assert_eq!(missing_folder.code, 1, "{missing_folder:?}");
    assert!(
        missing_folder
            .stderr
            .contains("cannot write none/other.toml"),
        "{missing_folder:?}"
    );
    assert_eq!(env.run(&["models"]).code, 0);
}

#[test]
fn load_names_a_new_queue_and_says_what_happens_to_jobs_without_a_row() {
    let env = TestEnv::new(high_limits());
    env.write_manifest("mugs.csv", 3);
    let args = ["load", "mugs.csv", "--model", "kling-v1-standard"];
    let first = env.run(&args);
    let created = first
        .stderr
        .lines()
        .find_map(|line| line.strip_prefix("created a new queue: "))
        .expect("a new queue");
    assert!(Path::new(created).is_absolute(), "{created}");
    assert!(Path::new(created).exists(), "{created}");
    env.write_manifest("mugs.csv", 2);
    let again = env.run(&args);
    assert!(!again.stderr.contains("created"), "{again:?}");
    assert!(
        again
            .stdout
            .contains("2 rows: 0 new, 0 changed, 2 same, 1 gone from the manifest"),
        "{again:?}"
    );
    assert!(
        again
            .stderr
            .contains("`overnight cancel JOB --batch mugs` cancels one"),
        "{again:?}"
    );
}

#[test]
fn a_load_that_fails_leaves_no_new_queue_behind() {
    let env = TestEnv::new(high_limits());
    env.write("mugs.csv", "id,image,prompt\na,https://e.com/a.png,\n");
    let args = ["load", "mugs.csv", "--model", "kling-v1-standard"];
    let failed = env.run(&args);
    assert_eq!(failed.code, 2, "{failed:?}");
    assert!(!failed.stderr.contains("created"), "{failed:?}");
    for file in fs::read_dir(env.dir.path()).expect("the folder") {
        let name = file.expect("a file").file_name();
        let name = name.to_string_lossy();
        assert!(!name.starts_with("overnight.db"), "{name} is left behind");
    }
    env.load(2, "fal");
    assert_eq!(env.run(&args).code, 2);
    assert_eq!(env.status()["batches"][0]["jobs"]["queued"], 2);
}

#[test]
fn a_sheet_of_a_file_that_is_not_a_workbook_is_an_error() {
    let env = TestEnv::new(high_limits());
    env.write_manifest("mugs.csv", 1);
    let load = ["load", "mugs.csv", "--model", "kling-v1-standard"];
    let load = env.run(&[&load[..], &["--sheet", "Products"]].concat());
    assert_eq!(load.code, 2, "{load:?}");
    assert!(
        load.stderr.contains(
            "error: mugs.csv is not a workbook, so it has no sheet `Products`\n\
             hint: omit `--sheet`, or `sheet` in the batch file\n"
        ),
        "{load:?}"
    );
}

#[test]
fn a_compressed_manifest_is_recognised_by_an_extension_in_any_case() {
    let env = TestEnv::new(high_limits());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let row = r#"{"id":"a","image":"https://e.com/a.png","prompt":"Turn"}"#;
    encoder.write_all(row.as_bytes()).expect("compressed");
    let bytes = encoder.finish().expect("compressed");
    fs::write(env.dir.path().join("Mugs.JSONL.GZ"), bytes).expect("written");
    let load = env.run(&["load", "Mugs.JSONL.GZ", "--model", "kling-v1-standard"]);
    assert!(load.stdout.starts_with("Mugs: 1 row: 1 new"), "{load:?}");
}

#[test]
fn the_hint_to_retry_a_failed_job_can_be_pasted_into_a_shell() {
    let env = TestEnv::new(high_limits());
    env.simulator.update_options(|options| {
        options.faults = Faults::default().with(Call::Create, Fault::FailedPrediction, 1.0);
    });
    for batch in ["export (1)", "lamps"] {
        env.write_manifest(&format!("{batch}.csv"), 1);
        let file = format!("{batch}.csv");
        let args = ["load", &file, "--model", "kling-v1-standard"];
        assert_eq!(env.run(&args).code, 0);
    }
    let run = env.run(&["run", "--attempts", "1"]);
    assert_eq!(run.code, 3, "{run:?}");
    let hint = run
        .stdout
        .lines()
        .find(|line| line.starts_with("hint: to try a job again"))
        .expect("a hint");
    let suggestion = hint.split('`').nth(1).expect("a suggested command");
    let retry = env.shell(suggestion);
    assert_eq!(retry.code, 0, "{suggestion}: {retry:?}");
    assert!(
        retry.stdout.contains("1 job will be retried"),
        "{suggestion}: {retry:?}"
    );
}
