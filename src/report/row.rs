//! A job as a row of the page's data: a list, because with keys ten thousand jobs would be half as large again.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::domain::{JobState, LocalImage, ProviderName};
use crate::queue::JobRecord;

use super::link;
use super::text::clipped;

/// Letters of a prompt that are shown, at most. It is there to tell clips apart.
const PROMPT: usize = 160;

/// Letters of an error that are shown, at most; `overnight show` has the rest.
const ERROR: usize = 300;

/// The longest link to an image that is kept. One that is cut leads nowhere, and an image in the link itself may have
/// megabytes.
const IMAGE: usize = 600;

/// The row, in the order in which `page.js` reads it. What is not known is empty or null.
#[derive(Debug, Serialize)]
pub(super) struct Row(
    /// The batch, as an index of the page's batches.
    Option<usize>,
    /// The row's key.
    String,
    /// The state, as an index of [`JobState::ALL`].
    usize,
    /// A link to the source image: to the web, or from the page to a file.
    String,
    String,
    /// The clip, as a link from the page.
    String,
    /// What it cost; with a `~` what it should cost.
    String,
    /// The provider, as an index of [`ProviderName::ALL`].
    Option<usize>,
    /// Paid attempts.
    u32,
    /// From its last submission to its end, in seconds.
    Option<i64>,
    String,
);

/// Makes the row of a job.
pub(super) fn of(job: &JobRecord, batches: &[String], folder: &Path) -> Row {
    let clip = job
        .output
        .as_ref()
        .filter(|_| job.state == JobState::Succeeded);
    let took = job
        .submitted_at
        .zip(job.finished_at)
        .map(|(from, until)| until.duration_since(from).as_secs());
    Row(
        batches.iter().position(|batch| *batch == job.batch),
        job.id.clone(),
        job.state as usize,
        job.input
            .get("image")
            .and_then(Value::as_str)
            .and_then(|image| source(image, folder))
            .unwrap_or_default(),
        clipped(
            job.input
                .get("prompt")
                .and_then(Value::as_str)
                .unwrap_or(""),
            PROMPT,
        ),
        clip.and_then(|clip| link::relative(folder, Path::new(clip)))
            .unwrap_or_default(),
        job.cost_usd
            .map_or_else(|| format!("~{}", job.estimate_usd), |cost| cost.to_string()),
        job.provider.and_then(|provider| {
            ProviderName::ALL
                .iter()
                .position(|known| *known == provider)
        }),
        job.attempts,
        took,
        clipped(job.error.as_deref().unwrap_or(""), ERROR),
    )
}

/// The link to a source image; `None` where there is none that a page can have.
fn source(image: &str, folder: &Path) -> Option<String> {
    match LocalImage::parse(image) {
        Some(file) => link::relative(folder, file.path()),
        None => is_web(image).then(|| image.to_owned()),
    }
}

/// Tells whether a link is one that a browser may be led to by a click.
fn is_web(link: &str) -> bool {
    let scheme = link
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    link.len() <= IMAGE && matches!(scheme.as_deref(), Some("http" | "https"))
}
