//! What people do to their sheets between two loads. The simulator's ledger is the judge of what was
//! paid for.

use std::fs;

use overnight_simulator::{Call, Fault, Faults};

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

/// Returns the bytes of each clip of a batch, by the name of its row.
fn clips(env: &TestEnv, batch: &str) -> Vec<(String, Vec<u8>)> {
    let jobs = env.export();
    let of_batch = jobs.iter().filter(|job| job["batch"] == batch);
    let clip = |job: &serde_json::Value| {
        assert_eq!(job["state"], "succeeded", "{job}");
        let path = job["output"].as_str().expect("a path");
        let id = job["id"].as_str().expect("an id").to_owned();
        (id, fs::read(path).expect("a clip"))
    };
    of_batch.map(clip).collect()
}

#[test]
fn the_same_export_under_another_name_takes_the_clips_for_nothing() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    env.write("sheet (1).csv", &SHEET.replace('\n', "\r\n"));
    let again = ["load", "sheet (1).csv", "--model", "kling-v1-standard"];
    let checked = env.run(&[&again[..], &["--check"]].concat());
    assert!(
        checked.stdout.contains("0 jobs to queue, at most $0.00"),
        "{checked:?}"
    );
    let loaded = env.run(&again);
    assert!(loaded.stdout.contains("3 new, 0 changed"), "{loaded:?}");
    assert!(
        loaded
            .stderr
            .contains("taken for nothing: 3 rows (of `sheet`)"),
        "{loaded:?}"
    );
    env.run_to_end();
    assert_eq!(env.ledger().entries.len(), 3);
    assert_eq!(clips(&env, "sheet"), clips(&env, "sheet (1)"));
    for job in env
        .export()
        .iter()
        .filter(|job| job["batch"] == "sheet (1)")
    {
        assert_eq!(
            (&job["cost_usd"], &job["cost_source"]),
            (&"0".into(), &"reused".into())
        );
        assert_eq!(job["attempts"], 0, "{job}");
    }
    let bill = env.run(&["bill"]);
    assert!(bill.stdout.contains("$0.675"), "{bill:?}");
    assert_eq!(env.run(&["verify"]).code, 0);
    // With --fresh they are rendered and paid for.
    env.write("other.csv", SHEET);
    let fresh = env.run(&[
        "load",
        "other.csv",
        "--model",
        "kling-v1-standard",
        "--fresh",
    ]);
    assert!(fresh.stdout.contains("3 jobs queued"), "{fresh:?}");
    env.run_to_end();
    assert_eq!(env.ledger().entries.len(), 6);
}

#[test]
fn an_edit_that_is_undone_before_the_run_gives_the_clips_back() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    let before = clips(&env, "sheet");
    for between in [&["status"][..], &["cancel", "--batch", "sheet"]] {
        let mistyped = SHEET
            .replace("\u{e9} cup", "\u{e9} cup??")
            .replace("rises", "falls");
        let edited = env.load_sheet(&mistyped, &[]);
        assert!(edited.stdout.contains("changed, "), "{edited:?}");
        assert_eq!(env.run(between).code, 0);
        env.load_sheet(SHEET, &["--drop-removed"]);
        env.run_to_end();
        let mut after = clips(&env, "sheet");
        after.retain(|(id, _)| before.iter().any(|(known, _)| known == id));
        assert_eq!(after, before);
    }
    assert_eq!(env.ledger().entries.len(), 3);
}

#[test]
fn a_changed_row_keeps_its_earlier_clip_and_gets_it_back_for_nothing() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    let first = clips(&env, "sheet");
    let edited = SHEET.replace("Steam rises", "Steam falls");
    env.load_sheet(&edited, &[]);
    env.run_to_end();
    let second = clips(&env, "sheet");
    assert_ne!(first[2], second[2]);
    let folder = env.dir.path().join("renders/sheet");
    let earlier = fs::read(folder.join("earlier/pot.1.mp4")).expect("the earlier clip");
    assert_eq!(earlier, first[2].1);
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    assert_eq!(clips(&env, "sheet"), first);
    let other = fs::read(folder.join("earlier/pot.2.mp4")).expect("the other clip");
    assert_eq!(other, second[2].1);
    env.load_sheet(&edited, &[]);
    env.run_to_end();
    assert_eq!(clips(&env, "sheet"), second);
    assert_eq!(env.ledger().entries.len(), 4);
}

#[test]
fn a_failed_rendering_leaves_the_earlier_clip_current() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    let before = clips(&env, "sheet");
    let edited = SHEET.replace("Steam rises", "Steam falls");
    env.load_sheet(&edited, &[]);
    let fails = Faults::default().with(Some(Call::Create), Fault::FailedPrediction, 1.0);
    env.simulator.set_faults(fails);
    assert_eq!(env.run(&["run"]).code, 3);
    let jobs = env.export();
    let pot = &jobs[2];
    assert_eq!(pot["state"], "failed", "{pot}");
    let clip = pot["output"].as_str().expect("the earlier clip");
    assert_eq!(fs::read(clip).expect("the earlier clip"), before[2].1);
    assert_eq!(pot["versions"][0]["output"], clip, "{pot}");
    assert_eq!(pot["versions"][0]["current"], true, "{pot}");
    assert_eq!(pot["versions"].as_array().map(Vec::len), Some(1), "{pot}");
    assert!(env.run(&["show", "pot"]).stdout.contains(clip));
    let verified = env.run(&["verify"]);
    assert!(verified.stdout.contains("3 intact"), "{verified:?}");
    assert_eq!(env.run(&["report", "--out", "page.html"]).code, 0);
    let page = fs::read_to_string(env.dir.path().join("page.html")).expect("the page");
    assert!(page.contains("renders/sheet/pot.mp4"), "the page links it");

    env.simulator.set_faults(Faults::default());
    assert_eq!(env.run(&["retry"]).code, 0);
    env.run_to_end();
    let jobs = env.export();
    let versions = jobs[2]["versions"].as_array().expect("a list");
    let paths: Vec<_> = versions
        .iter()
        .map(|version| version["output"].as_str().expect("a path"))
        .collect();
    assert!(
        paths[0].ends_with("renders/sheet/earlier/pot.1.mp4"),
        "{paths:?}"
    );
    assert_eq!(paths[1..], [clip]);
    assert_eq!(fs::read(paths[0]).expect("the earlier clip"), before[2].1);
    let verified = env.run(&["verify"]);
    assert!(verified.stdout.contains("4 intact"), "{verified:?}");
}

#[test]
fn earlier_clips_are_listed_verified_and_removed_when_the_user_says_so() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    env.load_sheet(&SHEET.replace("Steam rises", "Steam falls"), &[]);
    env.run_to_end();
    let after = clips(&env, "sheet");
    let earlier = env.dir.path().join("renders/sheet/earlier/pot.1.mp4");
    let path = earlier.to_str().expect("text");
    assert!(env.run(&["show", "pot"]).stdout.contains(path));
    let csv = env.run(&["export", "--format", "csv"]).stdout;
    assert!(csv.contains("earlier/pot.1.mp4"), "{csv}");
    assert_eq!(env.run(&["report", "--out", "page.html"]).code, 0);
    let page = fs::read_to_string(env.dir.path().join("page.html")).expect("the page");
    assert!(page.contains("renders/sheet/earlier/pot.1.mp4"));

    assert_eq!(env.run(&["clean"]).code, 2);
    // Another batch asks for what the earlier clip shows.
    env.write("again.csv", SHEET);
    let load = ["load", "again.csv", "--model", "kling-v1-standard"];
    assert_eq!(env.run(&load).code, 0);
    let refused = env.run(&["clean", "--earlier"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(earlier.exists());
    env.run_to_end();
    let cleaned = env.run(&["clean", "--earlier", "--batch", "sheet"]);
    assert!(cleaned.stdout.contains("1 earlier clip"), "{cleaned:?}");
    assert!(!earlier.exists());
    assert_eq!(clips(&env, "sheet"), after);
    assert!(
        env.run(&["verify"])
            .stdout
            .contains("6 clips checked: 6 intact")
    );
    let again = env.run(&["clean", "--earlier"]);
    assert!(again.stdout.contains("no earlier clips"), "{again:?}");
    assert_eq!(env.ledger().entries.len(), 4);
}

#[test]
fn a_reused_clip_whose_file_is_gone_is_downloaded_again_without_paying() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    let before = clips(&env, "sheet");
    fs::remove_dir_all(env.dir.path().join("renders")).expect("removed");
    env.write("again.csv", SHEET);
    let loaded = env.run(&["load", "again.csv", "--model", "kling-v1-standard"]);
    assert!(
        loaded.stderr.contains("taken for nothing: 3 rows"),
        "{loaded:?}"
    );
    env.run_to_end();
    assert_eq!(clips(&env, "again"), before);
    assert_eq!(env.ledger().entries.len(), 3);
    assert_eq!(env.ledger().charged(), 675_000);
}

#[test]
fn a_product_with_a_clip_for_each_picture_keeps_them_in_any_order_of_its_pictures() {
    let env = TestEnv::new(high_limits());
    let sheet = |pictures: &[&str], prompt: &str| {
        let rows = pictures
            .iter()
            .map(|picture| format!("cup,Cup,https://cdn.shop.example/{picture}.jpg\n"));
        let text = format!("Handle,Title,Image Src\n{}", rows.collect::<String>());
        (text, format!("{prompt} {{Title}}"))
    };
    let load = |pictures: &[&str], prompt: &str| {
        let (text, prompt) = sheet(pictures, prompt);
        let args = ["--preset", "shopify", "--each-image", "--prompt", &prompt];
        env.load_sheet(&text, &args)
    };
    let pictures = || {
        let jobs = env.export();
        let picture = |job: &serde_json::Value| {
            let id = job["id"].as_str().expect("an id").to_owned();
            let shown = env.run(&["show", &id, "--json"]).stdout;
            let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
            let link = shown["input"]["image"].as_str().expect("a link").to_owned();
            (id, link.rsplit('/').next().unwrap_or_default().to_owned())
        };
        jobs.iter().map(picture).collect::<Vec<_>>()
    };
    let expect = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(id, link)| ((*id).to_owned(), format!("{link}.jpg")));
        assert_eq!(pictures(), pairs.collect::<Vec<_>>());
    };
    load(&["a", "b", "c"], "Turn");
    env.run_to_end();
    let before = clips(&env, "sheet");
    expect(&[("cup", "a"), ("cup-2", "b"), ("cup-3", "c")]);

    let reordered = load(&["c", "a", "b"], "Turn");
    assert!(
        reordered.stdout.contains("0 new, 0 changed, 3 same"),
        "{reordered:?}"
    );
    let more = load(&["d", "c", "b", "a"], "Turn");
    assert!(more.stdout.contains("1 new, 0 changed, 3 same"), "{more:?}");
    expect(&[("cup", "a"), ("cup-2", "b"), ("cup-3", "c"), ("cup-4", "d")]);
    env.run_to_end();
    assert_eq!(clips(&env, "sheet")[..3], before);
    assert_eq!(env.ledger().entries.len(), 4);

    let edited = load(&["b", "e", "a", "c"], "Lift");
    assert!(
        edited.stdout.contains("1 new, 3 changed, 0 same"),
        "{edited:?}"
    );
    expect(&[
        ("cup", "a"),
        ("cup-2", "b"),
        ("cup-3", "c"),
        ("cup-4", "d"),
        ("cup-5", "e"),
    ]);
}

#[test]
fn load_says_what_is_asked_for_twice_here_and_in_another_batch() {
    let env = TestEnv::new(high_limits());
    let twins = "id,image,prompt\na,https://e.com/1.png,Turn\nb,https://e.com/1.png,Turn\n\
                 c,https://e.com/1.png,Turn\nd,https://e.com/2.png,Turn\n";
    let loaded = env.load_sheet(twins, &[]);
    let told = "2 rows ask for the same as another row of this load";
    assert!(loaded.stderr.contains(told), "{loaded:?}");
    let again = env.load_sheet(twins, &["--check"]);
    assert!(!again.stderr.contains("ask for the same"), "{again:?}");
    for check in [&["--check"][..], &[]] {
        let copy = env.load_sheet(twins, &[&["--batch", "copy"], check].concat());
        let told = "4 queued rows ask for what is queued or under way in batch `sheet`";
        assert!(copy.stderr.contains(told), "{copy:?}");
    }
}

#[test]
fn identical_rows_of_one_sheet_are_separate_clips_and_stay_so() {
    let env = TestEnv::new(high_limits());
    let twins = "id,image,prompt\na,https://e.com/1.png,Turn\nb,https://e.com/1.png,Turn\n";
    env.load_sheet(twins, &[]);
    env.run_to_end();
    assert_eq!(env.ledger().entries.len(), 2);
    env.write("again.csv", twins);
    assert_eq!(
        env.run(&["load", "again.csv", "--model", "kling-v1-standard"])
            .code,
        0
    );
    env.run_to_end();
    assert_eq!(env.ledger().entries.len(), 2);
    let again = clips(&env, "again");
    assert_ne!(again[0].1, again[1].1);
}

#[test]
fn clips_of_a_lost_queue_are_taken_or_rendered_as_the_user_says_and_never_overwritten() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    let made = clips(&env, "sheet");
    let forget = || {
        for file in fs::read_dir(env.dir.path()).expect("the folder") {
            let path = file.expect("a file").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            if name.starts_with("overnight.db") {
                fs::remove_file(&path).expect("removed");
            }
        }
    };
    forget();
    let stopped = env.run(&LOAD);
    assert_eq!(stopped.code, 2, "{stopped:?}");
    assert!(stopped.stderr.contains("3 rows are new"), "{stopped:?}");
    assert!(stopped.stderr.contains("--adopt-files"), "{stopped:?}");
    let adopted = env.load_sheet(SHEET, &["--adopt-files"]);
    assert!(
        adopted
            .stderr
            .contains("files taken as clips, for nothing: 3 rows"),
        "{adopted:?}"
    );
    assert!(
        adopted.stdout.contains("0 jobs queued, at most $0.00"),
        "{adopted:?}"
    );
    assert!(!adopted.stderr.contains("in all"), "{adopted:?}");
    env.run_to_end();
    assert_eq!(clips(&env, "sheet"), made);
    assert_eq!(env.run(&["verify"]).code, 0);
    assert_eq!(env.ledger().entries.len(), 3);

    // No provider has an adopted file, so it is rendered again only if the user says so.
    let (id, content) = made.first().expect("a clip");
    let path = env.dir.path().join(format!("renders/sheet/{id}.mp4"));
    fs::remove_file(&path).expect("removed");
    let verified = env.run(&["verify", "--fix"]);
    assert_eq!(verified.code, 3, "{verified:?}");
    assert!(
        verified.stdout.contains("an adopted file: `load --fresh`"),
        "{verified:?}"
    );
    fs::write(&path, content).expect("restored");
    assert_eq!(env.run(&["verify"]).code, 0);

    forget();
    env.load_sheet(SHEET, &["--fresh"]);
    env.run_to_end();
    assert_eq!(env.ledger().entries.len(), 6);
    let folder = env.dir.path().join("renders/sheet/earlier");
    for (id, clip) in &made {
        let kept = fs::read(folder.join(format!("found-{id}.1.mp4"))).expect("the found clip");
        assert_eq!(&kept, clip, "{id}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_row_whose_id_differs_in_case_does_not_take_the_clip_of_another() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    let made = clips(&env, "sheet");
    let sheet = SHEET
        .replace("mug,https", "MUG,https")
        .replace("turn left", "turn right");
    let loaded = env.load_sheet(&sheet, &[]);
    assert!(loaded.stdout.contains("1 new"), "{loaded:?}");
    env.run_to_end();
    let all = clips(&env, "sheet");
    assert!(made.iter().all(|clip| all.contains(clip)), "all are kept");
    assert_eq!(all.len(), 4);
    assert_eq!(env.run(&["verify"]).code, 0);
    assert_eq!(env.ledger().entries.len(), 4);
}

#[test]
fn a_file_that_is_no_clip_is_not_taken_as_one() {
    let env = TestEnv::new(high_limits());
    fs::create_dir_all(env.dir.path().join("renders/sheet")).expect("a folder");
    env.write("renders/sheet/mug.mp4", "not a video");
    env.write("sheet.csv", SHEET);
    let refused = env.run(&[&LOAD[..], &["--adopt-files"]].concat());
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("mug.mp4 is no complete clip"),
        "{refused:?}"
    );
    let status = env.run(&["status"]);
    assert_eq!(status.code, 1, "nothing was loaded: {status:?}");
}

#[test]
fn a_clip_that_the_user_has_edited_is_kept_when_its_row_is_rendered_again() {
    let env = TestEnv::new(high_limits());
    env.load_sheet(SHEET, &[]);
    env.run_to_end();
    env.write("renders/sheet/pot.mp4", "cut by hand");
    env.load_sheet(&SHEET.replace("Steam rises", "Steam falls"), &[]);
    env.run_to_end();
    let kept = fs::read(env.dir.path().join("renders/sheet/earlier/found-pot.1.mp4"));
    assert_eq!(kept.expect("the edited clip"), b"cut by hand");
}
