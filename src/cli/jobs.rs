//! `jobs` and `show`: what is in the queue, and all that is known of one job.

use serde_json::{Value, json};

use crate::queue::{JobFilter, JobRecord, Queue};

use super::args::{Global, JobsArgs, ShowArgs};
use super::exit::Exit;
use super::render;
use super::setup::Setup;

/// Jobs read at once: a list of any length takes the memory of one page.
pub(super) const PAGE: usize = 500;

/// Lists jobs.
pub(super) async fn jobs(global: &Global, args: JobsArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let queue = setup.queue()?;
    let filter = JobFilter {
        batch: args.batch,
        state: args.state,
    };
    let mut listed = 0;
    for_each_job(queue.as_ref(), filter, |job| {
        listed += 1;
        if args.json {
            return render::line(format_args!(
                "{}{}",
                if listed == 1 { "[" } else { "," },
                serde_json::to_string(&job)?
            ));
        }
        let provider = job.provider.map_or("-", |provider| provider.as_str());
        let cost = job
            .cost_usd
            .map_or(format!("~${:#}", job.estimate_usd), |cost| {
                format!("${cost:#}")
            });
        let what = job.error.or(job.output).unwrap_or_default();
        let id = render::clipped(&job.id, 24);
        render::line(format_args!(
            "{:>6}  {id:<24}  {:<11}  {provider:<8}  {cost:<9}  {}",
            job.job_id.0,
            job.state,
            render::clipped(&what, 100)
        ))
    })
    .await?;
    match (args.json, listed) {
        (true, 0) => render::line("[]")?,
        (true, _) => render::line("]")?,
        (false, 0) => render::note("no jobs"),
        (false, _) => {}
    }
    Ok(Exit::Success)
}

/// Calls `visit` with each job, page by page.
pub(super) async fn for_each_job(
    queue: &dyn Queue,
    filter: JobFilter,
    mut visit: impl FnMut(JobRecord) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = queue.jobs(filter.clone(), after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = Some(last.job_id);
        for job in page {
            visit(job)?;
        }
    }
}

/// Shows one job with its attempts.
pub(super) async fn show(global: &Global, args: ShowArgs) -> anyhow::Result<Exit> {
    let setup = Setup::of(global)?;
    let queue = setup.queue()?;
    let job = queue.find(args.job, args.batch).await?;
    let attempts = queue.attempts(job.job_id).await?;
    let mut shown = serde_json::to_value(&job)?;
    shown["job"] = json!(job.job_id);
    shown["input"] = json!(job.input);
    shown["due_at"] = json!(job.due_at);
    if args.json {
        shown["attempt_list"] = json!(attempts);
        render::json(&shown)?;
        return Ok(Exit::Success);
    }
    tell(&shown, "")?;
    for attempt in attempts {
        render::line(format_args!("attempt {}", attempt.number))?;
        let mut attempt = serde_json::to_value(attempt)?;
        if let Some(fields) = attempt.as_object_mut() {
            fields.remove("number");
        }
        tell(&attempt, "  ")?;
    }
    Ok(Exit::Success)
}

fn tell(fields: &Value, indent: &str) -> anyhow::Result<()> {
    for (key, value) in fields.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        render::line(format_args!(
            "{indent}{key:<14} {}",
            render::clipped(&text, 2000)
        ))?;
    }
    Ok(())
}
