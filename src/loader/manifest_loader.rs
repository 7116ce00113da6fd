//! Checks the options of a load, and reads its manifests.

use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::domain::{
    Catalog, IgnoredQuery, InputComparison, Location, Model, ProviderName, file_name,
};
use crate::manifest::{self, LoadOptions, Preset, RowMapper, RowSink, uncompressed_path};
use crate::queue::{NewBatch, QueueError, Staging, StoreError};

use super::error::MAX_BATCH_NAME;
use super::image_links::{ImageLinks, LinkCollector};
use super::source::Source;
use super::stager::{Finished, RowStager};
use super::{FoundClips, LoadError, LoadObserver};

/// A load whose options have been checked.
pub struct ManifestLoader<'a> {
    /// The batch's name.
    pub batch: String,
    /// The model that the jobs request.
    pub model: &'a Model,
    /// The providers that may be used, in order of preference.
    pub providers: Vec<ProviderName>,
    mapper: RowMapper<'a>,
    options: LoadOptions,
    /// The manifests, once they were opened.
    sources: OnceLock<Vec<Source>>,
}

impl<'a> ManifestLoader<'a> {
    /// Checks the options of a load.
    ///
    /// # Errors
    /// Returns an error if they contradict the catalogue or each other.
    pub fn new(catalog: &'a Catalog, options: LoadOptions) -> Result<Self, LoadError> {
        let model = find_model(catalog, options.model.as_deref())?;
        let providers = find_providers(model, &options.via)?;
        let mapper = RowMapper::new(model, providers.clone(), options.mapping.clone())?;
        let batch = batch_name(options.batch.as_deref(), &options.files)?;
        Ok(Self {
            batch,
            model,
            providers,
            mapper,
            options,
            sources: OnceLock::new(),
        })
    }

    /// Returns whether the options name the providers.
    pub fn are_providers_given(&self) -> bool {
        !self.options.via.is_empty()
    }

    /// Returns whether the options name the folder to create the batch's folder in.
    pub fn is_out_given(&self) -> bool {
        self.options.out.is_some()
    }

    /// Returns the batch to stage the rows in. Its folder is in the folder of the options, or else
    /// in `default_out`.
    ///
    /// # Errors
    /// Returns an error if the current folder is not known.
    pub fn new_batch(&self, default_out: &Location) -> io::Result<NewBatch> {
        let out = self
            .options
            .out
            .as_ref()
            .unwrap_or(default_out)
            .absolute()?;
        let folder = out.join(file_name::safe_file_stem(&self.batch));
        Ok(NewBatch {
            name: self.batch.clone(),
            model: self.model.name.clone(),
            folder,
            budget: self.options.budget,
            comparison: InputComparison {
                fields: self.model.fields.as_slice().into(),
                ignored_query: self.ignored_query(),
            },
            reuses_clips: !self.options.fresh,
        })
    }

    fn ignored_query(&self) -> IgnoredQuery {
        let given = self.options.ignore_query.clone();
        let preset = self.options.mapping.preset;
        given.unwrap_or_else(|| preset.map_or(IgnoredQuery::Nothing, Preset::ignored_query))
    }

    /// Reads the manifests to their end and stages their rows.
    ///
    /// # Errors
    /// Returns an error if a manifest cannot be read or has mistakes, if there are no rows, if files
    /// are found that have the names of new rows' clips and are neither taken nor to be replaced, or
    /// if the queue fails. The staging must not be committed then.
    pub fn read_into(
        &self,
        staging: &mut dyn Staging,
        found: &FoundClips,
        observer: &mut impl LoadObserver,
    ) -> Result<(), LoadError> {
        let sources = self.sources()?;
        let mut stager = RowStager::new(staging, found, observer);
        let rows = self.read_files(sources, &mut stager)?;
        let Finished::ReadAgain { mistakes } = stager.finish(rows, self.options.fresh)? else {
            return Ok(());
        };
        observer.read_again();
        let mut stager = RowStager::again(staging, found, observer, mistakes);
        let rows = self.read_files(sources, &mut stager)?;
        stager.finish(rows, self.options.fresh).map(drop)
    }

    /// Reads the manifests to their end, without staging anything, and returns the links of their images.
    ///
    /// # Errors
    /// Returns an error if a manifest cannot be read.
    pub fn image_links(&self) -> Result<ImageLinks, LoadError> {
        let mut collector = LinkCollector {
            model: self.model,
            file: String::new(),
            links: ImageLinks::default(),
        };
        for source in self.sources()? {
            collector.file.clone_from(&source.name);
            let file = source.reader()?;
            self.read_source(source, file, &mut collector)?;
        }
        Ok(collector.links)
    }

    /// Returns the manifests, which are opened once: standard input cannot be read again.
    fn sources(&self) -> Result<&[Source], LoadError> {
        if let Some(sources) = self.sources.get() {
            return Ok(sources);
        }
        let sources = self.options.files.iter().map(|path| Source::open(path));
        let sources: Vec<Source> = sources.collect::<Result<_, _>>()?;
        Ok(self.sources.get_or_init(|| sources))
    }

    /// Reads manifests from their start and returns their number of rows.
    fn read_files(
        &self,
        sources: &[Source],
        stager: &mut RowStager<'_, impl LoadObserver>,
    ) -> Result<u64, LoadError> {
        let mut rows = 0;
        for source in sources {
            rows += self.read_file(source, stager)?;
        }
        Ok(rows)
    }

    fn read_file(
        &self,
        source: &Source,
        stager: &mut RowStager<'_, impl LoadObserver>,
    ) -> Result<u64, LoadError> {
        let format = source.format.describe();
        let file = stager.start_file(&source.name, format.as_deref(), source.reader()?)?;
        self.read_source(source, file, stager)
    }

    /// Reads a manifest, which is open at its start, into a sink.
    fn read_source(
        &self,
        source: &Source,
        file: impl Read + Seek + Send + 'static,
        sink: &mut dyn RowSink,
    ) -> Result<u64, LoadError> {
        let name = source.name.clone();
        let format = source.format;
        let sheet = &self.options.sheet;
        if let Some(sheet) = sheet.sheet.as_ref().filter(|_| !format.is_workbook()) {
            return Err(LoadError::NoWorkbook {
                name,
                sheet: sheet.clone(),
            });
        }
        let read = manifest::read_file(file, format, sheet, &name, &self.mapper, sink);
        read.map_err(|reason| {
            let is_queues = reason.chain().any(|cause| {
                cause.is::<QueueError>() || cause.is::<StoreError>() || cause.is::<LoadError>()
            });
            if is_queues {
                LoadError::Other(reason.context(format!("cannot load {name}")))
            } else {
                LoadError::Unreadable { name, reason }
            }
        })
    }
}

fn find_model<'a>(catalog: &'a Catalog, name: Option<&str>) -> Result<&'a Model, LoadError> {
    let name = name.ok_or(LoadError::NoModel)?;
    catalog.model(name).ok_or_else(|| {
        let known = catalog.models.iter().map(|model| model.name.clone());
        LoadError::UnknownModel {
            name: name.to_owned(),
            known: known.collect(),
        }
    })
}

/// Returns the given providers, or all that offer the model.
fn find_providers(model: &Model, via: &[ProviderName]) -> Result<Vec<ProviderName>, LoadError> {
    let offering = model.routes.iter().map(|route| route.provider);
    if via.is_empty() {
        return Ok(offering.collect());
    }
    for (index, provider) in via.iter().enumerate() {
        if model.route(*provider).is_none() {
            return Err(LoadError::NotOffered {
                provider: *provider,
                model: model.name.clone(),
                offering: offering.collect(),
            });
        }
        if via[..index].contains(provider) {
            return Err(LoadError::RepeatedProvider(*provider));
        }
    }
    Ok(via.to_vec())
}

/// Returns the given name, or that of the first manifest that is a file.
fn batch_name(given: Option<&str>, files: &[PathBuf]) -> Result<String, LoadError> {
    let file = files.iter().find(|file| *file != Path::new("-"));
    let stem = || {
        let path = uncompressed_path(file?);
        Some(path.file_stem()?.to_string_lossy().into_owned())
    };
    let name = given.map(str::to_owned).or_else(stem);
    let name = name.ok_or(LoadError::UnnamedBatch)?;
    if name.trim().is_empty()
        || name.chars().any(char::is_control)
        || name.chars().count() > MAX_BATCH_NAME
    {
        return Err(LoadError::InvalidBatchName);
    }
    Ok(name)
}
