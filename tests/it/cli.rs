//! What a user types, and what comes back.

use std::fs;

use serde_json::{Value, json};

use crate::support::{TestEnv, high_limits, micros};

#[test]
fn the_same_manifest_loaded_twice_queues_nothing_new_and_a_changed_row_only_itself() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(20, "eachlabs");
    let load = [
        "load",
        "batch.csv",
        "--model",
        "kling-v1-standard",
        "--via",
        "eachlabs",
    ];
    let again = workplace.run(&load);
    assert_eq!(again.code, 0);
    assert!(
        again.stdout.contains("0 new, 0 changed, 20 same"),
        "{again:?}"
    );
    assert_eq!(workplace.run(&["run"]).code, 0);
    let changed = fs::read_to_string(workplace.dir.path().join("batch.csv")).expect("the manifest");
    workplace.write(
        "batch.csv",
        &changed.replace("Turn number 7,", "Turn it the other way,"),
    );
    let again = workplace.run(&load);
    assert!(
        again.stdout.contains("0 new, 1 changed, 19 same"),
        "{again:?}"
    );
    assert_eq!(workplace.run(&["run"]).code, 0);
    assert_eq!(workplace.ledger().entries.len(), 21);
    let spent = workplace
        .export()
        .iter()
        .map(|job| micros(&job["cost_usd"]))
        .sum::<f64>();
    assert_eq!(
        spent,
        micros(&workplace.status()["batches"][0]["spent_usd"])
    );
}

#[test]
fn a_bad_manifest_shows_every_mistake_and_loads_nothing() {
    let workplace = TestEnv::new(high_limits());
    let mut text = String::from("id,image,prompt,duration\n");
    for row in 0..1000 {
        match row % 50 {
            49 => text.push_str(&format!("bad-{row},photo.jpg,turn,5\n")),
            _ => text.push_str(&format!(
                "row-{row},https://images.example.com/{row}.png,turn,5\n"
            )),
        }
    }
    workplace.write("bad.csv", &text);
    let load = workplace.run(&["load", "bad.csv", "--model", "kling-v1-standard"]);
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
    assert_eq!(workplace.status()["batches"], json!([]));
}

#[test]
fn two_rows_with_one_id_name_both_lines() {
    let workplace = TestEnv::new(high_limits());
    workplace.write("twice.jsonl", "{\"id\":\"a\",\"image\":\"https://e.com/1.png\",\"prompt\":\"x\"}\n{\"id\":\"a\",\"image\":\"https://e.com/2.png\",\"prompt\":\"y\"}\n");
    let load = workplace.run(&["load", "twice.jsonl", "--model", "kling-v1-standard"]);
    assert_eq!(load.code, 2);
    assert!(
        load.stderr
            .contains("twice.jsonl:2: id: `a` is on line 1 already"),
        "{load:?}"
    );
}

#[test]
fn a_check_prices_the_batch_and_leaves_nothing_behind() {
    let workplace = TestEnv::new(high_limits());
    workplace.write_manifest("batch.csv", 8);
    let check = workplace.run(&[
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
    assert!(!workplace.dir.path().join("overnight.db").exists());
}

#[test]
fn a_run_stops_at_its_budget_and_goes_on_with_a_higher_one() {
    let workplace = TestEnv::new(high_limits());
    workplace.write_manifest("batch.csv", 3);
    workplace.load(10, "eachlabs");
    let run = workplace.run(&["run", "--budget", "1.00"]);
    assert_eq!(run.code, 4, "{run:?}");
    assert!(
        run.stderr.contains("stopped at the budget of $1.00") && run.stderr.contains("jobs wait"),
        "{run:?}"
    );
    assert!(workplace.ledger().charged() <= 1_000_000);
    assert_eq!(workplace.run(&["run", "--budget", "1.00"]).code, 4);
    assert!(workplace.ledger().charged() <= 1_000_000);
    assert_eq!(workplace.run(&["run", "--budget", "100"]).code, 0);
    workplace.assert_all_rendered_once(10);
}

#[test]
fn a_batchs_own_budget_is_a_wall_too() {
    let workplace = TestEnv::new(high_limits());
    workplace.write_manifest("batch.csv", 10);
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
    assert_eq!(workplace.run(&load).code, 0);
    assert_eq!(workplace.run(&["run"]).code, 4);
    assert_eq!(workplace.ledger().entries.len(), 3);
    assert_eq!(workplace.status()["batches"][0]["budget_usd"], "0.7");
}

#[test]
fn the_json_of_status_has_its_documented_form() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(3, "eachlabs");
    assert_eq!(workplace.run(&["run"]).code, 0);
    let expected = json!({
        "batches": [{
            "batch": "batch",
            "jobs": {"queued": 0, "submitting": 0, "in_doubt": 0, "running": 0, "downloading": 0, "succeeded": 3,
                "failed": 0, "cancelled": 0},
            "spent_usd": "0.675", "reserved_usd": "0", "at_risk_usd": "0", "budget_usd": null, "eta_s": null,
        }],
        "providers": [
            {"provider": "eachlabs", "in_flight": 0, "limit": 10, "paused": null},
            {"provider": "aimlapi", "in_flight": 0, "limit": 10, "paused": null},
            {"provider": "fal", "in_flight": 0, "limit": 10, "paused": null},
        ],
    });
    assert_eq!(workplace.status(), expected);
}

#[test]
fn the_records_of_export_have_their_documented_fields_in_both_formats() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(2, "fal");
    assert_eq!(workplace.run(&["run"]).code, 0);
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
    ];
    let jobs = workplace.export();
    for job in &jobs {
        let mut keys: Vec<&str> = job
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        let mut wanted = fields.to_vec();
        wanted.sort_unstable();
        assert_eq!(keys, wanted);
        assert!(job["finished_at"].as_str().expect("a time").ends_with('Z'));
        assert_eq!(
            (&job["attempts"], &job["estimate_usd"]),
            (&json!(1), &json!("0.225"))
        );
    }
    let csv = workplace.run(&["export"]).stdout;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], fields.join(","));
    assert!(
        lines[1].starts_with("batch,row-0,2,succeeded,kling-v1-standard,fal,"),
        "{csv}"
    );
}

#[test]
fn one_job_is_shown_with_its_attempts() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(2, "eachlabs");
    assert_eq!(workplace.run(&["run"]).code, 0);
    let shown: Value =
        serde_json::from_str(&workplace.run(&["show", "row-1", "--json"]).stdout).expect("JSON");
    assert_eq!(shown["state"], "succeeded");
    assert_eq!(shown["attempt_list"][0]["state"], "done");
    assert!(
        workplace
            .run(&["show", "row-1"])
            .stdout
            .contains("attempt 1")
    );
    let missing = workplace.run(&["show", "row-9"]);
    assert_eq!(missing.code, 2);
    assert!(
        missing.stderr.contains("there is no job `row-9`"),
        "{missing:?}"
    );
    let listed: Value =
        serde_json::from_str(&workplace.run(&["jobs", "--json"]).stdout).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(2));
}

#[test]
fn queued_jobs_are_cancelled_and_taken_up_again() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(4, "eachlabs");
    assert!(
        workplace
            .run(&["cancel", "row-0", "row-1"])
            .stdout
            .contains("2 jobs cancelled")
    );
    assert_eq!(workplace.run(&["run"]).code, 0);
    assert_eq!(workplace.ledger().entries.len(), 2);
    assert!(
        workplace
            .run(&["retry", "--state", "cancelled"])
            .stdout
            .contains("2 jobs will go on")
    );
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_rendered_once(4);
}

#[test]
fn a_running_job_that_is_cancelled_is_dropped_by_its_provider_and_stays_booked() {
    let workplace = TestEnv::new(overnight::simulator::SimulatorOptions {
        speed: 1.0,
        ..high_limits()
    });
    workplace.load(1, "eachlabs");
    let run = workplace.start(&["run"]);
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while workplace.status()["batches"][0]["jobs"]["running"] != 1 {
        assert!(
            std::time::Instant::now() < patience,
            "the job does not get on"
        );
    }
    assert!(workplace.ledger().entries[0].succeeds);
    let cancel = workplace.run(&["cancel", "row-0"]);
    assert_eq!(cancel.code, 0, "{cancel:?}");
    assert!(!workplace.ledger().entries[0].succeeds);
    assert!(run.wait_with_output().expect("it ended").status.success());
    let status = workplace.status();
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
    let workplace = TestEnv::new(high_limits());
    workplace.load(2, "eachlabs");
    assert_eq!(workplace.run(&["run"]).code, 0);
    for (verb, said) in [
        ("retry", "nothing to retry"),
        ("cancel", "nothing to cancel"),
    ] {
        let refused = workplace.run(&[verb, "row-0"]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(
            refused.stderr.contains("job 1 is succeeded") && refused.stderr.contains(said),
            "{refused:?}"
        );
    }
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_rendered_once(2);
}

#[test]
fn an_output_folder_that_cannot_be_written_stops_the_run_and_loses_nothing() {
    let workplace = TestEnv::new(high_limits());
    // A file stands where the batch's folder should be made.
    workplace.write("renders", "in the way");
    workplace.load(6, "eachlabs");
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stderr.contains("cannot write") && run.stderr.contains("nothing is lost"),
        "{run:?}"
    );
    fs::remove_file(workplace.dir.path().join("renders")).expect("removed");
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_rendered_once(6);
}

#[test]
fn what_a_user_gets_wrong_is_told_with_the_remedy() {
    let workplace = TestEnv::new(high_limits());
    workplace.write_manifest("batch.csv", 1);
    for (args, code, said) in [
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
        let run = workplace.run(args);
        assert_eq!(run.code, code, "{args:?} {run:?}");
        assert!(run.stderr.contains(said), "{args:?} {run:?}");
        assert_eq!(run.stdout, "", "{args:?}");
    }
}

#[test]
fn a_run_without_any_key_says_which_to_set() {
    let workplace = TestEnv::new(high_limits());
    workplace.load(1, "eachlabs");
    let mut command = workplace.command(&["run"]);
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
fn standard_input_is_a_manifest_too() {
    use std::io::Write;
    let workplace = TestEnv::new(high_limits());
    let mut command = workplace.command(&[
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
    assert_eq!(workplace.status()["batches"][0]["batch"], "piped");
}

#[test]
fn hostile_ids_become_files_of_their_own_inside_the_folder() {
    let workplace = TestEnv::new(high_limits());
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
    workplace.write("hostile.jsonl", &rows.join("\n"));
    assert_eq!(
        workplace
            .run(&["load", "hostile.jsonl", "--model", "kling-v1-standard"])
            .code,
        0
    );
    assert_eq!(workplace.run(&["run"]).code, 0);
    workplace.assert_all_rendered_once(ids.len());
    let files = fs::read_dir(workplace.dir.path().join("renders/hostile")).expect("the folder");
    let mut names: Vec<String> = files
        .map(|file| {
            file.expect("a file")
                .file_name()
                .to_string_lossy()
                .to_lowercase()
        })
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), ids.len());
}

#[test]
fn the_models_are_shown_with_their_fields_prices_and_routes() {
    let workplace = TestEnv::new(high_limits());
    let models = workplace.run(&["models"]).stdout;
    assert!(
        models.contains("kling-v1-standard")
            && models.contains("$0.28 for 5 s, $0.056 a further s"),
        "{models}"
    );
    let model = workplace.run(&["models", "kling-v1-standard"]).stdout;
    assert!(
        model.contains("dynamic_masks") && model.contains("number 0 to 1"),
        "{model}"
    );
}
