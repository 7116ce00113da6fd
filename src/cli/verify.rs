//! `verify`: checks every clip on disk, and downloads the lost ones again without paying.

use std::sync::Arc;

use anyhow::Context;

use crate::domain::{JobId, JobState, Location};
use crate::output::{CheckDepth, ClipDamage};
use crate::queue::Queue;
use crate::queue::job_reader::find_by_number;
use crate::worker::verify::{self, ClipCheck, ClipOrigin};

use super::args::{Global, VerifyArgs};
use super::exit::Exit;
use super::moved_folder::ensure_not_moved;
use super::remedy::with_remedy;
use super::render;
use super::run_pool::run_pool;
use super::setup::Setup;
use super::stop_signal::stop_on_signal;

/// Columns of a terminal that a job's error may take.
const MAX_ERROR_COLUMNS: usize = 200;

/// Compares every clip with its size and SHA-256 in the queue, also those of earlier inputs; with
/// `--fix`, downloads again those of present inputs that are missing or damaged.
pub(super) async fn verify(global: &Global, args: VerifyArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let queue = setup.app.queue()?;
    ensure_not_moved(&setup, queue.as_ref(), args.batch.as_deref()).await?;
    let output = setup.app.output();
    let depth = match args.deep {
        true => CheckDepth::Content,
        false => CheckDepth::Stored,
    };
    let mut check = ClipCheck::new(queue.as_ref(), output.as_ref(), args.batch.clone(), depth);
    let mut lost = Vec::new();
    let mut others = 0;
    while let Some(clip) = check.next_lost().await? {
        let path = &clip.location;
        if let (Location::Object(_), ClipDamage::Unreadable(reason)) = (path, &clip.damage) {
            // The storage, not the clip: all others would be downloaded again for nothing.
            anyhow::bail!(
                "{reason}\nhint: run `verify` again when the storage is back: nothing was changed"
            );
        }
        let kind = match clip.origin {
            ClipOrigin::Present => "",
            ClipOrigin::Earlier => ", an earlier clip",
            ClipOrigin::Adopted => ", an adopted file: `load --fresh` renders its row",
        };
        render::print_line(format_args!("{path}: {}{kind}", clip.damage))?;
        if clip.origin == ClipOrigin::Present {
            lost.push(clip.job_id);
        } else {
            others += 1;
        }
    }
    let checked = check.checked();
    let missing = lost.len() as u64 + others;
    render::print_line(format_args!(
        "{} checked: {} intact, {missing} missing or damaged",
        render::format_count(checked, "clip"),
        checked - missing,
    ))?;
    if missing == 0 {
        return Ok(Exit::Success);
    }
    if lost.is_empty() {
        return Ok(Exit::Incomplete);
    }
    if !args.fix {
        let mut fix = setup.suggest("verify").arg("--fix");
        if args.deep {
            fix = fix.arg("--deep");
        }
        let fix = fix.option("--batch", args.batch.as_deref());
        render::print_note(format_args!(
            "hint: `{fix}` downloads them again without paying"
        ));
        return Ok(Exit::Incomplete);
    }
    let exit = download_again(&setup, global, &queue, args.batch, lost).await?;
    Ok(match exit {
        Exit::Success if others > 0 => Exit::Incomplete,
        exit => exit,
    })
}

/// Downloads lost clips again with a pool that cannot submit, and prints what became of them.
async fn download_again(
    setup: &Setup,
    global: &Global,
    queue: &Arc<dyn Queue>,
    batch: Option<String>,
    lost: Vec<JobId>,
) -> anyhow::Result<Exit> {
    let providers = setup.app.providers()?;
    let options = verify::download_options(
        setup.app.config.workers,
        batch.clone(),
        providers.keys().map(|provider| setup.app.limits(*provider)),
    );
    queue.requeue_downloads(lost.clone()).await?;
    let interrupt = stop_on_signal()?;
    let stop = verify::stop_when_final(Arc::clone(queue), lost.clone(), interrupt.clone());
    let reader = setup.snapshot_reader(Arc::clone(queue), batch.clone(), None);
    let context = setup.app.step_context(Arc::clone(queue), providers).await?;
    run_pool(global, reader, context, options, None, None, stop).await??;
    let mut downloaded = 0;
    let mut failed = 0;
    for job_id in &lost {
        let job = find_by_number(queue.as_ref(), *job_id).await?;
        let job = job.with_context(|| format!("job {} is no longer in the queue", job_id.0))?;
        match job.state {
            JobState::Succeeded => downloaded += 1,
            JobState::Failed => {
                failed += 1;
                let error = with_remedy(job.error.as_deref().unwrap_or_default(), job.remedy());
                render::print_line(format_args!(
                    "{} failed: {}",
                    job.id,
                    render::truncate(&error, MAX_ERROR_COLUMNS)
                ))?;
            }
            state => render::print_line(format_args!("{} is {state}", job.id))?,
        }
    }
    let left = lost.len() - downloaded - failed;
    render::print_line(format_args!(
        "{downloaded} downloaded again without paying, {failed} failed, {left} left"
    ))?;
    if failed > 0 {
        let retry = setup.suggest("retry").option("--batch", batch.as_deref());
        render::print_note(format_args!(
            "hint: `{retry}` polls their predictions again without paying; only a row that is \
             changed and loaded again is submitted, and paid for, again"
        ));
    }
    Ok(match (left, failed) {
        _ if *interrupt.borrow() => Exit::Interrupted,
        (0, 0) => Exit::Success,
        (0, _) => Exit::Incomplete,
        _ => {
            let run = setup.suggest("run").option("--batch", batch.as_deref());
            render::print_note(format_args!(
                "hint: check that their provider's API key is set; `{run}` continues with what is left"
            ));
            Exit::CannotContinue
        }
    })
}
