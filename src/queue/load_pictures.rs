//! The rows of a product that has one for each of its pictures: a picture keeps its key when the pictures
//! are in another order, or others are added.

use std::collections::BTreeSet;

use crate::domain::{InputComparison, JobId, NewJob};

use super::Result;
use super::load_store::{KnownJob, LoadTransaction};

/// The field of a product's picture.
const PICTURE: &str = "image";

/// What a row of a product stands for.
#[derive(Clone, Debug)]
enum Place {
    /// For the job of its own key, or for a new one.
    Own,
    /// For the job of another key, or for a new one, because another picture has its own.
    Other(String),
}

/// Returns the rows, each under the key that its picture has. `is_seen` tells for which jobs a row was added
/// already.
pub(super) fn place(
    tx: &mut impl LoadTransaction,
    comparison: &InputComparison,
    rows: &[NewJob],
    is_seen: impl Fn(JobId) -> bool,
) -> Result<Vec<NewJob>> {
    let mut placed = Vec::with_capacity(rows.len());
    for product in rows.chunk_by(|one, other| one.product == other.product) {
        let places = match &product[0].product {
            Some(key) => place_product(tx, comparison, key, product, &is_seen)?,
            None => vec![Place::Own; product.len()],
        };
        for (row, place) in product.iter().zip(places) {
            placed.push(match place {
                Place::Own => row.clone(),
                Place::Other(key) => row.with_key(key),
            });
        }
    }
    Ok(placed)
}

fn place_product(
    tx: &mut impl LoadTransaction,
    comparison: &InputComparison,
    product: &str,
    rows: &[NewJob],
    is_seen: &impl Fn(JobId) -> bool,
) -> Result<Vec<Place>> {
    let mut known = Vec::new();
    let mut number = 1;
    loop {
        let key = key_of(product, number);
        match tx.find(&key)? {
            Some(job) => known.push((key, job)),
            None if number > rows.len() => break,
            None => {}
        }
        number += 1;
    }
    let mut taken: BTreeSet<String> = known.iter().map(|(key, _)| key.clone()).collect();
    known.retain(|(_, job)| !is_seen(job.job_id));
    let mut places = vec![Place::Own; rows.len()];
    let mut open: Vec<usize> = (0..rows.len()).collect();
    open.retain(|row| {
        let wanted = &rows[*row];
        let is_same = |(_, job): &(String, KnownJob)| job.fingerprint == wanted.fingerprint;
        // Of equal ones the row keeps its own.
        let own = known
            .iter()
            .position(|job| job.0 == wanted.row_key && is_same(job));
        let found = own.or_else(|| known.iter().position(is_same));
        found.is_none_or(|found| {
            let (key, _) = known.swap_remove(found);
            places[*row] = Place::Other(key);
            false
        })
    });
    let mut left = Vec::new();
    for row in open {
        let mut found = None;
        for (index, (_, job)) in known.iter().enumerate() {
            let before = tx.input(job.job_id)?;
            let diff = comparison.diff(&before, &rows[row].input);
            if !diff.fields.contains(PICTURE) {
                found = Some(index);
                break;
            }
        }
        match found {
            Some(index) => {
                let (key, _) = known.swap_remove(index);
                places[row] = Place::Other(key);
            }
            None => left.push(row),
        }
    }
    for row in left {
        let own = &rows[row].row_key;
        if known.iter().any(|(key, _)| key == own) || taken.insert(own.clone()) {
            continue;
        }
        let mut keys = (1..).map(|number| key_of(product, number));
        let free = keys.find(|key| !taken.contains(key)).unwrap_or_default();
        taken.insert(free.clone());
        places[row] = Place::Other(free);
    }
    Ok(places)
}

fn key_of(product: &str, number: usize) -> String {
    match number {
        0 | 1 => product.to_owned(),
        _ => format!("{product}-{number}"),
    }
}
