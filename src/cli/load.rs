//! `load`: checks a manifest, prices it, and queues its rows.

use std::path::PathBuf;

use crate::app;
use crate::domain::{Location, Money, QueueAddress};
use crate::loader::{FoundClips, ManifestLoader};
use crate::manifest::ImageFixes;
use crate::queue::{LoadPlan, NewBatch, RemovedRows, Staging};

use super::args::{Global, LoadArgs, ManifestArgs};
use super::exit::{Exit, Usage};
use super::load_view::{LoadView, ViewOptions};
use super::moved_folder::ensure_not_moved;
use super::setup::Setup;
use super::{load_diff, load_error, load_probe, removed_rows, render};

/// What a load does beside reading the manifests.
#[derive(Clone, Copy)]
struct LoadMode {
    /// Whether nothing is written.
    is_check: bool,
    removed: RemovedRows,
    /// Whether files in the output folder that have the names of clips are taken as clips.
    takes_files: bool,
}

/// Loads the manifests; with `--check`, only checks and prices them.
pub(super) async fn load(global: &Global, args: LoadArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let removed = if args.drop_removed {
        RemovedRows::Cancel
    } else {
        RemovedRows::Keep
    };
    let is_check = args.check;
    let mode = LoadMode {
        is_check,
        removed,
        takes_files: args.adopt_files,
    };
    let options = ViewOptions {
        quiet: global.quiet,
        show: args.show,
    };
    let loader = prepare(&setup, args.manifest, args.out, !is_check)?;
    if args.probe {
        load_probe::probe(&setup, &loader, global.quiet).await?;
    }
    let mut batch = loader.new_batch(&setup.app.config.out)?;
    let exists = setup.app.has_queue()?;
    if exists {
        keep_folder(&setup, &loader, &mut batch).await?;
    }
    let budget = batch.budget;
    let is_new = !is_check && !exists;
    let loaded = load_into(&setup, &loader, batch, mode, options).await;
    if loaded.is_err() && is_new {
        // What went wrong before is what the user needs to know.
        let _ = setup.app.remove_unused_queue();
    }
    let (plan, view) = loaded?;
    if is_new && !global.quiet {
        let address = match &setup.app.config.queue {
            QueueAddress::File(path) => std::path::absolute(path)?.into(),
            database => database.clone(),
        };
        render::print_note(format_args!("created a new queue: {address}"));
    }
    print_plan(&loader.batch, &plan, is_check)?;
    removed_rows::settle(&setup, &loader.batch, &plan, removed, is_check).await?;
    if let Some(budget) = budget.filter(|budget| *budget < plan.estimate) {
        print_low_budget(&setup, &loader.batch, budget, is_check);
    }
    if plan.queues() > 0 && (is_check || !global.quiet) {
        view.print_estimate(&setup)?;
        if !is_check {
            let next = setup.suggest("run").option("--batch", Some(&loader.batch));
            render::print_note(format_args!("next: {next}"));
        }
    }
    Ok(Exit::Success)
}

/// Takes the folder of an existing batch, unless the user gives one: it may have been moved.
async fn keep_folder(
    setup: &Setup,
    loader: &ManifestLoader<'_>,
    batch: &mut NewBatch,
) -> anyhow::Result<()> {
    let queue = setup.app.queue()?;
    let batches = queue.status(None).await?.batches;
    if let Some(known) = batches.iter().find(|known| known.batch == batch.name) {
        ensure_not_moved(setup, queue.as_ref(), Some(&batch.name)).await?;
        if !loader.is_out_given() {
            batch.folder = known.folder.as_str().into();
        }
    }
    Ok(())
}

/// Returns the folder of the pictures that are sent in place of others: beside the queue, `overnight-images`
/// for `overnight.db`; in the current folder if the queue is in a database.
fn fixed_images(queue: &QueueAddress) -> std::io::Result<PathBuf> {
    let QueueAddress::File(queue) = queue else {
        return std::path::absolute("overnight-images");
    };
    let mut name = queue.file_stem().unwrap_or_default().to_owned();
    name.push("-images");
    Ok(std::path::absolute(queue)?.with_file_name(name))
}

/// Checks the arguments of a command that reads manifests. With `writes`, files beside the queue may be
/// written.
pub(super) fn prepare(
    setup: &Setup,
    args: ManifestArgs,
    out: Option<Location>,
    writes: bool,
) -> anyhow::Result<ManifestLoader<'_>> {
    let options = args.into_options(out).with_batch_file();
    let mut options = options.map_err(|error| Usage(error.to_string()))?;
    if options.fixes_images {
        options.mapping.image_fixes = Some(ImageFixes {
            folder: fixed_images(&setup.app.config.queue)?,
            writes,
        });
    }
    ManifestLoader::new(&setup.app.catalog, options)
        .map_err(|error| load_error::explain(setup, error))
}

/// Reads the manifests, stages their rows, and prints mistakes. Returns what there is to print about
/// the rows.
pub(super) fn read<'a>(
    setup: &Setup,
    loader: &ManifestLoader<'a>,
    staging: &mut dyn Staging,
    found: &FoundClips,
    options: ViewOptions,
) -> anyhow::Result<LoadView<'a>> {
    let mut view = LoadView::new(loader, options);
    loader
        .read_into(staging, found, &mut view)
        .map_err(|error| load_error::explain(setup, error))?;
    Ok(view)
}

/// Reads the manifests into the queue, which is created if it does not exist. A check leaves nothing
/// behind, not even an empty queue.
async fn load_into<'a>(
    setup: &Setup,
    loader: &ManifestLoader<'a>,
    batch: NewBatch,
    mode: LoadMode,
    options: ViewOptions,
) -> anyhow::Result<(LoadPlan, LoadView<'a>)> {
    let queue = if mode.is_check && !setup.app.has_queue()? {
        app::temporary_queue()?
    } else {
        setup.app.queue_or_new()?
    };
    let output = setup.app.output();
    let found = FoundClips::list(output.as_ref(), &batch.folder, mode.takes_files).await?;
    let mut staging = queue.stage(batch)?;
    // The staging has a connection of its own.
    drop(queue);
    let view = read(setup, loader, staging.as_mut(), &found, options)?;
    let plan = if mode.is_check {
        staging.plan()?
    } else {
        staging.commit(mode.removed)?
    };
    Ok((plan, view))
}

fn print_low_budget(setup: &Setup, batch: &str, budget: Money, is_check: bool) {
    let raise = setup
        .suggest("ctl")
        .arg("set")
        .option("--batch", Some(batch))
        .option("--budget", Some("USD"));
    let remedy = if is_check {
        "load with a higher --budget".into()
    } else {
        format!("raise it with `{raise}`")
    };
    render::print_note(format_args!(
        "the budget of ${budget:#} may be too low for these jobs; a run stops at it\n\
         hint: {remedy}"
    ));
}

/// Prints how the manifest differs from what the queue holds, and what was queued.
fn print_plan(batch: &str, plan: &LoadPlan, is_check: bool) -> anyhow::Result<()> {
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
    load_diff::print_differences(&plan.differences);
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
    if plan.identical > 0 {
        let (rows, verb) = match plan.identical {
            1 => ("1 row asks".to_owned(), "it is"),
            rows => (format!("{rows} rows ask"), "each is"),
        };
        render::print_note(format_args!(
            "{rows} for the same as another row of this load: {verb} rendered and paid for as well"
        ));
    }
    for (batch, rows) in &plan.elsewhere {
        let ask = if *rows == 1 { "asks" } else { "ask" };
        render::print_note(format_args!(
            "{} {ask} for what is queued or under way in batch `{batch}`: it is paid for in both",
            render::format_count(*rows, "queued row")
        ));
    }
    if plan.reused > 0 {
        let batches: Vec<String> = plan
            .reused_from
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        render::print_note(format_args!(
            "rendered already, so the clips are taken for nothing: {} (of {})\n\
             hint: load with --fresh to render and pay for them again",
            render::format_count(plan.reused, "row"),
            batches.join(", ")
        ));
    }
    if plan.files_taken > 0 {
        render::print_note(format_args!(
            "files taken as clips, for nothing: {}",
            render::format_count(plan.files_taken, "row")
        ));
    }
    let jobs = plan.queues();
    let jobs = render::format_count(jobs, "job");
    let queued = if is_check { "to queue" } else { "queued" };
    render::print_line(format_args!(
        "{jobs} {queued}, at most ${:#}",
        plan.estimate
    ))?;
    if plan.queued > plan.queues() {
        render::print_note(format_args!(
            "in all, {} of this batch {} queued, at most ${:#}",
            render::format_count(plan.queued, "job"),
            if plan.queued == 1 { "is" } else { "are" },
            plan.queued_estimate
        ));
    }
    Ok(())
}
