//! Links of a report to clips in object storage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use url::Url;

use crate::config::PublicUrl;
use crate::domain::Location;
use crate::output::{OutputError, OutputStore};
use crate::queue::{JobRecord, Status};
use crate::report::RemoteClips;

use super::render;
use super::setup::Setup;

/// Makes links to clips in object storage.
pub(super) struct ClipLinks {
    output: Arc<dyn OutputStore>,
    /// For how long links are signed; `None` if they are not.
    valid: Option<Duration>,
    /// The folder that everybody can read, and where.
    public: Option<(Location, Url)>,
}

impl ClipLinks {
    pub(super) fn new(setup: &Setup, valid: Option<Duration>) -> Self {
        let config = &setup.app.config;
        let public = config.out_public.clone();
        Self {
            output: setup.app.output(),
            valid,
            public: public.map(|PublicUrl(url)| (config.out.clone(), url)),
        }
    }

    /// Returns the links to those of a job's clips that are in object storage.
    ///
    /// # Errors
    /// Returns an error if a link cannot be signed.
    pub(super) async fn of_job(&self, job: &JobRecord) -> anyhow::Result<BTreeMap<String, String>> {
        let versions = job.versions.iter().map(|version| &version.output);
        let mut links = BTreeMap::new();
        for output in job.output.iter().chain(versions) {
            if let Some(link) = self.link(&output.as_str().into()).await? {
                links.insert(output.clone(), link.into());
            }
        }
        Ok(links)
    }

    /// Returns where the links lead, and until when.
    ///
    /// # Errors
    /// As [`of_job`](Self::of_job).
    pub(super) async fn remote(
        &self,
        status: &Status,
        now: Timestamp,
    ) -> anyhow::Result<RemoteClips> {
        let mut remote = RemoteClips::default();
        for batch in &status.batches {
            let clip = Location::from(batch.folder.as_str()).join("clip.mp4");
            if let Some(link) = self.link(&clip).await? {
                remote.origins.insert(link.origin().ascii_serialization());
            }
        }
        if !remote.origins.is_empty()
            && let Some(valid) = self.valid
        {
            remote.until = now.checked_add(valid).ok();
        }
        Ok(remote)
    }

    /// Says how clips in object storage get links, if they have none.
    pub(super) fn print_hint(&self, status: &Status) {
        let is_linked =
            |folder: &Location| self.valid.is_some() || self.public_link(folder).is_some();
        let mut folders = status
            .batches
            .iter()
            .map(|batch| batch.folder.as_str().into());
        if folders.any(|folder: Location| folder.path().is_none() && !is_linked(&folder)) {
            render::print_note(
                "clips in object storage have no links on the page\n\
                 hint: `--links 7d` signs links, and `out_public` in the config names a place where everybody \
                 can read the clips",
            );
        }
    }

    async fn link(&self, location: &Location) -> Result<Option<Url>, OutputError> {
        match (self.valid, location) {
            (_, Location::Path(_)) => Ok(None),
            (Some(valid), Location::Object(_)) => self.output.link(location, valid).await,
            (None, Location::Object(_)) => Ok(self.public_link(location)),
        }
    }

    /// Returns the link to what everybody can read.
    fn public_link(&self, location: &Location) -> Option<Url> {
        let (folder, base) = self.public.as_ref()?;
        let name = location.name_in(folder)?;
        let mut link = base.clone();
        let mut path = link.path_segments_mut().ok()?;
        path.pop_if_empty().extend(name.to_str()?.split('/'));
        drop(path);
        Some(link)
    }
}
