//! What a load shows: a progress bar and mistakes while rows are read, and then the estimate and the
//! first prompts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::time::Duration;

use serde_json::Value;

use crate::domain::NewJob;
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

/// Shows a load, and collects what is printed after it.
pub(super) struct LoadView<'a> {
    bar: ReadProgress,
    /// Whether the manifests are read a second time.
    is_again: bool,
    estimate: Estimate<'a>,
    /// Key and prompt of the first rows.
    prompts: Vec<(String, String)>,
    /// Number of mistakes in the rows.
    problems: u64,
}

impl<'a> LoadView<'a> {
    /// Creates the view of a load that has not read anything. With `quiet` there is no bar.
    pub(super) fn new(loader: &ManifestLoader<'a>, quiet: bool) -> Self {
        Self {
            bar: ReadProgress::new(quiet),
            is_again: false,
            estimate: Estimate::new(loader.model, &loader.providers),
            prompts: Vec::new(),
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
        if !self.prompts.is_empty() {
            let which = if self.estimate.rows() > MAX_PROMPTS as u64 {
                "first prompts"
            } else {
                "prompts"
            };
            render::print_line(format_args!("{which}, as they will be submitted:"))?;
        }
        for (row_key, prompt) in &self.prompts {
            let row_key = render::truncate(row_key, MAX_KEY_COLUMNS);
            let prompt = render::truncate(prompt, MAX_PROMPT_COLUMNS);
            render::print_line(format_args!("  {row_key}: {prompt}"))?;
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
        self.prompts.clear();
    }

    fn add_row(&mut self, job: &NewJob) {
        self.estimate.add(job);
        if self.prompts.len() < MAX_PROMPTS
            && let Some(prompt) = job.input.get("prompt").and_then(Value::as_str)
        {
            self.prompts.push((job.row_key.clone(), prompt.to_owned()));
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
