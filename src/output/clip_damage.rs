//! What is wrong with a clip on disk.

/// How a clip differs from what was saved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClipDamage {
    /// The file does not exist.
    #[error("missing")]
    Missing,
    /// The file has another length.
    #[error("is {bytes} bytes, {saved} were saved")]
    Length {
        /// Length of the file, in bytes.
        bytes: u64,
        /// Length that was saved, in bytes.
        saved: u64,
    },
    /// The file has the saved length, but another content.
    #[error("has another SHA-256")]
    Content,
    /// The file cannot be read, so it is not known whether it is damaged.
    #[error("cannot be read: {0}")]
    Unreadable(String),
}
