//! `load --probe`: whether the links of a manifest lead to pictures, before anything is queued.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use futures_util::stream;

use crate::loader::ManifestLoader;
use crate::manifest::{Remark, RemarkCount, picture_notes};

use super::exit::Usage;
use super::load_error;
use super::load_remark::describe_remarks;
use super::progress_bar::ProbeProgress;
use super::render::{self, format_count};
use super::setup::Setup;

/// Maximum number of links that are asked at a time.
const MAX_CONCURRENT: usize = 16;

/// Columns of a terminal that a printed link may take.
const MAX_LINK_COLUMNS: usize = 200;

/// Maximum number of links that are told one by one.
const MAX_PRINTED: usize = 100;

/// Asks each distinct link of the manifests once.
///
/// # Errors
/// Returns an error if any link leads to something else than a picture. One whose host does not respond is
/// only told.
pub(super) async fn probe(
    setup: &Setup,
    loader: &ManifestLoader<'_>,
    quiet: bool,
) -> anyhow::Result<()> {
    let links = loader
        .image_links()
        .map_err(|error| load_error::explain(setup, error))?;
    // Mistakes are reported with the load, which they end.
    if links.mistakes > 0 || links.places.is_empty() {
        return Ok(());
    }
    let probe = setup.app.picture_probe()?;
    let bar = ProbeProgress::new(quiet, links.places.len() as u64);
    let asked = stream::iter(&links.places).map(async |(link, place)| {
        let found = probe.probe(link, false).await;
        (link, place, found)
    });
    let mut asked = asked.buffer_unordered(MAX_CONCURRENT);
    let mut failures = BTreeMap::new();
    let mut notes: BTreeMap<Remark, RemarkCount> = BTreeMap::new();
    let mut refused = 0;
    while let Some((link, (file, line), found)) = asked.next().await {
        bar.advance();
        match found {
            Ok(facts) => {
                let facts = facts.as_ref();
                let of_link = facts.map(|facts| picture_notes(facts, loader.model.pictures));
                for note in of_link.into_iter().flatten() {
                    let counted = notes.entry(Remark::Picture(note)).or_default();
                    counted.add(1, || format!("{file}:{line}"));
                }
            }
            Err(error) => {
                refused += u64::from(!error.is_transient);
                failures.insert((file, line, link), error);
            }
        }
    }
    bar.finish();
    for ((file, line, link), error) in failures.iter().take(MAX_PRINTED) {
        let later = if error.is_transient {
            " (not refused: it may later)"
        } else {
            ""
        };
        let link = render::truncate(link, MAX_LINK_COLUMNS);
        render::print_note(format_args!(
            "{file}:{line}: image: the link {link} {}{later}",
            error.reason
        ));
    }
    if failures.len() > MAX_PRINTED {
        let more = failures.len() - MAX_PRINTED;
        render::print_note(format_args!("{more} more are only counted"));
    }
    for line in describe_remarks(&notes) {
        render::print_note(line);
    }
    let asked = format_count(links.places.len() as u64, "link");
    if refused > 0 {
        let what = format!(
            "{refused} of {asked} lead to no picture that providers take; nothing was loaded"
        );
        return Err(Usage(what).into());
    }
    render::print_note(format_args!(
        "asked {asked} for pictures: {} failed",
        failures.len()
    ));
    Ok(())
}
