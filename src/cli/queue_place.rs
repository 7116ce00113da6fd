//! Whether a queue is safe where it is.

use crate::queue::UnsafePlace;

use super::render;
use super::setup::Setup;

/// Returns what to do about a queue that is not.
pub(super) fn hint(place: &UnsafePlace) -> &'static str {
    match place {
        UnsafePlace::SeveralNames(_) => {
            "remove the other names while no run is active; `overnight backup FILE` writes a whole copy of \
             the queue"
        }
        UnsafePlace::AsynchronousStandby => {
            "set `synchronous_standby_names` on the server, or `accept_loss = true` in the config if paying for \
             some clips twice after a failure is acceptable"
        }
        UnsafePlace::NoSync => {
            "set `fsync = on` on the server, or `accept_loss = true` in the config"
        }
        _ => {
            "move the project to a local disk while no run is active; `overnight backup FILE` writes a \
             whole copy of the queue"
        }
    }
}

/// Returns whether no run may use a queue there.
pub(super) fn is_refused(setup: &Setup, place: &UnsafePlace) -> bool {
    match place {
        UnsafePlace::AsynchronousStandby | UnsafePlace::NoSync => !setup.app.config.accept_loss,
        _ => place.is_certain(),
    }
}

/// Returns an error if the queue is where commits or locks may be lost, so that jobs could be paid for
/// twice.
pub(super) fn ensure_safe(setup: &Setup) -> anyhow::Result<()> {
    match setup.app.unsafe_place()? {
        Some(place) if is_refused(setup, &place) => {
            anyhow::bail!("{place}\nhint: {}", hint(&place))
        }
        Some(place) => render::print_note(format_args!("{place}\nhint: {}", hint(&place))),
        None => {}
    }
    Ok(())
}
