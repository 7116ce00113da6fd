//! A shop's files, from the export to the clips, and again when they have changed.

use std::collections::BTreeSet;
use std::fs;

use overnight::domain::Money;

use crate::support::{TestEnv, high_limits};

const MODEL: [&str; 2] = ["--model", "kling-v1-standard"];

#[test]
fn a_shops_export_becomes_a_clip_for_each_product_named_by_its_handle() {
    let workplace = TestEnv::new(high_limits());
    workplace.write("spring.csv", include_str!("../../jobs/shop-export.csv"));
    let prompt = "Slow turntable of {Title}, {Option1 Value|plain}";
    let load = [
        "load",
        "spring.csv",
        "--preset",
        "shopify",
        "--via",
        "eachlabs,fal",
        "--prompt",
        prompt,
    ];
    let loaded = workplace.run(&[&load[..], &MODEL].concat());
    assert!(loaded.stdout.contains("20 rows: 20 new"), "{loaded:?}");
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    let clips = fs::read_dir(workplace.dir.path().join("renders/spring")).expect("the clips");
    let clips: BTreeSet<String> = clips
        .map(|clip| {
            clip.expect("a clip")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(clips.len(), 20);
    assert!(clips.contains("blue-stoneware-mug.mp4"), "{clips:?}");
    workplace.assert_clips_and_books(20);

    // A product more is a job more, and each further image another.
    let each = workplace.run(&[&load[..], &["--each-image", "--check"], &MODEL].concat());
    assert!(
        each.stdout.contains("41 rows: 21 new, 0 changed, 20 same"),
        "{each:?}"
    );
}

#[test]
fn three_changed_rows_of_a_finished_batch_are_three_jobs_at_the_price_of_three() {
    let workplace = TestEnv::new(high_limits());
    workplace.make_all(200, "eachlabs,fal");
    let manifest = workplace.dir.path().join("batch.csv");
    let text = fs::read_to_string(&manifest).expect("the manifest");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for line in [8, 70, 170] {
        lines[line] = lines[line].replacen(".png", ".png?v=2", 1);
    }
    assert_ne!(lines.join("\n"), text.trim_end());
    fs::write(&manifest, lines.join("\n")).expect("written");
    let load = ["load", "batch.csv", "--via", "eachlabs,fal"];
    let loaded = workplace.run(&[&load[..], &MODEL].concat());
    assert!(
        loaded
            .stdout
            .contains("200 rows: 0 new, 3 changed, 197 same"),
        "{loaded:?}"
    );
    let priced: Vec<&str> = loaded
        .stdout
        .lines()
        .filter(|line| line.contains("3 jobs queued"))
        .collect();
    let dearest = lines
        .iter()
        .enumerate()
        .filter(|(line, _)| [8, 70, 170].contains(line));
    let micros = dearest
        .map(|(_, line)| {
            if line.ends_with(",10") {
                450_000
            } else {
                225_000
            }
        })
        .sum();
    let price = format!("${:#}", Money::from_micros(micros));
    assert_eq!(
        priced,
        [format!("3 jobs queued, at most {price}")],
        "{loaded:?}"
    );
    // Each route is priced, and each prompt shown, of these three only.
    for provider in ["eachlabs", "fal"] {
        let route = loaded
            .stdout
            .lines()
            .find(|line| line.starts_with(provider))
            .expect("a line a route");
        let cells: Vec<&str> = route.split_whitespace().collect();
        assert_eq!(cells[1..3], ["3".to_owned(), price.clone()], "{loaded:?}");
    }
    let prompts: Vec<&str> = loaded
        .stdout
        .lines()
        .filter(|line| line.starts_with("  row-"))
        .collect();
    assert_eq!(
        prompts,
        [
            "  row-7: Turn number 7",
            "  row-69: Turn number 69",
            "  row-169: Turn number 169"
        ]
    );
    let again = workplace.run(&[&load[..], &MODEL, &["--check"]].concat());
    assert!(
        again.stdout.ends_with("0 jobs to queue, at most $0.00\n"),
        "{again:?}"
    );
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(workplace.ledger().entries.len(), 203);
}

#[test]
fn a_batch_file_says_it_all_and_the_command_line_goes_over_it() {
    let workplace = TestEnv::new(high_limits());
    let folder = workplace.dir.path().join("jobs");
    fs::create_dir(&folder).expect("a folder");
    fs::write(
        folder.join("shop-export.csv"),
        include_str!("../../jobs/shop-export.csv"),
    )
    .expect("written");
    fs::write(
        folder.join("spring.toml"),
        include_str!("../../jobs/spring.toml"),
    )
    .expect("written");
    let load = workplace.run(&["load", "jobs/spring.toml"]);
    assert!(load.stdout.contains("spring: 20 rows: 20 new"), "{load:?}");
    let status = workplace.status();
    assert_eq!(status["batches"][0]["budget_usd"], "12.5");
    let run = workplace.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    workplace.assert_clips_and_books(20);
    let other = workplace.run(&[
        "load",
        "jobs/spring.toml",
        "--batch",
        "long",
        "--set",
        "duration=10",
        "--via",
        "fal",
        "--check",
    ]);
    assert!(
        other.stdout.contains("20 jobs to queue, at most $9.00\n"),
        "{other:?}"
    );

    fs::write(
        folder.join("typo.toml"),
        "manifest = \"shop-export.csv\"\nprompts = \"x\"\n",
    )
    .expect("written");
    let typo = workplace.run(&["load", "jobs/typo.toml"]);
    assert_eq!(typo.code, 2);
    assert!(
        typo.stderr
            .contains("jobs/typo.toml:2:1: unknown key `prompts`, did you mean `prompt`?"),
        "{typo:?}"
    );
    fs::write(folder.join("bare.toml"), "manifest = \"shop-export.csv\"\n").expect("written");
    let bare = workplace.run(&["load", "jobs/bare.toml"]);
    assert_eq!(
        (bare.code, bare.stderr.contains("say --model NAME")),
        (2, true),
        "{bare:?}"
    );
}
