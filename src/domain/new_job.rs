//! One row of a manifest, on its way to become a job.

use super::{Input, Money, ProviderName, file_name};

/// One row of a manifest, checked and ready to be put into the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The row's stable key, unique in its batch.
    pub row_key: String,
    /// Line of the manifest on which the row starts, from 1.
    pub line: u64,
    /// The input, in our words.
    pub input: Input,
    /// The same as JSON.
    pub input_text: String,
    /// Whether the input names images on disk.
    pub has_local_images: bool,
    /// Tells a changed row from an unchanged one.
    pub fingerprint: String,
    /// File name of the clip, unless it is taken: without its ending, safe on every system.
    pub stem: String,
    /// The providers that may run it, at least one.
    pub providers: Vec<ProviderName>,
    /// What it costs on the dearest of them, in US dollars.
    pub estimate: Money,
}

impl NewJob {
    /// Makes a row a job. Whatever takes time is done here, not while the queue is locked.
    pub fn new(
        model: &str,
        row_key: String,
        line: u64,
        input: Input,
        providers: Vec<ProviderName>,
        estimate: Money,
    ) -> Self {
        let (input_text, fingerprint) = (input.to_string(), input.fingerprint(model));
        let stem = file_name::safe_file_stem(&row_key);
        let has_local_images = !input.local_images().is_empty();
        Self {
            row_key,
            line,
            input,
            input_text,
            has_local_images,
            fingerprint,
            stem,
            providers,
            estimate,
        }
    }
}
