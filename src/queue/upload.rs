//! What a worker asks of the queue about images on disk that a provider wants as links, and what it tells.

use jiff::Timestamp;

use crate::domain::{LocalImage, ProviderName};

/// An image, the right to upload it, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct UploadClaim {
    /// The right to say what became of it.
    pub lease: UploadLease,
    /// To whom.
    pub provider: ProviderName,
    /// The image.
    pub image: LocalImage,
    /// Tries that failed in a row; sets the backoff.
    pub failures: u32,
}

/// The right to say what became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadLease {
    /// The upload's number in the queue.
    pub upload_id: i64,
    /// Proof that it was claimed last by whoever shows this.
    pub token: i64,
}

/// What became of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadOutcome {
    /// The provider has it. Every row that shows the image uses this link from now on.
    Stored {
        /// Where the provider finds it.
        link: String,
        /// When that link ends, where it does.
        expires_at: Option<Timestamp>,
    },
    /// It failed in a way that will pass.
    Failed {
        /// Why.
        reason: String,
        /// When to try again.
        due_at: Timestamp,
        /// Whether the failure grows the backoff.
        counted: bool,
    },
    /// It cannot be uploaded in this run: the file is gone, or refused. Rows that show it fail, unpaid, unless another
    /// provider takes them.
    Refused {
        /// Why.
        reason: String,
    },
    /// It was not begun.
    NotStarted,
}
