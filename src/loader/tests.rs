//! When rows are staged while a load reads them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::sync::{Arc, Mutex};

use serde_json::json;

use crate::domain::{Input, Money, NewJob, ProviderName};
use crate::manifest::{Problem, RowSink};
use crate::queue::{LoadPlan, RemovedRows, Result, RowChange, Staging};

use super::stager::{Finished, RowStager};
use super::{FoundClips, LoadObserver};

const PICTURE: &str = "file:///photos/cup.jpg#sha256=\
                       e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const LINK: &str = "https://example.com/cup.jpg";

/// Number of rows in each chunk.
const CHUNK: u64 = 10;

/// A load that keeps the keys of its rows: as long as there are any, the queue is locked.
#[derive(Clone, Default)]
struct FakeStaging(Arc<Mutex<Vec<String>>>);

impl Staging for FakeStaging {
    fn add(&mut self, jobs: &[NewJob]) -> Result<Vec<RowChange>> {
        let keys = jobs.iter().map(|job| job.row_key.clone());
        self.0.lock().unwrap().extend(keys);
        Ok(vec![RowChange::New; jobs.len()])
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

    fn read_again(&mut self) {
        self.0 = 0;
    }

    fn add_row(&mut self, _: &NewJob) {
        self.0 += 1;
    }

    fn problem(&mut self, _: Problem) {}

    fn finish(&mut self, _: &BTreeMap<String, u64>) {}
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
    let (found, mut observed) = (FoundClips::default(), Observed::default());
    let staging = FakeStaging::default();
    let mut own = staging.clone();
    let mut stager = RowStager::new(&mut own, &found, &mut observed);
    stager.limit_held_bytes(max_held_bytes);
    let unlocked = read(&mut stager, &staging, images);
    let is_again = stager.finish(rows, false).expect("read") == Finished::ReadAgain;
    if is_again {
        observed.read_again();
        let mut stager = RowStager::again(&mut own, &found, &mut observed);
        read(&mut stager, &staging, images);
        let finished = stager.finish(rows, false).expect("read");
        assert_eq!(finished, Finished::Staged);
    }
    let keys: Vec<String> = (0..rows).map(|row| format!("cup-{row}")).collect();
    assert_eq!(
        *staging.0.lock().unwrap(),
        keys,
        "each row is staged once, in order"
    );
    assert_eq!(observed.0, rows);
    (unlocked, is_again)
}

#[test]
fn others_can_write_while_a_load_reads_few_rows() {
    let (unlocked, is_again) = load(&[LINK, PICTURE, LINK], 1 << 20);
    assert_eq!((unlocked, is_again), (vec![true; 3], false));
}

#[test]
fn many_rows_without_pictures_are_staged_while_they_are_read() {
    let (unlocked, is_again) = load(&[LINK; 4], 1500);
    assert_eq!(
        (unlocked, is_again),
        (vec![true, true, false, false], false)
    );
}

#[test]
fn others_can_write_while_a_load_looks_at_more_pictures_than_it_holds_rows() {
    let (unlocked, is_again) = load(&[PICTURE; 6], 3000);
    assert_eq!((unlocked, is_again), (vec![true; 6], true));
}

#[test]
fn a_load_that_stages_while_it_reads_lets_others_write_again_at_the_first_picture() {
    let (unlocked, is_again) = load(&[LINK, LINK, LINK, LINK, PICTURE, PICTURE], 1500);
    let expected = vec![true, true, false, false, true, true];
    assert_eq!((unlocked, is_again), (expected, true));
}
