//! Small files with much inside, and files that are not what they seem.

use std::fs;
use std::io::{Cursor, Read, Write};

use rust_xlsxwriter::Workbook;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::support::{TestEnv, high_limits, load_args};

fn load(env: &TestEnv, name: &str) -> (i32, String) {
    let mut args = load_args("fal").to_vec();
    args[1] = name;
    let loaded = env.run(&args);
    (loaded.code, loaded.stderr)
}

/// Returns a workbook with one row of a manifest and one more cell.
fn workbook(row: u32, column: u16) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    for (index, text) in (0..).zip(["id", "image", "prompt"]) {
        sheet.write_string(0, index, text).expect("written");
    }
    for (index, text) in (0..).zip(["r", "https://images.example.com/a.png", "Turn"]) {
        sheet.write_string(1, index, text).expect("written");
    }
    sheet.write_string(row, column, "far").expect("written");
    workbook.save_to_buffer().expect("a workbook")
}

#[test]
fn a_workbook_that_is_cut_or_damaged_anywhere_is_refused_with_its_name() {
    let env = TestEnv::new(high_limits());
    let whole = workbook(2, 2);
    let path = env.dir.path().join("cut.xlsx");
    for part in 1..8 {
        let cut = &whole[..whole.len() * part / 8];
        fs::write(&path, cut).expect("written");
        let (code, said) = load(&env, "cut.xlsx");
        assert_eq!(code, 2, "{part}/8: {said}");
        assert!(said.contains("cut.xlsx"), "{said}");
        let mut damaged = whole.clone();
        let middle = whole.len() * part / 8;
        damaged[middle..middle + 16].fill(0xa5);
        fs::write(&path, damaged).expect("written");
        let (code, said) = load(&env, "cut.xlsx");
        assert!(matches!(code, 0 | 2), "{part}/8: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_cell_in_the_last_row_and_column_costs_no_memory_and_is_named() {
    let env = TestEnv::new(high_limits());
    fs::write(env.dir.path().join("far.xlsx"), workbook(1_048_575, 16_383)).expect("written");
    let (code, said) = load(&env, "far.xlsx");
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("row 1048576") && said.contains("column 16384"),
        "{said}"
    );
}

#[test]
fn of_many_mistakes_the_first_hundred_are_told_and_the_rest_are_counted() {
    let env = TestEnv::new(high_limits());
    let rows: String = (0..5_000).map(|row| format!("r{row},,\n")).collect();
    env.write("empty.csv", &format!("id,image,prompt\n{rows}"));
    let (code, said) = load(&env, "empty.csv");
    assert_eq!(code, 2);
    assert!(said.lines().count() < 120, "{} lines", said.lines().count());
    assert!(
        said.contains("5000 rows") || said.contains("5,000 rows"),
        "{said}"
    );
}

/// Returns a workbook whose shared strings are replaced.
fn with_strings(strings: &[u8]) -> Vec<u8> {
    let mut from = ZipArchive::new(Cursor::new(workbook(2, 2))).expect("an archive");
    let mut to = ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..from.len() {
        let mut part = from.by_index(index).expect("a part");
        let mut content = Vec::new();
        part.read_to_end(&mut content).expect("its content");
        let name = part.name().expect("a name").into_owned();
        if name == "xl/sharedStrings.xml" {
            content = strings.to_vec();
        }
        to.start_file(name, SimpleFileOptions::default())
            .expect("a part");
        to.write_all(&content).expect("written");
    }
    to.finish().expect("an archive").into_inner()
}

#[test]
fn a_small_file_that_unpacks_to_much_is_refused_with_its_name_and_why() {
    let env = TestEnv::new(high_limits());
    let entity = |number: u32| {
        format!(
            "<!ENTITY e{} \"{}\">",
            number + 1,
            format!("&e{number};").repeat(10)
        )
    };
    let entities: String = (0..20).map(entity).collect();
    let nested =
        format!("<!DOCTYPE sst [<!ENTITY e0 \"ha\">{entities}]><sst><si><t>&e20;</t></si></sst>");
    let outside = "<!DOCTYPE sst [<!ENTITY x SYSTEM \"file:///etc/hostname\">]>\
                   <sst><si><t>&x;</t></si></sst>";
    let announced = "<sst uniqueCount=\"10000000000000\"><si><t>a</t></si></sst>";
    let long = format!("<sst><si><t>{}</t></si></sst>", "a".repeat(17 << 20));
    for (strings, why) in [
        (nested.as_str(), "unrecognized entity"),
        (outside, "unrecognized entity"),
        (announced, "it has more than 10000000 shared strings"),
        (&long, "it has a text or a tag of more than 16 MiB"),
    ] {
        let file = with_strings(strings.as_bytes());
        assert!(file.len() < 100_000, "{}", file.len());
        fs::write(env.dir.path().join("small.xlsx"), file).expect("written");
        let (code, said) = load(&env, "small.xlsx");
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("cannot read small.xlsx: "), "{said}");
        assert!(said.contains(why), "{said}");
    }
    let deep = format!("{{\"prompt\":{}\n", "[".repeat(1_000_000));
    env.write("deep.jsonl", &deep);
    let (code, said) = load(&env, "deep.jsonl");
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("deep.jsonl:1: the row is not a JSON object"),
        "{said}"
    );
}
