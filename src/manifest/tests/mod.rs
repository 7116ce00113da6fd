//! What is accepted, what is rejected, and on which line.

mod csv;
mod formats;
mod shop_exports;

use std::collections::BTreeMap;

use super::limits::MAX_ROW_BYTES;
use super::*;
use crate::catalog;
use crate::domain::{NewJob, ProviderName};

/// What a manifest gave, with the text of each problem.
#[derive(Default)]
struct Collected {
    jobs: Vec<NewJob>,
    problems: Vec<String>,
    mistakes: Vec<Mistake>,
    remarks: BTreeMap<Remark, u64>,
}

impl RowSink for Collected {
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, Mistake)>> {
        let mut duplicates = Vec::new();
        for job in jobs {
            let earlier = self.jobs.iter().find(|known| known.row_key == job.row_key);
            let message =
                earlier.map(|known| format!("`{}` is on line {} already", job.row_key, known.line));
            duplicates.extend(message.map(|message| (job.line, message.into())));
            self.jobs.push(job);
        }
        Ok(duplicates)
    }

    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem.to_string());
        self.mistakes.push(problem.mistake);
    }

    fn remark(&mut self, remark: &Remark, count: u64, _: u64) {
        *self.remarks.entry(remark.clone()).or_default() += count;
    }
}

/// How `read_all` reads a text.
struct ReadOptions<'a> {
    format: RowFormat,
    providers: &'a [ProviderName],
    mapping: &'a [(&'a str, &'a str)],
    constants: &'a [(&'a str, &'a str)],
    prompt: Option<&'a str>,
}

const CSV: ReadOptions<'_> = ReadOptions {
    format: RowFormat::CSV,
    providers: &ProviderName::ALL,
    mapping: &[],
    constants: &[],
    prompt: None,
};
const JSONL: ReadOptions<'_> = ReadOptions {
    format: RowFormat::Jsonl,
    ..CSV
};

fn read_all(text: impl AsRef<[u8]>, options: &ReadOptions<'_>) -> Collected {
    let catalog = catalog::load(&[]).unwrap();
    let model = catalog.model("kling-v1-standard").unwrap();
    let layout = MappingOptions {
        map: to_owned_pairs(options.mapping),
        set: to_owned_pairs(options.constants),
        prompt: options.prompt.map(str::to_owned),
        ..MappingOptions::default()
    };
    let mapper = RowMapper::new(model, options.providers.to_vec(), layout).unwrap();
    let mut collected = Collected::default();
    read(text.as_ref(), "m", options.format, &mapper, &mut collected).unwrap();
    collected
}

fn to_owned_pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(field, text)| ((*field).to_owned(), (*text).to_owned()))
        .collect()
}

const IMAGE: &str = "https://example.com/a.png";

#[test]
fn a_row_becomes_a_job_with_its_providers_and_the_highest_of_their_prices() {
    let read = read_all(
        format!("id,image,prompt,duration\nmug,{IMAGE},turn it,10\n"),
        &CSV,
    );
    assert_eq!(read.problems, [""; 0]);
    let job = &read.jobs[0];
    assert_eq!((job.row_key.as_str(), job.line), ("mug", 2));
    assert_eq!(job.providers, ProviderName::ALL);
    assert_eq!(job.estimate.micros(), 472_500);
    assert_eq!(job.input.duration(), Some(10));
}

#[test]
fn a_row_without_an_id_gets_a_key_from_its_input() {
    let read = read_all(format!("image_url,prompt\n{IMAGE},a\n{IMAGE},b\n"), &CSV);
    assert_eq!(read.jobs.len(), 2);
    assert_ne!(read.jobs[0].row_key, read.jobs[1].row_key);
    assert_eq!(read.jobs[0].row_key.len(), 16);
}

#[test]
fn every_mistake_in_a_csv_row_is_reported() {
    let lines = [
        (format!("a,{IMAGE},"), "m:2: prompt: is missing"),
        ("a,,x".into(), "m:2: image: is missing"),
        (
            "a,/photos/cup.jpg,x".into(),
            "m:2: image: there is no file /photos/cup.jpg",
        ),
        (
            "a,ftp://example.com/cup.jpg,x".into(),
            "m:2: image: `ftp://example.com/cup.jpg` does not start with https://",
        ),
        (
            format!("a,{IMAGE}"),
            "m:2: the row has 2 cells, but the header has 3",
        ),
        (
            format!("a\u{7},{IMAGE},x"),
            "m:2: id: contains a control character",
        ),
        (
            format!("a,{IMAGE},x\0"),
            "m:2: prompt: contains a NUL character",
        ),
    ];
    for (line, problem) in lines {
        assert_eq!(
            read_all(format!("id,image,prompt\n{line}\n"), &CSV).problems[0],
            problem,
            "{line}"
        );
    }
    let read = read_all(b"id,image,prompt\na,https://example.com/a.png,\xff\n", &CSV);
    assert_eq!(read.problems[0], "m:2: prompt: is not UTF-8 text");
}

#[test]
fn every_mistake_in_a_jsonl_row_is_reported() {
    for (line, problem) in [
        (
            r#"{"image":"https://e.com/a.png"}"#,
            "m:1: prompt: is missing",
        ),
        (
            r#"{"image":5,"prompt":"x"}"#,
            "m:1: image: 5 is not an image link or file",
        ),
        (
            r#"{"image":"https://e.com/a.png","prompt":"x","duration":"5"}"#,
            "m:1: duration: `5` is not one of 5, 10",
        ),
        (
            r#"{"image":"https://e.com/a.png","prompt":"x","prompt":"y"}"#,
            "m:1: prompt: is given twice",
        ),
        (
            r#"{"image":"https://e.com/a.png","image_url":"https://e.com/a.png","prompt":"x"}"#,
            "m:1: image: is given twice",
        ),
        (
            r#"{"id":[1],"image":"https://e.com/a.png","prompt":"x"}"#,
            "m:1: id: must be a string or a number",
        ),
        (
            r#"[1]"#,
            "m:1: the row is not a JSON object: invalid type: sequence, expected an object with a \
             row's fields",
        ),
        (
            r#"{"image":"#,
            "m:1: the row is not a JSON object: EOF while parsing a value at column 9",
        ),
    ] {
        assert_eq!(
            read_all(line, &JSONL).problems.first().map(String::as_str),
            Some(problem),
            "{line}"
        );
    }
}

#[test]
fn jsonl_accepts_null_numeric_ids_blank_lines_and_no_final_newline() {
    let read = read_all(
        format!(
            "{{\"id\":7,\"image\":\"{IMAGE}\",\"prompt\":\"x\",\"duration\":10.0}}\n\n\
             {{\"id\":\"b\",\"image\":\"{IMAGE}\",\"prompt\":\"y\",\"tail_image\":null}}"
        ),
        &JSONL,
    );
    assert_eq!(read.problems, [""; 0]);
    assert_eq!(
        read.jobs
            .iter()
            .map(|job| (job.row_key.as_str(), job.line))
            .collect::<Vec<_>>(),
        [("7", 1), ("b", 3)]
    );
    assert_eq!(
        read.jobs[0].input.get("duration"),
        Some(&serde_json::json!(10))
    );
}

#[test]
fn a_row_goes_only_to_providers_that_know_its_fields() {
    let read = read_all(format!("image,prompt,aspect_ratio\n{IMAGE},x,1:1\n"), &CSV);
    assert_eq!(read.jobs[0].providers, [ProviderName::Eachlabs]);
    let fal_only = ReadOptions {
        providers: &[ProviderName::Fal],
        ..CSV
    };
    let read = read_all(
        format!("image,prompt,aspect_ratio\n{IMAGE},x,1:1\n"),
        &fal_only,
    );
    assert_eq!(
        read.problems,
        ["m:2: no allowed provider can run this row: fal has no field aspect_ratio"]
    );
    let eachlabs_only = ReadOptions {
        providers: &[ProviderName::Eachlabs],
        ..CSV
    };
    let read = read_all("image,prompt\nhttp://example.com/a.png,x\n", &eachlabs_only);
    assert_eq!(
        read.problems,
        [
            "m:2: no allowed provider can run this row: eachlabs does not accept http:// links for image"
        ]
    );
}

#[test]
fn columns_can_be_mapped_set_and_used_in_a_template() {
    let options = ReadOptions {
        mapping: &[("image", "Image Src"), ("id", "Handle")],
        constants: &[("duration", "10")],
        prompt: Some("Turn the {Title|product}"),
        ..CSV
    };
    let read = read_all(
        format!(
            "Handle,Title,Image Src,Stock,image\nmug,Blue mug,{IMAGE},4,ignored\ncup,,{IMAGE},0,\n"
        ),
        &options,
    );
    assert_eq!(read.problems, [""; 0]);
    let prompts: Vec<_> = read
        .jobs
        .iter()
        .map(|job| job.input.get("prompt").unwrap().as_str().unwrap())
        .collect();
    assert_eq!(prompts, ["Turn the Blue mug", "Turn the product"]);
    assert_eq!(read.jobs[0].input.duration(), Some(10));
    let renamed = format!("handle,TITLE,\u{a0}image  src \nmug,Blue mug,{IMAGE}\n");
    let read = read_all(renamed, &options);
    assert_eq!(read.problems, [""; 0]);
    assert_eq!(read.jobs.len(), 1);
    let read = read_all("Handle,Titel,Image Src\n", &options);
    assert_eq!(
        read.problems,
        ["m:1: the column `Title` is not in the header, did you mean `Titel`?"]
    );
}

#[test]
fn a_thousand_rows_with_twenty_mistakes_give_twenty_messages() {
    let mistakes = [
        format!("x1,{IMAGE},"),
        "x2,,turn".into(),
        "x3,ftp://example.com/a.png,turn".into(),
        "x4,http://localhost/a.png,turn".into(),
        "x5,https://10.0.0.1/a.png,turn".into(),
        format!("x6,{IMAGE}"),
        format!("x7,{IMAGE},turn,5,0.5,extra"),
        format!("x8,{IMAGE},turn,6,"),
        format!("x9,{IMAGE},turn,five,"),
        format!("x10,{IMAGE},turn,5,1.5"),
        format!("x11,{IMAGE},turn,5,-1"),
        format!("x12,{IMAGE},turn,5,much"),
        format!("x13,{IMAGE},turn,-5,"),
        format!("x14,{IMAGE},turn,5.5,"),
        "x15,not a link,turn,5,".into(),
        "x16,data:text/plain;hello,turn,5,".into(),
        format!("{},{IMAGE},turn,5,", "x".repeat(201)),
        format!("row-1,{IMAGE},turn,5,"),
        format!("row-1,{IMAGE},again,5,"),
        format!("x20,{IMAGE},turn\0,5,"),
    ];
    let mut text = String::from("id,image,prompt,duration,cfg_scale\n");
    for row in 0..1_000 {
        match mistakes.get(row / 50).filter(|_| row % 50 == 49) {
            Some(mistake) => text.push_str(mistake),
            None => text.push_str(&format!("row-{row},{IMAGE},turn,5,0.5")),
        }
        text.push('\n');
    }
    let read = read_all(text, &CSV);
    assert_eq!(read.problems.len(), 20, "{:#?}", read.problems);
    for (index, problem) in read.problems.iter().enumerate() {
        assert!(
            problem.starts_with(&format!("m:{}: ", index * 50 + 51)),
            "{problem}"
        );
    }
}

#[test]
fn a_row_that_is_too_long_is_reported() {
    let long = "x".repeat(MAX_ROW_BYTES + (MAX_ROW_BYTES >> 4));
    let read = read_all(
        format!("id,image,prompt\nb,{IMAGE},\na,{IMAGE},\"{long}\"\nc,{IMAGE},\n"),
        &CSV,
    );
    assert_eq!(
        read.problems,
        [
            "m:2: prompt: is missing",
            "m:3: the row is longer than 16 MiB, so nothing after it could be read; check whether \
             a closing quote is missing"
        ]
    );
    let start = format!("{{\"image\":\"{IMAGE}\",\"prompt\":\"");
    let end = "\"}";
    let next = format!("{{\"image\":\"{IMAGE}\"}}\n");
    for (length, problem) in [
        (MAX_ROW_BYTES, None),
        (
            MAX_ROW_BYTES + 1,
            Some("m:1: the row is longer than 16 MiB"),
        ),
    ] {
        let filler = "x".repeat(length - start.len() - end.len());
        let read = read_all(format!("{start}{filler}{end}\n{next}"), &JSONL);
        assert_eq!(read.jobs.len(), usize::from(problem.is_none()));
        let expected: Vec<&str> = problem
            .into_iter()
            .chain(["m:2: prompt: is missing"])
            .collect();
        assert_eq!(read.problems, expected);
    }
}

#[test]
fn integers_written_as_decimals_become_integers_at_any_depth() {
    let masks =
        format!(r#"[{{"mask":"{IMAGE}","trajectories":[{{"x":1.0,"y":2}},{{"x":3,"y":4.0}}]}}]"#);
    let integers =
        serde_json::json!([{"mask": IMAGE, "trajectories": [{"x": 1, "y": 2}, {"x": 3, "y": 4}]}]);
    let json = read_all(
        format!(r#"{{"image":"{IMAGE}","prompt":"x","dynamic_masks":{masks}}}"#),
        &JSONL,
    );
    assert_eq!(json.problems, [""; 0]);
    assert_eq!(json.jobs[0].input.get("dynamic_masks"), Some(&integers));
    let cell = masks.replace('"', "\"\"");
    let csv = read_all(
        format!("image,prompt,dynamic_masks\n{IMAGE},x,\"{cell}\"\n"),
        &CSV,
    );
    assert_eq!(csv.jobs[0].input, json.jobs[0].input);
    assert_eq!(
        csv.jobs[0].providers,
        [ProviderName::Aimlapi, ProviderName::Fal]
    );
}

#[test]
fn ids_are_kept_as_written_or_rejected() {
    let read = |id: &str| {
        read_all(
            format!("{{\"id\":{id},\"image\":\"{IMAGE}\",\"prompt\":\"x\"}}"),
            &JSONL,
        )
    };
    assert_eq!(read("\" 007 \"").jobs[0].row_key, "007");
    assert_eq!(
        read("18446744073709551615").jobs[0].row_key,
        "18446744073709551615"
    );
    assert_eq!(
        read("12345678901234567890123").problems,
        ["m:1: id: is too long for a number; write it in quotes"]
    );
    let padded = format!("\"  {}  \"", "x".repeat(200));
    assert_eq!(read(&padded).jobs[0].row_key.len(), 200);
    assert_eq!(
        read(&format!("\"{}\"", "x".repeat(201))).problems,
        ["m:1: id: is longer than 200 characters"]
    );
    assert_eq!(read("\" \"").problems, ["m:1: id: is blank"]);
}

#[test]
fn wrong_options_are_reported_with_what_they_name() {
    let catalog = catalog::load(&[]).unwrap();
    let model = catalog.model("kling-v1-standard").unwrap();
    let problem = |map: &[(&str, &str)], set: &[(&str, &str)], prompt: Option<&str>| {
        let layout = MappingOptions {
            map: to_owned_pairs(map),
            set: to_owned_pairs(set),
            prompt: prompt.map(str::to_owned),
            ..MappingOptions::default()
        };
        RowMapper::new(model, ProviderName::ALL.to_vec(), layout)
            .err()
            .unwrap()
    };
    let invalid_column = |field: &str, column: &str, reason: &str| MappingError::InvalidColumn {
        field: field.into(),
        column: column.into(),
        reason: reason.into(),
    };
    let invalid_value = |field: &str, value: &str, reason: &str| MappingError::InvalidValue {
        field: field.into(),
        value: value.into(),
        reason: reason.into(),
    };
    assert_eq!(
        problem(&[("promt", "P")], &[], None),
        invalid_column(
            "promt",
            "P",
            "the model kling-v1-standard has no field `promt`, did you mean `prompt`?"
        )
    );
    assert_eq!(
        problem(&[("image", "A"), ("image_url", "B")], &[], None),
        MappingError::RepeatedColumn("image".into())
    );
    assert_eq!(
        problem(&[("image", " ")], &[], None),
        invalid_column("image", " ", "the column name is blank")
    );
    assert_eq!(
        problem(&[], &[("duration", "7")], None),
        invalid_value("duration", "7", "7 is not one of 5, 10")
    );
    assert_eq!(
        problem(&[], &[("duration", "5"), ("duration", "10")], None),
        MappingError::RepeatedValue("duration".into())
    );
    assert_eq!(
        problem(&[], &[("id", "x")], None),
        invalid_value("id", "x", "every row needs its own id")
    );
    assert_eq!(
        problem(&[("prompt", "P")], &[], Some("{T}")),
        MappingError::RepeatedPrompt
    );
    let MappingError::InvalidPrompt(reason) = problem(&[], &[], Some("{T")) else {
        panic!("the prompt is valid");
    };
    assert!(
        reason.starts_with("there is a `{` without a `}` at `{T`"),
        "{reason}"
    );
}

#[test]
fn every_sample_runs_on_every_provider() {
    for (text, options, rows) in [
        (include_str!("../../../jobs/mugs.csv"), CSV, 24),
        (include_str!("../../../jobs/lamps.jsonl"), JSONL, 8),
    ] {
        let read = read_all(text, &options);
        assert_eq!(read.problems, [""; 0]);
        assert_eq!(read.jobs.len(), rows);
        assert!(
            read.jobs
                .iter()
                .all(|job| job.providers == ProviderName::ALL)
        );
        assert!(read.jobs.iter().any(|job| job.input.duration() == Some(10)));
    }
}
