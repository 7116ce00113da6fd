//! Loads manifests: reads their rows and stages them in a queue.
//!
//! The rule of this folder: it connects `manifest` with the queue and prints nothing. What happens
//! while rows are read goes to a [`LoadObserver`].

mod error;
mod found_clips;
mod image_links;
mod manifest_loader;
mod observer;
mod source;
mod stager;
#[cfg(test)]
mod tests;

pub use error::LoadError;
pub use found_clips::FoundClips;
pub use image_links::ImageLinks;
pub use manifest_loader::ManifestLoader;
pub use observer::LoadObserver;
