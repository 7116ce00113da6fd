//! Malformed input: the seeds of every fuzz target, and manifests too large to keep as files.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use overnight::catalog;
use overnight::domain::file_name::safe_file_stem;
use overnight::domain::{NewJob, ProviderName};
use overnight::manifest::{
    self, MappingOptions, Mistake, Problem, Remark, RowFormat, RowMapper, RowSink,
};

use crate::properties;

/// Maximum processor time for one input. An unoptimised build gets more than a user would accept.
const MAX_PROCESSING: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

const IMAGE: &str = "https://example.com/a.png";

#[expect(
    clippy::print_stdout,
    reason = "names the seed if its check fails; a test that passes prints nothing"
)]
fn replay_seeds(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        let bytes = fs::read(&path).expect("a seed");
        run_in_time(&path.display().to_string(), || check(&bytes));
        count += 1;
    }
    assert!(count > 0, "{target} has no seeds");
}

/// Runs an operation and asserts that it took at most [`MAX_PROCESSING`].
fn run_in_time<T>(name: &str, operation: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let processor_start = thread_processor_time();
    let result = operation();
    let took = match (processor_start, thread_processor_time()) {
        (Some(start), Some(end)) => end - start,
        _ => start.elapsed(),
    };
    assert!(took < MAX_PROCESSING, "{name} took {took:?}");
    result
}

/// Returns the processor time of this thread, which does not depend on how busy the machine is;
/// `None` if the system does not report it.
fn thread_processor_time() -> Option<Duration> {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = statistics.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

#[test]
fn every_csv_seed_satisfies_the_properties() {
    replay_seeds("csv_rows", properties::manifests::csv);
}

#[test]
fn every_jsonl_seed_satisfies_the_properties() {
    replay_seeds("jsonl_rows", properties::manifests::jsonl);
}

#[test]
fn every_provider_response_seed_satisfies_the_properties() {
    replay_seeds("provider_responses", properties::responses::check);
}

#[test]
fn every_workbook_seed_satisfies_the_properties() {
    replay_seeds("workbooks", properties::workbooks::check);
}

#[test]
fn every_history_seed_satisfies_the_properties() {
    replay_seeds("histories", properties::responses::check_history);
}

#[test]
fn every_upload_response_seed_satisfies_the_properties() {
    replay_seeds("upload_responses", properties::responses::check_upload);
}

#[test]
fn every_video_seed_satisfies_the_properties() {
    replay_seeds("mp4", properties::mp4::check);
}

/// What a manifest gave, with the text of each problem.
#[derive(Default)]
struct Collected {
    jobs: Vec<NewJob>,
    problems: Vec<String>,
}

impl RowSink for Collected {
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, Mistake)>> {
        self.jobs.extend(jobs);
        Ok(Vec::new())
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem.to_string());
    }

    fn remark(&mut self, _: &Remark, _: u64, _: u64) {}
}

fn read(format: RowFormat, bytes: &[u8]) -> Collected {
    let catalog = catalog::load(&[]).expect("a catalogue");
    let model = catalog.model("kling-v1-standard").expect("a model");
    let mapper = RowMapper::new(model, ProviderName::ALL.to_vec(), MappingOptions::default())
        .expect("a mapper");
    let mut collected = Collected::default();
    let name = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    run_in_time(&name, || {
        manifest::read(bytes, "m", format, &mapper, &mut collected)
    })
    .expect("readable");
    collected
}

/// Returns the first problem of a manifest, and asserts that it gives no jobs.
fn first_problem(format: RowFormat, bytes: impl AsRef<[u8]>) -> String {
    let collected = read(format, bytes.as_ref());
    assert!(collected.jobs.is_empty());
    collected.problems.into_iter().next().expect("a problem")
}

fn encode_utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_csv_file_that_is_not_a_manifest_is_reported_in_one_line() {
    let header = "id,image,prompt\n";
    let big = "x".repeat(10 << 20);
    let latin = [header.as_bytes(), b"a,", IMAGE.as_bytes(), b",Gr\xfcn\n"].concat();
    for (bytes, problem) in [
        (
            encode_utf16(header),
            "m:1: the header contains NUL characters, so the file may be UTF-16 text; save it as \
             UTF-8",
        ),
        (latin, "m:2: prompt: is not UTF-8 text"),
        (
            b"id,image,pr\xfcfung\n".to_vec(),
            "m:1: the name of column 3 is not UTF-8 text; save the file as UTF-8",
        ),
        (
            format!("{header}{big},{IMAGE},x\n").into(),
            "m:2: id: is longer than 200 characters",
        ),
        (
            format!("{}x", ",".repeat(999_999)).into(),
            "m:1: the header has 1000000 columns; at most 16384 are allowed",
        ),
        (
            format!("{header}{}x\n", ",".repeat(999_999)).into(),
            "m:2: the row has 1000000 cells, but the header has 3",
        ),
    ] {
        assert_eq!(first_problem(RowFormat::CSV, bytes), problem);
    }
    let name = format!("`{}…`", "x".repeat(60));
    assert_eq!(
        first_problem(
            RowFormat::CSV,
            format!("{header}{big}").replace("prompt\n", "prompt,")
        ),
        format!("m:1: unknown column {name}")
    );
}

#[test]
fn as_many_columns_as_a_spreadsheet_holds_are_read_in_time() {
    let header = "image,".repeat(16_384);
    assert_eq!(
        first_problem(RowFormat::CSV, header.trim_end_matches(',')),
        "m:1: two columns are named `image`; rename or remove one"
    );
}

#[test]
fn a_prompt_of_ten_megabytes_is_accepted() {
    let collected = read(
        RowFormat::CSV,
        format!("image,prompt\n{IMAGE},{}\n", "x".repeat(10 << 20)).as_bytes(),
    );
    assert_eq!((collected.jobs.len(), collected.problems.len()), (1, 0));
}

#[test]
fn numbers_in_cells_are_read_or_rejected() {
    let digits = "9".repeat(400);
    let shortened = format!("`{}…`", "9".repeat(60));
    for (cells, problem) in [
        (
            format!("{digits},"),
            format!("duration: {shortened} is not one of 5, 10"),
        ),
        (
            "1e999,".into(),
            "duration: `1e999` is not one of 5, 10".into(),
        ),
        (",1e999".into(), "cfg_scale: `1e999` is not a number".into()),
        (",NaN".into(), "cfg_scale: `NaN` is not a number".into()),
        (
            format!(",{digits}"),
            format!("cfg_scale: {shortened} is not a number"),
        ),
    ] {
        let text = format!("image,prompt,duration,cfg_scale\n{IMAGE},x,{cells}\n");
        assert_eq!(
            first_problem(RowFormat::CSV, text),
            format!("m:2: {problem}")
        );
    }
}

#[test]
fn a_jsonl_line_that_is_not_a_row_is_reported_in_one_line() {
    let row_with = |field: &str| format!("{{\"image\":\"{IMAGE}\",\"prompt\":\"x\",{field}}}");
    let keys: Vec<String> = (0..1_000_000).map(|key| format!("\"{key}\":1")).collect();
    let not_an_object = "m:1: the row is not a JSON object: ";
    for (text, problem) in [
        (
            row_with("\"id\":1e999"),
            format!("{not_an_object}number out of range at column 60"),
        ),
        (
            row_with(&format!("\"id\":{}", "9".repeat(400))),
            format!("{not_an_object}number out of range at column 455"),
        ),
        (
            format!("{{\"image\":{}", "[".repeat(100_000)),
            format!("{not_an_object}recursion limit exceeded at column 136"),
        ),
        (
            format!("\"{}\"", "x".repeat(10 << 20)),
            format!(
                "{not_an_object}invalid type: string \"{} at column 10485762",
                "x".repeat(178)
            ),
        ),
        (
            format!("{{{}}}", keys.join(",")),
            "m:1: the row has 1000000 fields; at most 16384 are allowed".into(),
        ),
        (
            row_with("\"id\":\"\\ud800\""),
            format!("{not_an_object}unexpected end of hex escape at column 63"),
        ),
        (
            row_with("\"id\":true"),
            "m:1: id: must be a string or a number".into(),
        ),
        (
            row_with("\"duration\":[5]"),
            "m:1: duration: is a list, not one of 5, 10".into(),
        ),
        (
            row_with("\"cfg_scale\":{}"),
            "m:1: cfg_scale: is an object, not a number".into(),
        ),
        (
            row_with("\"tail_image\":false"),
            "m:1: tail_image: is a boolean, not an image link or file".into(),
        ),
        (
            row_with("\"negative_prompt\":\"\\u0000\""),
            "m:1: negative_prompt: contains a NUL character".into(),
        ),
        (
            row_with("\"tail_image\":\"https://e.com/\\n.png\""),
            "m:1: tail_image: contains a control character".into(),
        ),
        (
            row_with("\"\\u001b[2J\":1"),
            "m:1: unknown column `\u{fffd}[2J`".into(),
        ),
    ] {
        assert_eq!(first_problem(RowFormat::Jsonl, text), problem);
    }
    assert_eq!(
        first_problem(RowFormat::Jsonl, encode_utf16("{}\n")),
        format!("{not_an_object}key must be a string at column 2")
    );
    assert_eq!(
        first_problem(RowFormat::Jsonl, b"{\"id\":\"T\xe4sse\"}"),
        format!("{not_an_object}invalid unicode code point at column 9")
    );
}

#[test]
fn hostile_ids_become_harmless_file_names() {
    for (id, file) in [
        ("../../etc/passwd", "_.._etc_passwd-3754d6cb"),
        ("con", "_con-1143da2b"),
        ("a/b", "a_b-c14cddc0"),
        (".", "_-cdb4ee2a"),
        ("🍵", "_-c71290e2"),
        ("\u{202e}gpj.exe", "_gpj.exe-3574bc49"),
        ("\u{5e9}\u{5dc}", "\u{5e9}\u{5dc}"),
    ] {
        let row = serde_json::json!({ "id": id, "image": IMAGE, "prompt": "x" }).to_string();
        let collected = read(RowFormat::Jsonl, row.as_bytes());
        assert_eq!(
            collected
                .jobs
                .first()
                .map(|job| safe_file_stem(&job.row_key))
                .as_deref(),
            Some(file),
            "{id}"
        );
    }
    let row = serde_json::json!({ "id": "x".repeat(10_000), "image": IMAGE, "prompt": "x" });
    assert_eq!(
        first_problem(RowFormat::Jsonl, row.to_string()),
        "m:1: id: is longer than 200 characters"
    );
}
