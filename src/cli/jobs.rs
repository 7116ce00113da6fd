//! `jobs` and `show`: the queue's jobs, and every detail of one.

use serde_json::{Value, json};

use crate::domain::JobState;
use crate::queue::job_reader::JobReader;
use crate::queue::{JobFilter, JobRecord, Remedy};

use super::args::{Global, JobsArgs, ShowArgs};
use super::exit::Exit;
use super::remedy::with_remedy;
use super::setup::Setup;
use super::{render, summary};

/// Columns of a terminal that a row id may take in the list.
const MAX_ID_COLUMNS: usize = 24;

/// Columns of a terminal that a job's error or clip may take in the list.
const MAX_DETAIL_COLUMNS: usize = 100;

/// Columns of a terminal that one field of a job may take.
const MAX_FIELD_COLUMNS: usize = 2000;

/// Lists jobs.
pub(super) async fn jobs(global: &Global, args: JobsArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let queue = setup.app.queue()?;
    let filter = JobFilter {
        batch: args.batch,
        state: args.state,
    };
    let mut listed = 0;
    let mut jobs = JobReader::new(queue.as_ref(), filter);
    while let Some(job) = jobs.next().await? {
        listed += 1;
        if args.json {
            let separator = if listed == 1 { "[" } else { "," };
            render::print_line(format_args!("{separator}{}", serde_json::to_string(&job)?))?;
            continue;
        }
        if listed == 1 {
            render::print_line(format_args!(
                "{:>6}  {:<24}  {:<11}  {:<8}  {:<9}  clip or error",
                "job", "id", "state", "provider", "cost"
            ))?;
        }
        let provider = job.provider.map_or("-", |provider| provider.as_str());
        let cost = job
            .cost_usd
            .map_or(format!("~${:#}", job.estimate_usd), |cost| {
                format!("${cost:#}")
            });
        let error = job
            .error
            .as_ref()
            .map(|error| with_remedy(error, job.remedy()));
        let output = job.output.filter(|_| job.state == JobState::Succeeded);
        let detail = error.or(output).unwrap_or_default();
        let id = render::truncate(&job.id, MAX_ID_COLUMNS);
        render::print_line(format_args!(
            "{:>6}  {id:<24}  {:<11}  {provider:<8}  {cost:<9}  {}",
            job.job_id.0,
            job.state,
            render::truncate(&detail, MAX_DETAIL_COLUMNS)
        ))?;
    }
    match (args.json, listed) {
        (true, 0) => render::print_line("[]")?,
        (true, _) => render::print_line("]")?,
        (false, 0) => render::print_note("no jobs"),
        (false, _) => {}
    }
    Ok(Exit::Success)
}

/// Prints one job and its attempts.
pub(super) async fn show(global: &Global, args: ShowArgs) -> anyhow::Result<Exit> {
    let setup = Setup::load(global)?;
    let queue = setup.app.queue()?;
    let job = queue.find(args.job, args.batch).await?;
    let attempts = queue.attempts(job.job_id).await?;
    let mut fields = serde_json::to_value(&job)?;
    fields["job"] = json!(job.job_id);
    fields["input"] = json!(job.input);
    fields["due_at"] = json!(job.due_at);
    if args.json {
        fields["attempt_list"] = json!(attempts);
        render::print_json(&fields)?;
        return Ok(Exit::Success);
    }
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("versions");
    }
    print_fields(&fields, "")?;
    for version in job.versions.iter().filter(|version| !version.current) {
        let made_by = version
            .attempt
            .map_or(String::new(), |attempt| format!(" (attempt {attempt})"));
        render::print_line(format_args!(
            "{:<14} {}{made_by}",
            "earlier clip", version.output
        ))?;
    }
    for attempt in attempts {
        render::print_line(format_args!("attempt {}", attempt.number))?;
        let mut attempt = serde_json::to_value(attempt)?;
        if let Some(fields) = attempt.as_object_mut() {
            fields.remove("number");
        }
        print_fields(&attempt, "  ")?;
    }
    if let Some(remedy) = job.remedy() {
        print_remedy(&setup, &job, remedy);
    }
    Ok(Exit::Success)
}

/// Prints the commands that continue or settle a job.
fn print_remedy(setup: &Setup, job: &JobRecord, remedy: Remedy) {
    match remedy {
        Remedy::Resolve => render::print_note(format_args!(
            "hint: look for the request on the provider's website, then settle the job with one \
             of:\n{}",
            summary::resolve_commands(setup, job)
        )),
        Remedy::Retry => {
            let retry = setup
                .suggest("retry")
                .job(&job.id)
                .option("--batch", Some(&job.batch));
            render::print_note(format_args!(
                "hint: `{retry}` continues with its prediction without paying"
            ));
        }
    }
}

/// Prints one line per field that is set.
fn print_fields(fields: &Value, indent: &str) -> anyhow::Result<()> {
    for (key, value) in fields.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        render::print_line(format_args!(
            "{indent}{key:<14} {}",
            render::truncate(&text, MAX_FIELD_COLUMNS)
        ))?;
    }
    Ok(())
}
