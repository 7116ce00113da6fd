//! The part of the port that uploads local images to providers that take images as links.

use jiff::Timestamp;

use crate::domain::{LocalImage, ProviderName};

/// A claimed upload: an image, the provider to upload it to, and the lease to record the outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct UploadClaim {
    /// The exclusive right to record the upload's outcome.
    pub lease: UploadLease,
    /// The provider to upload the image to.
    pub provider: ProviderName,
    /// The image file to upload.
    pub image: LocalImage,
    /// Number of consecutive failed tries; sets the backoff.
    pub failures: u32,
}

/// The exclusive right to record the outcome of one upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadLease {
    /// The upload's number in the queue.
    pub upload_id: i64,
    /// A random number that proves that this is the upload's latest claim.
    pub token: i64,
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
