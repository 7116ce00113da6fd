//! Asks providers to stop predictions whose jobs were cancelled.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::{Attempt, Failure, PredictionHandle, ProviderName};
use crate::provider::Provider;

/// Asks the providers to cancel the predictions of these attempts, one after the other. Attempts
/// without a known prediction, or at a provider that is not given, are skipped. Calls `on_failure`
/// with each prediction that could not be cancelled.
pub async fn cancel_predictions(
    providers: &BTreeMap<ProviderName, Arc<dyn Provider>>,
    attempts: &[Attempt],
    on_failure: impl Fn(&PredictionHandle, ProviderName, Failure),
) {
    for attempt in attempts {
        let (Some(prediction), Some(provider)) = (
            &attempt.progress.prediction,
            providers.get(&attempt.provider),
        ) else {
            continue;
        };
        if let Err(failure) = provider.cancel(prediction, &attempt.wire_model).await {
            on_failure(prediction, attempt.provider, failure);
        }
    }
}
