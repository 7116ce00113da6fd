//! `doctor`: checks what a run needs, and says what to fix. It changes nothing and costs nothing.

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

/// Runs every check and prints the results.
pub(super) async fn doctor(global: &Global, args: DoctorArgs) -> anyhow::Result<Exit> {
    let checks = run_checks(global).await;
    let ok = !checks.iter().any(Check::is_problem);
    if args.json {
        render::print_json(&json!({ "ok": ok, "checks": checks }))?;
    } else {
        for check in &checks {
            render::print_line(check)?;
        }
    }
    Ok(if ok {
        Exit::Success
    } else {
        Exit::CannotContinue
    })
}

async fn run_checks(global: &Global) -> Vec<Check> {
    let setup = match Setup::load(global) {
        Ok(setup) => setup,
        // Every other check depends on the config.
        Err(error) => {
            return vec![Check::failed(
                "config",
                error,
                "correct the config; the other checks need it and were skipped",
            )];
        }
    };
    let queue = queue::check(&setup).await;
    let status = queue.status.as_ref();
    let mut checks = vec![config_file(global)];
    checks.extend(providers::check(&setup, status).await);
    checks.extend(output::check(&setup, status).await);
    checks.extend(queue.checks);
    checks
}

/// Reports which config file was read. By now it is known to be valid.
fn config_file(global: &Global) -> Check {
    let path = global
        .config
        .as_deref()
        .unwrap_or(config::DEFAULT_FILE.as_ref());
    let path_display = path.display();
    if path.exists() {
        return Check::ok("config", format!("{path_display} is valid"));
    }
    Check::ok(
        "config",
        format!(
            "{path_display} does not exist, so the defaults apply; `overnight init` creates it"
        ),
    )
}
