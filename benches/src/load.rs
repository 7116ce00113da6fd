//! Loading a manifest: `overnight load` of a CSV file, which validates every row, prices it and
//! compares it with the queue, against the `sqlite3` shell: `.import` copies the same file into a
//! plain table with two indexes, and an `INSERT … SELECT` copies the finished rows out of a loaded
//! queue into the queue's own table, with its indexes and conditions.
//!
//! All write a new file in WAL mode with `synchronous = FULL`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::Scale;
use crate::fixture::MODEL;
use crate::measure::{Comparison, measure_alternately, median};
use crate::process::{self, ResourceUsage};
use crate::program;
use crate::table::{Goal, Table};

const IMPORT_SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE rows (
        id TEXT NOT NULL, image TEXT NOT NULL, prompt TEXT NOT NULL, duration INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX rows_id ON rows (id);
    CREATE INDEX rows_duration ON rows (duration, id);";

/// Copies the finished rows of the attached queue `loaded`. The condition on `job_id` makes SQLite
/// insert row by row; without it, it would copy the pages.
const COPY: &str = "
    INSERT INTO batches SELECT * FROM loaded.batches;
    INSERT INTO lanes SELECT * FROM loaded.lanes;
    INSERT INTO jobs SELECT * FROM loaded.jobs WHERE job_id > 0;
    COMMIT;";

const QUEUE_SCHEMA: &str = include_str!("../../schema.sql");

pub(crate) fn measure(scale: Scale, table: &mut Table) -> anyhow::Result<()> {
    let rows = scale.pick(100_000, 1_000_000);
    let dir = tempdir()?;
    write_manifest(&dir.path().join("rows.csv"), rows)?;
    let mut peaks_mb = Vec::new();
    if Command::new("sqlite3").arg("--version").output().is_ok() {
        let ours = || {
            let usage = load(dir.path(), &[])?;
            peaks_mb.push(usage.peak_mb);
            Ok(usage.seconds)
        };
        let baseline = || Ok(import(dir.path())?.seconds);
        let (ours, baseline) = measure_alternately(scale.pick(2, 3), ours, baseline)?;
        table.add_comparison(
            format_args!("load: {rows} rows, against `.import` (ratio of its time to ours)"),
            Comparison::from_rounds_inverted(&ours, &baseline),
            "s",
            Goal::AtLeast(1.0),
        );
        compare_with_copy(scale, table, dir.path(), rows)?;
    } else {
        peaks_mb.push(load(dir.path(), &[])?.peak_mb);
        table.add_note("load: not compared with `.import`, because `sqlite3` is not installed");
    }
    let check = load(dir.path(), &["--check"])?;
    table.add_figure(
        format_args!("load: `--check` of {rows} rows"),
        check.seconds,
        "s",
        Goal::None,
    );
    table.add_figure(
        format_args!("load: `--check` of {rows} rows: peak resident size"),
        check.peak_mb,
        "MB",
        Goal::AtMost(64.0),
    );
    table.add_figure(
        format_args!("load: {rows} rows: peak resident size"),
        median(&peaks_mb),
        "MB",
        Goal::AtMost(64.0),
    );
    let fewer_rows = rows / 10;
    write_manifest(&dir.path().join("rows.csv"), fewer_rows)?;
    let small = load(dir.path(), &[])?;
    table.add_figure(
        format_args!("load: {fewer_rows} rows: peak resident size"),
        small.peak_mb,
        "MB",
        Goal::AtMost(64.0),
    );
    Ok(())
}

/// Measures a load against a copy of the rows that it writes, and the size of the file.
#[expect(
    clippy::cast_precision_loss,
    reason = "the numbers of rows and bytes are far below the precision of an f64"
)]
fn compare_with_copy(scale: Scale, table: &mut Table, dir: &Path, rows: u64) -> anyhow::Result<()> {
    let loaded_dir = tempdir()?;
    let loaded = loaded_dir.path().join("queue.db");
    load_into(dir, &loaded, &[])?;
    let ours = || Ok(load(dir, &[])?.seconds);
    let baseline = || Ok(copy(&loaded)?.seconds);
    let (ours, baseline) = measure_alternately(scale.pick(2, 3), ours, baseline)?;
    table.add_comparison(
        format_args!("load: {rows} rows, against a copy of them (ratio of its time to ours)"),
        Comparison::from_rounds_inverted(&ours, &baseline),
        "s",
        Goal::AtLeast(0.95),
    );
    table.add_figure(
        format_args!("load: {rows} rows: bytes of the file for each"),
        loaded.metadata()?.len() as f64 / rows as f64,
        "B",
        Goal::AtMost(250.0),
    );
    Ok(())
}

/// Writes a manifest with the given number of rows.
fn write_manifest(path: &Path, rows: u64) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "id,image,prompt,duration")?;
    for row in 0..rows {
        let duration = if row % 4 == 3 { 10 } else { 5 };
        writeln!(
            file,
            "SKU-{row:07},https://images.example.com/catalogue/{row}.jpg,\
             \"Slow turntable of product {row} on a linen cloth, soft light from the left\",\
             {duration}"
        )?;
    }
    Ok(file.into_inner()?.sync_all()?)
}

/// Loads `rows.csv` from `dir` into a new queue.
fn load(dir: &Path, flags: &[&str]) -> anyhow::Result<ResourceUsage> {
    let queue_dir = tempdir()?;
    load_into(dir, &queue_dir.path().join("queue.db"), flags)
}

/// Loads `rows.csv` from `dir` into a queue.
fn load_into(dir: &Path, queue: &Path, flags: &[&str]) -> anyhow::Result<ResourceUsage> {
    let mut command = program::command(dir, &["load", "rows.csv", "--model", MODEL, "--quiet"])?;
    process::run(command.args(flags).arg("--queue").arg(queue))
}

/// Imports `rows.csv` from `dir` into a new file.
fn import(dir: &Path) -> anyhow::Result<ResourceUsage> {
    let database_dir = tempdir()?;
    let mut command = Command::new("sqlite3");
    command
        .current_dir(dir)
        .arg("-batch")
        .arg(database_dir.path().join("rows.db"));
    process::run(command.args([IMPORT_SCHEMA, ".mode csv", ".import --skip 1 rows.csv rows"]))
}

/// Copies the rows of a loaded queue into a new file with the same schema.
fn copy(loaded: &Path) -> anyhow::Result<ResourceUsage> {
    let database_dir = tempdir()?;
    let attach = format!("ATTACH '{}' AS loaded; BEGIN;", loaded.display());
    let mut command = Command::new("sqlite3");
    command
        .arg("-batch")
        .arg(database_dir.path().join("queue.db"));
    let schema = format!("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;\n{QUEUE_SCHEMA}");
    process::run(command.args([&schema, &attach, COPY]))
}
