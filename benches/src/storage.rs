//! Clips in object storage: how long it takes to store them, and the memory for a long one.
//!
//! The baseline is a loop of the same requests by the same client, with the same checksums and as many at once: it
//! looks at no content and at no place. The storage is a process of its own, on the same cores, which keeps objects
//! as files and does not sync them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::stream;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use object_store::ObjectStoreExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum};
use object_store::path::Path;
use overnight::output::{ClipLocation, ObjectStorage, OutputStore};
use overnight_simulator::clip;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::{TempDir, tempdir};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::Scale;
use crate::measure::{Comparison, measure_alternately};
use crate::process;
use crate::table::{Goal, Table};

/// First argument that makes this program serve as the storage.
pub(crate) const SUBCOMMAND: &str = "serve-storage";

/// Number of clips that are stored at once: the default of `overnight run`.
const CONCURRENCY: u64 = 16;

/// Size of each clip.
const CLIP_BYTES: usize = 64 << 10;

/// Size of a chunk of a clip as it arrives.
const CHUNK_BYTES: usize = 64 << 10;

const BUCKET: &str = "clips";
const ACCESS_KEY: &str = "bench";
const SECRET_KEY: &str = "bench-secret";

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let clips = scale.pick(500, 5000);
    let runtime = Runtime::new()?;
    // First, before anything else has used memory.
    let bytes: u64 = scale.pick(64 << 20, (2 << 30) - (1 << 20));
    let storage = StorageProcess::start()?;
    process::reset_own_peak()?;
    runtime.block_on(save_long(&storage, bytes))?;
    table.add_figure(
        format_args!(
            "storage: peak resident size while a clip of {} MiB is stored",
            bytes >> 20
        ),
        process::own_peak_mb()?,
        "MB",
        Goal::AtMost(100.0),
    );
    let content = Bytes::from(clip::for_prediction("prediction", CLIP_BYTES, 5));
    let ours = || {
        let storage = StorageProcess::start()?;
        runtime.block_on(save(&storage, &content, clips))
    };
    let baseline = || {
        let storage = StorageProcess::start()?;
        runtime.block_on(put(&storage, &content, clips))
    };
    let (ours, baseline) = measure_alternately(scale.pick(2, 5), ours, baseline)?;
    table.add_comparison(
        format_args!(
            "storage: {clips} clips of 64 KiB, {CONCURRENCY} at once, against bare requests (ratio of our time to theirs)"
        ),
        Comparison::from_rounds(&ours, &baseline),
        "s",
        Goal::AtMost(1.2),
    );
    Ok(())
}

/// Saves clips. Returns the seconds it took.
async fn save(storage: &StorageProcess, content: &Bytes, clips: u64) -> anyhow::Result<f64> {
    let store = ObjectStorage::new(&storage.environment());
    let next = AtomicU64::new(0);
    let started_at = Instant::now();
    let worker = async || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= clips {
            return anyhow::Ok(());
        }
        let location = location(&format!("{number}.mp4"));
        let bytes = Box::pin(stream::iter([Ok(content.clone())]));
        store
            .save(&location, bytes, Some(content.len() as u64))
            .await?;
    };
    try_join_all((0..CONCURRENCY).map(|_| worker())).await?;
    Ok(started_at.elapsed().as_secs_f64())
}

/// Puts objects. Returns the seconds it took.
async fn put(storage: &StorageProcess, content: &Bytes, clips: u64) -> anyhow::Result<f64> {
    let bucket = storage.bucket()?;
    let next = AtomicU64::new(0);
    let started_at = Instant::now();
    let worker = async || loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= clips {
            return anyhow::Ok(());
        }
        let path = Path::parse(format!("renders/{number}.mp4"))?;
        bucket.put(&path, content.clone().into()).await?;
    };
    try_join_all((0..CONCURRENCY).map(|_| worker())).await?;
    Ok(started_at.elapsed().as_secs_f64())
}

/// Saves a clip of a length, which is never in memory as a whole.
async fn save_long(storage: &StorageProcess, bytes: u64) -> anyhow::Result<()> {
    let store = ObjectStorage::new(&storage.environment());
    let clip = clip::for_prediction("prediction", 0, 5);
    let padding = bytes - clip.len() as u64;
    let mut start = clip;
    start.extend_from_slice(&u32::try_from(padding)?.to_be_bytes());
    start.extend_from_slice(b"free");
    let mut left = padding - 8;
    let mut start = Some(start);
    let chunks = std::iter::from_fn(move || {
        if let Some(start) = start.take() {
            return Some(Ok(start.into()));
        }
        let length = left.min(CHUNK_BYTES as u64);
        left -= length;
        let chunk = vec![0; usize::try_from(length).unwrap_or(0)];
        (length > 0).then(|| Ok(chunk.into()))
    });
    let bytes = Box::pin(stream::iter(chunks));
    store.save(&location("long.mp4"), bytes, None).await?;
    Ok(())
}

fn location(file_name: &str) -> ClipLocation {
    ClipLocation {
        folder: format!("s3://{BUCKET}/renders").as_str().into(),
        file_name: file_name.into(),
        kept: Vec::new(),
        client_token: file_name.into(),
    }
}

/// A child process that is an object storage. It is stopped on drop.
struct StorageProcess {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl StorageProcess {
    fn start() -> anyhow::Result<Self> {
        let folder = tempdir()?;
        fs::create_dir(folder.path().join(BUCKET))?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(SUBCOMMAND)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the storage has no output")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        Ok(Self {
            child,
            address: address.trim().parse()?,
            _folder: folder,
        })
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let variables = [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
        ];
        variables.map(|(name, value)| (name.into(), value)).into()
    }

    fn bucket(&self) -> anyhow::Result<AmazonS3> {
        // A second time, it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(BUCKET)
            .with_allow_http(true)
            .with_checksum_algorithm(Checksum::SHA256);
        for (name, value) in self.environment() {
            builder = builder.with_config(name.to_lowercase().parse()?, value);
        }
        Ok(builder.build()?)
    }
}

impl Drop for StorageProcess {
    fn drop(&mut self) {
        // The child exits when its standard input is closed.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Serves a folder until standard input is closed. The address is the first line of standard output.
pub(crate) fn serve(args: &[String]) -> anyhow::Result<()> {
    let [folder] = args else {
        anyhow::bail!("usage: {SUBCOMMAND} FOLDER")
    };
    let files = FileSystem::new(folder)
        .ok()
        .context("the folder cannot be used")?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    runtime.spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(connection), service.clone());
            tokio::spawn(connection);
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    runtime.shutdown_background();
    Ok(())
}
