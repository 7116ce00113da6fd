//! The part of the port that uploads local images to providers that take images as links.

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
