//! An object storage on this machine, in this process. Its objects are files.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const ACCESS_KEY: &str = "AKTEST";
const SECRET_KEY: &str = "the-secret-of-the-storage";

/// The bucket that exists.
pub(crate) const BUCKET: &str = "clips";

/// What the storage does with the conditions of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Conditions {
    /// What it should.
    #[default]
    Meant,
    /// Nothing, as if there were none.
    Ignored,
    /// It fails, because it does not know them.
    Refused,
}

/// Decides about a request before the storage sees it: an answer, or none.
type Fault = Box<dyn FnMut(&Method, &str) -> Option<(StatusCode, &'static str)> + Send>;

/// A storage with one empty bucket. It ends with this value.
pub(crate) struct StorageServer {
    folder: TempDir,
    address: SocketAddr,
    state: Arc<State>,
    /// Stops it when it is dropped.
    _stop: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    conditions: Conditions,
    fault: Mutex<Option<Fault>>,
    requests: Mutex<Vec<(Method, String)>>,
}

impl StorageServer {
    pub(crate) fn start(conditions: Conditions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join(BUCKET)).expect("a bucket");
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder.path()).expect("a storage"));
        if conditions != Conditions::Ignored {
            builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        }
        let service = builder.build();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener
            .set_nonblocking(true)
            .expect("an asynchronous port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            conditions,
            ..State::default()
        });
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        // A runtime of its own, because a test may have none or one that waits for the program.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, service, served) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            folder,
            address,
            state,
            _stop: stop,
        }
    }

    /// Returns the variables by which the program finds the storage.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        // The conditions are signed.
        let is_unsigned = self.state.conditions == Conditions::Ignored;
        let variables = [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.into()),
            ("AWS_SKIP_SIGNATURE", is_unsigned.to_string()),
        ];
        variables.map(|(name, value)| (name.into(), value)).into()
    }

    /// Returns the names of the objects of the bucket, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        list(&self.folder.path().join(BUCKET))
    }

    /// Returns the content of an object.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join(BUCKET).join(name)).expect("an object")
    }

    /// Stores an object, as another program would.
    pub(crate) async fn put(&self, name: &str, content: &[u8]) {
        // A second time, it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(BUCKET)
            .with_allow_http(true);
        for (name, value) in self.environment() {
            let key = name.to_lowercase().parse().expect("a key");
            builder = builder.with_config(key, value);
        }
        let bucket = builder.build().expect("a bucket");
        let name = object_store::path::Path::parse(name).expect("a name");
        let content = Bytes::copy_from_slice(content);
        bucket.put(&name, content.into()).await.expect("stored");
    }

    /// As [`put`](Self::put), in a test without a runtime.
    pub(crate) fn put_blocking(&self, name: &str, content: &[u8]) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(self.put(name, content));
    }

    /// Removes an object.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(BUCKET).join(name)).expect("removed");
    }

    /// Changes the content of an object, as a failing disk would: what is stored with it stays.
    pub(crate) fn overwrite(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(BUCKET).join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("written");
    }

    /// Lets a function answer requests in place of the storage. It gets the method, and the path with the query.
    pub(crate) fn set_fault(
        &self,
        fault: impl FnMut(&Method, &str) -> Option<(StatusCode, &'static str)> + Send + 'static,
    ) {
        *lock(&self.state.fault) = Some(Box::new(fault));
    }

    /// Returns the requests so far, and forgets them.
    pub(crate) fn take_requests(&self) -> Vec<(Method, String)> {
        std::mem::take(&mut *lock(&self.state.requests))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the names of the files in a folder and those below it, in order.
pub(crate) fn list(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    add_names(folder, "", &mut names);
    names.sort();
    names
}

fn add_names(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().into_string().expect("a text");
        let name = format!("{prefix}{name}");
        if entry.path().is_dir() {
            add_names(&entry.path(), &format!("{name}/"), names);
        } else {
            names.push(name);
        }
    }
}

async fn serve(listener: std::net::TcpListener, service: S3Service, state: Arc<State>) {
    let listener = TcpListener::from_std(listener).expect("an asynchronous port");
    while let Ok((connection, _)) = listener.accept().await {
        let service = service.clone();
        let state = Arc::clone(&state);
        let answer = service_fn(move |mut request: Request<Incoming>| {
            if state.conditions == Conditions::Ignored {
                for condition in [IF_MATCH, IF_NONE_MATCH] {
                    request.headers_mut().remove(condition);
                }
            }
            let service = service.clone();
            let fault = state.fault_of(&request);
            async move { answer(service, request, fault).await }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(connection), answer);
        tokio::spawn(connection);
    }
}

async fn answer(
    service: S3Service,
    request: Request<Incoming>,
    fault: Option<(StatusCode, &'static str)>,
) -> Result<Response<s3s::Body>, Infallible> {
    let Some((status, code)) = fault else {
        // A storage stores what has arrived as a whole, or not at all: the end of a connection must not end it halfway.
        let answering = tokio::spawn(async move {
            let request = request.map(s3s::Body::from);
            service.call(request).await
        });
        let answered = answering.await.expect("an answer");
        return Ok(answered
            .unwrap_or_else(|_| failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")));
    };
    Ok(failure(status, code))
}

fn failure(status: StatusCode, code: &str) -> Response<s3s::Body> {
    let text = format!("<Error><Code>{code}</Code><Message>it is a test</Message></Error>");
    let mut response = Response::new(s3s::Body::from(text));
    *response.status_mut() = status;
    response
}

impl State {
    fn fault_of(&self, request: &Request<Incoming>) -> Option<(StatusCode, &'static str)> {
        let has_condition = request.headers().contains_key(IF_NONE_MATCH);
        if has_condition && self.conditions == Conditions::Refused {
            return Some((StatusCode::NOT_IMPLEMENTED, "NotImplemented"));
        }
        let path = request.uri().to_string();
        lock(&self.requests).push((request.method().clone(), path.clone()));
        lock(&self.fault).as_mut()?(request.method(), &path)
    }
}
