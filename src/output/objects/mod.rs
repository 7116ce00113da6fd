//! Clips as objects of a storage that speaks the protocol of Amazon S3.
//!
//! A clip is first written to a temporary file without a name, checked, and then stored with its SHA-256 and the
//! token of its attempt as metadata. The storage's confirmation means that it keeps it. A crash between that and
//! the queue's commit leaves an object whose token the next try recognizes, without another download.

mod bucket;
mod error;
mod object;
mod place;
mod spool;
mod storage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use url::Url;

use crate::domain::{KeptClip, Location, SavedFile};
use crate::failpoint::fail_point;
use crate::media::MediaKind;

use super::disk_space::available_space;
use super::receive::receive;
use super::{
    ByteStream, CheckDepth, ClipDamage, ClipLocation, OutputError, OutputStore, SavedClip,
};
use object::Object;
use place::Place;
use spool::Spool;
use storage::{Occupant, Storage};

/// A store that saves clips as objects.
#[derive(Clone, Debug)]
pub struct ObjectStorage(Arc<Storage>);

impl ObjectStorage {
    /// Creates a store that finds the storage and its credentials in these environment variables: `AWS_…`.
    pub fn new(environment: &BTreeMap<String, String>) -> Self {
        Self(Arc::new(Storage::new(environment)))
    }
}

#[async_trait]
impl OutputStore for ObjectStorage {
    async fn save(
        &self,
        location: &ClipLocation,
        bytes: ByteStream,
        length: Option<u64>,
    ) -> Result<SavedClip, OutputError> {
        let video = location.folder.join(&location.file_name);
        let spooled = receive(bytes, video.clone(), move |chunks| {
            Spool::write(chunks, length)
        });
        let clip = spooled.await?;
        fail_point!("clip spooled");
        let file = SavedFile {
            location: video.with_extension(clip.media.kind.extension()),
            bytes: clip.bytes,
            sha256: clip.sha256.clone(),
        };
        Place::new(&self.0, location, &file)?.store(&clip).await?;
        fail_point!("object stored");
        Ok(SavedClip {
            file,
            duration: clip.media.duration,
        })
    }

    async fn find_saved(&self, location: &ClipLocation) -> Result<Option<SavedFile>, OutputError> {
        let video = location.folder.join(&location.file_name);
        for kind in MediaKind::ALL {
            let object = self.0.object(&video.with_extension(kind.extension()))?;
            let Some(found) = object.find().await? else {
                continue;
            };
            if found.client_token.as_ref() != Some(&location.client_token) {
                continue;
            }
            let saved = SavedFile {
                location: object.location.clone(),
                bytes: found.bytes,
                sha256: found.sha256.unwrap_or_default(),
            };
            // It may be here because it is damaged.
            if self.find_content_damage(&object, &saved).await?.is_none() {
                return Ok(Some(saved));
            }
        }
        Ok(None)
    }

    async fn reuse(
        &self,
        clip: &KeptClip,
        location: &ClipLocation,
    ) -> Result<Option<SavedFile>, OutputError> {
        let place = location.folder.join(&location.file_name);
        let file = clip
            .file
            .at(place.with_extension(clip.file.location.extension()));
        // In this order, because the object of another job may be moved aside at any time.
        for from in [&clip.file.location, &clip.earlier_location()] {
            let source = self.0.object(from)?;
            if self
                .find_damage(&source, &file, CheckDepth::Stored)
                .await?
                .is_some()
            {
                continue;
            }
            if *from != file.location {
                Place::new(&self.0, location, &file)?.copy(&source).await?;
            }
            fail_point!("clip reused");
            return Ok(Some(file));
        }
        Ok(None)
    }

    async fn read(&self, location: &Location) -> Result<Option<ByteStream>, OutputError> {
        self.0.object(location)?.read().await
    }

    async fn link(&self, location: &Location, valid: Duration) -> Result<Option<Url>, OutputError> {
        self.0.object(location)?.link(valid).await.map(Some)
    }

    async fn write_note(&self, location: &Location, content: Vec<u8>) -> Result<(), OutputError> {
        self.0.object(location)?.write(content).await
    }

    async fn remove(&self, location: &Location) -> Result<(), OutputError> {
        self.0.object(location)?.remove().await
    }

    async fn write(&self, file: &SavedFile, bytes: ByteStream) -> Result<bool, OutputError> {
        let spooled = receive(bytes, file.location.clone(), |chunks| {
            Spool::write(chunks, None)
        });
        let clip = spooled.await?;
        let is_same = clip.bytes == file.bytes && clip.sha256 == file.sha256;
        match self.0.place_of(file).await? {
            (place, Occupant::None) if is_same => self.0.store_new(&place, &clip).await,
            (_, occupant) => Ok(is_same && occupant == Occupant::Same),
        }
    }

    async fn copy(&self, from: &SavedFile, to: &Location) -> Result<bool, OutputError> {
        let source = self.0.object(&from.location)?;
        match self.0.place_of(&from.at(to.clone())).await? {
            (place, Occupant::None) => source.copy_to(&place).await.map(|()| true),
            (_, occupant) => Ok(occupant == Occupant::Same),
        }
    }

    async fn list(&self, folder: &Location) -> Result<Vec<Location>, OutputError> {
        self.0.object(folder)?.list().await
    }

    async fn inspect(&self, location: &Location) -> Result<Result<SavedFile, String>, OutputError> {
        let Some(bytes) = self.0.object(location)?.read().await? else {
            return Ok(Err("it is gone".into()));
        };
        let spooled = receive(bytes, location.clone(), |chunks| Spool::write(chunks, None));
        Ok(match spooled.await {
            Ok(clip) => Ok(SavedFile {
                location: location.clone(),
                bytes: clip.bytes,
                sha256: clip.sha256,
            }),
            Err(OutputError::NotAClip(reason)) => Err(reason.to_string()),
            Err(error) => return Err(error),
        })
    }

    async fn check(&self, saved: &SavedFile, depth: CheckDepth) -> Option<ClipDamage> {
        let found = async {
            let object = self.0.object(&saved.location)?;
            self.find_damage(&object, saved, depth).await
        };
        match found.await {
            Ok(damage) => damage,
            Err(error) => Some(ClipDamage::Unreadable(error.to_string())),
        }
    }

    async fn has_conditions(&self, folder: &Location) -> Result<Option<bool>, OutputError> {
        self.0.try_to_write(folder).await.map(Some)
    }

    async fn space(&self, folder: &Location) -> Result<Option<u64>, OutputError> {
        self.0.try_to_write(folder).await?;
        let spool = spool::folder();
        available_space(&spool).map_err(|error| OutputError::Store {
            location: spool.into(),
            error,
        })
    }
}

impl ObjectStorage {
    async fn find_damage(
        &self,
        object: &Object,
        saved: &SavedFile,
        depth: CheckDepth,
    ) -> Result<Option<ClipDamage>, OutputError> {
        let Some(found) = object.find().await? else {
            return Ok(Some(ClipDamage::Missing));
        };
        if found.bytes != saved.bytes {
            return Ok(Some(ClipDamage::Length {
                bytes: found.bytes,
                saved: saved.bytes,
            }));
        }
        match (depth, found.sha256) {
            (CheckDepth::Stored, Some(sha256)) => {
                Ok((sha256 != saved.sha256).then_some(ClipDamage::Content))
            }
            // Who copied it may not have copied its metadata.
            (CheckDepth::Content, _) | (CheckDepth::Stored, None) => {
                self.find_content_damage(object, saved).await
            }
        }
    }

    /// Reads an object, and compares it with what was saved.
    async fn find_content_damage(
        &self,
        object: &Object,
        saved: &SavedFile,
    ) -> Result<Option<ClipDamage>, OutputError> {
        let Some(mut content) = object.read().await? else {
            return Ok(Some(ClipDamage::Missing));
        };
        let mut hash = Sha256::new();
        while let Some(chunk) = content.next().await {
            hash.update(&chunk?);
        }
        let is_same = hex::encode(hash.finalize()) == saved.sha256;
        Ok((!is_same).then_some(ClipDamage::Content))
    }
}
