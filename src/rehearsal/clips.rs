//! Simulated files: clips of a few bytes that are counted and discarded, and images that are never
//! read from disk.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use crate::domain::{KeptClip, LocalImage, Location, SavedFile};
use crate::image::{ImageError, ImageFile, ImageSource};
use crate::output::{
    ByteStream, CheckDepth, ClipDamage, ClipLocation, ClipSource, ClipStream, DownloadError,
    OutputError, OutputStore, SavedClip,
};

use super::sim_state::SimState;

/// The content of every simulated clip.
const CLIP: &[u8] = b"a clip";

/// Source and store of simulated clips. A saved clip is only counted.
#[derive(Clone, Debug)]
pub(super) struct SimulatedClips(pub(super) Arc<SimState>);

#[async_trait]
impl ClipSource for SimulatedClips {
    async fn get(&self, _: &str, _: bool) -> Result<ClipStream, DownloadError> {
        sleep(self.0.scenario.latency.download).await;
        let bytes = stream::iter([Ok(Bytes::from_static(CLIP))]);
        Ok(ClipStream {
            bytes: Box::pin(bytes),
            length: Some(CLIP.len() as u64),
        })
    }
}

#[async_trait]
impl OutputStore for SimulatedClips {
    async fn save(
        &self,
        location: &ClipLocation,
        mut clip: ByteStream,
        _: Option<u64>,
    ) -> Result<SavedClip, OutputError> {
        let mut bytes = 0;
        while let Some(chunk) = clip.next().await {
            bytes += chunk?.len() as u64;
        }
        let mut stats = self.0.stats();
        stats.clips += 1;
        stats.last_saved = self.0.since_start(self.0.now());
        let place = location.folder.join(&location.file_name);
        Ok(SavedClip {
            file: SavedFile {
                location: place,
                bytes,
                sha256: String::new(),
            },
            duration: None,
        })
    }

    async fn reuse(
        &self,
        _: &KeptClip,
        _: &ClipLocation,
    ) -> Result<Option<SavedFile>, OutputError> {
        // The queue of a rehearsal is new: it has made no clip.
        Ok(None)
    }

    async fn read(&self, _: &Location) -> Result<Option<ByteStream>, OutputError> {
        Ok(None)
    }

    async fn write_note(&self, _: &Location, _: Vec<u8>) -> Result<(), OutputError> {
        Ok(())
    }

    async fn remove(&self, _: &Location) -> Result<(), OutputError> {
        Ok(())
    }

    async fn write(&self, _: &SavedFile, _: ByteStream) -> Result<bool, OutputError> {
        Ok(false)
    }

    async fn list(&self, _: &Location) -> Result<Vec<Location>, OutputError> {
        Ok(Vec::new())
    }

    async fn inspect(&self, _: &Location) -> Result<Result<SavedFile, String>, OutputError> {
        Ok(Err("there is nothing".into()))
    }

    async fn check(&self, _: &SavedFile, _: CheckDepth) -> Option<ClipDamage> {
        Some(ClipDamage::Missing)
    }

    async fn space(&self, _: &Location) -> Result<Option<u64>, OutputError> {
        Ok(None)
    }
}

/// Source of simulated images. They are empty, because no provider reads them.
#[derive(Clone, Copy, Debug)]
pub(super) struct SimulatedImages;

#[async_trait]
impl ImageSource for SimulatedImages {
    async fn read(&self, image: &LocalImage) -> Result<ImageFile, ImageError> {
        Ok(ImageFile {
            name: image.sha256().to_owned(),
            content_type: "image/png",
            bytes: Bytes::new(),
        })
    }
}
