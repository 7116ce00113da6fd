//! What the user can do about a job that stopped, beside the reason why it did.

use crate::queue::Remedy;

/// Adds to the reason why a job stopped what the user can do about it.
///
/// A reason that an older version stored may say so already.
pub(super) fn with_remedy(reason: &str, remedy: Option<Remedy>) -> String {
    let (command, text) = match remedy {
        None => return reason.to_owned(),
        Some(Remedy::Resolve) => ("`resolve`", "`resolve` it"),
        Some(Remedy::Retry) => ("`retry`", "`retry` continues with it without paying"),
    };
    if reason.contains(command) {
        reason.to_owned()
    } else {
        format!("{reason}; {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_the_command_that_helps_once() {
        assert_eq!(with_remedy("out of credit", None), "out of credit");
        assert_eq!(
            with_remedy("no history", Some(Remedy::Resolve)),
            "no history; `resolve` it"
        );
        assert_eq!(
            with_remedy("the clip is gone", Some(Remedy::Retry)),
            "the clip is gone; `retry` continues with it without paying"
        );
        let stored = "no history; it is unknown whether it was paid: `resolve` it";
        assert_eq!(with_remedy(stored, Some(Remedy::Resolve)), stored);
    }
}
