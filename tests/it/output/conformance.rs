//! What holds for every place for clips.

use overnight::output::{CheckDepth, ClipDamage, OutputStore};
use sha2::{Digest, Sha256};

use super::*;

macro_rules! run_for_each_place {
    ($($test:ident),* $(,)?) => {
        mod disk {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test::<super::Disk>().await;
                }
            )*
        }

        mod moto {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    if crate::moto::is_available() {
                        super::$test::<super::Moto>().await;
                    }
                }
            )*
        }

        mod objects {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$test::<super::Objects>().await;
                }
            )*
        }
    };
}

run_for_each_place!(
    a_clip_is_saved_whole_and_found_as_it_was_saved,
    a_download_that_breaks_off_or_is_no_clip_leaves_nothing,
    what_another_program_left_in_the_place_of_a_clip_is_kept,
    an_earlier_clip_is_moved_aside_by_the_next_one,
    an_earlier_clip_with_another_ending_is_moved_aside,
    the_same_clip_takes_its_own_place_again,
    a_clip_that_exists_is_taken_for_another_job,
    a_clip_that_was_moved_aside_is_taken_from_there,
    a_damaged_clip_is_not_taken,
    a_changed_clip_is_damaged_and_a_removed_one_missing,
    a_clip_is_written_where_its_file_says_unless_something_else_is_there,
    the_space_for_clips_is_known_and_asking_leaves_nothing,
);

async fn a_clip_is_saved_whole_and_found_as_it_was_saved<P: Place>() {
    let place = P::new();
    let location = clip_location(place.folder(), "one");
    for content in [clip("one"), long_clip(20_000_000)] {
        let file = saved(place.store(), &location, &content).await;
        assert_eq!(file.location, place.folder().join("cup 1.25.mp4"));
        assert_eq!(file.bytes, content.len() as u64);
        assert_eq!(file.sha256, hex::encode(Sha256::digest(&content)));
        for depth in [CheckDepth::Stored, CheckDepth::Content] {
            assert_eq!(place.store().check(&file, depth).await, None);
        }
        assert!(read(place.store(), &file).await == Some(content));
    }
}

async fn a_download_that_breaks_off_or_is_no_clip_leaves_nothing<P: Place>() {
    let place = P::new();
    let location = clip_location(place.folder(), "one");
    let whole = clip("one");
    let half = &whole[..whole.len() / 2];
    assert!(save(place.store(), &location, half).await.is_err());
    assert!(save(place.store(), &location, b"<html>").await.is_err());
    let length = Some(whole.len() as u64);
    let shortened = place.store().save(&location, arriving(half), length).await;
    assert!(
        matches!(shortened, Err(OutputError::WrongLength { .. })),
        "{shortened:?}"
    );
    assert_eq!(place.names(), [""; 0]);
}

async fn what_another_program_left_in_the_place_of_a_clip_is_kept<P: Place>() {
    let place = P::new();
    let name = "cup 1.25.mp4";
    let location = clip_location(place.folder(), "one");
    place.write(name, b"edited by hand").await;
    saved(place.store(), &location, &clip("one")).await;
    place.write(name, b"edited once more").await;
    saved(place.store(), &location, &clip("one")).await;
    let first = "earlier/found-cup 1.25.1.mp4";
    let second = "earlier/found-cup 1.25.2.mp4";
    assert_eq!(place.names(), [name, first, second]);
    assert_eq!(place.content(first), b"edited by hand");
    assert_eq!(place.content(second), b"edited once more");
}

async fn an_earlier_clip_is_moved_aside_by_the_next_one<P: Place>() {
    let place = P::new();
    let earlier = clip_location(place.folder(), "one");
    let earlier = saved(place.store(), &earlier, &clip("one")).await;
    let next = ClipLocation {
        kept: vec![kept(&earlier)],
        ..clip_location(place.folder(), "two")
    };
    let file = saved(place.store(), &next, &clip("two")).await;
    assert_eq!(file.location, earlier.location);
    assert_eq!(place.names(), ["cup 1.25.mp4", "earlier/cup 1.25.1.mp4"]);
    let aside = earlier.at(kept(&earlier).earlier_location());
    assert_eq!(place.store().check(&aside, CheckDepth::Content).await, None);
    assert_eq!(place.store().check(&file, CheckDepth::Content).await, None);
}

async fn an_earlier_clip_with_another_ending_is_moved_aside<P: Place>() {
    let place = P::new();
    let earlier = clip_location(place.folder(), "one");
    let webm = clip::of_kind(clip::ClipKind::Webm, "one", 0, 5);
    let earlier = saved(place.store(), &earlier, &webm).await;
    let next = ClipLocation {
        kept: vec![kept(&earlier)],
        ..clip_location(place.folder(), "two")
    };
    saved(place.store(), &next, &clip("two")).await;
    assert_eq!(place.names(), ["cup 1.25.mp4", "earlier/cup 1.25.1.webm"]);
    assert_eq!(place.content("earlier/cup 1.25.1.webm"), webm);
}

async fn the_same_clip_takes_its_own_place_again<P: Place>() {
    let place = P::new();
    let location = clip_location(place.folder(), "one");
    for _ in 0..2 {
        let file = saved(place.store(), &location, &clip("one")).await;
        assert_eq!(place.store().check(&file, CheckDepth::Content).await, None);
    }
    assert_eq!(place.names(), ["cup 1.25.mp4"]);
}

async fn a_clip_that_exists_is_taken_for_another_job<P: Place>() {
    let place = P::new();
    let location = clip_location(place.folder(), "one");
    let file = saved(place.store(), &location, &clip("one")).await;
    let other = ClipLocation {
        file_name: "bowl.mp4".into(),
        ..clip_location(place.folder(), "two")
    };
    for _ in 0..2 {
        let taken = place.store().reuse(&kept(&file), &other).await;
        let taken = taken.expect("it is taken").expect("it is there");
        assert_eq!(taken, file.at(place.folder().join("bowl.mp4")));
        assert_eq!(place.store().check(&taken, CheckDepth::Content).await, None);
    }
    assert_eq!(place.names(), ["bowl.mp4", "cup 1.25.mp4"]);
}

async fn a_clip_that_was_moved_aside_is_taken_from_there<P: Place>() {
    let place = P::new();
    let first = clip_location(place.folder(), "one");
    let first = saved(place.store(), &first, &clip("one")).await;
    let next = ClipLocation {
        kept: vec![kept(&first)],
        ..clip_location(place.folder(), "two")
    };
    let next = saved(place.store(), &next, &clip("two")).await;
    // The first input is asked for again.
    let again = ClipLocation {
        kept: vec![
            kept(&first),
            KeptClip {
                number: 2,
                file: next,
            },
        ],
        ..clip_location(place.folder(), "three")
    };
    let taken = place.store().reuse(&kept(&first), &again).await;
    assert_eq!(taken.expect("it is taken"), Some(first));
    assert_eq!(place.content("cup 1.25.mp4"), clip("one"));
    assert_eq!(place.content("earlier/cup 1.25.2.mp4"), clip("two"));
}

async fn a_damaged_clip_is_not_taken<P: Place>() {
    let place = P::new();
    let location = clip_location(place.folder(), "one");
    let file = saved(place.store(), &location, &clip("one")).await;
    place.write("cup 1.25.mp4", b"cut off").await;
    let other = ClipLocation {
        file_name: "bowl.mp4".into(),
        ..clip_location(place.folder(), "two")
    };
    let taken = place.store().reuse(&kept(&file), &other).await;
    assert_eq!(taken.expect("no error"), None);
    assert_eq!(place.names(), ["cup 1.25.mp4"]);
}

async fn a_changed_clip_is_damaged_and_a_removed_one_missing<P: Place>() {
    let place = P::new();
    let store = place.store();
    let location = clip_location(place.folder(), "one");
    let content = clip("one");
    let file = saved(store, &location, &content).await;
    let mut changed = content.clone();
    *changed.last_mut().expect("a byte") ^= 1;
    place.write("cup 1.25.mp4", &changed).await;
    let damage = store.check(&file, CheckDepth::Content).await;
    assert_eq!(damage, Some(ClipDamage::Content));
    place.write("cup 1.25.mp4", &content[1..]).await;
    let damage = store.check(&file, CheckDepth::Stored).await;
    assert!(
        matches!(damage, Some(ClipDamage::Length { .. })),
        "{damage:?}"
    );
    // Twice: removing what is gone is no error.
    for _ in 0..2 {
        store.remove(&file.location).await.expect("removed");
        let damage = store.check(&file, CheckDepth::Stored).await;
        assert_eq!(damage, Some(ClipDamage::Missing));
        assert_eq!(read(store, &file).await, None);
    }
    assert_eq!(place.names(), [""; 0]);
}

async fn a_clip_is_written_where_its_file_says_unless_something_else_is_there<P: Place>() {
    let place = P::new();
    let store = place.store();
    let content = clip("one");
    let location = clip_location(place.folder(), "one");
    let file = saved(store, &location, &content).await;
    let other = file.at(place.folder().join("earlier/bowl.mp4"));
    for _ in 0..2 {
        assert!(
            store
                .write(&other, arriving(&content))
                .await
                .expect("written")
        );
        assert_eq!(store.check(&other, CheckDepth::Content).await, None);
    }
    let changed = store.write(&other, arriving(&clip("two"))).await;
    assert!(!changed.expect("no error"), "it is another clip");
    let taken = SavedFile {
        sha256: hex::encode(Sha256::digest(clip("two"))),
        ..file.clone()
    };
    assert!(
        !store
            .write(&taken, arriving(&clip("two")))
            .await
            .expect("no error")
    );
    assert!(
        store
            .copy(&file, &place.folder().join("cup.mp4"))
            .await
            .expect("copied")
    );
    assert!(
        !store
            .copy(&taken.at(other.location.clone()), &file.location)
            .await
            .expect("no error")
    );
    assert_eq!(
        place.names(),
        ["cup 1.25.mp4", "cup.mp4", "earlier/bowl.mp4"]
    );
    assert_eq!(store.check(&file, CheckDepth::Content).await, None);
}

async fn the_space_for_clips_is_known_and_asking_leaves_nothing<P: Place>() {
    let place = P::new();
    let space = place.store().space(&place.folder()).await;
    assert!(space.expect("it is writable").is_some());
    assert_eq!(place.names(), [""; 0]);
}
