//! Clips that are no MP4 video: other videos and pictures are kept under their own endings, and
//! nothing else is.

use std::fs;
use std::path::PathBuf;

use overnight_simulator::{ClipKind, SimulatorOptions};

use crate::support::{TestEnv, high_limits};

/// What is kept, with its ending.
const KEPT: [(ClipKind, &str); 7] = [
    (ClipKind::Mp4, "mp4"),
    (ClipKind::Mov, "mov"),
    (ClipKind::Webm, "webm"),
    (ClipKind::Gif, "gif"),
    (ClipKind::Png, "png"),
    (ClipKind::Jpeg, "jpg"),
    (ClipKind::Webp, "webp"),
];

const VIA: [&str; 3] = ["eachlabs", "fal", "aimlapi"];

fn env_with(clip_kind: ClipKind) -> TestEnv {
    TestEnv::new(SimulatorOptions {
        clip_kind,
        ..high_limits()
    })
}

fn set_kind(env: &TestEnv, kind: ClipKind) {
    env.simulator
        .update_options(|options| options.clip_kind = kind);
}

fn folder(env: &TestEnv) -> PathBuf {
    env.dir.path().join("renders/batch")
}

/// Returns the names of the files in the batch's folder.
fn files(env: &TestEnv) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder(env)) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    // The marker of the run.
    names.retain(|name| name != ".overnight.json");
    names.sort();
    names
}

/// Loads one row with a prompt, and expects success.
fn load_prompt(env: &TestEnv, prompt: &str) {
    let row = format!("row-0,https://images.example.com/0.png,{prompt}\n");
    env.write("batch.csv", &format!("id,image,prompt\n{row}"));
    let loaded = env.run(&["load", "batch.csv", "--model", "kling-v1-standard"]);
    assert_eq!(loaded.code, 0, "{loaded:?}");
}

#[test]
fn videos_and_pictures_of_any_kind_are_kept_under_their_own_ending() {
    for (index, (kind, ending)) in KEPT.into_iter().enumerate() {
        let env = env_with(kind);
        env.run_all(1, VIA[index % VIA.len()]);
        assert_eq!(files(&env), [format!("row-0.{ending}")]);
        assert_eq!(env.ledger().entries[0].downloads, 1, "{kind:?}");
        let verified = env.run(&["verify"]);
        assert_eq!(verified.code, 0, "{verified:?}");
        let shown = env.run(&["show", "row-0"]);
        let name = format!("row-0.{ending}\n");
        assert!(shown.stdout.contains(&name), "{shown:?}");
        assert_eq!(env.run(&["report"]).code, 0);
        let page = env.dir.path().join("report.html");
        let page = fs::read_to_string(page).expect("the page");
        assert!(page.contains(&format!("row-0.{ending}\"")), "{kind:?}");
    }
}

#[test]
fn what_is_neither_a_video_nor_a_picture_is_not_kept() {
    for kind in [ClipKind::Json, ClipKind::Empty] {
        let env = env_with(kind);
        env.load(1, "eachlabs");
        assert_eq!(env.run(&["run"]).code, 3);
        assert_eq!(files(&env), [""; 0]);
        let error = env.export()[0]["error"].to_string();
        assert!(error.contains("not a complete video or picture"), "{error}");
        assert_eq!(env.ledger().entries.len(), 1);
        set_kind(&env, ClipKind::Gif);
        assert_eq!(env.run(&["retry"]).code, 0);
        assert_eq!(env.run(&["run"]).code, 0);
        env.assert_all_rendered_once(1);
    }
}

#[test]
fn a_missing_clip_of_any_kind_is_downloaded_again_without_paying() {
    for (kind, ending) in KEPT {
        let env = env_with(kind);
        env.run_all(1, "eachlabs");
        let path = folder(&env).join(format!("row-0.{ending}"));
        fs::write(&path, "damaged").expect("written");
        let fixed = env.run(&["verify", "--fix"]);
        assert_eq!(fixed.code, 0, "{fixed:?}");
        env.assert_all_rendered_once(1);
        // The damaged file may be one that the user has edited.
        let clip = format!("row-0.{ending}");
        assert_eq!(files(&env), ["earlier".to_owned(), clip.clone()]);
        let damaged = folder(&env).join(format!("earlier/found-row-0.1.{ending}"));
        assert_eq!(fs::read(damaged).expect("the damaged file"), b"damaged");
    }
}

#[test]
fn an_earlier_clip_of_another_kind_is_moved_aside_once_its_successor_is_complete() {
    let env = env_with(ClipKind::Mp4);
    load_prompt(&env, "Turn number 0");
    assert_eq!(env.run(&["run"]).code, 0);
    // Files of the user, which the queue did not write.
    for own in ["row-0.png", "row-0.txt"] {
        fs::write(folder(&env).join(own), "mine").expect("written");
    }
    let earlier = fs::read(folder(&env).join("row-0.mp4")).expect("the clip");
    load_prompt(&env, "Turn number 1");
    set_kind(&env, ClipKind::Json);
    assert_eq!(env.run(&["run"]).code, 3);
    let kept = fs::read(folder(&env).join("row-0.mp4")).expect("the clip");
    assert!(kept == earlier, "the earlier clip has changed");
    set_kind(&env, ClipKind::Webm);
    assert_eq!(env.run(&["retry"]).code, 0);
    assert_eq!(env.run(&["run"]).code, 0);
    assert_eq!(
        files(&env),
        ["earlier", "row-0.png", "row-0.txt", "row-0.webm"]
    );
    let aside = fs::read(folder(&env).join("earlier/row-0.1.mp4")).expect("the earlier clip");
    assert!(aside == earlier, "the earlier clip has changed");
    let mine = fs::read(folder(&env).join("row-0.png")).expect("the file");
    assert_eq!(mine, b"mine");
    assert_eq!(env.run(&["verify"]).code, 0);
    // The row goes back to what it was, and so does its clip.
    load_prompt(&env, "Turn number 0");
    assert_eq!(env.run(&["run"]).code, 0);
    assert_eq!(
        files(&env),
        ["earlier", "row-0.mp4", "row-0.png", "row-0.txt"]
    );
    load_prompt(&env, "Turn number 1");
    assert_eq!(env.run(&["run"]).code, 0);
    assert_eq!(
        files(&env),
        ["earlier", "row-0.png", "row-0.txt", "row-0.webm"]
    );
    assert_eq!(env.run(&["verify"]).code, 0);
    assert_eq!(env.ledger().entries.len(), 2);
}

#[cfg(debug_assertions)]
#[test]
fn a_run_aborted_while_a_clip_of_another_kind_is_saved_leaves_one_current_clip() {
    for point in [
        "file synced",
        "file renamed",
        "folder synced",
        "Save written",
    ] {
        for (before, after) in [
            (ClipKind::Mp4, ClipKind::Gif),
            (ClipKind::Webm, ClipKind::Mp4),
        ] {
            let env = env_with(before);
            load_prompt(&env, "Turn number 0");
            assert_eq!(env.run(&["run"]).code, 0);
            load_prompt(&env, "Turn number 1");
            set_kind(&env, after);
            let mut command = env.command(&["run"]);
            let aborted = command.env("OVERNIGHT_FAILPOINT", point).output();
            assert!(!aborted.expect("the binary starts").status.success());
            assert_eq!(env.run(&["run"]).code, 0);
            let ending = if after == ClipKind::Gif { "gif" } else { "mp4" };
            let current = format!("row-0.{ending}");
            assert_eq!(files(&env), ["earlier", &current], "{point}");
            assert_eq!(env.run(&["verify"]).code, 0);
            assert_eq!(env.ledger().entries.len(), 2);
        }
    }
}
