//! Uploads of local images to the providers that take images as links: what the outcome of one
//! changes.

use jiff::Timestamp;

use crate::domain::{LocalImage, ProviderName};

/// Identifies an upload: an image at a provider, by the SHA-256 of its content.
pub type UploadKey = (ProviderName, String);

/// An image for a provider. It is uploaded once, however many rows use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The provider to upload to.
    pub provider: ProviderName,
    /// The image.
    pub image: LocalImage,
    /// How far the upload has come.
    pub progress: UploadProgress,
}

/// The part of an upload that changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadProgress {
    /// Where the provider finds the image; `None` until it is uploaded.
    pub url: Option<String>,
    /// When the URL expires; `None` if it does not.
    pub expires_at: Option<Timestamp>,
    /// Earliest time of the next try; `None` if it is uploaded or rejected.
    pub due_at: Option<Timestamp>,
    /// Number of consecutive failed tries.
    pub failures: u32,
    /// Why the last try failed; `None` if it did not.
    pub error: Option<String>,
}

/// The outcome of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadOutcome {
    /// The provider stored the image. Every row with this image uses the link from now on.
    Stored {
        /// The URL under which the provider finds the image.
        link: String,
        /// When the link expires; `None` if it does not.
        expires_at: Option<Timestamp>,
    },
    /// The upload failed, and another try may succeed.
    Failed {
        /// Why it failed, for messages.
        reason: String,
        /// The earliest time of the next try.
        due_at: Timestamp,
        /// Whether this counts as a failure of the upload and extends its backoff. `false` if it
        /// concerns the provider as a whole.
        counts_as_failure: bool,
    },
    /// The image cannot be uploaded in this run: the file is missing, or the provider rejected it.
    /// Rows with this image fail without being paid for, unless another provider takes them.
    Rejected {
        /// Why it cannot be uploaded, for messages.
        reason: String,
    },
    /// The upload was not started; it is due again immediately.
    NotStarted,
}

impl Upload {
    /// Returns what identifies the upload.
    pub fn key(&self) -> UploadKey {
        (self.provider, self.image.sha256().to_owned())
    }
}

impl UploadProgress {
    /// Returns whether the image was rejected, so that it is not tried again before the user may
    /// have changed something.
    pub fn is_rejected(&self) -> bool {
        self.url.is_none() && self.due_at.is_none()
    }
}

/// Returns an upload after an outcome; `failures` is the number of failed tries before it. `None` if
/// nothing changes.
pub fn after(failures: u32, outcome: &UploadOutcome) -> Option<UploadProgress> {
    match outcome.clone() {
        UploadOutcome::Stored { link, expires_at } => Some(UploadProgress {
            url: Some(link),
            expires_at,
            ..UploadProgress::default()
        }),
        UploadOutcome::Failed {
            reason,
            due_at,
            counts_as_failure,
        } => Some(UploadProgress {
            due_at: Some(due_at),
            failures: failures + u32::from(counts_as_failure),
            error: Some(reason),
            ..UploadProgress::default()
        }),
        UploadOutcome::Rejected { reason } => Some(UploadProgress {
            failures,
            error: Some(reason),
            ..UploadProgress::default()
        }),
        UploadOutcome::NotStarted => None,
    }
}
