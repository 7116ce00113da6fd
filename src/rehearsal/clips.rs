//! Files that are played: clips of a few bytes from nowhere, kept nowhere, and images that nobody reads.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::sleep;

use crate::domain::{LocalImage, SavedFile};
use crate::image::{ImageFile, ImageSource, NoImage};
use crate::output::{ByteStream, ClipSource, Damage, Fetch, FetchError, OutputError, OutputStore, Place};

use super::stage::Stage;

/// What every clip is made of.
const CLIP: &[u8] = b"a clip";

/// Where played clips come from, and where they go.
#[derive(Clone, Debug)]
pub(super) struct PlayedClips(pub(super) Arc<Stage>);

#[async_trait]
impl ClipSource for PlayedClips {
    async fn get(&self, _: &str, _: bool) -> Result<Fetch, FetchError> {
        sleep(self.0.night.latency.download).await;
        let bytes = stream::iter([Ok(Bytes::from_static(CLIP))]);
        Ok(Fetch { bytes: Box::pin(bytes), length: Some(CLIP.len() as u64) })
    }
}

#[async_trait]
impl OutputStore for PlayedClips {
    async fn save(
        &self,
        place: &Place,
        mut clip: ByteStream,
        _: Option<u64>,
    ) -> Result<SavedFile, OutputError> {
        let mut bytes = 0;
        while let Some(chunk) = clip.next().await {
            bytes += chunk?.len() as u64;
        }
        let mut notes = self.0.notes();
        notes.clips += 1;
        notes.last_saved = self.0.since_beginning(self.0.now());
        let path = Path::new(&place.folder).join(&place.file_name);
        Ok(SavedFile { path, bytes, sha256: String::new() })
    }

    async fn check(&self, _: &SavedFile) -> Option<Damage> {
        Some(Damage::Missing)
    }

    async fn space(&self, _: &Path) -> Result<Option<u64>, OutputError> {
        Ok(None)
    }
}

/// Where played images come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlayedImages;

#[async_trait]
impl ImageSource for PlayedImages {
    async fn read(&self, image: &LocalImage) -> Result<ImageFile, NoImage> {
        Ok(ImageFile { name: image.sha256().to_owned(), content_type: "image/png", bytes: Bytes::new() })
    }
}
