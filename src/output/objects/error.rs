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

/// What the client says of an answer that leads to another region without naming it.
const WRONG_REGION: &str = "redirect without LOCATION";

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
        _ if text.contains(WRONG_REGION) => true,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> OutputError {
        let error = Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        };
        output_error("s3://clips/a.mp4".into(), &error)
    }

    #[test]
    fn an_answer_is_told_by_its_code_or_its_status() {
        let status = "Error performing PUT https://s3/clips/a.mp4 in 1ms - Server returned non-2xx status code: ";
        let told = |text: &str| error(&format!("{status}{text}"));
        assert!(matches!(
            told("503 Service Unavailable: "),
            OutputError::Unavailable { .. }
        ));
        assert!(matches!(
            told("429 Too Many Requests: "),
            OutputError::Unavailable { .. }
        ));
        assert!(matches!(
            told("400 Bad Request: "),
            OutputError::Store { .. }
        ));
        assert!(matches!(
            told("403 Forbidden: "),
            OutputError::Refused { .. }
        ));
        let expired =
            "400 Bad Request: <Error><Code>ExpiredToken</Code><Message>too old</Message></Error>";
        let expired = told(expired);
        assert!(matches!(expired, OutputError::Refused { .. }));
        assert_eq!(
            expired.to_string(),
            "the storage refuses s3://clips/a.mp4: ExpiredToken: too old"
        );
    }

    #[test]
    fn another_region_must_be_mended_and_a_lost_connection_passes() {
        let region = "Received redirect without LOCATION, this normally indicates an incorrectly configured region";
        assert!(matches!(error(region), OutputError::Refused { .. }));
        let lost = error("HTTP error: error sending request");
        assert!(matches!(lost, OutputError::Unavailable { .. }));
    }
}
