//! The program itself, as a user builds and calls it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use serde_json::Value;

/// The folder of the package that is measured.
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// The program in a folder of its own, with nothing of the caller's environment; built at the first call.
pub(crate) fn overnight(dir: &Path, args: &[&str]) -> anyhow::Result<Command> {
    let binary = match BINARY.get() {
        Some(binary) => binary,
        None => {
            let built = build(Path::new(PACKAGE))?;
            BINARY.get_or_init(|| built)
        }
    };
    let mut command = Command::new(binary);
    command
        .current_dir(dir)
        .args(args)
        .env_clear()
        .stdin(Stdio::null());
    Ok(command)
}

/// Builds a package's program for release, and tells where it is.
pub(crate) fn build(package: &Path) -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--bins",
        "--message-format",
        "json-render-diagnostics",
    ]);
    let output = cargo
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "cannot build {}",
        package.display()
    );
    let messages = String::from_utf8(output.stdout)?;
    let mut executable = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.next_back().context("cargo built no program")
}
