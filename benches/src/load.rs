//! Loading a manifest: `overnight load` of CSV rows, which checks every row, prices it, and compares it with the queue,
//! against `.import` of the `sqlite3` shell, which puts the same file into a bare table.
//!
//! Both write a file of their own in WAL mode with `synchronous = FULL`, and keep two indexes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::Scale;
use crate::fixture::MODEL;
use crate::measure::{Pair, in_turn, median};
use crate::process::{self, Ran};
use crate::program;
use crate::table::{Goal, Table};

const IMPORT: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE rows (id TEXT NOT NULL, image TEXT NOT NULL, prompt TEXT NOT NULL, duration INTEGER NOT NULL);
    CREATE UNIQUE INDEX rows_id ON rows (id);
    CREATE INDEX rows_duration ON rows (duration, id);";

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let rows = scale.pick(100_000, 1_000_000);
    let dir = tempdir()?;
    write_manifest(&dir.path().join("rows.csv"), rows)?;
    let mut peaks = Vec::new();
    if Command::new("sqlite3").arg("--version").output().is_ok() {
        let ours = || {
            let ran = load(dir.path(), &[])?;
            peaks.push(ran.peak_mb);
            Ok(ran.seconds)
        };
        let (ours, against) = in_turn(scale.pick(2, 3), ours, || Ok(import(dir.path())?.seconds))?;
        let what = format!("load: {rows} rows, against `.import` (ratio of its time to ours)");
        table.compare(
            what,
            Pair::inverted(&ours, &against),
            "s",
            Goal::AtLeast(1.3),
        );
    } else {
        peaks.push(load(dir.path(), &[])?.peak_mb);
        table.note("load: there is no `sqlite3` here to `.import` with");
    }
    let check = load(dir.path(), &["--check"])?;
    table.tell(
        format!("load: `--check` of {rows} rows"),
        check.seconds,
        "s",
        Goal::None,
    );
    table.tell(
        format!("load: `--check` of {rows} rows: peak resident size"),
        check.peak_mb,
        "MB",
        Goal::AtMost(64.0),
    );
    table.tell(
        format!("load: {rows} rows: peak resident size"),
        median(&peaks),
        "MB",
        Goal::AtMost(64.0),
    );
    let fewer = rows / 10;
    write_manifest(&dir.path().join("rows.csv"), fewer)?;
    let small = load(dir.path(), &[])?;
    table.tell(
        format!("load: {fewer} rows: peak resident size"),
        small.peak_mb,
        "MB",
        Goal::AtMost(64.0),
    );
    Ok(())
}

/// Writes a manifest of so many rows.
pub(crate) fn write_manifest(path: &Path, rows: u64) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "id,image,prompt,duration")?;
    for row in 0..rows {
        let duration = if row % 4 == 3 { 10 } else { 5 };
        writeln!(
            file,
            "SKU-{row:07},https://images.example.com/catalogue/{row}.jpg,\
             \"Slow turntable of product {row} on a linen cloth, soft light from the left\",{duration}"
        )?;
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// Loads `rows.csv` of a folder into a new queue.
fn load(dir: &Path, more: &[&str]) -> anyhow::Result<Ran> {
    let fresh = tempdir()?;
    let mut command = program::overnight(dir, &["load", "rows.csv", "--model", MODEL, "--quiet"])?;
    process::run(
        command
            .args(more)
            .arg("--queue")
            .arg(fresh.path().join("queue.db")),
    )
}

/// Imports `rows.csv` of a folder into a new file.
fn import(dir: &Path) -> anyhow::Result<Ran> {
    let fresh = tempdir()?;
    let mut command = Command::new("sqlite3");
    command
        .current_dir(dir)
        .arg("-batch")
        .arg(fresh.path().join("rows.db"));
    process::run(command.args([IMPORT, ".mode csv", ".import --skip 1 rows.csv rows"]))
}
