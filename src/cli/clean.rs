//! `clean --earlier`: removes the clips that were rendered anew.

use crate::domain::{JobId, JobState, SavedFile};
use crate::output::CheckDepth;
use crate::queue::JobFilter;
use crate::queue::job_reader::JobReader;

use super::args::{CleanArgs, Global};
use super::exit::{Exit, Usage};
use super::moved_folder::ensure_not_moved;
use super::prompt::{Answer, is_interactive, prompt_yes_no};
use super::render;
use super::setup::Setup;
use super::stop_signal::stop_on_signal;

/// A clip to remove.
struct Earlier {
    job: JobId,
    attempt: u32,
    file: SavedFile,
}

/// Removes the earlier clips of the jobs whose present clip is there. Asks at a terminal.
pub(super) async fn clean(global: &Global, args: CleanArgs) -> anyhow::Result<Exit> {
    if !args.earlier {
        return Err(Usage("say what to remove: --earlier".into()).into());
    }
    let setup = Setup::load(global)?;
    let queue = setup.app.queue()?;
    ensure_not_moved(&setup, queue.as_ref(), args.batch.as_deref()).await?;
    // Reports an unknown batch.
    queue.status(args.batch.clone()).await?;
    let waiting = queue.status(None).await?.count(JobState::Downloading);
    if waiting > 0 {
        let run = setup.suggest("run");
        return Err(Usage(format!(
            "{} may take one of the earlier clips; finish with `{run}` first",
            render::format_count(waiting, "job")
        ))
        .into());
    }
    let output = setup.app.output();
    let filter = JobFilter {
        batch: args.batch,
        state: Some(JobState::Succeeded),
    };
    let mut jobs = JobReader::new(queue.as_ref(), filter);
    let mut earlier = Vec::new();
    while let Some(job) = jobs.next().await? {
        for version in job.versions {
            let Some(attempt) = version.attempt.filter(|_| !version.current) else {
                continue;
            };
            let file = SavedFile {
                location: version.output.as_str().into(),
                bytes: version.bytes,
                sha256: version.sha256,
            };
            // A file that was edited is not ours to remove.
            if output.check(&file, CheckDepth::Stored).await.is_none() {
                earlier.push(Earlier {
                    job: job.job_id,
                    attempt,
                    file,
                });
            }
        }
    }
    let bytes: u64 = earlier.iter().map(|clip| clip.file.bytes).sum();
    let found = format!(
        "{}, {}",
        render::format_count(earlier.len() as u64, "earlier clip"),
        render::format_size(bytes)
    );
    if earlier.is_empty() {
        render::print_line("no earlier clips")?;
        return Ok(Exit::Success);
    }
    if is_interactive() {
        let question = format!("{found}. Remove them for good?");
        match prompt_yes_no(&question, &stop_on_signal()?).await {
            Answer::Yes => {}
            Answer::No => return Ok(Exit::Success),
            Answer::Interrupted => return Ok(Exit::Interrupted),
        }
    }
    for clip in &earlier {
        output.remove(&clip.file.location).await?;
        queue.forget_clip(clip.job, clip.attempt).await?;
    }
    render::print_line(format_args!("{found} removed"))?;
    Ok(Exit::Success)
}
