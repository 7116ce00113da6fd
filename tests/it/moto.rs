//! The storage of `moto`, which knows the conditions of requests and which buckets there are. It is started if
//! `OVERNIGHT_TEST_MOTO` names its command; where that is not set, its tests are skipped and say so.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, thread};

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::skipped;
use crate::support::wait_until;

/// The variable that names the command, `moto_server`.
const VARIABLE: &str = "OVERNIGHT_TEST_MOTO";

static SERVER: LazyLock<Option<Server>> = LazyLock::new(start);

/// Number of buckets that this process has made.
static BUCKETS: AtomicU32 = AtomicU32::new(0);

struct Server {
    address: String,
    _process: Child,
}

/// A bucket of the server.
pub(crate) struct Bucket {
    pub(crate) name: String,
    client: AmazonS3,
}

/// Returns whether there is a server. Says so if the calling test is skipped for that.
pub(crate) fn is_available() -> bool {
    let is_there = SERVER.is_some();
    if !is_there {
        skipped::tell(&format!("{VARIABLE} is not set"));
    }
    is_there
}

fn start() -> Option<Server> {
    let command = env::var(VARIABLE).ok()?;
    let port = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    // It ends with this process, which closes its input.
    let script = format!(
        r#""$0" -H 127.0.0.1 -p {} >/dev/null 2>&1 & read -r _; kill $!"#,
        address.port()
    );
    let process = Command::new("sh")
        .args(["-c", &script, &command])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    wait_until("moto answers", || TcpStream::connect(address).is_ok());
    Some(Server {
        address: format!("http://{address}"),
        _process: process,
    })
}

impl Bucket {
    /// Creates an empty bucket.
    pub(crate) fn create() -> Self {
        let number = BUCKETS.fetch_add(1, Ordering::Relaxed);
        let name = format!("clips-{number}");
        // A second time, it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("{}/{name}", server().address);
        blocking(async move {
            let created = reqwest::Client::new().put(url).send().await;
            let created = created.expect("an answer").error_for_status();
            created.expect("a bucket");
        });
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&name)
            .with_allow_http(true);
        for (name, value) in environment() {
            let key = name.to_lowercase().parse().expect("a key");
            builder = builder.with_config(key, value);
        }
        let client = builder.build().expect("a bucket");
        Self { name, client }
    }

    /// Returns the names of the objects, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let client = self.client.clone();
        let listed = blocking(async move { client.list(None).try_collect::<Vec<_>>().await });
        let listed = listed.expect("a list").into_iter();
        let mut names: Vec<_> = listed.map(|object| object.location.to_string()).collect();
        names.sort();
        names
    }

    /// Returns the content of an object.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let client = self.client.clone();
        let path = Path::parse(name).expect("a name");
        let content = blocking(async move { client.get(&path).await?.bytes().await });
        content.expect("an object").into()
    }

    /// Stores an object, as another program would.
    pub(crate) async fn put(&self, name: &str, content: &[u8]) {
        let path = Path::parse(name).expect("a name");
        let content = Bytes::copy_from_slice(content);
        self.client
            .put(&path, content.into())
            .await
            .expect("stored");
    }
}

/// Returns the variables by which the program finds the storage.
pub(crate) fn environment() -> BTreeMap<String, String> {
    let variables = [
        ("AWS_ENDPOINT_URL", server().address.clone()),
        ("AWS_ACCESS_KEY_ID", "any".into()),
        ("AWS_SECRET_ACCESS_KEY", "any".into()),
    ];
    variables.map(|(name, value)| (name.into(), value)).into()
}

fn server() -> &'static Server {
    SERVER.as_ref().expect("a server")
}

/// Waits for a future, also in a test that has a runtime.
fn blocking<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let waiting = thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(future)
    });
    waiting.join().expect("a result")
}
