//! Checks of the queue: the file, its counters, jobs in doubt, and dead runs.

use std::path::Path;

use crate::cli::queue_place;
use crate::cli::render;
use crate::cli::setup::Setup;
use crate::domain::QueueAddress;
use crate::queue::{Health, Status, UnsafePlace};

use super::check::Check;

/// The checks of the queue, and its status if it could be read.
pub(super) struct QueueChecks {
    pub(super) checks: Vec<Check>,
    /// `None` if the queue does not exist, is of an older version, or cannot be read.
    pub(super) status: Option<Status>,
}

/// Checks the queue, if it exists.
pub(super) async fn check(setup: &Setup) -> QueueChecks {
    let checks = match setup.app.has_queue() {
        Ok(true) => check_existing(setup).await,
        Ok(false) => Ok(QueueChecks {
            checks: vec![check_missing(setup)],
            status: None,
        }),
        Err(error) => Err(error.into()),
    };
    checks.unwrap_or_else(|error| {
        let failed = Check::failed("queue", error, "choose another queue with --queue");
        QueueChecks {
            checks: vec![failed],
            status: None,
        }
    })
}

/// Checks that `load` can create the queue.
fn check_missing(setup: &Setup) -> Check {
    let address = &setup.app.config.queue;
    let created = format!(
        "{address} does not exist yet; `{}` creates it",
        setup.suggest("load").arg("FILE")
    );
    let QueueAddress::File(path) = address else {
        return Check::ok("queue", created);
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if folder.is_dir() {
        return Check::ok("queue", created);
    }
    let message = format!(
        "{} cannot be created: there is no folder {}",
        path.display(),
        folder.display()
    );
    Check::problem(
        "queue",
        message,
        "create the folder, or choose another file with --queue or in the config",
    )
}

async fn check_existing(setup: &Setup) -> anyhow::Result<QueueChecks> {
    let queue = setup.app.queue_read_only()?;
    let health = queue.health().await?;
    let file = &setup.app.config.queue;
    if !health.is_current() {
        let Health {
            version,
            supported_version,
            ..
        } = health;
        let message = format!(
            "{file} is intact, in format version {version}; the next `{}` or `load` migrates it to \
             version {supported_version}",
            setup.suggest("run")
        );
        return Ok(QueueChecks {
            checks: vec![Check::ok("queue", message)],
            status: None,
        });
    }
    let mut checks = vec![
        Check::ok(
            "queue",
            format!("{file} is intact, in format version {}", health.version),
        ),
        check_counters(setup, &health),
        check_in_doubt(setup, &health),
        check_runs(setup, &health),
    ];
    checks.extend(check_place(setup)?);
    Ok(QueueChecks {
        checks,
        status: Some(queue.status(None).await?),
    })
}

/// Says that the queue is not safe where it is, if that is known.
fn check_place(setup: &Setup) -> anyhow::Result<Option<Check>> {
    let report = |place: UnsafePlace| {
        let message = place.to_string();
        if queue_place::is_refused(setup, &place) {
            Check::problem("queue.place", message, queue_place::hint(&place))
        } else {
            Check::warning("queue.place", message, queue_place::hint(&place))
        }
    };
    Ok(setup.app.unsafe_place()?.map(report))
}

fn check_counters(setup: &Setup, health: &Health) -> Check {
    let name = "queue.sums";
    let Some(first) = health.counter_mismatches.first() else {
        return Check::ok(name, "every stored counter agrees with the jobs");
    };
    let counters = health.counter_mismatches.len() as u64;
    let verb = if counters == 1 {
        "disagrees"
    } else {
        "disagree"
    };
    let message = format!(
        "{} {verb} with the jobs; {}: stored {}, actual {}",
        render::format_count(counters, "stored counter"),
        first.counter,
        first.stored,
        first.actual
    );
    Check::warning(
        name,
        message,
        format!(
            "the next `{}` corrects this before it pays for anything; make sure that no other \
             program writes to the file",
            setup.suggest("run")
        ),
    )
}

fn check_in_doubt(setup: &Setup, health: &Health) -> Check {
    let name = "queue.in_doubt";
    if health.held == 0 {
        return Check::ok(name, "no job needs a decision");
    }
    let verb = if health.held == 1 { "needs" } else { "need" };
    Check::warning(
        name,
        format!(
            "{} in doubt {verb} your decision",
            render::format_count(health.held, "job")
        ),
        format!(
            "`{}` lists the jobs in doubt; `{}` prints the \
             `overnight resolve` commands that settle one",
            setup.suggest("jobs").option("--state", Some("in_doubt")),
            setup.suggest("status")
        ),
    )
}

fn check_runs(setup: &Setup, health: &Health) -> Check {
    let name = "queue.runs";
    if health.orphaned_jobs == 0 {
        return Check::ok(name, "no dead run holds jobs");
    }
    let runs = health.dead_pools as u64;
    let verb = if runs == 1 { "holds" } else { "hold" };
    Check::warning(
        name,
        format!(
            "{} {verb} {}",
            render::format_count(runs, "dead run"),
            render::format_count(health.orphaned_jobs, "job")
        ),
        format!(
            "the next `{}` takes them over at once",
            setup.suggest("run")
        ),
    )
}
