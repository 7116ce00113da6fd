//! `load`: a manifest is checked, priced, and put into the queue.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;

use crate::domain::suggest::did_you_mean;
use crate::domain::{Model, NewJob, ProviderName, file_name};
use crate::manifest::{self, FileFormat, ID, Problem, RowMapper, Sink, unpacked_name};
use crate::queue::{LoadPlan, NewBatch, Queue, RowChange, Staging};

use super::args::{Global, LoadArgs, ManifestArgs};
use super::batch_file;
use super::estimate::Estimate;
use super::exit::{Exit, Usage};
use super::progress_bar::Bar;
use super::render;
use super::setup::Setup;

/// Loads manifests.
pub(super) async fn load(global: &Global, args: LoadArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    // A check must leave nothing behind, not even an empty queue.
    let queue = || {
        if args.check && !setup.config.queue.exists() {
            setup.empty_queue()
        } else {
            setup.queue_or_new()
        }
    };
    let (manifest, out) = batch_file::opened(args.manifest, args.out)?;
    let out = out.as_ref().unwrap_or(&setup.config.out);
    let Staged {
        name,
        mut staging,
        estimate,
        ..
    } = stage(&setup, manifest, out, global.quiet, queue)?;
    let (plan, done) = if args.check {
        (staging.plan(), "to queue")
    } else {
        (staging.commit(setup.clock.now())?, "queued")
    };
    tell_plan(&name, &plan, done)?;
    if plan.new + plan.changed > 0 && (args.check || !global.quiet) {
        estimate.tell(&setup)?;
        if !args.check {
            render::note(format_args!("next: overnight run --batch {name}"));
        }
    }
    Ok(Exit::Success)
}

/// A manifest without a mistake, on its way into a queue.
pub(super) struct Staged<'a> {
    pub(super) name: String,
    pub(super) model: &'a Model,
    pub(super) providers: Vec<ProviderName>,
    pub(super) staging: Box<dyn Staging>,
    estimate: Estimate<'a>,
}

/// Reads and checks a manifest. The queue is asked for once what stands on the command line is known to make sense.
pub(super) fn stage<'a>(
    setup: &'a Setup,
    args: ManifestArgs,
    out: &Path,
    quiet: bool,
    queue: impl FnOnce() -> anyhow::Result<Arc<dyn Queue>>,
) -> anyhow::Result<Staged<'a>> {
    let model = args.model.as_deref().ok_or_else(|| {
        Usage("which model? say --model NAME\nhint: `overnight models` lists them".into())
    })?;
    let model = find_model(setup, model)?;
    let providers = find_providers(model, &args.via)?;
    let mapper = RowMapper::new(model, providers.clone(), args.layout()).map_err(Usage)?;
    let name = batch_name(args.batch, &args.files)?;
    let folder = std::path::absolute(out)?.join(file_name::safe_file_stem(&name));
    let batch = NewBatch {
        name: name.clone(),
        model: model.name.clone(),
        folder,
        budget: args.budget,
    };
    let (staging, now) = (queue()?.stage(batch)?, setup.clock.now());
    let (estimate, bar) = (Estimate::new(model, &providers), Bar::new(quiet));
    let (file, waiting) = (String::new(), Vec::new());
    let mut rows = Rows {
        staging,
        now,
        file,
        waiting,
        estimate,
        problems: 0,
        skipped: BTreeMap::new(),
        bar,
    };
    let mut read = 0;
    for file in &args.files {
        read += read_file(file, args.sheet.as_deref(), &mapper, &mut rows)?;
    }
    rows.bar.end();
    rows.stage_waiting()?;
    for (field, skipped) in &rows.skipped {
        render::note(format_args!(
            "{} without `{field}` skipped",
            render::count(*skipped, "row")
        ));
    }
    if rows.problems > 0 {
        let mistakes = render::count(rows.problems, "mistake");
        return Err(Usage(format!(
            "{mistakes} in {}; nothing was loaded",
            render::count(read, "row")
        ))
        .into());
    }
    if read == 0 {
        return Err(Usage("the manifest has no rows; nothing was loaded".into()).into());
    }
    Ok(Staged {
        name,
        model,
        providers,
        staging: rows.staging,
        estimate: rows.estimate,
    })
}

fn find_model<'a>(setup: &'a Setup, name: &str) -> anyhow::Result<&'a Model> {
    let known = || setup.catalog.models.iter().map(|model| model.name.as_str());
    setup.catalog.model(name).ok_or_else(|| {
        let names = known().collect::<Vec<_>>().join(", ");
        Usage(format!(
            "unknown model `{name}`{}\nhint: there are {names}",
            did_you_mean(name, known())
        ))
        .into()
    })
}

fn find_providers(model: &Model, via: &[ProviderName]) -> anyhow::Result<Vec<ProviderName>> {
    if via.is_empty() {
        return Ok(model.routes.iter().map(|route| route.provider).collect());
    }
    for (index, provider) in via.iter().enumerate() {
        if model.route(*provider).is_none() {
            let offer: Vec<&str> = model
                .routes
                .iter()
                .map(|route| route.provider.as_str())
                .collect();
            let message = format!(
                "{provider} does not offer {}\nhint: these do: {}",
                model.name,
                offer.join(", ")
            );
            return Err(Usage(message).into());
        }
        if via[..index].contains(provider) {
            return Err(Usage(format!("--via names {provider} twice")).into());
        }
    }
    Ok(via.to_vec())
}

fn batch_name(given: Option<String>, files: &[PathBuf]) -> anyhow::Result<String> {
    let file = files.iter().find(|file| *file != Path::new("-"));
    let stem = || {
        Some(
            unpacked_name(file?)
                .file_stem()?
                .to_string_lossy()
                .into_owned(),
        )
    };
    let name = given.or_else(stem);
    let name = name.ok_or_else(|| Usage("standard input has no name: say --batch NAME".into()))?;
    if name.trim().is_empty() || name.chars().any(char::is_control) || name.chars().count() > 100 {
        return Err(Usage("the batch's name must be 1 to 100 plain characters".into()).into());
    }
    Ok(name)
}

fn read_file(
    path: &Path,
    sheet: Option<&str>,
    mapper: &RowMapper<'_>,
    rows: &mut Rows<'_>,
) -> anyhow::Result<u64> {
    let is_stdin = path == Path::new("-");
    let name = if is_stdin {
        "-".to_owned()
    } else {
        path.display().to_string()
    };
    let mut file = if is_stdin {
        kept(&mut std::io::stdin().lock())?
    } else {
        let mut file =
            File::open(path).map_err(|error| Usage(format!("cannot read {name}: {error}")))?;
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(Usage(format!("{name} is a folder, not a manifest")).into());
        }
        if kind.is_file() {
            file
        } else {
            kept(&mut file)?
        }
    };
    let cannot_read =
        |error: anyhow::Error| anyhow::Error::from(Usage(format!("cannot read {name}: {error:#}")));
    let kind = FileFormat::of(path, &mut file).map_err(cannot_read)?;
    if let Some(told) = kind.told() {
        render::note(format_args!("{name}: {told}"));
    }
    rows.file.clone_from(&name);
    rows.bar.begin(&name, file.metadata()?.len());
    let file = rows.bar.watch(file);
    manifest::read_file(file, kind, sheet, &name, mapper, rows)
        .with_context(|| format!("cannot read {name}"))
}

/// Keeps what comes through a pipe in a temporary file: whoever writes it may be slow, and nobody else can write to the
/// queue while its rows are added.
fn kept(pipe: &mut dyn Read) -> anyhow::Result<File> {
    let mut file = tempfile::tempfile().context("cannot keep the manifest in a temporary file")?;
    std::io::copy(pipe, &mut file).context("cannot keep the manifest in a temporary file")?;
    file.rewind()?;
    Ok(file)
}

/// The most rows that wait, in memory, until all are read.
const MOST_WAITING: usize = 50_000;

/// Takes rows as they are read.
struct Rows<'a> {
    staging: Box<dyn Staging>,
    now: Timestamp,
    /// The manifest that is read.
    file: String,
    /// Rows that name images on disk, and those after them, each lot with its manifest. To look at the images may take
    /// minutes, and from the first row that is staged on nobody else can write to the queue.
    waiting: Vec<(String, Vec<NewJob>)>,
    estimate: Estimate<'a>,
    problems: u64,
    /// Rows that were left out, by the field they lack.
    skipped: BTreeMap<String, u64>,
    bar: Bar,
}

impl Rows<'_> {
    /// Stages the rows that wait.
    fn stage_waiting(&mut self) -> anyhow::Result<()> {
        for (file, jobs) in std::mem::take(&mut self.waiting) {
            for (line, message) in self.stage(&jobs)? {
                let (file, field) = (file.clone(), Some(ID.to_owned()));
                self.problem(Problem {
                    file,
                    line,
                    field,
                    message,
                });
            }
        }
        Ok(())
    }

    fn stage(&mut self, jobs: &[NewJob]) -> anyhow::Result<Vec<(u64, String)>> {
        let mut wrong = Vec::new();
        for (job, addition) in jobs.iter().zip(self.staging.add(jobs, self.now)?) {
            match addition {
                RowChange::New | RowChange::Changed => self.estimate.add(job),
                RowChange::Unchanged | RowChange::InProgress => {}
                RowChange::Duplicate { line } => {
                    wrong.push((
                        job.line,
                        format!("`{}` is on line {line} already", job.row_key),
                    ));
                }
            }
        }
        Ok(wrong)
    }
}

impl Sink for Rows<'_> {
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, String)>> {
        let waiting: usize = self.waiting.iter().map(|(_, jobs)| jobs.len()).sum();
        let waits = waiting > 0 || jobs.iter().any(|job| job.has_local_images);
        if waits && waiting + jobs.len() <= MOST_WAITING {
            self.waiting.push((self.file.clone(), jobs));
            return Ok(Vec::new());
        }
        self.stage_waiting()?;
        self.stage(&jobs)
    }

    fn problem(&mut self, problem: Problem) {
        self.problems += 1;
        self.bar.aside(|| render::note(problem));
    }

    fn skipped(&mut self, field: &str, rows: u64) {
        *self.skipped.entry(field.to_owned()).or_default() += rows;
    }
}

fn tell_plan(name: &str, plan: &LoadPlan, done: &str) -> anyhow::Result<()> {
    let rows = plan.new + plan.changed + plan.unchanged + plan.in_progress;
    let mut text = format!(
        "{name}: {}: {} new, {} changed, {} same",
        render::count(rows, "row"),
        plan.new,
        plan.changed,
        plan.unchanged
    );
    if plan.removed > 0 {
        text.push_str(&format!(
            ", {} gone from the manifest (left as they are)",
            plan.removed
        ));
    }
    render::line(text)?;
    if plan.in_progress > 0 {
        render::note(format_args!(
            "{} changed while their jobs are under way; they were left alone: load again when they are over",
            render::count(plan.in_progress, "row")
        ));
    }
    let queued = render::count(plan.new + plan.changed, "job");
    render::line(format_args!(
        "{queued} {done}, at most ${:#}",
        plan.estimate
    ))
}
