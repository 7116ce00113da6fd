//! Any bytes as a manifest.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use overnight::catalog;
use overnight::domain::file_name::safe_file_stem;
use overnight::domain::{Catalog, Model, Money, NewJob, ProviderName};
use overnight::manifest::{self, Layout, Problem, RowFormat, RowMapper, Sink};

static CATALOG: LazyLock<Catalog> =
    LazyLock::new(|| catalog::load(&[]).expect("the built-in catalogue"));

/// Checks what becomes of a CSV file.
pub fn csv(bytes: &[u8]) {
    // A lone CR ends a line as well, but not twice with the LF behind it.
    let ends = bytes.iter().enumerate().filter(|(at, byte)| match byte {
        b'\n' => *at == 0 || bytes[at - 1] != b'\r',
        byte => **byte == b'\r',
    });
    check(bytes, RowFormat::CSV, ends.count() + 1);
}

/// Checks what becomes of a JSONL file.
pub fn jsonl(bytes: &[u8]) {
    check(
        bytes,
        RowFormat::Jsonl,
        bytes.split(|byte| *byte == b'\n').count(),
    );
}

fn check(bytes: &[u8], format: RowFormat, lines: usize) {
    let model = CATALOG.model("kling-v1-standard").expect("a model");
    let pair = |field: &str, text: &str| vec![(field.to_owned(), text.to_owned())];
    let providers = ProviderName::ALL.to_vec();
    let plain = RowMapper::new(model, providers.clone(), Layout::default());
    let mapped = RowMapper::new(
        model,
        providers,
        Layout {
            map: pair("id", "SKU"),
            set: pair("duration", "10"),
            prompt: Some("Turn {Title|it}".into()),
            ..Layout::default()
        },
    );
    for mapper in [plain, mapped] {
        let mut seen = Seen::default();
        let mapper = mapper.expect("rules that make sense");
        let rows =
            manifest::read(bytes, "m", format, &mapper, &mut seen).expect("memory can be read");
        seen.check(rows, lines.try_into().expect("a count"), model);
    }
}

#[derive(Default)]
struct Seen {
    jobs: Vec<NewJob>,
    lines: HashMap<String, u64>,
    problems: Vec<Problem>,
}

impl Sink for Seen {
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, String)>> {
        let mut wrong = Vec::new();
        for job in jobs {
            if let Some(line) = self.lines.get(&job.row_key) {
                wrong.push((
                    job.line,
                    format!("`{}` is on line {line} already", job.row_key),
                ));
            } else {
                self.lines.insert(job.row_key.clone(), job.line);
                self.jobs.push(job);
            }
        }
        Ok(wrong)
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn skipped(&mut self, _: &str, _: u64) {}
}

impl Seen {
    fn check(&self, rows: u64, lines: u64, model: &Model) {
        for problem in &self.problems {
            assert!(
                (1..=lines).contains(&problem.line),
                "{problem}: there are {lines} lines"
            );
            let told = problem.to_string();
            assert!(!told.chars().any(char::is_control), "{told:?}");
            assert!(told.chars().count() < 1_000, "{told}");
        }
        let wrong: HashSet<u64> = self.problems.iter().map(|problem| problem.line).collect();
        let mut last = 0;
        for job in &self.jobs {
            assert!(
                last < job.line && job.line <= lines,
                "line {} after {last} of {lines}",
                job.line
            );
            assert!(
                !wrong.contains(&job.line),
                "a job of line {}, which has a problem",
                job.line
            );
            last = job.line;
            check_job(job, model);
        }
        // Every row is a job or a problem. A header with a problem leaves no rows.
        let told = u64::try_from(self.jobs.len() + wrong.len()).expect("a count");
        assert!(if rows == 0 {
            self.jobs.is_empty()
        } else {
            rows == told
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
