//! A panic in a step: a fault of the program, which is kept to the job that it happened to.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

/// Runs a step to its end.
///
/// What a step shares with others is behind locks that a panic does not poison, or is the queue, which it
/// does not write: the others are not affected.
///
/// # Errors
/// Returns what the panic said, if it panicked.
pub(super) async fn catch_panic<T>(step: impl Future<Output = T>) -> Result<T, String> {
    let result = AssertUnwindSafe(step).catch_unwind().await;
    result.map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
