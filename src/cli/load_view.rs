//! What a load shows: a progress bar and mistakes while rows are read, and then the estimate and the
//! first prompts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::time::Duration;

use serde_json::Value;

use crate::domain::printable::printable;
use crate::domain::{Input, NewJob};
use crate::loader::{LoadObserver, ManifestLoader};
use crate::manifest::{Problem, Remark, RemarkCount};
use crate::rehearsal::Estimate;

use super::load_problem::describe_problem;
use super::load_remark::describe_remarks;
use super::progress_bar::ReadProgress;
use super::render;
use super::setup::Setup;

/// Number of prompts that are printed.
const MAX_PROMPTS: usize = 3;

/// Columns of a terminal that a printed row key may take.
const MAX_KEY_COLUMNS: usize = 40;

/// Columns of a terminal that a printed prompt may take.
const MAX_PROMPT_COLUMNS: usize = 400;

/// Maximum number of mistakes that are printed. A file of another kind has one in every row.
const MAX_PRINTED_PROBLEMS: u64 = 100;

/// What a load shows.
#[derive(Clone, Copy)]
pub(super) struct ViewOptions {
    /// Whether there is no progress bar.
    pub(super) quiet: bool,
    /// How many rows are shown in full; `None` shows a few prompts.
    pub(super) show: Option<usize>,
}

/// A row that is shown.
struct ShownRow {
    key: String,
    input: Input,
    picture_size: Option<(u32, u32)>,
}

/// Shows a load, and collects what is printed after it.
pub(super) struct LoadView<'a> {
    bar: ReadProgress,
    /// Whether the manifests are read a second time.
    is_again: bool,
    estimate: Estimate<'a>,
    /// The first rows.
    rows: Vec<ShownRow>,
    /// How many rows are shown in full; `None` if a few prompts are shown.
    show: Option<usize>,
    /// The picture of all rows so far; `None` if they have several.
    only_picture: Option<Value>,
    /// Number of mistakes in the rows.
    problems: u64,
}

impl<'a> LoadView<'a> {
    /// Creates the view of a load that has not read anything.
    pub(super) fn new(loader: &ManifestLoader<'a>, options: ViewOptions) -> Self {
        Self {
            bar: ReadProgress::new(options.quiet),
            is_again: false,
            estimate: Estimate::new(loader.model, &loader.providers),
            rows: Vec::new(),
            show: options.show,
            only_picture: None,
            problems: 0,
        }
    }

    /// Prints one line per route, the time with all routes in use, and the first prompts.
    pub(super) fn print_estimate(&self, setup: &Setup) -> anyhow::Result<()> {
        let app = &setup.app;
        let (routes, time) =
            self.estimate
                .routes(&app.catalog, &app.processing_times(), |provider| {
                    app.limits(provider)
                });
        let header = [
            "route",
            "rows it can render",
            "cost if all run here",
            "time",
        ];
        let mut table = vec![header.map(String::from).to_vec()];
        for route in &routes {
            table.push(vec![
                route.provider.to_string(),
                route.rows.to_string(),
                format!("${:#}", route.cost),
                format_time(route.time),
            ]);
        }
        render::print_table(&table)?;
        if routes.len() > 1 {
            render::print_line(format_args!(
                "time on all routes together: {}",
                format_time(time)
            ))?;
        }
        self.print_rows()
    }

    /// Prints the first rows: their prompts and the sizes of their pictures, or everything.
    fn print_rows(&self) -> anyhow::Result<()> {
        let what = if self.show.is_some() {
            "rows"
        } else {
            "prompts"
        };
        if self.rows.is_empty() {
            return Ok(());
        }
        if let Some(Value::String(picture)) = self
            .only_picture
            .as_ref()
            .filter(|_| self.estimate.rows() > 1)
        {
            render::print_note(format_args!(
                "all {} rows have the same picture: {}",
                self.estimate.rows(),
                render::truncate(&printable(picture), MAX_PROMPT_COLUMNS)
            ));
        }
        let which = if self.estimate.rows() > self.rows.len() as u64 {
            format!("first {what}")
        } else {
            what.to_owned()
        };
        render::print_line(format_args!("{which}, as they will be submitted:"))?;
        for row in &self.rows {
            let key = render::truncate(&row.key, MAX_KEY_COLUMNS);
            let size = row.picture_size.map_or(String::new(), |(width, height)| {
                format!(" ({width} × {height} px)")
            });
            if self.show.is_none() {
                let prompt = row.input.get("prompt").and_then(Value::as_str);
                let prompt = render::truncate(prompt.unwrap_or_default(), MAX_PROMPT_COLUMNS);
                render::print_line(format_args!("  {key}: {prompt}{size}"))?;
                continue;
            }
            render::print_line(format_args!("  {key}{size}"))?;
            for (field, value) in &row.input.0 {
                let value = match value {
                    Value::String(text) => printable(text).into_owned(),
                    other => printable(&other.to_string()).into_owned(),
                };
                render::print_line(format_args!("    {field}: {value}"))?;
            }
        }
        Ok(())
    }
}

impl<'a> LoadObserver for LoadView<'a> {
    fn start_file(
        &mut self,
        name: &str,
        format: Option<&str>,
        file: File,
    ) -> io::Result<impl Read + Seek + Send + use<'a> + 'static> {
        if let Some(format) = format.filter(|_| !self.is_again) {
            render::print_note(format_args!("{name}: {format}"));
        }
        self.bar.start_file(name, file.metadata()?.len());
        Ok(self.bar.wrap_reader(file))
    }

    fn read_again(&mut self) {
        self.is_again = true;
        self.estimate.clear();
        self.rows.clear();
    }

    fn add_row(&mut self, job: &NewJob) {
        let picture = job.input.get("image");
        if self.estimate.rows() == 0 {
            self.only_picture = picture.cloned();
        } else if self.only_picture.as_ref() != picture {
            self.only_picture = None;
        }
        self.estimate.add(job);
        if self.rows.len() < self.show.unwrap_or(MAX_PROMPTS) {
            self.rows.push(ShownRow {
                key: job.row_key.clone(),
                input: job.input.clone(),
                picture_size: job.picture_size,
            });
        }
    }

    fn problem(&mut self, problem: Problem) {
        self.problems += 1;
        if self.problems > MAX_PRINTED_PROBLEMS {
            if self.problems == MAX_PRINTED_PROBLEMS + 1 {
                self.bar
                    .suspend(|| render::print_note("more mistakes follow and are only counted"));
            }
            return;
        }
        self.bar
            .suspend(|| render::print_note(describe_problem(&problem)));
    }

    fn finish(&mut self, remarks: &BTreeMap<Remark, RemarkCount>) {
        self.bar.finish();
        for line in describe_remarks(remarks) {
            render::print_note(line);
        }
    }
}

fn format_time(time: Option<Duration>) -> String {
    time.map_or("-".into(), |time| {
        format!("about {}", render::format_duration(time.as_secs()))
    })
}
