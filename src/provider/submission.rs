//! The content of one submission, as a provider expects it.

use serde_json::Value;

use crate::domain::Attempt;

/// The content of one submission.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// The provider's id for the model.
    pub wire_model: String,
    /// The model's input, with field names and types as this provider expects them.
    pub request: Value,
    /// Our id for the submission, 1 to 128 characters of `A-Z a-z 0-9 . _ -`, unique over all
    /// queues. It is sent to providers that store such an id.
    pub client_token: String,
}

impl From<&Attempt> for Submission {
    fn from(attempt: &Attempt) -> Self {
        Self {
            wire_model: attempt.wire_model.clone(),
            request: attempt.request.clone(),
            client_token: attempt.client_token.clone(),
        }
    }
}
