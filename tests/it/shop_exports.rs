//! Shop exports from load to clips, and loaded again after changes.

use std::collections::BTreeSet;
use std::fs;

use overnight::domain::Money;

use crate::support::{TestEnv, high_limits};

const MODEL: [&str; 2] = ["--model", "kling-v1-standard"];

#[test]
fn a_shop_export_becomes_one_clip_per_product_named_by_its_handle() {
    let env = TestEnv::new(high_limits());
    env.write("spring.csv", include_str!("../../jobs/shop-export.csv"));
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
    let loaded = env.run(&[&load[..], &MODEL].concat());
    assert!(loaded.stdout.contains("20 rows: 20 new"), "{loaded:?}");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    let clips = fs::read_dir(env.dir.path().join("renders/spring")).expect("the clips");
    let clips: BTreeSet<String> = clips
        .map(|clip| {
            clip.expect("a clip")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name: &String| name.ends_with(".mp4"))
        .collect();
    assert_eq!(clips.len(), 20);
    assert!(clips.contains("blue-stoneware-mug.mp4"), "{clips:?}");
    env.assert_clips_and_costs(20);

    // Each image after a product's first is another job.
    let each = env.run(&[&load[..], &["--each-image", "--check"], &MODEL].concat());
    assert!(
        each.stdout.contains("41 rows: 21 new, 0 changed, 20 same"),
        "{each:?}"
    );
}

#[test]
fn three_changed_rows_of_a_finished_batch_become_three_jobs_at_the_price_of_three() {
    let env = TestEnv::new(high_limits());
    env.run_all(200, "eachlabs,fal");
    let manifest = env.dir.path().join("batch.csv");
    let text = fs::read_to_string(&manifest).expect("the manifest");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for line in [8, 70, 170] {
        lines[line] = lines[line].replacen(".png", ".png?v=2", 1);
    }
    assert_ne!(lines.join("\n"), text.trim_end());
    fs::write(&manifest, lines.join("\n")).expect("the file is written");
    let load = ["load", "batch.csv", "--via", "eachlabs,fal"];
    let loaded = env.run(&[&load[..], &MODEL].concat());
    assert!(
        loaded
            .stdout
            .contains("200 rows: 0 new, 3 changed, 197 same"),
        "{loaded:?}"
    );
    let summary: Vec<&str> = loaded
        .stdout
        .lines()
        .filter(|line| line.contains("3 jobs queued"))
        .collect();
    let changed = lines
        .iter()
        .enumerate()
        .filter(|(line, _)| [8, 70, 170].contains(line));
    let micros = changed
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
        summary,
        [format!("3 jobs queued, at most {price}")],
        "{loaded:?}"
    );
    // Only these three are priced on each route, and only their prompts are shown.
    for provider in ["eachlabs", "fal"] {
        let route = loaded
            .stdout
            .lines()
            .find(|line| line.starts_with(provider))
            .expect("a line per route");
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
    let again = env.run(&[&load[..], &MODEL, &["--check"]].concat());
    assert!(
        again.stdout.ends_with("0 jobs to queue, at most $0.00\n"),
        "{again:?}"
    );
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(env.ledger().entries.len(), 203);
}

#[test]
fn a_batch_file_holds_every_setting_and_the_command_line_overrides_it() {
    let env = TestEnv::new(high_limits());
    let folder = env.dir.path().join("jobs");
    fs::create_dir(&folder).expect("a folder");
    fs::write(
        folder.join("shop-export.csv"),
        include_str!("../../jobs/shop-export.csv"),
    )
    .expect("the file is written");
    fs::write(
        folder.join("spring.toml"),
        include_str!("../../jobs/spring.toml"),
    )
    .expect("the file is written");
    let load = env.run(&["load", "jobs/spring.toml"]);
    assert!(load.stdout.contains("spring: 20 rows: 20 new"), "{load:?}");
    let status = env.status();
    assert_eq!(status["batches"][0]["budget_usd"], "12.5");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_clips_and_costs(20);
    let other = env.run(&[
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
    .expect("the file is written");
    let typo = env.run(&["load", "jobs/typo.toml"]);
    assert_eq!(typo.code, 2);
    assert!(
        typo.stderr
            .contains("jobs/typo.toml:2:1: unknown key `prompts`, did you mean `prompt`?"),
        "{typo:?}"
    );
    fs::write(folder.join("bare.toml"), "manifest = \"shop-export.csv\"\n")
        .expect("the file is written");
    let bare = env.run(&["load", "jobs/bare.toml"]);
    assert_eq!(
        (bare.code, bare.stderr.contains("add --model NAME")),
        (2, true),
        "{bare:?}"
    );
}
