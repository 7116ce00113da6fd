//! Uploads: how the upload URL is requested, how the file is put there, and how failures are
//! classified.

use axum::response::Response;
use bytes::Bytes;
use serde_json::json;

use super::super::aimlapi::Aimlapi;
use super::super::eachlabs::Eachlabs;
use super::super::fal::Fal;
use super::*;
use crate::image::ImageFile;
use crate::provider::http::Auth;
use crate::provider::{Provider, UploadedImage};

fn image() -> ImageFile {
    ImageFile {
        name: "cup.png".into(),
        content_type: "image/png",
        bytes: Bytes::from_static(b"a picture"),
    }
}

fn eachlabs(server: &StubServer) -> Eachlabs {
    Eachlabs::new(
        server.base.join("v1").unwrap(),
        &key(),
        Auth::XApiKey,
        clock(),
        timeouts(),
        ProxiedLinks::default(),
    )
    .unwrap()
}

/// Starts a server with each::labs' response to an upload request, and with `put_handler` for the
/// upload itself.
async fn storage_server(
    put_handler: impl Fn(&RecordedRequest) -> Response + Send + Sync + 'static,
) -> StubServer {
    StubServer::with_handler(move |request| match request.method.as_str() {
        "PUT" => put_handler(request),
        _ => {
            let host = request.header("host").unwrap();
            let body = json!({
                "id": "f-1",
                "presigned_url": format!("http://{host}/put/here?sig=1"),
                "public_url": "https://files.example.com/f-1",
                "expires_at": "2026-08-20T10:15:00Z",
                "required_headers": { "x-token": "t-1", "Content-Type": "image/png" },
            });
            json_response(201, &body)
        }
    })
    .await
}

#[tokio::test]
async fn a_file_is_uploaded_to_eachlabs_without_the_key() {
    let server = storage_server(|_| json_response(200, &json!({}))).await;
    let uploaded = eachlabs(&server).upload(&image()).await.unwrap();
    assert_eq!(uploaded.public_url, "https://files.example.com/f-1");
    // Not the 15 minutes for which the upload URL is valid.
    assert_eq!(
        uploaded.retention,
        Some(Duration::from_secs(30 * 24 * 3600))
    );
    let [presign, put] = server.requests().try_into().unwrap();
    assert_eq!(presign.method, "POST");
    assert_eq!(presign.path, "/v1/upload/presign");
    assert_eq!(
        presign.body,
        json!({"content_type": "image/png", "expires_in_seconds": 2_592_000})
    );
    assert_eq!(presign.header("x-api-key"), Some("id-1:secret-123"));
    assert_eq!(put.path, "/put/here");
    assert_eq!(put.query, "sig=1");
    assert_eq!(put.header("x-token"), Some("t-1"));
    assert_eq!(put.header("content-length"), Some("9"));
    let content_types: Vec<_> = put.headers.get_all("content-type").iter().collect();
    assert_eq!(content_types, ["image/png"]);
    assert_eq!(put.header("x-api-key"), None);
    assert_eq!(put.header("authorization"), None);
}

#[tokio::test]
async fn a_file_is_uploaded_to_fal_without_the_key() {
    let server = StubServer::with_handler(|request| {
        let host = request.header("host").unwrap();
        let body = json!({
            "upload_url": format!("http://{host}/put"),
            "file_url": "https://v3.fal.media/files/cup.png",
        });
        json_response(200, &body)
    })
    .await;
    let base = server.base.clone();
    let fal = Fal::new(
        base.clone(),
        base.clone(),
        Some(base),
        &key(),
        clock(),
        timeouts(),
        ProxiedLinks::default(),
    )
    .unwrap();
    let uploaded = fal.upload(&image()).await.unwrap();
    assert_eq!(
        uploaded,
        UploadedImage {
            public_url: "https://v3.fal.media/files/cup.png".into(),
            retention: None
        }
    );
    let [presign, put] = server.requests().try_into().unwrap();
    assert_eq!(presign.path, "/storage/upload/initiate");
    assert_eq!(presign.query, "storage_type=fal-cdn-v3");
    assert_eq!(
        presign.body,
        json!({"content_type": "image/png", "file_name": "cup.png"})
    );
    assert_eq!(presign.header("authorization"), Some("Key id-1:secret-123"));
    assert_eq!(put.method, "PUT");
    assert_eq!(put.header("content-type"), Some("image/png"));
    assert_eq!(put.header("authorization"), None);
}

#[tokio::test]
async fn an_upload_to_a_provider_without_storage_is_rejected() {
    let server = StubServer::with_response(200, json!({})).await;
    let base = server.base.clone();
    let aimlapi = Aimlapi::new(base.clone(), &key(), clock(), timeouts()).unwrap();
    let fal = Fal::new(
        base.clone(),
        base,
        None,
        &key(),
        clock(),
        timeouts(),
        ProxiedLinks::default(),
    )
    .unwrap();
    assert_eq!(variant(&aimlapi.upload(&image()).await), "rejected");
    assert_eq!(variant(&fal.upload(&image()).await), "rejected");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn failed_uploads_are_classified() {
    for (status, expected) in [
        (400, "rejected"),
        (401, "access denied"),
        (402, "access denied"),
        (404, "rejected"),
        (429, "rate limited"),
        (500, "transient"),
    ] {
        let server = StubServer::with_response(status, json!({ "error": "no" })).await;
        let uploaded = eachlabs(&server).upload(&image()).await;
        assert_eq!(variant(&uploaded), expected, "{status} to the presign");
    }
    for (status, expected) in [
        (400, "rejected"),
        (403, "transient"),
        (413, "rejected"),
        (429, "transient"),
        (503, "transient"),
    ] {
        let server = storage_server(move |_| json_response(status, &json!({}))).await;
        let uploaded = eachlabs(&server).upload(&image()).await;
        assert_eq!(variant(&uploaded), expected, "{status} to the upload");
    }
    let (base, _) = spawn_broken_server(b"").await;
    let eachlabs = Eachlabs::new(
        base,
        &key(),
        Auth::XApiKey,
        clock(),
        timeouts(),
        ProxiedLinks::default(),
    )
    .unwrap();
    assert_eq!(variant(&eachlabs.upload(&image()).await), "transient");
}

#[tokio::test]
async fn nothing_is_uploaded_to_a_url_that_is_not_public_https() {
    for (upload_url, expected) in [
        ("http://storage.example.com/put", "rejected"),
        ("ftp://127.0.0.1/put", "rejected"),
        ("https://10.0.0.1/put", "rejected"),
        ("put", "unknown"),
    ] {
        let body = json!({
            "presigned_url": upload_url,
            "public_url": "https://files.example.com/f-1",
        });
        let server = StubServer::with_response(200, body).await;
        let uploaded = eachlabs(&server).upload(&image()).await;
        assert_eq!(variant(&uploaded), expected, "{upload_url}");
        assert_eq!(server.requests().len(), 1);
    }
}
