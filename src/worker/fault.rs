//! A panic in a step: a fault of the program, which is kept to the job that it happened to.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::domain::panic_message::panic_message;

/// Runs a step to its end.
///
/// What a step shares with others is behind locks that a panic does not poison, or is the queue, which it
/// does not write: the others are not affected.
///
/// # Errors
/// Returns what the panic said, if it panicked.
pub(super) async fn catch_panic<T>(step: impl Future<Output = T>) -> Result<T, String> {
    let result = AssertUnwindSafe(step).catch_unwind().await;
    result.map_err(|panic| panic_message(panic.as_ref()).to_owned())
}
