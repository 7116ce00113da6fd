//! What the errors of a storage mean.

use std::io;

use object_store::Error;

use crate::domain::Location;
use crate::output::OutputError;

/// Codes of errors that say nothing of the one object: whatever is asked next is refused likewise, until the user
/// has mended it.
const REFUSALS: [&str; 9] = [
    "AccessDenied",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "NoSuchBucket",
    "PermanentRedirect",
    "SignatureDoesNotMatch",
];

/// Returns the error of a request to a storage. It shows what the storage says, and neither keys nor links.
pub(super) fn output_error(location: Location, error: &Error) -> OutputError {
    let text = error_text(error);
    let code = between(&text, "<Code>", "</Code>");
    let status = status(&text);
    let reason = match (code, between(&text, "<Message>", "</Message>"), status) {
        (Some(code), Some(message), _) => format!("{code}: {message}"),
        (Some(code), None, _) => code.to_owned(),
        (None, _, Some(status)) => format!("the storage answered {status}"),
        // The last cause is that of the connection. The first ones show the whole URL.
        (None, _, None) => text.lines().last().unwrap_or_default().to_owned(),
    };
    let is_refused = match (error, code) {
        (Error::PermissionDenied { .. } | Error::Unauthenticated { .. }, _) => true,
        (Error::NotFound { .. }, None) => true,
        (_, code) => {
            // What answers may be the one that gives credentials.
            matches!(status, Some(401 | 403)) || code.is_some_and(|code| REFUSALS.contains(&code))
        }
    };
    if is_refused {
        return OutputError::Refused { location, reason };
    }
    match status {
        Some(400..=407 | 409..=428 | 430..=499) if !matches!(error, Error::NotFound { .. }) => {
            OutputError::Store {
                location,
                error: io::Error::other(reason),
            }
        }
        _ => OutputError::Unavailable { location, reason },
    }
}

/// Returns whether a storage does not know what a request asks for, such as a condition.
pub(super) fn is_not_implemented(error: &Error) -> bool {
    status(&error_text(error)) == Some(501)
}

/// Returns the texts of an error and of its causes.
fn error_text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push('\n');
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Returns the HTTP status of the answer; `None` if there was no answer.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}
