//! What people do to their sheets between two loads. The simulator's ledger is the judge of what was
//! paid for.

use std::fs;

use crate::support::{TestEnv, high_limits};

const LOAD: [&str; 6] = [
    "load",
    "sheet.csv",
    "--model",
    "kling-v1-standard",
    "--via",
    "eachlabs,fal",
];

const SHEET: &str = "id,image,prompt,aspect_ratio
cup,https://shop.example/files/blue cup.jpg,Caf\u{e9} cup,
mug,https://shop.example/files/m%C3%BCg(1).jpg,\"Two lines:\nturn left\",
pot,https://shop.example/files/pot.jpg?v=17,Steam rises,9:16
";

impl TestEnv {
    fn load_sheet(&self, text: &str, more: &[&str]) -> crate::support::CommandOutput {
        self.write("sheet.csv", text);
        let loaded = self.run(&[&LOAD[..], more].concat());
        assert_eq!(loaded.code, 0, "{loaded:?}");
        loaded
    }

    fn run_to_end(&self) {
        let run = self.run(&["run"]);
        assert_eq!(run.code, 0, "{run:?}");
    }
}

#[test]
fn a_sheet_that_another_program_saved_asks_for_nothing_new() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    let saved = SHEET
        .replace('\n', "\r\n")
        .replace('\u{e9}', "e\u{301}")
        .replace("blue cup.jpg", "blue%20cup.jpg")
        .replace("%C3%BCg(1)", "%c3%bcg%281%29")
        .replace("https://shop", "HTTPS://Shop")
        .replace(".example/", ".example:443/")
        .replace("cup,\r\n", "cup ,16:9\r\n");
    let loaded = env.load_sheet(&saved, &[]);
    assert!(
        loaded
            .stdout
            .starts_with("sheet: 3 rows: 0 new, 0 changed, 3 same\n"),
        "{loaded:?}"
    );
    env.run_to_end();
    assert_eq!(env.ledger().entries.len(), 3);
}

#[test]
fn load_says_what_differs_in_the_changed_rows() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    let edited = SHEET
        .replace("?v=17", "?v=18")
        .replace("Two lines:", "Three lines:")
        .replace("cup,\n", "cup,1:1\n");
    let loaded = env.load_sheet(&edited, &["--check"]);
    let differences =
        "changed: aspect_ratio in 1; prompt in 1; only the query of a link (`v=`) in 1";
    assert!(loaded.stderr.contains(differences), "{loaded:?}");
    assert!(loaded.stderr.contains("`--ignore-query=v`"), "{loaded:?}");
    let ignoring = env.load_sheet(&edited, &["--check", "--ignore-query=v"]);
    assert!(
        ignoring.stdout.contains("2 changed, 1 same"),
        "{ignoring:?}"
    );
    let everything = env.load_sheet(&edited, &["--check", "--ignore-query"]);
    assert!(
        everything.stdout.contains("2 changed, 1 same"),
        "{everything:?}"
    );
    let wrong = env.run(&[&LOAD[..], &["--ignore-query=?v=1"]].concat());
    assert_eq!(wrong.code, 2, "{wrong:?}");
}

#[test]
fn a_shops_cache_parameter_in_its_links_costs_nothing_with_its_preset() {
    let env = TestEnv::new(high_limits());
    let export = |version: u32| {
        format!(
            "Handle,Title,Image Src\n\
             cup,Cup,https://cdn.shop.example/cup.jpg?v={version}\n\
             mug,Mug,https://cdn.shop.example/mug.jpg?v={version}\n"
        )
    };
    let preset = ["--preset", "shopify", "--prompt", "A turn of {Title}"];
    env.load_sheet(&export(1), &preset);
    env.run_to_end();
    let loaded = env.load_sheet(&export(2), &preset);
    assert!(loaded.stdout.contains("0 changed, 2 same"), "{loaded:?}");
    assert!(loaded.stderr.contains("taken as same"), "{loaded:?}");
    env.run_to_end();
    assert_eq!(env.ledger().entries.len(), 2);
    let counting = env.load_sheet(
        &export(2),
        &[&preset[..], &["--ignore-query=", "--check"]].concat(),
    );
    assert!(
        counting.stdout.contains("2 changed, 0 same"),
        "{counting:?}"
    );
}

#[test]
fn a_batch_file_may_say_which_parameters_do_not_count() {
    let env = TestEnv::new(high_limits());
    let batch = "manifest = \"sheet.csv\"\nmodel = \"kling-v1-standard\"\nignore_query = [\"v\"]\n";
    env.write("spring.toml", batch);
    env.write("sheet.csv", SHEET);
    assert_eq!(env.run(&["load", "spring.toml"]).code, 0);
    env.write("sheet.csv", &SHEET.replace("?v=17", "?v=18"));
    let loaded = env.run(&["load", "spring.toml"]);
    assert!(loaded.stdout.contains("0 changed, 3 same"), "{loaded:?}");
}

/// Returns the sheet without its last two rows.
fn first_row() -> String {
    SHEET
        .lines()
        .take(2)
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn rows_taken_out_before_the_run_are_priced_and_dropped_only_if_asked() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    let kept = env.load_sheet(&first_row(), &[]);
    let told = "2 rows are no longer in the manifest and still queued: $0.45";
    assert!(kept.stderr.contains(told), "{kept:?}");
    assert!(
        kept.stderr
            .contains("in all, 3 jobs of this batch are queued, at most $0.675"),
        "{kept:?}"
    );
    let checked = env.load_sheet(&first_row(), &["--drop-removed", "--check"]);
    assert!(
        checked.stderr.contains("$0.45, would be cancelled"),
        "{checked:?}"
    );
    assert_eq!(env.status()["batches"][0]["jobs"]["queued"], 3);
    let dropped = env.load_sheet(&first_row(), &["--drop-removed"]);
    assert!(dropped.stderr.contains("$0.45, cancelled"), "{dropped:?}");
    env.run_to_end();
    assert_eq!(env.ledger().entries.len(), 1);
    // A row that comes back is rendered after all.
    env.load_sheet(SHEET, &[]);
    let retried = env.run(&["retry", "--state", "cancelled"]);
    assert_eq!(retried.code, 0, "{retried:?}");
    env.run_to_end();
    assert_eq!(env.ledger().entries.len(), 3);
}

#[test]
#[cfg(target_os = "linux")]
fn at_a_terminal_load_asks_about_rows_that_were_taken_out() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.write("sheet.csv", &first_row());
    let load = LOAD.join(" ");
    let no = env.run_on_terminal(&load, "\n");
    assert!(no.stdout.contains("Cancel them? [y/N]"), "{no:?}");
    assert_eq!(env.status()["batches"][0]["jobs"]["queued"], 3);
    let yes = env.run_on_terminal(&load, "y\n");
    assert!(yes.stdout.contains("2 jobs cancelled"), "{yes:?}");
    assert_eq!(env.status()["batches"][0]["jobs"]["queued"], 1);
    let sheet = fs::read_to_string(env.dir.path().join("sheet.csv")).expect("the sheet");
    assert_eq!(sheet, first_row());
}
