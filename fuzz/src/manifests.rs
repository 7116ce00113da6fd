//! Any bytes as a manifest.

use std::collections::{HashMap, HashSet};
use std::io::Cursor;
use std::sync::LazyLock;

use overnight::catalog;
use overnight::domain::file_name::safe_file_stem;
use overnight::domain::{Catalog, Model, Money, NewJob, ProviderName};
use overnight::manifest::{
    self, FileFormat, MappingOptions, Mistake, Problem, Remark, RowFormat, RowMapper, RowSink,
    SheetOptions,
};

/// Maximum length of a problem, in characters, exclusive.
const MAX_MESSAGE_CHARS: usize = 1_000;

static CATALOG: LazyLock<Catalog> =
    LazyLock::new(|| catalog::load(&[]).expect("the built-in catalogue"));

/// Checks the rows and problems that a CSV file is read as.
pub fn csv(bytes: &[u8]) {
    // A lone CR ends a line too; a CR before an LF does not end it twice.
    let line_ends = bytes.iter().enumerate().filter(|(index, byte)| match byte {
        b'\n' => *index == 0 || bytes[index - 1] != b'\r',
        byte => **byte == b'\r',
    });
    check(bytes, RowFormat::CSV, line_ends.count() + 1);
}

/// Checks the rows and problems that a JSONL file is read as.
pub fn jsonl(bytes: &[u8]) {
    check(
        bytes,
        RowFormat::Jsonl,
        bytes.split(|byte| *byte == b'\n').count(),
    );
}

/// Checks the rows and problems of a workbook, or why it cannot be read.
pub fn check_workbook(file: Cursor<Vec<u8>>, format: FileFormat) {
    let model = CATALOG.model("kling-v1-standard").expect("a model");
    let mapper = RowMapper::new(model, ProviderName::ALL.to_vec(), MappingOptions::default());
    let mapper = mapper.expect("a valid layout");
    let mut collector = Collector::default();
    match manifest::read_file(
        file,
        format,
        &SheetOptions::default(),
        "m",
        &mapper,
        &mut collector,
    ) {
        Ok(rows) => collector.check(rows, u64::MAX, model),
        Err(error) => {
            let reason = format!("{error:#}");
            assert!(reason.chars().count() < MAX_MESSAGE_CHARS, "{reason}");
            assert!(!reason.contains("its reader failed"), "{reason}");
        }
    }
}

fn check(bytes: &[u8], format: RowFormat, lines: usize) {
    let model = CATALOG.model("kling-v1-standard").expect("a model");
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let providers = ProviderName::ALL.to_vec();
    let default_mapper = RowMapper::new(model, providers.clone(), MappingOptions::default());
    let custom_mapper = RowMapper::new(
        model,
        providers,
        MappingOptions {
            map: pair("id", "SKU"),
            set: pair("duration", "10"),
            prompt: Some("Turn {Title|it}".into()),
            ..MappingOptions::default()
        },
    );
    for mapper in [default_mapper, custom_mapper] {
        let mut collector = Collector::default();
        let mapper = mapper.expect("a valid layout");
        let rows = manifest::read(bytes, "m", format, &mapper, &mut collector)
            .expect("memory can be read");
        collector.check(rows, lines.try_into().expect("a count"), model);
    }
}

/// What was read from a manifest.
#[derive(Default)]
struct Collector {
    jobs: Vec<NewJob>,
    lines: HashMap<String, u64>,
    problems: Vec<Problem>,
}

impl RowSink for Collector {
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, Mistake)>> {
        let mut duplicates = Vec::new();
        for job in jobs {
            if let Some(line) = self.lines.get(&job.row_key) {
                duplicates.push((
                    job.line,
                    format!("`{}` is on line {line} already", job.row_key).into(),
                ));
            } else {
                self.lines.insert(job.row_key.clone(), job.line);
                self.jobs.push(job);
            }
        }
        Ok(duplicates)
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn remark(&mut self, _: &Remark, _: u64, _: u64) {}
}

impl Collector {
    fn check(&self, rows: u64, lines: u64, model: &Model) {
        for problem in &self.problems {
            assert!(
                (1..=lines).contains(&problem.line),
                "{problem}: there are {lines} lines"
            );
            let message = problem.to_string();
            assert!(!message.chars().any(char::is_control), "{message:?}");
            assert!(message.chars().count() < MAX_MESSAGE_CHARS, "{message}");
        }
        let problem_lines: HashSet<u64> =
            self.problems.iter().map(|problem| problem.line).collect();
        let mut previous_line = 0;
        for job in &self.jobs {
            assert!(
                previous_line < job.line && job.line <= lines,
                "line {} after {previous_line} of {lines}",
                job.line
            );
            assert!(
                !problem_lines.contains(&job.line),
                "a job of line {}, which has a problem",
                job.line
            );
            previous_line = job.line;
            check_job(job, model);
        }
        // Every row is a job or a problem. If the header has a problem, no row is read.
        let reported = u64::try_from(self.jobs.len() + problem_lines.len()).expect("a count");
        assert!(if rows == 0 {
            self.jobs.is_empty()
        } else {
            rows == reported
        });
    }
}

fn check_job(job: &NewJob, model: &Model) {
    let key = &job.row_key;
    assert!(
        !key.is_empty() && key.trim() == key && key.chars().count() <= 200,
        "{key:?}"
    );
    assert!(!key.chars().any(char::is_control), "{key:?}");
    let stem = safe_file_stem(key);
    assert!(
        !stem.is_empty() && stem.len() <= 140 && !stem.starts_with(['.', '-', ' ']),
        "{stem:?}"
    );
    assert!(
        !stem.contains(['/', '\\', ':', '\0']) && !stem.ends_with(['.', ' ']),
        "{stem:?}"
    );
    assert!(!job.providers.is_empty() && job.estimate > Money::ZERO);
    assert!(
        job.input.0.keys().all(|name| model.field(name).is_some()),
        "{:?}",
        job.input
    );
    for field in &model.fields {
        match job.input.get(&field.name) {
            Some(value) => assert_eq!(field.shape.check(value), Ok(()), "{}", field.name),
            None => assert!(!field.required, "no {}", field.name),
        }
    }
}
