//! The queue: whether its file is whole, its books agree, and somebody has to decide something.

use std::path::Path;

use crate::cli::render;
use crate::cli::setup::Setup;
use crate::queue::{Health, Status};

use super::check::Check;

/// What was found, and how the queue stands where it can be read.
pub(super) struct Found {
    pub(super) checks: Vec<Check>,
    pub(super) status: Option<Status>,
}

/// Looks at the queue, if there is one.
pub(super) async fn look(setup: &Setup) -> Found {
    let path = &setup.config.queue;
    if !path.exists() {
        return Found {
            checks: vec![none_yet(path)],
            status: None,
        };
    }
    read(setup).await.unwrap_or_else(|error| {
        let failed = Check::failed("queue", &error, "`--queue PATH` names another");
        Found {
            checks: vec![failed],
            status: None,
        }
    })
}

fn none_yet(path: &Path) -> Check {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Check::ok(
            "queue",
            format!(
                "there is none at {} yet: `overnight load` makes it",
                path.display()
            ),
        );
    }
    let message = format!("there is no folder {} to make it in", folder.display());
    Check::problem(
        "queue",
        message,
        "make the folder, or name another file with --queue or in the config",
    )
}

async fn read(setup: &Setup) -> anyhow::Result<Found> {
    let queue = setup.queue_to_look_at()?;
    let health = queue.health(setup.clock.now()).await?;
    let file = setup.config.queue.display();
    if !health.is_current() {
        let Health {
            version,
            supported_version,
            ..
        } = health;
        let message = format!(
            "{file} is whole, of version {version}: the next `overnight run` or `load` brings it to {supported_version}"
        );
        return Ok(Found {
            checks: vec![Check::ok("queue", message)],
            status: None,
        });
    }
    let mut checks = vec![Check::ok(
        "queue",
        format!("{file} is whole, of version {}", health.version),
    )];
    checks.push(sums(&health));
    checks.push(held(&health));
    checks.push(pools(&health));
    Ok(Found {
        checks,
        status: Some(queue.status(None).await?),
    })
}

fn sums(health: &Health) -> Check {
    let name = "queue.sums";
    let Some(first) = health.counter_mismatches.first() else {
        return Check::ok(
            name,
            "every sum and count that is kept agrees with the jobs",
        );
    };
    let sums = render::count(health.counter_mismatches.len() as u64, "sum");
    let message = format!(
        "{sums} not as the jobs have it, {}: kept {}, counted {}",
        first.counter, first.stored, first.actual
    );
    Check::warning(
        name,
        message,
        "the next `overnight run` corrects this before it pays; what else writes to the file?",
    )
}

fn held(health: &Health) -> Check {
    let name = "queue.in_doubt";
    if health.held == 0 {
        return Check::ok(name, "no job waits for a person");
    }
    let hint =
        "`overnight jobs --state in_doubt` lists them, `overnight resolve JOB` decides about one";
    Check::warning(
        name,
        format!(
            "{} in doubt: a person has to decide",
            render::count(health.held, "job")
        ),
        hint,
    )
}

fn pools(health: &Health) -> Check {
    let name = "queue.runs";
    if health.orphaned_jobs == 0 {
        return Check::ok(name, "no run that is gone holds a job");
    }
    let (runs, jobs) = (
        health.dead_pools as u64,
        render::count(health.orphaned_jobs, "job"),
    );
    let message = format!(
        "{} gone and still holding {jobs}",
        render::count(runs, "run")
    );
    Check::warning(
        name,
        message,
        "the next `overnight run` takes them over at once",
    )
}
