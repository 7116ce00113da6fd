//! A job as a row of the page's data: an array, because keys would make the data of ten thousand
//! jobs half as large again.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::domain::{LocalImage, Location, ProviderName};
use crate::queue::JobRecord;

use super::link::relative_link;
use super::text::truncate;

/// Maximum number of characters of a prompt. It only serves to tell clips apart.
const MAX_PROMPT_CHARS: usize = 160;

/// Maximum number of characters of an error; `overnight show` prints all of it.
const MAX_ERROR_CHARS: usize = 300;

/// Maximum length of a link to a source image, in bytes. A truncated link would be broken, and a
/// link that contains its image may have megabytes, so longer links are left out.
const MAX_IMAGE_LINK_BYTES: usize = 600;

/// A job, in the field order that `page.js` reads. Unknown values are empty or null.
#[derive(Debug, Serialize)]
pub(super) struct PageRow(
    /// The batch, as an index into the page's batches.
    Option<usize>,
    /// The row's key.
    String,
    /// The state, as an index into [`JobState::ALL`](crate::domain::JobState::ALL).
    usize,
    /// The link to the source image: a web address, or a path relative to the page.
    String,
    /// The prompt, truncated.
    String,
    /// The link to the clip, relative to the page. Of a job that is rendered anew, the earlier one.
    String,
    /// The cost in dollars, or the estimate after a `~`.
    String,
    /// The provider, as an index into [`ProviderName::ALL`].
    Option<usize>,
    /// The number of paid attempts.
    u32,
    /// Seconds from the last submission to the end of the job.
    Option<i64>,
    /// The last error, truncated.
    String,
    /// The links to the clips of earlier inputs, oldest first; those to a disk are relative to the page.
    Vec<String>,
);

impl PageRow {
    /// Returns the row of a job on a page in `folder` that lists `batches`.
    pub(super) fn new(
        job: &JobRecord,
        batches: &[String],
        folder: &Path,
        links: &BTreeMap<String, String>,
    ) -> Self {
        let input_text = |field| job.input.get(field).and_then(Value::as_str);
        let image = input_text("image").and_then(|image| image_link(image, folder));
        let link = |clip: &String| match Location::from(clip.as_str()) {
            Location::Path(path) => relative_link(folder, &path),
            Location::Object(_) => links.get(clip).cloned(),
        };
        let clip = job.output.as_ref().and_then(link);
        let earlier = job.versions.iter().filter(|version| !version.current);
        let earlier = earlier.filter_map(|version| link(&version.output));
        let cost = job
            .cost_usd
            .map_or_else(|| format!("~{}", job.estimate_usd), |cost| cost.to_string());
        let provider = job
            .provider
            .and_then(|provider| ProviderName::ALL.iter().position(|name| *name == provider));
        let elapsed_s = job
            .submitted_at
            .zip(job.finished_at)
            .map(|(from, until)| until.duration_since(from).as_secs());
        Self(
            batches.iter().position(|batch| *batch == job.batch),
            job.id.clone(),
            job.state as usize,
            image.unwrap_or_default(),
            truncate(input_text("prompt").unwrap_or(""), MAX_PROMPT_CHARS),
            clip.unwrap_or_default(),
            cost,
            provider,
            job.attempts,
            elapsed_s,
            truncate(job.error.as_deref().unwrap_or(""), MAX_ERROR_CHARS),
            earlier.collect(),
        )
    }
}

/// Returns the link to a source image; `None` if a page may not link to it.
fn image_link(image: &str, folder: &Path) -> Option<String> {
    match LocalImage::parse(image) {
        Some(file) => relative_link(folder, file.path()),
        None => is_web_link(image).then(|| image.to_owned()),
    }
}

/// Returns whether a link is short enough to keep and safe to open from a page.
fn is_web_link(link: &str) -> bool {
    let scheme = link
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    link.len() <= MAX_IMAGE_LINK_BYTES && matches!(scheme.as_deref(), Some("http" | "https"))
}
