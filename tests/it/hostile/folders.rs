//! Folders of clips that are not as they were left.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::support::{CommandOutput, TestEnv, high_limits, load_args};

#[test]
fn two_queues_do_not_write_into_one_folder_unless_the_first_is_gone() {
    let env = TestEnv::new(high_limits());
    env.run_all(2, "fal");
    let folder = env.dir.path();
    env.write(
        "other.csv",
        "id,image,prompt\nother,https://images.example.com/other.png,Another turn\n",
    );
    let mut load = load_args("fal").to_vec();
    load[1] = "other.csv";
    load.extend(["--batch", "batch", "--queue", "other.db"]);
    let loaded = env.run(&load);
    assert_eq!(loaded.code, 0, "{loaded:?}");
    let run_other = || env.run(&["run", "--queue", "other.db"]);
    let refused = run_other();
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("another queue"), "{refused:?}");
    env.assert_each_accepted_once(2);
    fs::remove_file(folder.join("overnight.db")).expect("the first queue is gone");
    let run = run_other();
    assert_eq!(run.code, 0, "{run:?}");
    assert!(folder.join("renders/batch/other.mp4").is_file());
    env.assert_each_accepted_once(3);
}

#[test]
fn a_folder_in_the_place_of_a_clip_or_of_its_temporary_file_costs_no_other_clip() {
    let env = TestEnv::new(high_limits());
    env.load(4, "eachlabs");
    let clips = env.dir.path().join("renders/batch");
    fs::create_dir_all(clips.join("row-0.mp4/inside")).expect("a folder");
    fs::create_dir_all(clips.join(".row-1.mp4.part/inside")).expect("a folder");
    let run = env.run(&["run"]);
    assert!(matches!(run.code, 0 | 3), "{run:?}");
    for job in env.export() {
        let is_blocked = job["id"] == "row-1" || job["id"] == "row-0";
        assert!(is_blocked || job["state"] == "succeeded", "{job}");
    }
    assert!(clips.join(".row-1.mp4.part/inside").is_dir());
    for blocked in ["row-0.mp4", ".row-1.mp4.part"] {
        let _ = fs::remove_dir_all(clips.join(blocked));
    }
    env.run(&["retry"]);
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(4);
}

#[test]
fn links_in_the_place_of_clips_and_markers_lead_nothing_outside() {
    let env = TestEnv::new(high_limits());
    env.load(3, "eachlabs");
    let clips = env.dir.path().join("renders/batch");
    fs::create_dir_all(&clips).expect("a folder");
    let outside = env.write("outside.txt", "none of ours");
    for name in [
        "row-0.mp4",
        ".row-1.mp4.part",
        ".overnight.json.part",
        ".overnight.json",
    ] {
        symlink(&outside, clips.join(name)).expect("a link");
    }
    symlink("nowhere", clips.join("row-2.mp4")).expect("a dangling link");
    fs::hard_link(&outside, clips.join(".row-0.mp4.part")).expect("a hard link");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(3);
    assert_eq!(fs::read(&outside).expect("the file"), b"none of ours");
    for row in 0..3 {
        let clip = clips.join(format!("row-{row}.mp4"));
        assert!(
            clip.symlink_metadata().expect("a clip").is_file(),
            "{clip:?}"
        );
    }
}

#[test]
fn a_folder_that_is_replaced_by_a_link_during_a_run_gets_no_clip() {
    let env = TestEnv::new(high_limits());
    env.load(30, "eachlabs");
    let clips = env.dir.path().join("renders/batch");
    let elsewhere = env.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    let mut run = env.start(&["run"]);
    crate::support::wait_until("the first clip", || clips.join("row-0.mp4").exists());
    fs::rename(&clips, env.dir.path().join("renders/before")).expect("renamed");
    symlink(&elsewhere, &clips).expect("a link");
    let code = run.wait().expect("it ends").code();
    assert_eq!(code, Some(1));
    assert_eq!(fs::read_dir(&elsewhere).expect("the folder").count(), 0);
    fs::remove_file(&clips).expect("removed");
    fs::rename(env.dir.path().join("renders/before"), &clips).expect("back");
    let run = env.run(&["run"]);
    assert_eq!(run.code, 0, "{run:?}");
    env.assert_all_rendered_once(30);
}

/// Other systems have no such names.
#[cfg(target_os = "linux")]
#[test]
fn a_folder_whose_name_is_not_utf_8_is_refused_before_a_clip_could_land_in_another() {
    let env = TestEnv::new(high_limits());
    env.write_manifest("batch.csv", 1);
    let name = OsStr::from_bytes(b"clips-\xff");
    let folder = env.dir.path().join(name);
    fs::create_dir(&folder).expect("a folder");
    let refused = |command: &mut std::process::Command| {
        let refused = CommandOutput::from_output(command.output().expect("the binary starts"));
        assert_eq!(refused.code, 2, "{refused:?}");
        let what = "is not UTF-8, so that the queue cannot store it\nhint: rename it";
        assert!(refused.stderr.contains(what), "{refused:?}");
        assert!(refused.stderr.contains("/clips-\u{fffd}"), "{refused:?}");
    };
    // As the folder of clips.
    refused(env.command(&load_args("fal")).arg("--out").arg(name));
    assert!(
        !env.dir.path().join("overnight.db").exists(),
        "no queue is left"
    );
    env.load(1, "fal");
    refused(env.command(&["move", "batch"]).arg(name));
    // As the folder of the queue.
    fs::copy(env.dir.path().join("batch.csv"), folder.join("batch.csv")).expect("copied");
    refused(env.command(&load_args("fal")).current_dir(&folder));
    // As the folder of a backup.
    refused(env.command(&["backup"]).arg(folder.join("copy.db")));
    let names = fs::read_dir(&folder).expect("the folder").count();
    assert_eq!(names, 1, "nothing but the manifest");
}
