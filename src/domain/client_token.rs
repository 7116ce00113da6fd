//! The name that is sent with a submission to providers that store one.

use super::JobId;

/// Returns the name of a submission. It is unique over all queues, and says what is asked for, so that
/// a history that lists it shows that to any queue: `ovn-{queue}.job-{job}.attempt-{number}.{digest}`.
///
/// `digest` is that of the request. The name has at most 128 characters of `A-Z a-z 0-9 . _ -`.
pub(crate) fn client_token(queue_id: &str, job: JobId, number: u32, digest: i64) -> String {
    format!("{PREFIX}{queue_id}.job-{job}.attempt-{number}.{digest:016x}")
}

/// Returns whether a submission of this name, by any queue, had a request with this digest. The names of
/// earlier versions do not say.
pub(crate) fn has_digest(client_token: &str, digest: i64) -> bool {
    let stated = client_token.rsplit_once('.');
    client_token.starts_with(PREFIX)
        && stated.is_some_and(|(_, stated)| stated == format!("{digest:016x}"))
}

const PREFIX: &str = "ovn-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_was_asked_for_unless_an_earlier_version_gave_it() {
        let token = client_token("0123456789ab", JobId(7), 2, -1);
        assert_eq!(token, "ovn-0123456789ab.job-7.attempt-2.ffffffffffffffff");
        assert!(has_digest(&token, -1) && !has_digest(&token, 1));
        assert!(!has_digest("ovn-0123456789ab.job-7.attempt-2", -1));
        assert!(!has_digest("another.ffffffffffffffff", -1));
    }
}
