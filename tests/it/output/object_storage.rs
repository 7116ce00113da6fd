//! What holds for object storage alone.

use hyper::{Method, StatusCode};
use overnight::output::{CheckDepth, ClipDamage, OutputStore};

use super::*;
use crate::storage_server::Conditions;

const NAME: &str = "cup 1.25.mp4";

#[tokio::test]
async fn a_clip_whose_row_was_not_written_is_found_without_another_download() {
    let place = Objects::new();
    let location = clip_location(place.folder(), "one");
    let none = place.store().find_saved(&location).await;
    assert_eq!(none.expect("no error"), None);
    let file = saved(place.store(), &location, &clip("one")).await;
    let found = place.store().find_saved(&location).await;
    assert_eq!(found.expect("no error"), Some(file));
    let other = clip_location(place.folder(), "another attempt");
    let found = place.store().find_saved(&other).await;
    assert_eq!(found.expect("no error"), None);
}

#[tokio::test]
async fn a_clip_that_has_rotted_is_found_by_reading_it_and_downloaded_anew() {
    let place = Objects::new();
    let location = clip_location(place.folder(), "one");
    let file = saved(place.store(), &location, &clip("one")).await;
    let mut rotten = clip("one");
    rotten[1000] ^= 1;
    place.server.overwrite(&format!("{PREFIX}{NAME}"), rotten);
    // What was stored with it does not tell.
    assert_eq!(place.store().check(&file, CheckDepth::Stored).await, None);
    let damage = place.store().check(&file, CheckDepth::Content).await;
    assert_eq!(damage, Some(ClipDamage::Content));
    let found = place.store().find_saved(&location).await;
    assert_eq!(found.expect("no error"), None);
    saved(place.store(), &location, &clip("one")).await;
    assert_eq!(place.store().check(&file, CheckDepth::Content).await, None);
    assert_eq!(place.names(), [NAME]);
}

#[tokio::test]
async fn a_bucket_that_does_not_exist_is_told() {
    if !moto::is_available() {
        return;
    }
    let place = Moto::new();
    let location = clip_location("s3://no-such-bucket/renders".into(), "one");
    let error = save(place.store(), &location, &clip("one")).await;
    let error = error.expect_err("it is refused");
    assert!(matches!(error, OutputError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("NoSuchBucket: "), "{error}");
}

#[tokio::test]
async fn an_empty_place_takes_a_clip_with_one_request() {
    let place = Objects::new();
    let first = clip_location(place.folder(), "one");
    saved(place.store(), &first, &clip("one")).await;
    place.server.take_requests();
    let second = ClipLocation {
        file_name: "bowl.mp4".into(),
        ..clip_location(place.folder(), "two")
    };
    saved(place.store(), &second, &clip("two")).await;
    let requests = place.server.take_requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0].0, Method::PUT);
}

#[tokio::test]
async fn a_storage_that_ignores_conditions_keeps_what_is_in_the_place_all_the_same() {
    let place = Objects::at(StorageServer::start(Conditions::Ignored));
    place.write(NAME, b"edited by hand").await;
    let location = clip_location(place.folder(), "one");
    saved(place.store(), &location, &clip("one")).await;
    assert_eq!(place.names(), [NAME, "earlier/found-cup 1.25.1.mp4"]);
    assert_eq!(
        place.content("earlier/found-cup 1.25.1.mp4"),
        b"edited by hand"
    );
}

#[tokio::test]
async fn a_storage_that_does_not_know_conditions_gets_none() {
    let place = Objects::at(StorageServer::start(Conditions::Refused));
    for name in ["bowl", "cup"] {
        let location = ClipLocation {
            file_name: format!("{name}.mp4"),
            ..clip_location(place.folder(), name)
        };
        saved(place.store(), &location, &clip(name)).await;
    }
    assert_eq!(place.names(), ["bowl.mp4", "cup.mp4"]);
    let requests = place.server.take_requests();
    let looks = requests
        .iter()
        .filter(|(method, _)| *method == Method::HEAD);
    assert_eq!(looks.count(), 3, "{requests:?}");
}

#[tokio::test]
async fn a_storage_that_is_busy_for_a_moment_is_asked_again() {
    let place = Objects::new();
    let mut refusals = 3;
    place.server.set_fault(move |method, _| {
        let is_refused = *method == Method::PUT && refusals > 0;
        refusals -= i32::from(is_refused);
        is_refused.then_some((StatusCode::SERVICE_UNAVAILABLE, "SlowDown"))
    });
    let location = clip_location(place.folder(), "one");
    saved(place.store(), &location, &clip("one")).await;
    assert_eq!(place.names(), [NAME]);
}

#[tokio::test]
async fn what_the_user_must_mend_is_told_from_what_passes_and_shows_no_secret() {
    for (status, code, is_refused) in [
        (StatusCode::FORBIDDEN, "AccessDenied", true),
        (StatusCode::FORBIDDEN, "InvalidAccessKeyId", true),
        (StatusCode::BAD_REQUEST, "ExpiredToken", true),
        (StatusCode::NOT_FOUND, "NoSuchBucket", true),
        (StatusCode::NOT_FOUND, "NoSuchUpload", false),
    ] {
        let place = Objects::new();
        place.server.set_fault(move |method, _| {
            // The answer to a look at a place has no text.
            (*method == Method::PUT).then_some((status, code))
        });
        let location = clip_location(place.folder(), "one");
        let error = save(place.store(), &location, &clip("one")).await;
        let error = error.expect_err("it is refused");
        let has_kind = match is_refused {
            true => matches!(error, OutputError::Refused { .. }),
            false => matches!(error, OutputError::Unavailable { .. }),
        };
        assert!(has_kind, "{code}: {error:?}");
        let text = error.to_string();
        assert!(text.ends_with(&format!("{code}: it is a test")), "{text}");
        assert!(
            !text.contains("127.0.0.1") && !text.contains("AKTEST"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_storage_is_asked_through_tls_unless_it_is_on_this_machine() {
    let environment = [(
        "AWS_ENDPOINT_URL".into(),
        "http://storage.example.com".into(),
    )];
    let store = ObjectStorage::new(&environment.into());
    let location = clip_location("s3://clips/renders".into(), "one");
    let error = save(&store, &location, &clip("one")).await;
    let error = error.expect_err("it is refused").to_string();
    assert!(error.contains("must be https"), "{error}");
}

#[tokio::test]
async fn parts_of_a_clip_that_cannot_be_stored_are_removed() {
    let place = Objects::new();
    place.server.set_fault(|method, path| {
        let is_second_part = *method == Method::PUT && path.contains("partNumber=2");
        is_second_part.then_some((StatusCode::BAD_REQUEST, "InvalidPart"))
    });
    let location = clip_location(place.folder(), "one");
    let error = save(place.store(), &location, &long_clip(20_000_000)).await;
    assert!(matches!(error, Err(OutputError::Store { .. })), "{error:?}");
    let requests = place.server.take_requests();
    let aborted =
        |(method, path): &(Method, String)| *method == Method::DELETE && path.contains("uploadId=");
    assert!(requests.iter().any(aborted), "{requests:?}");
    assert_eq!(place.names(), [""; 0]);
}
