//! Bad input: the seeds of every fuzz target, and malformed manifests too big to keep as files.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use overnight::catalog;
use overnight::domain::file_name::safe_file_stem;
use overnight::domain::{NewJob, ProviderName};
use overnight::manifest::{self, Layout, Problem, RowFormat, RowMapper, Sink};

use crate::properties;

/// An unoptimised build gets more time than a user would give.
const LONGEST: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

const IMAGE: &str = "https://example.com/a.png";

#[expect(
    clippy::print_stdout,
    reason = "shown only where a check fails: which seed it was"
)]
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        let bytes = fs::read(&path).expect("a seed");
        in_time(&path.display().to_string(), || check(&bytes));
        count += 1;
    }
    assert!(count > 0, "{target} has no seeds");
}

fn in_time<T>(name: &str, act: impl FnOnce() -> T) -> T {
    let start = (Instant::now(), on_processor());
    let result = act();
    let took = match (start.1, on_processor()) {
        (Some(start), Some(end)) => end - start,
        _ => start.0.elapsed(),
    };
    assert!(took < LONGEST, "{name} took {took:?}");
    result
}

/// How long this thread has run, where the system tells: a busy machine does not make the program slow.
fn on_processor() -> Option<Duration> {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(told.split(' ').next()?.parse().ok()?))
}

#[test]
fn every_seed_of_csv_rows_holds() {
    replay("csv_rows", properties::manifests::csv);
}

#[test]
fn every_seed_of_jsonl_rows_holds() {
    replay("jsonl_rows", properties::manifests::jsonl);
}

#[test]
fn every_seed_of_provider_answers_holds() {
    replay("provider_answers", properties::answers::check);
}

#[test]
fn every_seed_of_videos_holds() {
    replay("mp4", properties::mp4::check);
}

#[derive(Default)]
struct Seen {
    jobs: Vec<NewJob>,
    problems: Vec<String>,
}

impl Sink for Seen {
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, String)>> {
        self.jobs.extend(jobs);
        Ok(Vec::new())
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem.to_string());
    }

    fn skipped(&mut self, _: &str, _: u64) {}
}

fn read(format: RowFormat, bytes: &[u8]) -> Seen {
    let catalog = catalog::load(&[]).expect("a catalogue");
    let model = catalog.model("kling-v1-standard").expect("a model");
    let mapper =
        RowMapper::new(model, ProviderName::ALL.to_vec(), Layout::default()).expect("rules");
    let mut seen = Seen::default();
    let name = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    in_time(&name, || {
        manifest::read(bytes, "m", format, &mapper, &mut seen)
    })
    .expect("readable");
    seen
}

/// The first mistake of a manifest, which gives no job.
fn told(format: RowFormat, bytes: impl AsRef<[u8]>) -> String {
    let seen = read(format, bytes.as_ref());
    assert!(seen.jobs.is_empty());
    seen.problems.into_iter().next().expect("a problem")
}

fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_csv_file_that_is_no_manifest_is_told_in_one_line() {
    let header = "id,image,prompt\n";
    let big = "x".repeat(10 << 20);
    let latin = [header.as_bytes(), b"a,", IMAGE.as_bytes(), b",Gr\xfcn\n"].concat();
    for (bytes, said) in [
        (
            utf_16(header),
            "m:1: its header holds NUL characters; is it UTF-16 text? Save it as UTF-8",
        ),
        (latin, "m:2: prompt: is not UTF-8 text"),
        (
            b"id,image,pr\xfcfung\n".to_vec(),
            "m:1: the name of column 3 is not UTF-8 text",
        ),
        (
            format!("{header}{big},{IMAGE},x\n").into(),
            "m:2: id: is longer than 200 characters",
        ),
        (
            format!("{}x", ",".repeat(999_999)).into(),
            "m:1: has 1000000 columns, the most are 16384",
        ),
        (
            format!("{header}{}x\n", ",".repeat(999_999)).into(),
            "m:2: has 1000000 cells, the header has 3",
        ),
    ] {
        assert_eq!(told(RowFormat::CSV, bytes), said);
    }
    let name = format!("`{}…`", "x".repeat(60));
    assert_eq!(
        told(
            RowFormat::CSV,
            format!("{header}{big}").replace("prompt\n", "prompt,")
        ),
        format!(
            "m:1: unknown column {name}; remove it, or name the columns you mean with --map FIELD=COLUMN"
        )
    );
}

#[test]
fn as_many_columns_as_a_spreadsheet_holds_are_read_in_time() {
    let header = "image,".repeat(16_384);
    assert_eq!(
        told(RowFormat::CSV, header.trim_end_matches(',')),
        "m:1: two columns are called `image`"
    );
}

#[test]
fn a_prompt_of_ten_megabytes_is_a_prompt() {
    let seen = read(
        RowFormat::CSV,
        format!("image,prompt\n{IMAGE},{}\n", "x".repeat(10 << 20)).as_bytes(),
    );
    assert_eq!((seen.jobs.len(), seen.problems.len()), (1, 0));
}

#[test]
fn numbers_in_cells_are_read_or_refused() {
    let digits = "9".repeat(400);
    let cut = format!("`{}…`", "9".repeat(60));
    for (cells, said) in [
        (
            format!("{digits},"),
            format!("duration: {cut} is not one of 5, 10"),
        ),
        (
            "1e999,".into(),
            "duration: `1e999` is not one of 5, 10".into(),
        ),
        (",1e999".into(), "cfg_scale: `1e999` is not a number".into()),
        (",NaN".into(), "cfg_scale: `NaN` is not a number".into()),
        (
            format!(",{digits}"),
            format!("cfg_scale: {cut} is not a number"),
        ),
    ] {
        let text = format!("image,prompt,duration,cfg_scale\n{IMAGE},x,{cells}\n");
        assert_eq!(told(RowFormat::CSV, text), format!("m:2: {said}"));
    }
}

#[test]
fn a_jsonl_row_that_is_no_row_is_told_in_one_line() {
    let with = |field: &str| format!("{{\"image\":\"{IMAGE}\",\"prompt\":\"x\",{field}}}");
    let keys: Vec<String> = (0..1_000_000).map(|key| format!("\"{key}\":1")).collect();
    let no_object = "m:1: is not a JSON object: ";
    for (text, said) in [
        (with("\"id\":1e999"), format!("{no_object}number out of range at column 60")),
        (with(&format!("\"id\":{}", "9".repeat(400))), format!("{no_object}number out of range at column 455")),
        (
            format!("{{\"image\":{}", "[".repeat(100_000)),
            format!("{no_object}recursion limit exceeded at column 136"),
        ),
        (
            format!("\"{}\"", "x".repeat(10 << 20)),
            format!("{no_object}invalid type: string \"{} at column 10485762", "x".repeat(178)),
        ),
        (format!("{{{}}}", keys.join(",")), "m:1: has 1000000 fields, the most are 16384".into()),
        (with("\"id\":\"\\ud800\""), format!("{no_object}unexpected end of hex escape at column 63")),
        (with("\"id\":true"), "m:1: id: is neither a text nor a number".into()),
        (with("\"duration\":[5]"), "m:1: duration: is a list, not one of 5, 10".into()),
        (with("\"cfg_scale\":{}"), "m:1: cfg_scale: is an object, not a number".into()),
        (with("\"tail_image\":false"), "m:1: tail_image: is true or false, not a link to an image, or its file".into()),
        (with("\"negative_prompt\":\"\\u0000\""), "m:1: negative_prompt: holds a NUL character".into()),
        (
            with("\"tail_image\":\"https://e.com/\\n.png\""),
            "m:1: tail_image: holds a control character".into(),
        ),
        (
            with("\"\\u001b[2J\":1"),
            "m:1: unknown column `\u{fffd}[2J`; remove it, or name the columns you mean with --map FIELD=COLUMN"
                .into(),
        ),
    ] {
        assert_eq!(told(RowFormat::Jsonl, text), said);
    }
    assert_eq!(
        told(RowFormat::Jsonl, utf_16("{}\n")),
        format!("{no_object}key must be a string at column 2")
    );
    assert_eq!(
        told(RowFormat::Jsonl, b"{\"id\":\"T\xe4sse\"}"),
        format!("{no_object}invalid unicode code point at column 9")
    );
}

#[test]
fn hostile_ids_name_harmless_files() {
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
        let seen = read(RowFormat::Jsonl, row.as_bytes());
        assert_eq!(
            seen.jobs
                .first()
                .map(|job| safe_file_stem(&job.row_key))
                .as_deref(),
            Some(file),
            "{id}"
        );
    }
    let row = serde_json::json!({ "id": "x".repeat(10_000), "image": IMAGE, "prompt": "x" });
    assert_eq!(
        told(RowFormat::Jsonl, row.to_string()),
        "m:1: id: is longer than 200 characters"
    );
}
