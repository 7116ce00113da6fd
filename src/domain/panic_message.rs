//! What a panic said.

use std::any::Any;

/// Returns the text of a panic, as `catch_unwind` or the end of a thread returns it.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message")
}
