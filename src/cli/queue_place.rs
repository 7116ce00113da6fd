//! Whether a queue is safe where it is.

use super::render;
use super::setup::Setup;

/// What to do about a queue that is not.
pub(super) const HINT: &str = "move the project to a local disk while no run is active; `overnight backup \
                               FILE` writes a whole copy of the queue";

/// Returns an error if the queue is where commits or locks may be lost, so that jobs could be paid for
/// twice.
pub(super) fn ensure_safe(setup: &Setup) -> anyhow::Result<()> {
    match setup.app.unsafe_place()? {
        Some(place) if place.is_certain() => anyhow::bail!("{place}\nhint: {HINT}"),
        Some(place) => render::print_note(format_args!("{place}\nhint: {HINT}")),
        None => {}
    }
    Ok(())
}
