//! The `overnight` program, built and called as a user does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use serde_json::Value;

/// Folder of the measured package.
const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Path of the release binary, once it is built.
static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Returns a command that runs the program in `dir` with an empty environment. The first call
/// builds the program.
pub(crate) fn command(dir: &Path, args: &[&str]) -> anyhow::Result<Command> {
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

/// Builds a package's binary in release mode and returns its path.
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
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executables
        .next_back()
        .context("cargo reported no executable")
}
