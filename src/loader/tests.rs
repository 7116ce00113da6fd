//! When rows are staged while a load reads them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;

use crate::clock::SystemClock;
use crate::domain::{Input, InputComparison, Money, NewJob, ProviderName};
use crate::manifest::{Problem, RowSink};
use crate::queue::sqlite::SqliteQueue;
use crate::queue::{Loader, NewBatch, RemovedRows, Staging};

use super::stager::{Finished, RowStager};
use super::{FoundClips, LoadObserver};

const PICTURE: &str = "file:///photos/cup.jpg#sha256=\
                       e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const LINK: &str = "https://example.com/cup.jpg";

/// Number of rows in each chunk.
const CHUNK: u64 = 10;

/// A queue, a load into it, and another program that wants to write.
struct Harness {
    _folder: tempfile::TempDir,
    staging: Box<dyn Staging>,
    other: Connection,
    found: FoundClips,
}

#[derive(Default)]
struct Observed(u64);

impl LoadObserver for Observed {
    fn start_file(
        &mut self,
        _: &str,
        _: Option<&str>,
        file: File,
    ) -> io::Result<impl Read + Seek + Send + use<> + 'static> {
        Ok(file)
    }

    fn read_again(&mut self) {}

    fn add_row(&mut self, _: &NewJob) {
        self.0 += 1;
    }

    fn problem(&mut self, _: Problem) {}

    fn finish(&mut self, _: &BTreeMap<String, u64>) {}
}

impl Harness {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("overnight.db");
        let queue = SqliteQueue::open_or_create(&path, Arc::new(SystemClock)).expect("a queue");
        let batch = NewBatch {
            name: "cups".into(),
            model: "kling-v1-standard".into(),
            folder: PathBuf::from("/clips/cups"),
            budget: None,
            comparison: InputComparison::default(),
            reuses_clips: true,
        };
        let staging = queue.stage(batch).expect("a staging");
        let other = Connection::open(&path).expect("a connection");
        other.busy_timeout(Duration::ZERO).expect("no timeout");
        Self {
            _folder: folder,
            staging,
            other,
            found: FoundClips::default(),
        }
    }

    /// Returns whether the other program can write.
    fn can_others_write(other: &Connection) -> bool {
        other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok()
    }
}

fn rows(chunk: u64, image: &str) -> Vec<NewJob> {
    let first = chunk * CHUNK;
    let row = |number: u64| {
        let input = json!({"image": image, "prompt": format!("turn {number}")});
        let input = Input(
            input
                .as_object()
                .expect("an object")
                .clone()
                .into_iter()
                .collect(),
        );
        let key = format!("cup-{number}");
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&number.to_le_bytes());
        let providers = vec![ProviderName::Fal];
        NewJob::new(fingerprint, key, number + 2, input, providers, Money::ZERO)
    };
    (first..first + CHUNK).map(row).collect()
}

/// Reads chunks of rows with these images. Returns after which of them others could write.
fn read(other: &Connection, stager: &mut RowStager<'_, Observed>, images: &[&str]) -> Vec<bool> {
    let mut writable = Vec::new();
    for (chunk, image) in (0..).zip(images) {
        stager.rows(rows(chunk, image)).expect("the rows are taken");
        writable.push(Harness::can_others_write(other));
    }
    writable
}

#[test]
fn others_can_write_while_a_load_reads_few_rows() {
    let mut harness = Harness::new();
    let mut observed = Observed::default();
    let mut stager = RowStager::new(harness.staging.as_mut(), &harness.found, &mut observed);
    let writable = read(&harness.other, &mut stager, &[LINK, PICTURE, LINK]);
    assert_eq!(writable, [true; 3]);
    assert_eq!(
        stager.finish(3 * CHUNK, false).expect("staged"),
        Finished::Staged
    );
    assert!(!Harness::can_others_write(&harness.other));
    let plan = harness
        .staging
        .commit(RemovedRows::Keep)
        .expect("committed");
    assert_eq!((plan.new, observed.0), (3 * CHUNK, 3 * CHUNK));
}

#[test]
fn others_can_write_while_a_load_looks_at_more_pictures_than_it_holds_rows() {
    let mut harness = Harness::new();
    let mut observed = Observed::default();
    let images = [PICTURE; 6];
    let mut stager = RowStager::new(harness.staging.as_mut(), &harness.found, &mut observed);
    stager.limit_held_bytes(3000);
    let writable = read(&harness.other, &mut stager, &images);
    assert_eq!(writable, [true; 6]);
    let finished = stager.finish(6 * CHUNK, false).expect("read");
    assert_eq!(finished, Finished::ReadAgain);
    let mut stager = RowStager::again(harness.staging.as_mut(), &harness.found, &mut observed);
    read(&harness.other, &mut stager, &images);
    let finished = stager.finish(6 * CHUNK, false).expect("staged");
    assert_eq!(finished, Finished::Staged);
    let plan = harness
        .staging
        .commit(RemovedRows::Keep)
        .expect("committed");
    assert_eq!((plan.new, observed.0), (6 * CHUNK, 6 * CHUNK));
}

#[test]
fn a_load_that_stages_while_it_reads_lets_others_write_again_at_the_first_picture() {
    let mut harness = Harness::new();
    let mut observed = Observed::default();
    let images = [LINK, LINK, LINK, LINK, PICTURE, PICTURE];
    let mut stager = RowStager::new(harness.staging.as_mut(), &harness.found, &mut observed);
    stager.limit_held_bytes(1500);
    let writable = read(&harness.other, &mut stager, &images);
    assert_eq!(writable, [true, true, false, false, true, true]);
    let finished = stager.finish(6 * CHUNK, false).expect("read");
    assert_eq!(finished, Finished::ReadAgain);
    let mut stager = RowStager::again(harness.staging.as_mut(), &harness.found, &mut observed);
    read(&harness.other, &mut stager, &images);
    stager.finish(6 * CHUNK, false).expect("staged");
    let plan = harness
        .staging
        .commit(RemovedRows::Keep)
        .expect("committed");
    assert_eq!(
        plan.new,
        6 * CHUNK,
        "each row once, although some were staged before"
    );
}
