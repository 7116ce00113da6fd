//! What becomes of the queued jobs whose rows are no longer in the manifest: they cost money, unless
//! the user cancels them.

use crate::queue::{LoadPlan, RemovedRows};

use super::prompt::{Answer, is_interactive, prompt_yes_no};
use super::render;
use super::setup::Setup;
use super::stop_signal::stop_on_signal;

/// Says what happens to these jobs, and asks at a terminal.
pub(super) async fn settle(
    setup: &Setup,
    batch: &str,
    plan: &LoadPlan,
    removed: RemovedRows,
    is_check: bool,
) -> anyhow::Result<()> {
    let queued = plan.removed_queued.len() as u64;
    let rows = render::format_count(plan.removed - queued, "row");
    if plan.removed > queued {
        render::print_note(format_args!(
            "{rows} gone from the manifest that {} not queued: jobs and clips are kept",
            if plan.removed - queued == 1 {
                "is"
            } else {
                "are"
            }
        ));
    }
    if queued == 0 {
        return Ok(());
    }
    let are = if queued == 1 { "is" } else { "are" };
    let found = format!(
        "{} {are} no longer in the manifest and still queued: ${:#}",
        render::format_count(queued, "row"),
        plan.removed_estimate
    );
    if removed == RemovedRows::Cancel {
        let cancelled = if is_check {
            "would be cancelled"
        } else {
            "cancelled"
        };
        render::print_note(format_args!("{found}, {cancelled}"));
        return Ok(());
    }
    render::print_note(&found);
    let is_asked = !is_check && is_interactive();
    if is_asked && prompt_yes_no("Cancel them?", &stop_on_signal()?).await == Answer::Yes {
        let queue = setup.app.queue()?;
        let cancelled = queue.cancel_queued(plan.removed_queued.clone()).await?;
        let jobs = render::format_count(cancelled as u64, "job");
        render::print_note(format_args!("{jobs} cancelled"));
        return Ok(());
    }
    let cancel = setup
        .suggest("cancel")
        .arg("JOB")
        .option("--batch", Some(batch));
    render::print_note(format_args!(
        "hint: load with --drop-removed to cancel them; `{cancel}` cancels one"
    ));
    Ok(())
}
