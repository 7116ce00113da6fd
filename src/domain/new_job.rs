//! A validated manifest row that is ready to be queued as a job.

use super::{Fingerprint, Input, Money, ProviderName, SavedFile, file_name};

/// A validated manifest row, with everything that the queue stores of it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Key of the row, unique within its batch and stable across loads.
    pub row_key: String,
    /// Line of the manifest on which the row starts, counted from 1.
    pub line: u64,
    /// The input, under our field names.
    pub input: Input,
    /// The input as JSON.
    pub input_text: String,
    /// Whether the input refers to local images.
    pub has_local_images: bool,
    /// Width and height of the picture, in pixels; `None` if it is not known, such as behind a link.
    pub picture_size: Option<(u32, u32)>,
    /// The [fingerprint](super::Model::fingerprint) of the input, which differs when the row has
    /// changed.
    pub fingerprint: Fingerprint,
    /// The file that the job takes as its clip, for nothing; `None` if it has to be rendered.
    pub found_clip: Option<SavedFile>,
    /// The key that earlier versions gave the row, if it is another; `None` if it is not.
    pub earlier_key: Option<String>,
    /// The key of the row's product, if each of its pictures is a row: the first has this key, the
    /// others have numbers after it, and a row keeps its key wherever its picture is among them.
    pub product: Option<String>,
    /// Preferred file name of the clip, without extension. The queue changes it if another job of
    /// the batch has it.
    pub stem: String,
    /// The providers that may run the job, at least one, in order of preference.
    pub providers: Vec<ProviderName>,
    /// The estimate: the price at the most expensive of them, in US dollars.
    pub estimate: Money,
}

impl NewJob {
    /// Creates a job from a row. Formatting is done here, rather than while the queue is locked.
    pub fn new(
        fingerprint: Fingerprint,
        row_key: String,
        line: u64,
        input: Input,
        providers: Vec<ProviderName>,
        estimate: Money,
    ) -> Self {
        let input_text = input.to_string();
        let stem = file_name::safe_file_stem(&row_key);
        let has_local_images = !input.local_images().is_empty();
        Self {
            row_key,
            line,
            input,
            input_text,
            has_local_images,
            picture_size: None,
            fingerprint,
            found_clip: None,
            earlier_key: None,
            product: None,
            stem,
            providers,
            estimate,
        }
    }

    /// Returns the key of a row without an id, which is that of its request.
    pub fn key_without_id(fingerprint: &Fingerprint) -> String {
        hex::encode(&fingerprint[..8])
    }

    /// Returns whether the row has an id.
    pub fn has_id(&self) -> bool {
        self.row_key != Self::key_without_id(&self.fingerprint)
    }

    /// Returns the row under this key. Under another one, it does not take the file of its own.
    #[must_use]
    pub fn with_key(&self, row_key: String) -> Self {
        if row_key == self.row_key {
            return self.clone();
        }
        Self {
            found_clip: None,
            stem: file_name::safe_file_stem(&row_key),
            row_key,
            ..self.clone()
        }
    }
}
