//! `load`: checks a manifest, prices it, and queues its rows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;

use crate::app;
use crate::domain::suggest::did_you_mean;
use crate::domain::{JobState, Model, NewJob, ProviderName, file_name};
use crate::manifest::{self, FileFormat, ID_FIELD, Problem, RowMapper, RowSink, uncompressed_path};
use crate::queue::{LoadPlan, NewBatch, Queue, RowChange, Staging};

use super::args::{Global, LoadArgs, ManifestArgs};
use super::batch_file::merge_batch_file;
use super::estimate::Estimate;
use super::exit::{Exit, Usage};
use super::progress_bar::ReadProgress;
use super::render;
use super::setup::Setup;

/// Loads the manifests; with `--check`, only checks and prices them.
pub(super) async fn load(global: &Global, args: LoadArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    // A check leaves nothing behind, not even an empty queue.
    let queue = || {
        let path = &setup.app.config.queue;
        if path.exists() {
            return Ok(setup.app.queue_or_new()?);
        }
        if args.check {
            return Ok(app::temporary_queue()?);
        }
        let queue = setup.app.queue_or_new()?;
        if !global.quiet {
            let path = std::path::absolute(path)?;
            render::print_note(format_args!("created a new queue: {}", path.display()));
        }
        Ok(queue)
    };
    let (manifest, out) = merge_batch_file(args.manifest, args.out)?;
    let out = out.as_ref().unwrap_or(&setup.app.config.out);
    let budget = manifest.budget;
    let Staged {
        batch,
        mut staging,
        estimate,
        ..
    } = stage(&setup, manifest, out, global.quiet, queue)?;
    let plan = if args.check {
        staging.plan()
    } else {
        staging.commit(setup.app.clock.now())?
    };
    print_plan(&setup, &batch, &plan, args.check)?;
    if let Some(budget) = budget.filter(|budget| *budget < plan.estimate) {
        let raise = setup
            .suggest("ctl")
            .arg("set")
            .option("--batch", Some(&batch))
            .option("--budget", Some("USD"));
        let remedy = if args.check {
            "load with a higher --budget".into()
        } else {
            format!("raise it with `{raise}`")
        };
        render::print_note(format_args!(
            "the budget of ${budget:#} may be too low for these jobs; a run stops at it\n\
             hint: {remedy}"
        ));
    }
    if plan.new + plan.changed > 0 && (args.check || !global.quiet) {
        estimate.print(&setup)?;
        if !args.check {
            let next = setup.suggest("run").option("--batch", Some(&batch));
            render::print_note(format_args!("next: {next}"));
        }
    }
    Ok(Exit::Success)
}

/// A manifest without mistakes, ready to be committed to a queue.
pub(super) struct Staged<'a> {
    /// Name of the batch.
    pub(super) batch: String,
    pub(super) model: &'a Model,
    /// The providers that may be used, in order of preference.
    pub(super) providers: Vec<ProviderName>,
    pub(super) staging: Box<dyn Staging>,
    estimate: Estimate<'a>,
}

/// Reads and checks a manifest. The queue is opened only after the command line has been checked.
pub(super) fn stage<'a>(
    setup: &'a Setup,
    args: ManifestArgs,
    out: &Path,
    quiet: bool,
    queue: impl FnOnce() -> anyhow::Result<Arc<dyn Queue>>,
) -> anyhow::Result<Staged<'a>> {
    let model = find_model(setup, args.model.as_deref())?;
    let providers = find_providers(model, &args.via)?;
    let mapper = RowMapper::new(model, providers.clone(), args.mapping_options()).map_err(Usage)?;
    let batch = batch_name(args.batch, &args.files)?;
    let folder = std::path::absolute(out)?.join(file_name::safe_file_stem(&batch));
    let new_batch = NewBatch {
        name: batch.clone(),
        model: model.name.clone(),
        folder,
        budget: args.budget,
    };
    let mut rows = RowStager {
        staging: queue()?.stage(new_batch)?,
        now: setup.app.clock.now(),
        file: String::new(),
        deferred: Vec::new(),
        estimate: Estimate::new(model, &providers),
        problems: 0,
        skipped: BTreeMap::new(),
        bar: ReadProgress::new(quiet),
    };
    let mut read = 0;
    for file in &args.files {
        read += read_file(file, args.sheet.as_deref(), &mapper, &mut rows)?;
    }
    rows.bar.finish();
    rows.stage_deferred()?;
    for (field, skipped) in &rows.skipped {
        render::print_note(format_args!(
            "skipped {} without `{field}`",
            render::format_count(*skipped, "row")
        ));
    }
    if rows.problems > 0 {
        let mistakes = render::format_count(rows.problems, "mistake");
        return Err(Usage(format!(
            "{mistakes} in {}; nothing was loaded",
            render::format_count(read, "row")
        ))
        .into());
    }
    if read == 0 {
        return Err(Usage("the manifest has no rows; nothing was loaded".into()).into());
    }
    Ok(Staged {
        batch,
        model,
        providers,
        staging: rows.staging,
        estimate: rows.estimate,
    })
}

fn find_model<'a>(setup: &'a Setup, name: Option<&str>) -> anyhow::Result<&'a Model> {
    let models = setup.suggest("models");
    let name = name.ok_or_else(|| {
        Usage(format!(
            "no model is given: add --model NAME\nhint: `{models}` lists the models"
        ))
    })?;
    let known = || {
        setup
            .app
            .catalog
            .models
            .iter()
            .map(|model| model.name.as_str())
    };
    setup.app.catalog.model(name).ok_or_else(|| {
        Usage(format!(
            "unknown model `{name}`{}\nhint: `{models}` lists the models: {}",
            did_you_mean(name, known()),
            known().collect::<Vec<_>>().join(", ")
        ))
        .into()
    })
}

/// Returns the providers of `--via`, or all that offer the model.
fn find_providers(model: &Model, via: &[ProviderName]) -> anyhow::Result<Vec<ProviderName>> {
    let offering = || model.routes.iter().map(|route| route.provider);
    if via.is_empty() {
        return Ok(offering().collect());
    }
    for (index, provider) in via.iter().enumerate() {
        if model.route(*provider).is_none() {
            let names: Vec<&str> = offering().map(ProviderName::as_str).collect();
            let message = format!(
                "{provider} does not offer {}\nhint: providers that offer it: {}",
                model.name,
                names.join(", ")
            );
            return Err(Usage(message).into());
        }
        if via[..index].contains(provider) {
            return Err(Usage(format!("--via names {provider} twice")).into());
        }
    }
    Ok(via.to_vec())
}

/// Longest name of a batch, in characters.
const MAX_BATCH_NAME: usize = 100;

/// Returns the name given with `--batch`, or that of the first manifest that is a file.
fn batch_name(given: Option<String>, files: &[PathBuf]) -> anyhow::Result<String> {
    let file = files.iter().find(|file| *file != Path::new("-"));
    let stem = || {
        Some(
            uncompressed_path(file?)
                .file_stem()?
                .to_string_lossy()
                .into_owned(),
        )
    };
    let name = given.or_else(stem);
    let name = name
        .ok_or_else(|| Usage("standard input does not name the batch: add --batch NAME".into()))?;
    if name.trim().is_empty()
        || name.chars().any(char::is_control)
        || name.chars().count() > MAX_BATCH_NAME
    {
        return Err(Usage(format!(
            "a batch's name must have 1 to {MAX_BATCH_NAME} characters and no control characters"
        ))
        .into());
    }
    Ok(name)
}

/// Reads one manifest and returns its number of rows.
fn read_file(
    path: &Path,
    sheet: Option<&str>,
    mapper: &RowMapper<'_>,
    rows: &mut RowStager<'_>,
) -> anyhow::Result<u64> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin {
        "-".to_owned()
    } else {
        path.display().to_string()
    };
    let mut file = if is_stdin {
        buffer_in_file(&mut std::io::stdin().lock())?
    } else {
        let mut file =
            File::open(path).map_err(|error| Usage(format!("cannot read {name}: {error}")))?;
        let file_type = file.metadata()?.file_type();
        if file_type.is_dir() {
            return Err(Usage(format!("{name} is a folder, not a manifest")).into());
        }
        if file_type.is_file() {
            file
        } else {
            buffer_in_file(&mut file)?
        }
    };
    let cannot_read =
        |error: anyhow::Error| anyhow::Error::from(Usage(format!("cannot read {name}: {error:#}")));
    let format = FileFormat::detect(path, &mut file).map_err(cannot_read)?;
    if let Some(detected) = format.describe() {
        render::print_note(format_args!("{name}: {detected}"));
    }
    rows.file.clone_from(&name);
    rows.bar.start_file(&name, file.metadata()?.len());
    let file = rows.bar.wrap_reader(file);
    manifest::read_file(file, format, sheet, &name, mapper, rows)
        .with_context(|| format!("cannot read {name}"))
}

/// Copies a pipe to a temporary file: its writer may be slow, and while rows are staged no other
/// process can write to the queue.
fn buffer_in_file(pipe: &mut dyn Read) -> anyhow::Result<File> {
    let context = "cannot copy the manifest to a temporary file";
    let mut file = tempfile::tempfile().context(context)?;
    std::io::copy(pipe, &mut file).context(context)?;
    file.rewind()?;
    Ok(file)
}

/// Maximum number of rows that are held in memory until all are read.
const MAX_DEFERRED: usize = 50_000;

/// Stages rows while they are read, and counts what is wrong with them.
struct RowStager<'a> {
    staging: Box<dyn Staging>,
    now: Timestamp,
    /// Name of the manifest that is being read.
    file: String,
    /// Rows to stage after all are read, each chunk with its manifest: those that name local
    /// images, and those after them. Reading the images may take minutes, and from the first
    /// staged row on no other process can write to the queue.
    deferred: Vec<(String, Vec<NewJob>)>,
    estimate: Estimate<'a>,
    problems: u64,
    /// Number of skipped rows, by the field that they lack.
    skipped: BTreeMap<String, u64>,
    bar: ReadProgress,
}

impl RowStager<'_> {
    /// Stages the deferred rows.
    fn stage_deferred(&mut self) -> anyhow::Result<()> {
        for (file, jobs) in std::mem::take(&mut self.deferred) {
            for (line, message) in self.stage(&jobs)? {
                self.problem(Problem {
                    file: file.clone(),
                    line,
                    field: Some(ID_FIELD.to_owned()),
                    message,
                });
            }
        }
        Ok(())
    }

    /// Stages rows. Returns the line of each duplicate, and what is wrong with it.
    fn stage(&mut self, jobs: &[NewJob]) -> anyhow::Result<Vec<(u64, String)>> {
        let mut duplicates = Vec::new();
        for (job, change) in jobs.iter().zip(self.staging.add(jobs, self.now)?) {
            match change {
                RowChange::New | RowChange::Changed => self.estimate.add(job),
                RowChange::Unchanged | RowChange::InProgress => {}
                RowChange::Duplicate { line } => {
                    duplicates.push((
                        job.line,
                        format!("`{}` is on line {line} already", job.row_key),
                    ));
                }
            }
        }
        Ok(duplicates)
    }
}

impl RowSink for RowStager<'_> {
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, String)>> {
        let deferred: usize = self.deferred.iter().map(|(_, jobs)| jobs.len()).sum();
        let defer = deferred > 0 || jobs.iter().any(|job| job.has_local_images);
        if defer && deferred + jobs.len() <= MAX_DEFERRED {
            self.deferred.push((self.file.clone(), jobs));
            return Ok(Vec::new());
        }
        self.stage_deferred()?;
        self.stage(&jobs)
    }

    fn problem(&mut self, problem: Problem) {
        self.problems += 1;
        self.bar.suspend(|| render::print_note(problem));
    }

    fn skipped(&mut self, field: &str, rows: u64) {
        *self.skipped.entry(field.to_owned()).or_default() += rows;
    }
}

/// Prints how the manifest differs from what the queue holds, and what was queued.
fn print_plan(setup: &Setup, batch: &str, plan: &LoadPlan, is_check: bool) -> anyhow::Result<()> {
    let rows = plan.new + plan.changed + plan.unchanged + plan.in_progress;
    let mut text = format!(
        "{batch}: {}: {} new, {} changed, {} same",
        render::format_count(rows, "row"),
        plan.new,
        plan.changed,
        plan.unchanged
    );
    if plan.removed > 0 {
        text.push_str(&format!(", {} gone from the manifest", plan.removed));
    }
    render::print_line(text)?;
    if plan.removed > 0 {
        let jobs = setup
            .suggest("jobs")
            .option("--batch", Some(batch))
            .option("--state", Some(JobState::Queued.as_str()));
        let cancel = setup
            .suggest("cancel")
            .arg("JOB")
            .option("--batch", Some(batch));
        let kept = if plan.removed == 1 {
            "its job and clip are"
        } else {
            "their jobs and clips are"
        };
        render::print_note(format_args!(
            "{} gone from the manifest: {kept} kept, and what is still queued will be rendered\n\
             hint: `{cancel}` cancels one; `{jobs}` lists the queued jobs",
            render::format_count(plan.removed, "row")
        ));
    }
    if plan.in_progress > 0 {
        let jobs = if plan.in_progress == 1 {
            "its job is"
        } else {
            "their jobs are"
        };
        render::print_note(format_args!(
            "{} changed but not updated, because {jobs} in progress or in doubt\n\
             hint: load the manifest again when the run has finished",
            render::format_count(plan.in_progress, "row")
        ));
    }
    let jobs = render::format_count(plan.new + plan.changed, "job");
    let queued = if is_check { "to queue" } else { "queued" };
    render::print_line(format_args!(
        "{jobs} {queued}, at most ${:#}",
        plan.estimate
    ))
}
