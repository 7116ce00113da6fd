//! The file storage of each::labs and fal.ai: a client requests an upload slot with its key, and
//! uploads the file without.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Router, routing};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::dialect::{ApiDialect, close_without_response, handle};
use super::eachlabs::Eachlabs;
use super::fal::Fal;
use super::ledger::StoredFile;
use super::shared::{Connection, SharedState};
use super::wire::rfc3339;
use super::{Api, Call, Fault};

/// Maximum size of an uploaded file, in bytes.
const MAX_FILE_BYTES: usize = 100 << 20;

/// Lifetime of an upload slot, in milliseconds.
const UPLOAD_SLOT_LIFE_MS: i64 = 15 * 60 * 1000;

/// The header that each::labs requires on an upload, with the token of the slot.
const TOKEN_HEADER: &str = "x-upload-token";

/// The upload slots of all APIs, empty and filled.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    /// By name, which is unique over all APIs.
    slots: HashMap<String, UploadSlot>,
}

/// A place in an API's storage that accepts one file.
#[derive(Debug)]
struct UploadSlot {
    api: Api,
    /// The content type that the upload must have.
    content_type: String,
    token: String,
    /// When it stops accepting uploads, in milliseconds since 1970.
    expires_at: i64,
    is_filled: bool,
}

impl Storage {
    /// Allocates an upload slot and returns its name and its token.
    fn allocate_slot(&mut self, api: Api, content_type: &str, now: i64) -> (String, String) {
        let name = format!("file-{}", self.slots.len() + 1);
        let token = format!(
            "{:016x}",
            fastrand::Rng::with_seed(self.slots.len() as u64).u64(..)
        );
        let slot = UploadSlot {
            api,
            content_type: content_type.to_owned(),
            token: token.clone(),
            expires_at: now + UPLOAD_SLOT_LIFE_MS,
            is_filled: false,
        };
        self.slots.insert(name.clone(), slot);
        (name, token)
    }

    /// Returns the first field of an input whose URL points into an API's storage but to no
    /// uploaded file.
    pub(crate) fn field_without_file<'a>(
        &self,
        api: Api,
        input: &'a Map<String, Value>,
    ) -> Option<&'a str> {
        let lacks_file = |url: &str| {
            let name = url
                .strip_prefix(&base_url(api))
                .and_then(|path| path.split('/').next());
            name.is_some_and(|name| !self.slots.get(name).is_some_and(|slot| slot.is_filled))
        };
        input
            .iter()
            .find(|(_, value)| value.as_str().is_some_and(lacks_file))
            .map(|(field, _)| field.as_str())
    }
}

/// Returns the prefix of the public URLs of an API's files. Nothing is served there: only the API
/// itself reads the files.
fn base_url(api: Api) -> String {
    format!(
        "https://files.{}.example/",
        format!("{api:?}").to_lowercase()
    )
}

pub(super) fn routes() -> Router<Arc<SharedState>> {
    Router::new()
        .route("/v1/upload/presign", routing::post(presign))
        .route("/storage/upload/initiate", routing::post(initiate))
        .route("/storage/{api}/{name}", routing::put(upload))
}

/// each::labs's request for an upload slot.
async fn presign(State(shared): State<Arc<SharedState>>, request: Request) -> Response {
    let host = shared.address;
    handle::<Eachlabs>(&shared, request, Call::Upload, |world, body, _, now| {
        let Some(content_type) = body["content_type"].as_str() else {
            return Eachlabs::error_response(StatusCode::BAD_REQUEST, "content_type is required");
        };
        let storage = world.storage_mut();
        let (name, token) = storage.allocate_slot(Api::Eachlabs, content_type, now);
        axum::Json(json!({
            "id": name,
            "presigned_url": format!("http://{host}/storage/eachlabs/{name}?sig={token}"),
            "public_url": format!("{}{name}", base_url(Api::Eachlabs)),
            "expires_at": rfc3339(now + UPLOAD_SLOT_LIFE_MS),
            "required_headers": { TOKEN_HEADER: token },
        }))
        .into_response()
    })
    .await
}

/// fal.ai's request for an upload slot.
async fn initiate(State(shared): State<Arc<SharedState>>, request: Request) -> Response {
    let host = shared.address;
    handle::<Fal>(&shared, request, Call::Upload, |world, body, _, now| {
        let (Some(content_type), Some(file_name)) =
            (body["content_type"].as_str(), body["file_name"].as_str())
        else {
            return Fal::error_response(
                StatusCode::UNPROCESSABLE_ENTITY,
                "content_type and file_name are required",
            );
        };
        let storage = world.storage_mut();
        let (name, token) = storage.allocate_slot(Api::Fal, content_type, now);
        let extension = file_name
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension);
        axum::Json(json!({
            "upload_url": format!("http://{host}/storage/fal/{name}?sig={token}"),
            "file_url": format!("{}{name}/image.{extension}", base_url(Api::Fal)),
        }))
        .into_response()
    })
    .await
}

async fn upload(
    State(shared): State<Arc<SharedState>>,
    Path((api, name)): Path<(Api, String)>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let now = shared.now();
    if headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key") {
        shared.world().increment(|ledger| &mut ledger.leaked_keys);
        return (StatusCode::BAD_REQUEST, "a key was sent to the storage").into_response();
    }
    let fault = shared.world().record_call(api, Call::Upload, now).fault;
    match fault {
        Some(Fault::DropBefore) => return close_without_response(&connection).await,
        Some(Fault::ServerError) => {
            return (StatusCode::SERVICE_UNAVAILABLE, "try again later").into_response();
        }
        Some(Fault::BadGateway) => {
            return (StatusCode::BAD_GATEWAY, Html("<html>bad gateway</html>")).into_response();
        }
        _ => {}
    }
    let Ok(content) = axum::body::to_bytes(body, MAX_FILE_BYTES).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the file is too large").into_response();
    };
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    {
        let mut world = shared.world();
        let slot = world.storage_mut().slots.get_mut(&name);
        let Some(slot) = slot.filter(|slot| slot.api == api && now < slot.expires_at) else {
            return (StatusCode::FORBIDDEN, "the upload URL has expired").into_response();
        };
        if header(CONTENT_TYPE.as_str()).as_deref() != Some(&slot.content_type) {
            let message = "the Content-Type differs from the announced one";
            return (StatusCode::FORBIDDEN, message).into_response();
        }
        if api == Api::Eachlabs && header(TOKEN_HEADER).as_deref() != Some(&slot.token) {
            return (StatusCode::FORBIDDEN, "a required header is missing").into_response();
        }
        slot.is_filled = true;
        let content_type = slot.content_type.clone();
        world.record_file(StoredFile {
            api,
            name,
            content_type,
            bytes: content.len(),
            sha256: hex::encode(Sha256::digest(&content)),
        });
    }
    if fault == Some(Fault::DropAfter) {
        close_without_response(&connection).await
    } else {
        StatusCode::OK.into_response()
    }
}
