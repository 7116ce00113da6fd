//! What the searches for a lost submission have in common.
//!
//! Absence makes the queue pay again, so it is claimed only of a history that was read to its end and whose every row
//! could be judged. Anything less is a failure, and the job stays in doubt.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::domain::{Failure, ProviderName};

use super::Trace;
use super::http::Reply;
use super::refusal::unreadable;

/// Reads one page's rows.
pub(super) fn rows<'a>(provider: ProviderName, reply: &'a Reply, key: &str) -> Result<&'a [Value], Failure> {
    let body = reply.json.as_ref().filter(|_| reply.status.is_success());
    match body.and_then(|body| body.get(key)) {
        Some(Value::Array(rows)) => Ok(rows),
        // Some servers write an empty list so.
        Some(Value::Null) if reply.said.is_none() => Ok(&[]),
        _ => Err(unreadable(provider, reply, "a history")),
    }
}

/// What a search has shown so far.
#[derive(Debug, Default)]
pub(super) struct Search {
    found: BTreeSet<String>,
    unclear: usize,
}

impl Search {
    /// Notes a prediction that is the lost submission, or its twin. The same one may turn up on two pages.
    pub(super) fn found(&mut self, prediction_id: String) {
        self.found.insert(prediction_id);
    }

    /// Notes a row that may be the lost submission, but does not show enough to tell.
    pub(super) fn unclear(&mut self) {
        self.unclear += 1;
    }

    /// Judges a history that was read to its end.
    pub(super) fn close(self, provider: ProviderName, lists_running: bool) -> Result<Trace, Failure> {
        if self.found.is_empty() && self.unclear > 0 {
            let rows = self.unclear;
            let reason =
                format!("{provider}'s history lists {rows} predictions of that time that cannot be compared");
            return Err(Failure::Transient { reason, retry_after: None });
        }
        Ok(Trace::of(self.found.into_iter().collect(), lists_running))
    }
}
