//! The buckets of a storage, and what they share.

use std::collections::BTreeMap;

use tokio::sync::Semaphore;

use crate::domain::{Location, SavedFile};
use crate::output::OutputError;

use super::bucket::Buckets;
use super::object::{InPlace, MAX_BUFFERED_MIB, Object};
use super::spool::Spool;

/// The name of an object that is written to see whether that is possible.
const PROBE: &str = ".overnight-probe";

/// Where objects are.
#[derive(Debug)]
pub(super) struct Storage {
    buckets: Buckets,
    /// Memory for what is being stored, in MiB.
    buffers: Semaphore,
}

/// What is in the place of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    /// Nothing.
    None,
    /// The clip.
    Same,
    /// Something else.
    Other,
}

impl Storage {
    pub(super) fn new(environment: &BTreeMap<String, String>) -> Self {
        Self {
            buckets: Buckets::new(environment),
            buffers: Semaphore::new(MAX_BUFFERED_MIB),
        }
    }

    /// Returns the memory for what is being stored, in MiB.
    pub(super) fn buffers(&self) -> &Semaphore {
        &self.buffers
    }

    /// Returns the object at a location.
    ///
    /// # Errors
    /// Returns an error if it is no object, or if the environment is wrong.
    pub(super) fn object(&self, location: &Location) -> Result<Object, OutputError> {
        let Location::Object(url) = location else {
            let error = location.clone();
            return Err(OutputError::Refused {
                location: error,
                reason: "it is no object".into(),
            });
        };
        let bucket = self.buckets.open(url.bucket());
        let bucket = bucket.map_err(|reason| OutputError::Refused {
            location: location.clone(),
            reason,
        })?;
        Object::new(bucket, url)
    }

    /// Returns the object of a clip, and what is in its place.
    pub(super) async fn place_of(
        &self,
        file: &SavedFile,
    ) -> Result<(Object, Occupant), OutputError> {
        let object = self.object(&file.location)?;
        let occupant = match object.find().await? {
            None => Occupant::None,
            Some(found) if found.is(file) => Occupant::Same,
            Some(_) => Occupant::Other,
        };
        Ok((object, occupant))
    }

    /// Stores a clip of no attempt in a place that was free. Returns whether it still was, if the storage tells.
    pub(super) async fn store_new(
        &self,
        place: &Object,
        clip: &Spool,
    ) -> Result<bool, OutputError> {
        let is_stored = place.store(clip, "", InPlace::Keep, &self.buffers).await?;
        match place.has_conditions() {
            // It was asked for what it does not know.
            Some(false) if !is_stored => {
                let in_place = InPlace::ReplaceAny;
                place.store(clip, "", in_place, &self.buffers).await
            }
            _ => Ok(is_stored),
        }
    }

    /// Writes an object into a folder and removes it. Returns whether the storage means conditions.
    pub(super) async fn try_to_write(&self, folder: &Location) -> Result<bool, OutputError> {
        let probe = self.object(&folder.join(PROBE))?;
        probe.try_conditions().await
    }
}
