//! Clips wherever they are: each location is of one of two stores.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use crate::domain::{KeptClip, Location, SavedFile};

use super::{
    ByteStream, CheckDepth, ClipDamage, ClipLocation, OutputError, OutputStore, SavedClip,
    copy_through,
};

/// Folders of this machine, and object storage.
#[derive(Clone)]
pub struct ClipStorage {
    disk: Arc<dyn OutputStore>,
    objects: Arc<dyn OutputStore>,
}

impl ClipStorage {
    /// Combines the two.
    pub fn new(disk: Arc<dyn OutputStore>, objects: Arc<dyn OutputStore>) -> Self {
        Self { disk, objects }
    }

    fn of(&self, location: &Location) -> &dyn OutputStore {
        match location {
            Location::Path(_) => self.disk.as_ref(),
            Location::Object(_) => self.objects.as_ref(),
        }
    }
}

#[async_trait]
impl OutputStore for ClipStorage {
    async fn save(
        &self,
        location: &ClipLocation,
        bytes: ByteStream,
        length: Option<u64>,
    ) -> Result<SavedClip, OutputError> {
        self.of(&location.folder)
            .save(location, bytes, length)
            .await
    }

    async fn find_saved(&self, location: &ClipLocation) -> Result<Option<SavedFile>, OutputError> {
        self.of(&location.folder).find_saved(location).await
    }

    async fn reuse(
        &self,
        clip: &KeptClip,
        location: &ClipLocation,
    ) -> Result<Option<SavedFile>, OutputError> {
        let to = self.of(&location.folder);
        match (&clip.file.location, &location.folder) {
            (Location::Path(_), Location::Path(_)) => to.reuse(clip, location).await,
            (Location::Object(from), Location::Object(folder))
                if from.bucket() == folder.bucket() =>
            {
                to.reuse(clip, location).await
            }
            _ => self.transfer(clip, location).await,
        }
    }

    async fn read(&self, location: &Location) -> Result<Option<ByteStream>, OutputError> {
        self.of(location).read(location).await
    }

    async fn link(&self, location: &Location, valid: Duration) -> Result<Option<Url>, OutputError> {
        self.of(location).link(location, valid).await
    }

    async fn write_note(&self, location: &Location, content: Vec<u8>) -> Result<(), OutputError> {
        self.of(location).write_note(location, content).await
    }

    async fn remove(&self, location: &Location) -> Result<(), OutputError> {
        self.of(location).remove(location).await
    }

    async fn write(&self, file: &SavedFile, bytes: ByteStream) -> Result<bool, OutputError> {
        self.of(&file.location).write(file, bytes).await
    }

    async fn copy(&self, from: &SavedFile, to: &Location) -> Result<bool, OutputError> {
        if from.location.bucket() == to.bucket() {
            return self.of(to).copy(from, to).await;
        }
        copy_through(self, from, to).await
    }

    async fn list(&self, folder: &Location) -> Result<Vec<Location>, OutputError> {
        self.of(folder).list(folder).await
    }

    async fn inspect(&self, location: &Location) -> Result<Result<SavedFile, String>, OutputError> {
        self.of(location).inspect(location).await
    }

    async fn check(&self, saved: &SavedFile, depth: CheckDepth) -> Option<ClipDamage> {
        self.of(&saved.location).check(saved, depth).await
    }

    async fn has_conditions(&self, folder: &Location) -> Result<Option<bool>, OutputError> {
        self.of(folder).has_conditions(folder).await
    }

    async fn space(&self, folder: &Location) -> Result<Option<u64>, OutputError> {
        self.of(folder).space(folder).await
    }
}

impl ClipStorage {
    /// Saves a clip that exists already in another store.
    async fn transfer(
        &self,
        clip: &KeptClip,
        location: &ClipLocation,
    ) -> Result<Option<SavedFile>, OutputError> {
        for from in [clip.file.location.clone(), clip.earlier_location()] {
            let from = clip.file.at(from);
            if self.check(&from, CheckDepth::Stored).await.is_some() {
                continue;
            }
            let Some(bytes) = self.read(&from.location).await? else {
                continue;
            };
            let saved = self.save(location, bytes, Some(from.bytes)).await?.file;
            // It may have been changed while it was read.
            if saved.sha256 == from.sha256 {
                return Ok(Some(saved));
            }
        }
        Ok(None)
    }
}
