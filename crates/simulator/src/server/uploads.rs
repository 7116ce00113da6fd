//! The file storage of each::labs and fal.ai over HTTP: a client requests an upload slot with its
//! key, and uploads the file without.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::{Extension, Router, routing};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::api::{Api, Call};
use crate::fault::Fault;
use crate::storage::{FileUpload, UploadRefusal};

use super::connection::Connection;
use super::dialect::{ApiDialect, handle};
use super::eachlabs::Eachlabs;
use super::fal::Fal;
use super::state::SharedState;
use super::wire::rfc3339;

/// Maximum size of an uploaded file, in bytes.
const MAX_FILE_BYTES: usize = 100 << 20;

/// The header that each::labs requires on an upload, with the token of the slot.
const TOKEN_HEADER: &str = "x-upload-token";

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
        let slot = world.allocate_slot(Api::Eachlabs, content_type, now);
        axum::Json(json!({
            "id": slot.name,
            "presigned_url": format!("http://{host}/storage/eachlabs/{}?sig={}", slot.name, slot.token),
            "public_url": slot.public_url(""),
            "expires_at": rfc3339(slot.expires_at),
            "required_headers": { TOKEN_HEADER: slot.token },
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
        let slot = world.allocate_slot(Api::Fal, content_type, now);
        let extension = file_name
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension);
        axum::Json(json!({
            "upload_url": format!("http://{host}/storage/fal/{}?sig={}", slot.name, slot.token),
            "file_url": slot.public_url(&format!("image.{extension}")),
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
    if shared.record_leaked_key(&headers) {
        return (StatusCode::BAD_REQUEST, "a key was sent to the storage").into_response();
    }
    let fault = shared.world().record_file_upload(api, shared.now()).fault;
    match fault {
        Some(Fault::DropBefore) => return connection.close_without_response().await,
        Some(Fault::ServerError) => {
            return (StatusCode::SERVICE_UNAVAILABLE, "try again later").into_response();
        }
        Some(Fault::BadGateway) => {
            return (StatusCode::BAD_GATEWAY, Html("<html>bad gateway</html>")).into_response();
        }
        _ => {}
    }
    let response = store(&shared, api, &name, &headers, body).await;
    match fault {
        Some(Fault::DropAfter) => connection.close_without_response().await,
        Some(Fault::Slow) => {
            shared.wait_slowly().await;
            response
        }
        _ => response,
    }
}

/// Stores the file if its slot accepts it.
async fn store(
    shared: &SharedState,
    api: Api,
    name: &str,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let Ok(content) = axum::body::to_bytes(body, MAX_FILE_BYTES).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the file is too large").into_response();
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let file = FileUpload {
        content_type: header(CONTENT_TYPE.as_str()),
        token: header(TOKEN_HEADER),
        bytes: content.len(),
        sha256: hex::encode(Sha256::digest(&content)),
    };
    let now = shared.now();
    let stored = shared.world().store_file(api, name, file, now);
    let message = match stored {
        Ok(()) => return StatusCode::OK.into_response(),
        Err(UploadRefusal::NoSlot) => "the upload URL has expired",
        Err(UploadRefusal::ContentType) => "the Content-Type differs from the announced one",
        Err(UploadRefusal::Token) => "a required header is missing",
    };
    (StatusCode::FORBIDDEN, message).into_response()
}
