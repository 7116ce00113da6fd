//! When rows are staged while a load reads them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::domain::{Input, Money, NewJob, ProviderName};
use crate::manifest::{Problem, Remark, RemarkCount, RowSink};
use crate::queue::{LoadPlan, RemovedRows, Result, RowChange, Staging};

use super::stager::{Finished, RowStager};
use super::{FoundClips, LoadObserver};

const LOCAL_IMAGE: &str = "file:///photos/cup.jpg#sha256=\
                       e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const LINK: &str = "https://example.com/cup.jpg";

/// Number of rows in each chunk.
const CHUNK: u64 = 10;

/// A load that keeps the keys of its rows: as long as there are any, the queue is locked.
#[derive(Clone, Default)]
struct FakeStaging(Arc<Mutex<Vec<String>>>);

impl Staging for FakeStaging {
    fn add(&mut self, jobs: &[NewJob]) -> Result<Vec<RowChange>> {
        let mut keys = self.0.lock().unwrap();
        let add = |job: &NewJob| {
            if keys.contains(&job.row_key) {
                return RowChange::Duplicate { line: 2 };
            }
            keys.push(job.row_key.clone());
            RowChange::New
        };
        Ok(jobs.iter().map(add).collect())
    }

    fn discard(&mut self) -> Result<()> {
        self.0.lock().unwrap().clear();
        Ok(())
    }

    fn plan(&mut self) -> Result<LoadPlan> {
        Ok(LoadPlan::default())
    }

    fn commit(&mut self, _: RemovedRows) -> Result<LoadPlan> {
        Ok(LoadPlan::default())
    }
}

impl FakeStaging {
    /// Returns whether another program could write to the queue.
    fn is_unlocked(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

#[derive(Default)]
struct Observed {
    rows: u64,
    problems: Vec<String>,
    ends: u64,
}

impl LoadObserver for Observed {
    fn start_file(
        &mut self,
        _: &str,
        _: Option<&str>,
        file: File,
    ) -> io::Result<impl Read + Seek + Send + use<> + 'static> {
        Ok(file)
    }

    fn read_again(&mut self) {
        self.rows = 0;
    }

    fn add_row(&mut self, _: &NewJob) {
        self.rows += 1;
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem.to_string());
    }

    fn finish(&mut self, _: &BTreeMap<Remark, RemarkCount>) {
        self.ends += 1;
    }
}

fn rows(chunk: u64, image: &str) -> Vec<NewJob> {
    let first = chunk * CHUNK;
    let row = |number: u64| {
        let input = json!({"image": image, "prompt": format!("turn {number}")});
        let input: Input = serde_json::from_value(input).expect("an object");
        let key = format!("cup-{number}");
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&number.to_le_bytes());
        let providers = vec![ProviderName::Fal];
        NewJob::new(fingerprint, key, number + 2, input, providers, Money::ZERO)
    };
    (first..first + CHUNK).map(row).collect()
}

/// Reads chunks of rows with these images. Returns after which of them others could write.
fn read(stager: &mut RowStager<'_, Observed>, staging: &FakeStaging, images: &[&str]) -> Vec<bool> {
    let mut unlocked = Vec::new();
    for (chunk, image) in (0..).zip(images) {
        stager.rows(rows(chunk, image)).expect("the rows are taken");
        unlocked.push(staging.is_unlocked());
    }
    unlocked
}

/// Reads as a load does, once or twice. Returns as [`read`] for the first time, and whether there was a
/// second.
fn load(images: &[&str], max_held_bytes: usize) -> (Vec<bool>, bool) {
    let rows = images.len() as u64 * CHUNK;
    let found = FoundClips::default();
    let mut observed = Observed::default();
    let staging = FakeStaging::default();
    let mut own = staging.clone();
    let mut stager = RowStager::new(&mut own, &found, &mut observed);
    stager.limit_held_bytes(max_held_bytes);
    let unlocked = read(&mut stager, &staging, images);
    let finished = stager.finish(rows, false).expect("read");
    let is_again = finished == Finished::ReadAgain { mistakes: 0 };
    if is_again {
        observed.read_again();
        let mut stager = RowStager::again(&mut own, &found, &mut observed, 0);
        read(&mut stager, &staging, images);
        let finished = stager.finish(rows, false).expect("read");
        assert_eq!(finished, Finished::Staged);
    }
    assert_eq!(observed.ends, 1, "what was left out is told once");
    let keys: Vec<String> = (0..rows).map(|row| format!("cup-{row}")).collect();
    assert_eq!(
        *staging.0.lock().unwrap(),
        keys,
        "each row is staged once, in order"
    );
    assert_eq!(observed.rows, rows);
    (unlocked, is_again)
}

#[test]
fn others_can_write_while_a_load_reads_few_rows() {
    let (unlocked, is_again) = load(&[LINK, LOCAL_IMAGE, LINK], 1 << 20);
    assert_eq!((unlocked, is_again), (vec![true; 3], false));
}

#[test]
fn many_rows_without_local_images_are_staged_while_they_are_read() {
    let (unlocked, is_again) = load(&[LINK; 4], 1500);
    assert_eq!(
        (unlocked, is_again),
        (vec![true, true, false, false], false)
    );
}

#[test]
fn others_can_write_while_a_load_hashes_more_local_images_than_it_holds_rows() {
    let (unlocked, is_again) = load(&[LOCAL_IMAGE; 6], 3000);
    assert_eq!((unlocked, is_again), (vec![true; 6], true));
}

#[test]
fn a_load_that_stages_while_it_reads_lets_others_write_again_at_the_first_local_image() {
    let (unlocked, is_again) = load(&[LINK, LINK, LINK, LINK, LOCAL_IMAGE, LOCAL_IMAGE], 1500);
    let expected = vec![true, true, false, false, true, true];
    assert_eq!((unlocked, is_again), (expected, true));
}

#[test]
fn a_load_that_reads_twice_tells_each_mistake_and_each_duplicate_once() {
    let found = FoundClips::default();
    let mut observed = Observed::default();
    let mut staging = FakeStaging::default();
    let mistake = || Problem {
        file: "m.csv".into(),
        line: 9,
        field: None,
        mistake: "is wrong".to_owned().into(),
    };
    let mut stager = RowStager::new(&mut staging, &found, &mut observed);
    stager.limit_held_bytes(0);
    for _ in 0..2 {
        stager
            .rows(rows(0, LOCAL_IMAGE))
            .expect("the rows are taken");
        stager.problem(mistake());
    }
    let finished = stager.finish(22, false).expect("read");
    assert_eq!(finished, Finished::ReadAgain { mistakes: 2 });
    let mut stager = RowStager::again(&mut staging, &found, &mut observed, 2);
    for _ in 0..2 {
        stager
            .rows(rows(0, LOCAL_IMAGE))
            .expect("the rows are taken");
        stager.problem(mistake());
    }
    let error = stager.finish(22, false).expect_err("there are mistakes");
    assert_eq!(
        error.to_string(),
        "12 mistakes in 22 rows; nothing was loaded"
    );
    assert_eq!(observed.problems.len(), 12, "{:?}", observed.problems);
}

#[test]
fn others_can_write_before_a_load_reads_the_file_that_a_row_takes_as_its_clip() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cup-25.mp4");
    std::fs::write(&file, "no clip").unwrap();
    let found = FoundClips::new(vec![file.into()], true);
    let mut observed = Observed::default();
    let staging = FakeStaging::default();
    let mut own = staging.clone();
    let mut stager = RowStager::new(&mut own, &found, &mut observed);
    stager.limit_held_bytes(1500);
    let unlocked = read(&mut stager, &staging, &[LINK; 4]);
    assert_eq!(
        unlocked,
        [true, true, true, true],
        "the third has the row of the file"
    );
    let finished = stager.finish(4 * CHUNK, false).expect("read");
    assert_eq!(finished, Finished::ReadAgain { mistakes: 1 });
    assert_eq!(observed.problems.len(), 1, "{:?}", observed.problems);
}
