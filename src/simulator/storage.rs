//! The storages of each::labs and fal.ai: a place is asked for with the key, the file is put there without.

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

use super::dialect::{ApiDialect, close, handle};
use super::eachlabs::Eachlabs;
use super::fal::Fal;
use super::ledger::StoredFile;
use super::shared::{Connection, Shared};
use super::wire::time;
use super::{Api, Call, Fault};

/// The largest file that is taken.
const LARGEST_FILE: usize = 100 << 20;

/// How long a place can be used, in milliseconds.
const UPLOAD_SLOT_LIFE_MS: i64 = 15 * 60 * 1000;

/// The header without which nothing can be put.
const TOKEN: &str = "x-upload-token";

/// What is stored, and what may be.
#[derive(Debug, Default)]
pub struct Storage {
    /// The places that were given, by their names, and what each is for.
    places: HashMap<String, UploadSlot>,
}

#[derive(Debug)]
struct UploadSlot {
    api: Api,
    content_type: String,
    token: String,
    ends_at: i64,
    is_filled: bool,
}

impl Storage {
    /// Gives a place; tells its name and the token it takes.
    fn give(&mut self, api: Api, content_type: &str, now: i64) -> (String, String) {
        let name = format!("file-{}", self.places.len() + 1);
        let token = format!(
            "{:016x}",
            fastrand::Rng::with_seed(self.places.len() as u64).u64(..)
        );
        let (content_type, ends_at) = (content_type.to_owned(), now + UPLOAD_SLOT_LIFE_MS);
        let place = UploadSlot {
            api,
            content_type,
            token: token.clone(),
            ends_at,
            is_filled: false,
        };
        self.places.insert(name.clone(), place);
        (name, token)
    }

    /// Finds the links of an input that lead into an API's storage and to no file.
    pub fn missing<'a>(&self, api: Api, input: &'a Map<String, Value>) -> Option<&'a str> {
        let leads_nowhere = |link: &str| {
            let name = link
                .strip_prefix(&address(api))
                .and_then(|rest| rest.split('/').next());
            name.is_some_and(|name| !self.places.get(name).is_some_and(|place| place.is_filled))
        };
        let found = input
            .iter()
            .find(|(_, value)| value.as_str().is_some_and(leads_nowhere));
        found.map(|(field, _)| field.as_str())
    }
}

/// Where an API's files are found. Nobody but the API itself asks there.
fn address(api: Api) -> String {
    format!(
        "https://files.{}.example/",
        format!("{api:?}").to_lowercase()
    )
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/upload/presign", routing::post(presign))
        .route("/storage/upload/initiate", routing::post(initiate))
        .route("/storage/{api}/{name}", routing::put(put))
}

async fn presign(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let host = shared.address;
    handle::<Eachlabs>(&shared, request, Call::Upload, |world, body, _, now| {
        let Some(content_type) = body["content_type"].as_str() else {
            return Eachlabs::refuse(StatusCode::BAD_REQUEST, "content_type is required");
        };
        let (name, token) = world.storage_mut().give(Api::Eachlabs, content_type, now);
        axum::Json(json!({
            "id": name,
            "presigned_url": format!("http://{host}/storage/eachlabs/{name}?sig={token}"),
            "public_url": format!("{}{name}", address(Api::Eachlabs)),
            "expires_at": time(now + UPLOAD_SLOT_LIFE_MS),
            "required_headers": { TOKEN: token },
        }))
        .into_response()
    })
    .await
}

async fn initiate(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let host = shared.address;
    handle::<Fal>(&shared, request, Call::Upload, |world, body, _, now| {
        let (Some(content_type), Some(file_name)) =
            (body["content_type"].as_str(), body["file_name"].as_str())
        else {
            return Fal::refuse(
                StatusCode::UNPROCESSABLE_ENTITY,
                "content_type and file_name are required",
            );
        };
        let (name, token) = world.storage_mut().give(Api::Fal, content_type, now);
        let ending = file_name.rsplit_once('.').map_or("", |(_, ending)| ending);
        axum::Json(json!({
            "upload_url": format!("http://{host}/storage/fal/{name}?sig={token}"),
            "file_url": format!("{}{name}/image.{ending}", address(Api::Fal)),
        }))
        .into_response()
    })
    .await
}

async fn put(
    State(shared): State<Arc<Shared>>,
    Path((api, name)): Path<(Api, String)>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let now = shared.now();
    if headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key") {
        shared.world().count(|ledger| &mut ledger.leaked_keys);
        return (StatusCode::BAD_REQUEST, "a key was sent to the storage").into_response();
    }
    let fault = shared.world().arrive(api, Call::Upload, now).fault;
    match fault {
        Some(Fault::DropBefore) => return close(&connection).await,
        Some(Fault::ServerError) => {
            return (StatusCode::SERVICE_UNAVAILABLE, "try again later").into_response();
        }
        Some(Fault::BadGateway) => {
            return (StatusCode::BAD_GATEWAY, Html("<html>bad gateway</html>")).into_response();
        }
        _ => {}
    }
    let Ok(bytes) = axum::body::to_bytes(body, LARGEST_FILE).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "too large").into_response();
    };
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    {
        let mut world = shared.world();
        let place = world.storage_mut().places.get_mut(&name);
        let Some(place) = place.filter(|place| place.api == api && now < place.ends_at) else {
            return (StatusCode::FORBIDDEN, "the place has expired").into_response();
        };
        if header(CONTENT_TYPE.as_str()).as_deref() != Some(&place.content_type) {
            return (StatusCode::FORBIDDEN, "another Content-Type was announced").into_response();
        }
        if api == Api::Eachlabs && header(TOKEN).as_deref() != Some(&place.token) {
            return (StatusCode::FORBIDDEN, "a required header is missing").into_response();
        }
        place.is_filled = true;
        let content_type = place.content_type.clone();
        let (sha256, bytes) = (hex::encode(Sha256::digest(&bytes)), bytes.len());
        world.store(StoredFile {
            api,
            name,
            content_type,
            bytes,
            sha256,
        });
    }
    if fault == Some(Fault::DropAfter) {
        close(&connection).await
    } else {
        StatusCode::OK.into_response()
    }
}
