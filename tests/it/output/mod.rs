//! Places for clips: every test of `conformance` holds for folders and for object storage.

mod conformance;
mod object_storage;
mod run;

use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use overnight::domain::{KeptClip, Location, SavedFile};
use overnight::output::{
    ByteStream, ClipLocation, LocalStore, ObjectStorage, OutputError, OutputStore, SavedClip,
};
use overnight_simulator::clip;
use tempfile::TempDir;

use crate::moto;
use crate::storage_server::{BUCKET, Conditions, StorageServer};

/// A place for clips, which can be looked at and changed behind its back.
trait Place: Send + Sync {
    type Store: OutputStore;

    fn new() -> Self;
    fn store(&self) -> &Self::Store;
    /// Returns where the clips of a batch are.
    fn folder(&self) -> Location;
    /// Returns the names of what is in it, in order.
    fn names(&self) -> Vec<String>;
    fn content(&self, name: &str) -> Vec<u8>;
    /// Writes something, as another program would.
    fn write(&self, name: &str, content: &[u8]) -> impl Future<Output = ()> + Send;
}

struct Disk {
    dir: TempDir,
    store: LocalStore,
}

impl Disk {
    fn path(&self) -> PathBuf {
        self.dir.path().join("renders/spring")
    }
}

impl Place for Disk {
    type Store = LocalStore;

    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a folder"),
            store: LocalStore::default(),
        }
    }

    fn store(&self) -> &LocalStore {
        &self.store
    }

    fn folder(&self) -> Location {
        self.path().into()
    }

    fn names(&self) -> Vec<String> {
        crate::storage_server::list(&self.path())
    }

    fn content(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).expect("a file")
    }

    async fn write(&self, name: &str, content: &[u8]) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, content).expect("written");
    }
}

struct Objects {
    server: StorageServer,
    store: ObjectStorage,
}

/// Where the objects of a batch are in the bucket.
const PREFIX: &str = "renders/spring/";

impl Objects {
    fn at(server: StorageServer) -> Self {
        let store = ObjectStorage::new(&server.environment());
        Self { server, store }
    }
}

impl Place for Objects {
    type Store = ObjectStorage;

    fn new() -> Self {
        Self::at(StorageServer::start(Conditions::Meant))
    }

    fn store(&self) -> &ObjectStorage {
        &self.store
    }

    fn folder(&self) -> Location {
        format!("s3://{BUCKET}/{PREFIX}").as_str().into()
    }

    fn names(&self) -> Vec<String> {
        let names = self.server.names().into_iter();
        names
            .map(|name| name.trim_start_matches(PREFIX).to_owned())
            .collect()
    }

    fn content(&self, name: &str) -> Vec<u8> {
        self.server.content(&format!("{PREFIX}{name}"))
    }

    async fn write(&self, name: &str, content: &[u8]) {
        let name = format!("{PREFIX}{name}");
        self.server.put(&name, content).await;
    }
}

/// A bucket of another storage, which is right about other things.
struct Moto {
    bucket: moto::Bucket,
    store: ObjectStorage,
}

impl Place for Moto {
    type Store = ObjectStorage;

    fn new() -> Self {
        Self {
            bucket: moto::Bucket::create(),
            store: ObjectStorage::new(&moto::environment()),
        }
    }

    fn store(&self) -> &ObjectStorage {
        &self.store
    }

    fn folder(&self) -> Location {
        format!("s3://{}/{PREFIX}", self.bucket.name)
            .as_str()
            .into()
    }

    fn names(&self) -> Vec<String> {
        let names = self.bucket.names().into_iter();
        names
            .map(|name| name.trim_start_matches(PREFIX).to_owned())
            .collect()
    }

    fn content(&self, name: &str) -> Vec<u8> {
        self.bucket.content(&format!("{PREFIX}{name}"))
    }

    async fn write(&self, name: &str, content: &[u8]) {
        let name = format!("{PREFIX}{name}");
        self.bucket.put(&name, content).await;
    }
}

/// Returns where a clip of an attempt is to be saved.
fn clip_location(folder: Location, token: &str) -> ClipLocation {
    ClipLocation {
        folder,
        file_name: "cup 1.25.mp4".into(),
        kept: Vec::new(),
        client_token: token.into(),
    }
}

/// Returns a whole clip.
fn clip(seed: &str) -> Vec<u8> {
    clip::for_prediction(seed, 0, 5)
}

/// Returns a whole clip of at least this length, in bytes.
fn long_clip(bytes: usize) -> Vec<u8> {
    clip::for_prediction("long", bytes, 5)
}

/// Returns a content as it arrives, in chunks.
fn arriving(content: &[u8]) -> ByteStream {
    let chunks: Vec<_> = content
        .chunks(100_000)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    Box::pin(stream::iter(chunks))
}

async fn save(
    store: &impl OutputStore,
    location: &ClipLocation,
    content: &[u8],
) -> Result<SavedClip, OutputError> {
    let length = Some(content.len() as u64);
    store.save(location, arriving(content), length).await
}

/// Saves a clip, and returns its file.
async fn saved(store: &impl OutputStore, location: &ClipLocation, content: &[u8]) -> SavedFile {
    let saved = save(store, location, content).await;
    saved.expect("the clip is saved").file
}

/// Returns a clip that stays when its job is rendered again.
fn kept(file: &SavedFile) -> KeptClip {
    KeptClip {
        number: 1,
        file: file.clone(),
    }
}

async fn read(store: &impl OutputStore, file: &SavedFile) -> Option<Vec<u8>> {
    let mut bytes = store.read(&file.location).await.expect("it can be read")?;
    let mut content = Vec::new();
    while let Some(chunk) = bytes.next().await {
        content.extend_from_slice(&chunk.expect("a chunk"));
    }
    Some(content)
}
