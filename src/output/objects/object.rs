//! One object of a bucket, and the requests to it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    Attribute, Attributes, CopyOptions, Error, GetOptions, MultipartUpload, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, UpdateVersion,
};
use reqwest::Method;
use tokio::sync::Semaphore;
use url::Url;

use crate::domain::{Location, ObjectUrl, SavedFile};
use crate::failpoint::fail_point;
use crate::output::{ByteStream, DownloadError, OutputError};

use super::bucket::Bucket;
use super::error::{is_not_implemented, output_error};
use super::spool::Spool;

/// Maximum length of a clip that is sent in one request, and the length of a part of a longer one, in bytes. The
/// smallest part that every storage takes has 5 MiB.
const PART_BYTES: u64 = 8 << 20;

/// Number of parts of one clip that are under way at once.
const CONCURRENT_PARTS: usize = 2;

/// Length of the parts and clips that are under way at once, in MiB. Each is in memory until it is stored.
pub(super) const MAX_BUFFERED_MIB: usize = 48;

/// The metadata in which the SHA-256 of a clip is stored, in hexadecimal.
const SHA256: Attribute = Attribute::Metadata(Cow::Borrowed("sha256"));

/// The metadata in which it is stored for which attempt a clip was downloaded.
const CLIENT_TOKEN: Attribute = Attribute::Metadata(Cow::Borrowed("client-token"));

/// An object that may exist.
pub(super) struct Object {
    pub(super) bucket: Arc<Bucket>,
    path: Path,
    /// Its URL.
    pub(super) location: Location,
}

/// What a storage says of an object.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its length, in bytes.
    pub(super) bytes: u64,
    /// The SHA-256 that was stored with it.
    pub(super) sha256: Option<String>,
    /// The attempt that was stored with it.
    pub(super) client_token: Option<String>,
    /// Its version.
    pub(super) version: UpdateVersion,
}

impl Found {
    /// Returns whether it is a clip as it was saved, by what is stored with it.
    pub(super) fn is(&self, saved: &SavedFile) -> bool {
        self.bytes == saved.bytes && self.sha256.as_ref() == Some(&saved.sha256)
    }
}

/// How what is in the place of a new object is treated.
#[derive(Clone, Debug)]
pub(super) enum InPlace {
    /// It stays, and the new one is not stored.
    Keep,
    /// It is replaced, unless it is another version by then.
    Replace(UpdateVersion),
    /// It is replaced, whatever it is. For storages without conditions.
    ReplaceAny,
}

impl Object {
    pub(super) fn new(bucket: Arc<Bucket>, url: &ObjectUrl) -> Result<Self, OutputError> {
        let location = Location::Object(url.clone());
        let path = Path::parse(url.key()).map_err(|error| OutputError::Refused {
            location: location.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            bucket,
            path,
            location,
        })
    }

    /// Returns whether the storage means the conditions of a request; `None` if that is not known yet.
    pub(super) fn has_conditions(&self) -> Option<bool> {
        self.bucket.has_conditions.get().copied()
    }

    /// Remembers whether the storage means the conditions of a request.
    pub(super) fn note_conditions(&self, has_conditions: bool) {
        // What was found out first holds.
        let _ = self.bucket.has_conditions.set(has_conditions);
    }

    /// Returns whether the storage refuses to replace this object if it is asked not to. Nothing must be here, and
    /// nothing is left.
    pub(super) async fn try_conditions(&self) -> Result<bool, OutputError> {
        self.remove().await?;
        let create = || {
            let options = PutMode::Create.into();
            let content = Bytes::from_static(b"overnight tries to write here");
            self.bucket
                .client
                .put_opts(&self.path, content.into(), options)
        };
        create().await.map_err(|error| self.error(&error))?;
        let has_conditions = matches!(create().await, Err(Error::AlreadyExists { .. }));
        self.remove().await?;
        Ok(has_conditions)
    }

    /// Asks what there is; `None` if there is no object.
    pub(super) async fn find(&self) -> Result<Option<Found>, OutputError> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = match self.bucket.client.get_opts(&self.path, options).await {
            // An answer to HEAD has no text: a bucket that does not exist is seen when something is stored.
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| self.error(&error))?,
        };
        let text = |attribute| {
            found
                .attributes
                .get(attribute)
                .map(|value| (**value).to_owned())
        };
        Ok(Some(Found {
            bytes: found.meta.size,
            sha256: text(&SHA256),
            client_token: text(&CLIENT_TOKEN),
            version: UpdateVersion {
                e_tag: found.meta.e_tag,
                version: found.meta.version,
            },
        }))
    }

    /// Stores a clip. Returns `false`, and stores nothing, if something else is in its place that was not to be
    /// replaced.
    pub(super) async fn store(
        &self,
        clip: &Spool,
        client_token: &str,
        in_place: InPlace,
        buffers: &Semaphore,
    ) -> Result<bool, OutputError> {
        let mut attributes = Attributes::new();
        attributes.insert(SHA256, clip.sha256.clone().into());
        attributes.insert(CLIENT_TOKEN, client_token.to_owned().into());
        let content_type = clip.media.kind.content_type();
        attributes.insert(Attribute::ContentType, content_type.into());
        if !is_one_part(clip) {
            return self.store_parts(clip, attributes, buffers).await;
        }
        let options = PutOptions {
            mode: match in_place {
                InPlace::Keep => PutMode::Create,
                InPlace::Replace(version) => PutMode::Update(version),
                InPlace::ReplaceAny => PutMode::Overwrite,
            },
            attributes,
            ..PutOptions::default()
        };
        let _buffer = buffers.acquire_many(mib(clip.bytes)).await;
        let content = clip.read(0, clip.bytes).await?;
        match self
            .bucket
            .client
            .put_opts(&self.path, content.into(), options)
            .await
        {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) if is_not_implemented(&error) => {
                self.note_conditions(false);
                Ok(false)
            }
            Err(error) => Err(self.error(&error)),
        }
    }

    async fn store_parts(
        &self,
        clip: &Spool,
        attributes: Attributes,
        buffers: &Semaphore,
    ) -> Result<bool, OutputError> {
        let options = PutMultipartOptions {
            attributes,
            ..PutMultipartOptions::default()
        };
        let started = self
            .bucket
            .client
            .put_multipart_opts(&self.path, options)
            .await;
        let mut upload = started.map_err(|error| self.error(&error))?;
        let stored = async {
            self.send_parts(upload.as_mut(), clip, buffers).await?;
            fail_point!("parts stored");
            let completed = upload.complete().await;
            completed.map_err(|error| self.error(&error))
        };
        if let Err(error) = stored.await {
            // Parts that stay are paid for until a lifecycle rule of the bucket removes them.
            let _ = upload.abort().await;
            return Err(error);
        }
        // The answer to the last request may be that of a try that failed.
        match self.find().await? {
            Some(found) if found.bytes == clip.bytes => Ok(true),
            _ => Err(OutputError::Unavailable {
                location: self.location.clone(),
                reason: "what was stored is not there, or has another length".into(),
            }),
        }
    }

    async fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        clip: &Spool,
        buffers: &Semaphore,
    ) -> Result<(), OutputError> {
        let mut under_way = FuturesUnordered::new();
        let mut offset = 0;
        while offset < clip.bytes || !under_way.is_empty() {
            let length = PART_BYTES.min(clip.bytes - offset);
            let buffer = match under_way.len() {
                0 => buffers.acquire_many(mib(length)).await.ok(),
                CONCURRENT_PARTS.. => None,
                // Nobody waits for a buffer while it has one: those who wait for each other would wait forever.
                _ => buffers.try_acquire_many(mib(length)).ok(),
            };
            match buffer.filter(|_| length > 0) {
                Some(buffer) => {
                    let part = clip.read(offset, length).await?;
                    let sent = upload.put_part(part.into());
                    under_way.push(async move {
                        let _buffer = buffer;
                        sent.await
                    });
                    offset += length;
                }
                None => {
                    let sent: Option<object_store::Result<()>> = under_way.next().await;
                    sent.transpose().map_err(|error| self.error(&error))?;
                }
            }
        }
        Ok(())
    }

    /// Returns a link to read it, which is signed and therefore secret.
    pub(super) async fn link(&self, valid: Duration) -> Result<Url, OutputError> {
        let signed = self
            .bucket
            .client
            .signed_url(Method::GET, &self.path, valid);
        signed.await.map_err(|error| self.error(&error))
    }

    /// Replaces it by what is no clip.
    pub(super) async fn write(&self, content: Vec<u8>) -> Result<(), OutputError> {
        let written = self.bucket.client.put(&self.path, content.into()).await;
        written.map(drop).map_err(|error| self.error(&error))
    }

    /// Lists what is in this folder itself and is not hidden.
    pub(super) async fn list(&self) -> Result<Vec<Location>, OutputError> {
        let listed = self
            .bucket
            .client
            .list_with_delimiter(Some(&self.path))
            .await;
        let listed = listed
            .map_err(|error| self.error(&error))?
            .objects
            .into_iter();
        let names = listed.filter_map(|object| object.location.filename().map(str::to_owned));
        Ok(names
            .filter(|name| !name.starts_with('.'))
            .map(|name| self.location.join(name))
            .collect())
    }

    /// Copies it to another object of a bucket, within the storage.
    pub(super) async fn copy_to(&self, to: &Self) -> Result<(), OutputError> {
        let copied = self
            .bucket
            .client
            .copy_opts(&self.path, &to.path, CopyOptions::default());
        copied.await.map_err(|error| self.error(&error))
    }

    /// Removes it, if it is there.
    pub(super) async fn remove(&self) -> Result<(), OutputError> {
        match self.bucket.client.delete(&self.path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error(&error)),
        }
    }

    /// Reads it; `None` if there is no object.
    pub(super) async fn read(&self) -> Result<Option<ByteStream>, OutputError> {
        let read = match self.bucket.client.get(&self.path).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            read => read.map_err(|error| self.error(&error))?,
        };
        let location = self.location.clone();
        let bytes = read.into_stream().map(move |chunk| {
            chunk.map_err(|error| {
                let error = output_error(location.clone(), &error);
                DownloadError::Transient(error.to_string())
            })
        });
        Ok(Some(Box::pin(bytes)))
    }

    fn error(&self, error: &Error) -> OutputError {
        output_error(self.location.clone(), error)
    }
}

/// Returns whether a clip is stored by one request.
pub(super) fn is_one_part(clip: &Spool) -> bool {
    clip.bytes <= PART_BYTES
}

/// Returns a length in MiB, at least one.
fn mib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 20))
        .unwrap_or(u32::MAX)
        .max(1)
}
