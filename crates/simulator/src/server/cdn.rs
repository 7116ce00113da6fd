//! The host that serves clips. It accepts no key: the signature in the link authorizes the
//! download.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Extension, Router, routing};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;

use crate::api::{Api, Call};
use crate::clip::{self, ClipKind};
use crate::fault::Fault;

use super::connection::Connection;
use super::state::SharedState;

pub(super) fn routes() -> Router<Arc<SharedState>> {
    Router::new().route("/cdn/{api}/{file}", routing::get(download))
}

/// The query parameters of a signed link.
#[derive(Deserialize)]
struct SignedQuery {
    /// End of validity, in seconds since 1970.
    expires: i64,
    sig: String,
}

async fn download(
    State(shared): State<Arc<SharedState>>,
    Path((api, file)): Path<(Api, String)>,
    Query(query): Query<SignedQuery>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
) -> Response {
    let now = shared.now();
    if shared.record_leaked_key(&headers) {
        return (StatusCode::BAD_REQUEST, "a key was sent to the media host").into_response();
    }
    let id = file.trim_end_matches(".mp4");
    let fault = shared.world().record_call(api, Call::Download, now).fault;
    if fault == Some(Fault::Expired) {
        shared.world().expire_links(api, id);
    }
    let prediction = shared
        .world()
        .download(api, id)
        .filter(|prediction| prediction.has_ended(now))
        .cloned();
    let Some(prediction) = prediction else {
        return (StatusCode::NOT_FOUND, "no such file").into_response();
    };
    if query.sig != prediction.signature(query.expires) || now / 1000 >= query.expires {
        return (StatusCode::FORBIDDEN, "the link has expired").into_response();
    }
    let clip = {
        let world = shared.world();
        let options = world.options();
        let bytes = clip::of_kind(
            options.clip_kind,
            id,
            options.clip_bytes,
            u32::try_from(prediction.clip_seconds()).unwrap_or(1),
        );
        (options.clip_kind, bytes)
    };
    match fault {
        Some(Fault::DropBefore | Fault::DropAfter) => connection.close_without_response().await,
        Some(Fault::ServerError) => {
            (StatusCode::SERVICE_UNAVAILABLE, "try again later").into_response()
        }
        Some(Fault::BadGateway) => {
            (StatusCode::BAD_GATEWAY, Html("<html>bad gateway</html>")).into_response()
        }
        Some(Fault::Garbage) => Html("<html>Please enable JavaScript</html>").into_response(),
        // An address in a private network: a client must refuse to download a clip from there.
        Some(Fault::Redirect) => {
            Redirect::temporary("http://10.0.0.1/internal.mp4").into_response()
        }
        Some(Fault::Truncated) => clip_response(clip, true),
        Some(Fault::Slow) => {
            shared.wait_slowly().await;
            clip_response(clip, false)
        }
        _ => clip_response(clip, false),
    }
}

/// Returns a response with the clip. If `truncated`, the connection breaks after half of it.
fn clip_response((kind, clip): (ClipKind, Vec<u8>), truncated: bool) -> Response {
    let clip = Bytes::from(clip);
    let headers = [
        (CONTENT_TYPE, kind.content_type().to_owned()),
        (CONTENT_LENGTH, clip.len().to_string()),
    ];
    if !truncated {
        return (headers, clip).into_response();
    }
    let first_half = clip.slice(..clip.len() / 2);
    let reset = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    (
        headers,
        Body::from_stream(stream::iter([Ok(first_half), reset])),
    )
        .into_response()
}
