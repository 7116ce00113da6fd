//! `doctor`: what may be in the way of a night, and what to do about it. It changes nothing, and costs nothing.

mod check;
mod output;
mod providers;
mod queue;

use serde_json::json;

use crate::config;

use super::args::{DoctorArgs, Global};
use super::exit::Exit;
use super::render;
use super::setup::Setup;
use check::Check;

/// Checks everything, and tells what it found.
pub(super) async fn doctor(global: &Global, args: DoctorArgs) -> anyhow::Result<Exit> {
    let checks = look(global).await;
    let ok = !checks.iter().any(Check::is_problem);
    if args.json {
        render::json(&json!({ "ok": ok, "checks": checks }))?;
    } else {
        for check in &checks {
            render::line(check)?;
        }
    }
    Ok(if ok { Exit::Success } else { Exit::CannotGoOn })
}

async fn look(global: &Global) -> Vec<Check> {
    let setup = match Setup::of(global) {
        Ok(setup) => setup,
        // What a config that cannot be read would have said about all else nobody knows.
        Err(error) => {
            return vec![Check::failed(
                "config",
                &error,
                "correct it; nothing else was checked",
            )];
        }
    };
    let (queue, mut checks) = (queue::look(&setup).await, vec![config_file(global)]);
    checks.extend(providers::look(&setup, queue.status.as_ref()).await);
    checks.extend(output::look(&setup, queue.status.as_ref()).await);
    checks.extend(queue.checks);
    checks
}

/// The file was read when this is asked.
fn config_file(global: &Global) -> Check {
    let path = global
        .config
        .as_deref()
        .unwrap_or(config::DEFAULT_FILE.as_ref());
    if path.exists() {
        return Check::ok("config", format!("{} is valid", path.display()));
    }
    Check::ok(
        "config",
        format!(
            "no {}: the defaults hold, `overnight init` writes them down",
            path.display()
        ),
    )
}
