//! Reproducible random decisions: each has a generator of its own, so that none shifts another.

use crate::api::Api;

/// Random stream for the processing times of predictions. Calls use the discriminant of their kind,
/// which is far smaller.
pub(crate) const PREDICTION_STREAM: u64 = 100;
/// Random stream for prediction ids and link secrets.
pub(crate) const ID_STREAM: u64 = 101;

/// Returns a generator that depends only on the seed and the position, not on what was drawn
/// before.
pub(crate) fn seeded_rng(seed: u64, position: [u64; 3]) -> fastrand::Rng {
    let mix = |mut random: fastrand::Rng, part| fastrand::Rng::with_seed(random.u64(..) ^ part);
    position
        .into_iter()
        .fold(fastrand::Rng::with_seed(seed), mix)
}

/// Draws a prediction id as an API forms it.
pub(crate) fn new_id(api: Api, random: &mut fastrand::Rng) -> String {
    match api {
        // AI/ML API's ids are 21 characters that need no URL encoding.
        Api::Aimlapi => (0..21).map(|_| random.alphanumeric()).collect(),
        Api::Eachlabs | Api::Fal => uuid::Builder::from_random_bytes(random.u128(..).to_be_bytes())
            .into_uuid()
            .hyphenated()
            .to_string(),
    }
}
