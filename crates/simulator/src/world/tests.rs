//! Tests of the pure model, with calls at fixed times.

use serde_json::{Map, Value, json};

use crate::api::{Api, Call};
use crate::fault::{Fault, Faults};
use crate::options::{Limits, SimulatorOptions};
use crate::prediction::Prediction;
use crate::rules::ModelRules;
use crate::world::capacity::LimitExceeded;
use crate::world::{CancelOutcome, World};

fn input(duration: Value) -> Map<String, Value> {
    let input =
        json!({"prompt": "x", "image_url": "https://example.com/a.png", "duration": duration});
    input.as_object().unwrap().clone()
}

fn world(creates_per_minute: u32, at_once: u32) -> World {
    World::new(SimulatorOptions::default().with_limits(Limits {
        creates_per_minute,
        at_once,
    }))
}

fn eachlabs_model() -> &'static ModelRules {
    ModelRules::find(Api::Eachlabs, "kling-v1-standard-image-to-video").unwrap()
}

fn fal_model() -> &'static ModelRules {
    ModelRules::find(Api::Fal, "fal-ai/kling-video/v1/standard/image-to-video").unwrap()
}

fn create_at_fal(world: &mut World, now: i64) -> Prediction {
    world
        .create(fal_model(), input(json!("5")), None, false, now)
        .unwrap()
        .clone()
}

#[test]
fn no_60_seconds_hold_more_creates_than_the_limit() {
    let mut world = world(2, 100);
    let create = |world: &mut World, now| {
        world
            .create(eachlabs_model(), input(json!(5)), None, false, now)
            .map(|_| ())
    };
    assert_eq!(create(&mut world, 0), Ok(()));
    assert_eq!(create(&mut world, 30_000), Ok(()));
    assert_eq!(create(&mut world, 59_999), Err(LimitExceeded::Throughput));
    assert_eq!(create(&mut world, 60_000), Ok(()));
    assert_eq!(world.ledger().over_rate, 1);
}

#[test]
fn creates_beyond_the_slots_are_refused_by_eachlabs_and_queued_by_fal() {
    let mut world = world(100, 1);
    assert!(
        world
            .create(eachlabs_model(), input(json!(5)), None, false, 0)
            .is_ok()
    );
    assert_eq!(
        world.create(eachlabs_model(), input(json!(5)), None, false, 1),
        Err(LimitExceeded::Slots)
    );
    let first = create_at_fal(&mut world, 0);
    assert_eq!(create_at_fal(&mut world, 0).starts_at, first.ends_at);
}

#[test]
fn a_slot_is_free_again_when_its_prediction_ends() {
    let mut world = world(100, 1);
    let ends_at = world
        .create(eachlabs_model(), input(json!(5)), None, false, 0)
        .unwrap()
        .ends_at;
    assert_eq!(
        world.create(eachlabs_model(), input(json!(5)), None, false, ends_at - 1),
        Err(LimitExceeded::Slots)
    );
    assert!(
        world
            .create(eachlabs_model(), input(json!(5)), None, false, ends_at)
            .is_ok()
    );
}

#[test]
fn cancelling_a_prediction_frees_its_runner_for_the_next_in_the_queue() {
    let mut world = world(100, 1);
    let ids: Vec<String> = (0..3).map(|_| create_at_fal(&mut world, 0).id).collect();
    let third = world.poll(Api::Fal, &ids[2]).unwrap().clone();
    assert_eq!(world.queue_position(&third, 0), 1);
    assert_eq!(
        world.cancel(Api::Fal, &ids[1], 10),
        Some(CancelOutcome::Queued)
    );
    assert_eq!(
        world.cancel(Api::Fal, &ids[0], 20),
        Some(CancelOutcome::Running)
    );
    assert_eq!(
        world.cancel(Api::Fal, &ids[0], 20),
        Some(CancelOutcome::TooLate)
    );
    assert_eq!(world.cancel(Api::Fal, "unknown", 20), None);
    assert_eq!(world.poll(Api::Fal, &ids[2]).unwrap().starts_at, 20);
}

#[test]
fn only_clips_are_billed() {
    let mut world = world(100, 100);
    world
        .create(eachlabs_model(), input(json!(10)), None, false, 0)
        .unwrap();
    world
        .create(eachlabs_model(), input(json!(5)), None, true, 0)
        .unwrap();
    // fal.ai expects the duration as a string, but rejects a number only in the result.
    world
        .create(fal_model(), input(json!(5)), None, false, 0)
        .unwrap();
    let cancelled = world
        .create(eachlabs_model(), input(json!(5)), None, false, 0)
        .unwrap()
        .id
        .clone();
    assert_eq!(
        world.cancel(Api::Eachlabs, &cancelled, 1),
        Some(CancelOutcome::Running)
    );
    assert_eq!(world.ledger().charged(), 450_000);
}

#[test]
fn predictions_take_about_their_typical_time_divided_by_the_speed() {
    let options = SimulatorOptions {
        speed: 100.0,
        ..SimulatorOptions::default()
    };
    let mut world = World::new(options.with_limits(Limits {
        creates_per_minute: 100,
        at_once: 100,
    }));
    for _ in 0..50 {
        let ends_at = world
            .create(eachlabs_model(), input(json!(5)), None, false, 0)
            .unwrap()
            .ends_at;
        assert!((2_295..=3_105).contains(&ends_at), "{ends_at}");
    }
}

#[test]
fn the_faults_of_a_call_do_not_depend_on_calls_of_other_kinds_or_to_other_apis() {
    let faults = Faults::default().with(None, Fault::DropAfter, 0.5);
    let options = SimulatorOptions {
        faults,
        ..SimulatorOptions::default()
    };
    let mut undisturbed = World::new(options.clone());
    let mut interleaved = World::new(options);
    let mut faults = 0;
    for _ in 0..100 {
        interleaved.record_call(Api::Eachlabs, Call::Create, 0);
        interleaved.record_call(Api::Fal, Call::Poll, 0);
        let draw = undisturbed.record_call(Api::Fal, Call::Create, 0);
        assert_eq!(draw, interleaved.record_call(Api::Fal, Call::Create, 0));
        faults += usize::from(draw.fault.is_some());
    }
    assert!((30..70).contains(&faults), "{faults}");
}

#[test]
fn calls_that_ignore_retry_after_are_counted() {
    let mut world = world(100, 100);
    world.record_retry_after(Api::Fal, Call::Poll, 1, 0);
    world.record_call(Api::Fal, Call::Poll, 999);
    world.record_call(Api::Fal, Call::Download, 999);
    world.record_call(Api::Eachlabs, Call::Poll, 999);
    world.record_call(Api::Fal, Call::Poll, 1_000);
    assert_eq!(world.ledger().ignored_retry_after, 1);
}

#[test]
fn restored_predictions_are_known_and_new_ones_get_other_ids() {
    let mut earlier = world(60, 10);
    let accepted = create_at_fal(&mut earlier, 0);
    let mut world = world(60, 10);
    world.restore(earlier.ledger().entries);
    let restored = world.poll(Api::Fal, &accepted.id).unwrap();
    assert_eq!(restored.input, accepted.input);
    assert!(restored.has_ended(1_000_000));
    assert_ne!(create_at_fal(&mut world, 1).id, accepted.id);
    assert_eq!(world.ledger().entries.len(), 2);
}

#[test]
fn an_expired_link_is_replaced_by_one_with_a_new_signature() {
    let mut world = world(100, 100);
    let id = world
        .create(eachlabs_model(), input(json!(5)), None, false, 0)
        .unwrap()
        .id
        .clone();
    let old_signature = world.poll(Api::Eachlabs, &id).unwrap().signature(10);
    world.expire_links(Api::Eachlabs, &id);
    let prediction = world.download(Api::Eachlabs, &id).unwrap();
    assert_ne!(prediction.signature(10), old_signature);
    assert_ne!(prediction.signature(10), prediction.signature(11));
}

#[test]
fn what_waits_in_a_queue_that_stalls_starts_when_it_moves_again() {
    let mut world = world(60, 2);
    world.options_mut().fal_queue_stalls = true;
    create_at_fal(&mut world, 0);
    let is_queued = |world: &World, now| world.predictions()[0].is_queued(now);
    assert!(is_queued(&world, 1_000_000_000));
    world.options_mut().fal_queue_stalls = false;
    world.record_call(Api::Fal, Call::Poll, 1_000_000_000);
    assert!(!is_queued(&world, 1_000_000_000));
}

#[test]
fn an_ignored_cancellation_changes_nothing_and_is_billed() {
    let mut world = world(60, 2);
    world.options_mut().ignores_cancellations = true;
    let id = create_at_fal(&mut world, 0).id;
    let outcome = world.cancel(Api::Fal, &id, 1);
    assert_eq!(outcome, Some(CancelOutcome::Running));
    assert!(world.ledger().charged() > 0);
}
