//! The host of the clips, which knows no keys: a signed link is enough.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Extension, Router, routing};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;

use super::dialect::close;
use super::shared::{Connection, Shared};
use super::{Api, Call, Fault, clip};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/cdn/{api}/{file}", routing::get(download))
}

#[derive(Deserialize)]
struct Signed {
    expires: i64,
    sig: String,
}

async fn download(
    State(shared): State<Arc<Shared>>,
    Path((api, file)): Path<(Api, String)>,
    Query(link): Query<Signed>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
) -> Response {
    let now = shared.now();
    if headers.contains_key(AUTHORIZATION) || headers.contains_key("x-api-key") {
        shared.world().count(|ledger| &mut ledger.leaked_keys);
        return (StatusCode::BAD_REQUEST, "a key was sent to the media host").into_response();
    }
    let id = file.trim_end_matches(".mp4");
    let fault = shared.world().arrive(api, Call::Download, now).fault;
    if fault == Some(Fault::Expired) {
        shared.world().expire(api, id);
    }
    let known = shared
        .world()
        .fetch(api, id)
        .filter(|known| !known.is_open(now))
        .cloned();
    let Some(known) = known else {
        return (StatusCode::NOT_FOUND, "no such file").into_response();
    };
    if link.sig != known.signature(link.expires) || now / 1000 >= link.expires {
        return (StatusCode::FORBIDDEN, "the link has expired").into_response();
    }
    let (slow_s, clip_bytes) = {
        let world = shared.world();
        (world.options().faults.slow_s, world.options().clip_bytes)
    };
    let clip = clip::of(id, clip_bytes);
    match fault {
        Some(Fault::DropBefore | Fault::DropAfter) => close(&connection).await,
        Some(Fault::ServerError) => {
            (StatusCode::SERVICE_UNAVAILABLE, "try again later").into_response()
        }
        Some(Fault::BadGateway) => {
            (StatusCode::BAD_GATEWAY, Html("<html>bad gateway</html>")).into_response()
        }
        Some(Fault::Garbage) => Html("<html>Please enable JavaScript</html>").into_response(),
        // A clip does not come from inside a network.
        Some(Fault::Redirect) => {
            Redirect::temporary("http://10.0.0.1/internal.mp4").into_response()
        }
        Some(Fault::Truncated) => answer(clip, true),
        Some(Fault::Slow) => {
            tokio::time::sleep(Duration::from_secs_f64(slow_s)).await;
            answer(clip, false)
        }
        _ => answer(clip, false),
    }
}

/// The clip, or its first half where the connection breaks in the middle.
fn answer(clip: Vec<u8>, is_cut: bool) -> Response {
    let clip = Bytes::from(clip);
    let headers = [
        (CONTENT_TYPE, "video/mp4".to_owned()),
        (CONTENT_LENGTH, clip.len().to_string()),
    ];
    if !is_cut {
        return (headers, clip).into_response();
    }
    let half = clip.slice(..clip.len() / 2);
    let cut = Err(io::Error::from(io::ErrorKind::ConnectionReset));
    (headers, Body::from_stream(stream::iter([Ok(half), cut]))).into_response()
}
