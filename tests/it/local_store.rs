//! Folders of clips on this machine, while others change them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream;
use overnight::domain::{KeptClip, SavedFile};
use overnight::output::{ByteStream, ClipLocation, LocalStore, OutputError, OutputStore};
use overnight_simulator::clip;
use sha2::{Digest, Sha256};

fn location(folder: &Path, file_name: &str) -> ClipLocation {
    ClipLocation {
        folder: folder.to_owned().into(),
        file_name: file_name.into(),
        kept: Vec::new(),
        client_token: "token".into(),
    }
}

/// Returns a whole clip, as it arrives.
fn whole_clip() -> ByteStream {
    let clip = clip::for_prediction("prediction", 0, 5);
    Box::pin(stream::iter([Ok(clip.into())]))
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.into_string().expect("a text"))
        .collect()
}

/// Makes a path a link to a folder, at once, whatever link it was before.
fn lead(path: &Path, to: &Path) {
    let link = path.with_extension("next");
    symlink(to, &link).expect("a link");
    fs::rename(link, path).expect("replaced");
}

#[test]
fn a_folder_that_is_swapped_all_the_time_gets_clips_in_its_first_place_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let [first, other] = ["first", "other"].map(|name| dir.path().join(name));
    for folder in [&first, &other] {
        fs::create_dir(folder).expect("a folder");
    }
    let clips = dir.path().join("clips");
    lead(&clips, &first);
    let store = LocalStore::default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let save = |number| {
        let location = location(&clips, &format!("{number}.mp4"));
        runtime.block_on(store.save(&location, whole_clip(), None))
    };
    save(0).expect("a clip");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                lead(&clips, &other);
                lead(&clips, &first);
            }
        });
        let results: Vec<_> = (1..400).map(save).collect();
        is_done.store(true, Ordering::Relaxed);
        let is_replaced =
            |result: &Result<_, _>| matches!(result, Err(OutputError::FolderReplaced { .. }));
        assert!(results.iter().any(is_replaced));
        for saved in results.iter().flatten() {
            let name = saved.file.location.file_name();
            assert!(first.join(name).exists(), "{name:?}");
        }
    });
    assert_eq!(names_in(&other), [""; 0]);
    let is_temporary = |name: &str| name.starts_with('.');
    assert!(!names_in(&first).iter().any(|name| is_temporary(name)));
}

#[tokio::test]
async fn a_file_is_not_moved_aside_through_a_link_that_leads_out_of_its_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let [clips, other] = ["clips", "other"].map(|name| dir.path().join(name));
    for folder in [&clips, &other] {
        fs::create_dir(folder).expect("a folder");
    }
    fs::write(clips.join("a.mp4"), "none of ours").expect("a file");
    symlink(&other, clips.join("earlier")).expect("a link");
    let location = location(&clips, "a.mp4");
    let store = LocalStore::default();
    let save = || store.save(&location, whole_clip(), None);
    let saved = save().await;
    assert!(matches!(saved, Err(OutputError::Store { .. })), "{saved:?}");
    assert_eq!(names_in(&other), [""; 0]);
    let left = fs::read(clips.join("a.mp4")).expect("the file");
    assert_eq!(left, b"none of ours");
    fs::remove_file(clips.join("earlier")).expect("removed");
    save().await.expect("a clip");
    assert_eq!(names_in(&clips.join("earlier")), ["found-a.1.mp4"]);
}

#[tokio::test]
async fn a_clip_that_is_moved_aside_while_another_job_takes_it_is_taken_as_it_was() {
    let content = vec![7; 1 << 20];
    for round in 0..20 {
        let dir = tempfile::tempdir().expect("a folder");
        let file = SavedFile {
            location: dir.path().join("a.mp4").into(),
            bytes: content.len() as u64,
            sha256: hex::encode(Sha256::digest(&content)),
        };
        let clip = KeptClip { number: 1, file };
        let new_path = dir.path().join("new.mp4");
        let place = dir.path().join("a.mp4");
        fs::write(&place, &content).expect("a clip");
        fs::write(&new_path, vec![8; content.len()]).expect("a clip");
        fs::create_dir(dir.path().join("earlier")).expect("a folder");
        let moved = clip.clone();
        let moves = std::thread::spawn(move || {
            // At another moment in each round.
            std::thread::sleep(Duration::from_micros(200 * round));
            let aside = moved.earlier_location();
            fs::rename(&place, aside.on_disk().expect("a path")).expect("moved aside");
            fs::rename(new_path, &place).expect("replaced");
        });
        let location = location(&dir.path().join("autumn"), "a.mp4");
        let saved = LocalStore::default()
            .reuse(&clip, &location)
            .await
            .expect("no error");
        moves.join().expect("moved");
        let saved = saved.expect("the clip is there").location;
        let path = saved.on_disk().expect("a path");
        assert!(fs::read(path).expect("a clip") == content, "round {round}");
    }
}

#[tokio::test]
async fn a_link_that_a_crash_left_does_not_lead_a_download_into_the_clip_of_another_job() {
    let dir = tempfile::tempdir().expect("a folder");
    let clip = dir.path().join("a.mp4");
    fs::write(&clip, "a paid clip").expect("a clip");
    fs::hard_link(&clip, dir.path().join(".b.mp4.part")).expect("a link");
    let location = location(dir.path(), "b.mp4");
    let bytes = Box::pin(futures_util::stream::iter([Ok("no clip".into())]));
    let saved = LocalStore::default().save(&location, bytes, None).await;
    assert!(matches!(saved, Err(OutputError::NotAClip(_))), "{saved:?}");
    assert_eq!(fs::read(&clip).expect("the clip"), b"a paid clip");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
}

#[tokio::test]
async fn a_download_that_another_process_has_taken_over_leaves_the_other_one_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let partial = dir.path().join(".b.mp4.part");
    let location = location(dir.path(), "b.mp4");
    let path = partial.clone();
    let take_over = move || {
        fs::remove_file(&path).expect("the first download");
        fs::write(&path, "the second download").expect("a file");
        Ok("end".into())
    };
    let chunks = futures_util::stream::iter([Ok("start".into())]);
    let wait = futures_util::stream::once(async move {
        while !partial.exists() {
            tokio::task::yield_now().await;
        }
        take_over()
    });
    let bytes = Box::pin(futures_util::StreamExt::chain(chunks, wait));
    let saved = LocalStore::default().save(&location, bytes, None).await;
    assert!(matches!(saved, Err(OutputError::TakenOver)), "{saved:?}");
    let second = dir.path().join(".b.mp4.part");
    assert_eq!(fs::read(second).expect("a file"), b"the second download");
}
