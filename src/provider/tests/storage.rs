//! Uploads: where the place is asked for, how the file is put there, and what a refusal means.

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

fn photo() -> ImageFile {
    ImageFile {
        name: "cup.png".into(),
        content_type: "image/png",
        bytes: Bytes::from_static(b"a picture"),
    }
}

fn eachlabs(stub: &Stub) -> Eachlabs {
    Eachlabs::new(
        stub.base.join("v1").unwrap(),
        &key(),
        Auth::XApiKey,
        clock(),
    )
    .unwrap()
}

/// Gives each::labs' place, and answers what is put there.
async fn storage(put: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Stub {
    Stub::answering(move |seen| match seen.method.as_str() {
        "PUT" => put(seen),
        _ => {
            let host = seen.header("host").unwrap();
            let place = json!({
                "id": "f-1", "presigned_url": format!("http://{host}/put/here?sig=1"),
                "public_url": "https://files.example.com/f-1", "expires_at": "2026-08-20T10:15:00Z",
                "required_headers": { "x-token": "t-1", "Content-Type": "image/png" },
            });
            answer(201, &place)
        }
    })
    .await
}

#[tokio::test]
async fn eachlabs_gives_a_place_and_gets_the_file_without_the_key() {
    let stub = storage(|_| answer(200, &json!({}))).await;
    let UploadedImage {
        public_url: link,
        retention: kept,
    } = eachlabs(&stub).upload(&photo()).await.unwrap();
    assert_eq!(link, "https://files.example.com/f-1");
    // Not the 15 minutes of the place.
    assert_eq!(kept, Some(Duration::from_secs(30 * 24 * 3600)));
    let [asked, put] = stub.seen().try_into().unwrap();
    assert_eq!(
        (asked.method.as_str(), asked.path.as_str()),
        ("POST", "/v1/upload/presign")
    );
    assert_eq!(
        asked.body,
        json!({"content_type": "image/png", "expires_in_seconds": 2_592_000})
    );
    assert_eq!(asked.header("x-api-key"), Some("id-1:secret-123"));
    assert_eq!(
        (put.path.as_str(), put.query.as_str()),
        ("/put/here", "sig=1")
    );
    assert_eq!(
        (put.header("x-token"), put.header("content-length")),
        (Some("t-1"), Some("9"))
    );
    assert_eq!(
        put.headers
            .get_all("content-type")
            .iter()
            .collect::<Vec<_>>(),
        ["image/png"]
    );
    assert_eq!(
        (put.header("x-api-key"), put.header("authorization")),
        (None, None)
    );
}

#[tokio::test]
async fn fal_gives_a_place_and_gets_the_file_without_the_key() {
    let stub = Stub::answering(|seen| {
        let host = seen.header("host").unwrap();
        let (put, file) = (
            format!("http://{host}/put"),
            "https://v3.fal.media/files/cup.png",
        );
        answer(200, &json!({ "upload_url": put, "file_url": file }))
    })
    .await;
    let base = stub.base.clone();
    let fal = Fal::new(base.clone(), base.clone(), Some(base), &key(), clock()).unwrap();
    let upload = fal.upload(&photo()).await.unwrap();
    assert_eq!(
        upload,
        UploadedImage {
            public_url: "https://v3.fal.media/files/cup.png".into(),
            retention: None
        }
    );
    let [asked, put] = stub.seen().try_into().unwrap();
    assert_eq!(
        (asked.path.as_str(), asked.query.as_str()),
        ("/storage/upload/initiate", "storage_type=fal-cdn-v3")
    );
    assert_eq!(
        asked.body,
        json!({"content_type": "image/png", "file_name": "cup.png"})
    );
    assert_eq!(asked.header("authorization"), Some("Key id-1:secret-123"));
    assert_eq!(
        (put.method.as_str(), put.header("content-type")),
        ("PUT", Some("image/png"))
    );
    assert_eq!(put.header("authorization"), None);
}

#[tokio::test]
async fn a_provider_without_storage_takes_no_upload() {
    let stub = Stub::always(200, json!({})).await;
    let aimlapi = Aimlapi::new(stub.base.clone(), &key(), clock()).unwrap();
    let fal = Fal::new(stub.base.clone(), stub.base.clone(), None, &key(), clock()).unwrap();
    assert_eq!(kind(&aimlapi.upload(&photo()).await), "rejected");
    assert_eq!(kind(&fal.upload(&photo()).await), "rejected");
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn what_will_pass_and_what_will_not_are_told_apart() {
    for (status, meaning) in [
        (400, "rejected"),
        (401, "closed"),
        (402, "closed"),
        (404, "rejected"),
        (429, "rate limited"),
        (500, "transient"),
    ] {
        let stub = Stub::always(status, json!({ "error": "no" })).await;
        assert_eq!(
            kind(&eachlabs(&stub).upload(&photo()).await),
            meaning,
            "{status} to the question"
        );
    }
    for (status, meaning) in [
        (400, "rejected"),
        (403, "transient"),
        (413, "rejected"),
        (429, "transient"),
        (503, "transient"),
    ] {
        let stub = storage(move |_| answer(status, &json!({}))).await;
        assert_eq!(
            kind(&eachlabs(&stub).upload(&photo()).await),
            meaning,
            "{status} to the file"
        );
    }
    let (base, _) = broken(b"").await;
    let eachlabs = Eachlabs::new(base, &key(), Auth::XApiKey, clock()).unwrap();
    assert_eq!(kind(&eachlabs.upload(&photo()).await), "transient");
}

#[tokio::test]
async fn a_place_that_is_not_encrypted_not_public_or_none_gets_no_file() {
    for (place, meaning) in [
        ("http://storage.example.com/put", "rejected"),
        ("ftp://127.0.0.1/put", "rejected"),
        ("https://10.0.0.1/put", "rejected"),
        ("put", "unknown"),
    ] {
        let place =
            json!({ "presigned_url": place, "public_url": "https://files.example.com/f-1" });
        let stub = Stub::always(200, place.clone()).await;
        assert_eq!(
            kind(&eachlabs(&stub).upload(&photo()).await),
            meaning,
            "{place}"
        );
        assert_eq!(stub.seen().len(), 1);
    }
}
