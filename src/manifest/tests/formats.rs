//! Manifests in each format, encoding and compression that programs save them in.

use std::io::{Cursor, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rust_xlsxwriter::{ExcelDateTime, Format as CellFormat, Workbook};

use super::*;

const PLAIN: &str = "id,image,prompt\r\ncup,https://e.com/a.png,Grüne Tasse – 5 €\r\n";

/// Reads a file as `load` does. Returns the description of its format, and its rows.
fn read_bytes(
    name: &str,
    bytes: &[u8],
    sheet: Option<&str>,
) -> anyhow::Result<(Option<String>, Collected)> {
    let catalog = catalog::load(&[]).unwrap();
    let model = catalog.model("kling-v1-standard").unwrap();
    let prompt = name
        .starts_with("mapped")
        .then(|| "{prompt}, {made}".into());
    let layout = MappingOptions {
        prompt,
        ..MappingOptions::default()
    };
    let mapper = RowMapper::new(model, ProviderName::ALL.to_vec(), layout).unwrap();
    let mut file = Cursor::new(bytes.to_vec());
    let format = FileFormat::detect(Path::new(name), &mut file)?;
    let mut collected = Collected::default();
    let sheet = SheetOptions {
        sheet: sheet.map(str::to_owned),
        hidden: false,
    };
    read_file(file, format, &sheet, "m", &mapper, &mut collected)?;
    Ok((format.describe(), collected))
}

#[track_caller]
fn assert_reads_cup(name: &str, bytes: &[u8], description: Option<&str>) {
    let (described, read) = read_bytes(name, bytes, None).unwrap();
    assert_eq!(described.as_deref(), description);
    assert_eq!(read.problems, [""; 0]);
    assert_eq!(read.jobs.len(), 1);
    let NewJob {
        row_key,
        input,
        line,
        ..
    } = &read.jobs[0];
    assert_eq!((row_key.as_str(), *line), ("cup", 2));
    assert_eq!(input.get("prompt").unwrap(), "Grüne Tasse – 5 €");
}

fn encode_utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn text_in_each_encoding_is_read_exactly_and_described() {
    let marked = format!("\u{feff}{PLAIN}");
    assert_reads_cup("a.csv", PLAIN.as_bytes(), None);
    assert_reads_cup("a.csv", marked.as_bytes(), None);
    assert_reads_cup(
        "a.csv",
        &encode_utf16(&marked, u16::to_le_bytes),
        Some("read as UTF-16LE text"),
    );
    assert_reads_cup(
        "a.csv",
        &encode_utf16(&marked, u16::to_be_bytes),
        Some("read as UTF-16BE text"),
    );
    assert_reads_cup(
        "a.csv",
        &encode_utf16(PLAIN, u16::to_le_bytes),
        Some("read as UTF-16LE text"),
    );
    let (windows, ..) = encoding_rs::WINDOWS_1252.encode(PLAIN);
    assert_reads_cup("a.csv", &windows, Some("read as windows-1252 text"));
}

#[test]
fn text_whose_encoding_cannot_be_determined_is_rejected() {
    let undecodable = b"id,image,prompt\ncup,https://e.com/a.png,a \x81 b \xfc\n";
    let error = read_bytes("a.csv", undecodable, None)
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        error,
        "it is neither UTF-8 nor Windows-1252 text; save it as UTF-8"
    );
    // UTF-8 text with one damaged character is read as UTF-8, and its row is reported.
    let mixed = [
        "id,image,prompt\ncup,https://e.com/a.png,Grün ".as_bytes(),
        b"\xfc\n",
    ]
    .concat();
    let (description, read) = read_bytes("a.csv", &mixed, None).unwrap();
    assert_eq!((description, read.jobs.len()), (None, 0));
    assert_eq!(read.problems, ["m:2: prompt: is not UTF-8 text"]);
    let mut truncated = encode_utf16(&format!("\u{feff}{PLAIN}"), u16::to_le_bytes);
    truncated.extend(0xd800_u16.to_le_bytes());
    let error = read_bytes("a.csv", &truncated, None)
        .err()
        .unwrap()
        .to_string();
    assert_eq!(error, "it is damaged UTF-16LE text; save it as UTF-8");
}

#[test]
fn a_character_split_between_two_reads_is_whole() {
    for shift in 0..4 {
        let prompt = format!("{}{}", "x".repeat(shift), "€".repeat(200_000));
        let text = format!("id,image,prompt\ncup,https://e.com/a.png,{prompt}\n");
        let (description, read) = read_bytes("a.csv", text.as_bytes(), None).unwrap();
        assert_eq!((description, read.problems), (None, vec![]));
        assert_eq!(read.jobs[0].input.get("prompt").unwrap(), prompt.as_str());
    }
}

#[test]
fn the_separator_is_detected_in_the_header() {
    let separated_by = |separator: &str| PLAIN.replace(',', separator);
    assert_reads_cup(
        "a.csv",
        separated_by(";").as_bytes(),
        Some("read as semicolon-separated values"),
    );
    assert_reads_cup(
        "a.txt",
        separated_by("\t").as_bytes(),
        Some("read as tab-separated values"),
    );
    assert_reads_cup(
        "a.tsv",
        separated_by("\t").as_bytes(),
        Some("read as tab-separated values"),
    );
    assert_reads_cup(
        "a.csv",
        separated_by("|").as_bytes(),
        Some("read as pipe-separated values"),
    );
    let quoted = separated_by(";")
        .replace("id;", "\"id\";")
        .replace("prompt", "\"prompt\"");
    assert_reads_cup(
        "a.csv",
        quoted.as_bytes(),
        Some("read as semicolon-separated values"),
    );
}

#[test]
fn excels_line_that_declares_the_separator_is_not_a_row() {
    let text = format!("sep=;\r\n{}", PLAIN.replace(',', ";"));
    let (description, read) = read_bytes("a.csv", text.as_bytes(), None).unwrap();
    assert_eq!(
        description.as_deref(),
        Some("read as semicolon-separated values")
    );
    assert_eq!((read.jobs.len(), read.jobs[0].line), (1, 3));
}

#[test]
fn empty_rows_below_a_table_are_not_rows() {
    let text = format!("{PLAIN},,\r\n , ,\r\n\r\n");
    assert_reads_cup("a.csv", text.as_bytes(), None);
}

#[test]
fn compressed_files_are_decompressed() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(PLAIN.as_bytes()).unwrap();
    let mut compressed = gzip.finish().unwrap();
    assert_reads_cup("a.csv.gz", &compressed, None);
    compressed.truncate(compressed.len() - 9);
    assert!(read_bytes("a.csv.gz", &compressed, None).is_err());
    assert_reads_cup(
        "a.csv.zst",
        &zstd::encode_all(PLAIN.as_bytes(), 3).unwrap(),
        None,
    );
    let rows = zstd::encode_all(
        "\n{\"image\":\"https://e.com/a.png\",\"prompt\":\"p\"}\n".as_bytes(),
        3,
    )
    .unwrap();
    assert_eq!(
        read_bytes("a.jsonl.zst", &rows, None).unwrap().1.jobs.len(),
        1
    );
    assert_eq!(read_bytes("-", &rows, None).unwrap().1.jobs.len(), 1);
}

fn workbook() -> Vec<u8> {
    let mut book = Workbook::new();
    book.add_worksheet()
        .set_name("Notes")
        .unwrap()
        .write(0, 0, "nothing here")
        .unwrap();
    let sheet = book.add_worksheet().set_name("Products").unwrap();
    for (column, name) in ["id", "image", "prompt", "duration", "made"]
        .into_iter()
        .enumerate()
    {
        sheet.write(0, column as u16, name).unwrap();
    }
    sheet.write(2, 0, 1001).unwrap();
    sheet.write(2, 1, "https://e.com/a.png").unwrap();
    sheet.write(2, 2, "Grüne Tasse").unwrap();
    sheet.write(2, 3, 10).unwrap();
    let day = CellFormat::new().set_num_format("yyyy-mm-dd");
    sheet
        .write_with_format(2, 4, ExcelDateTime::from_ymd(2026, 11, 21).unwrap(), &day)
        .unwrap();
    sheet.write(3, 0, 4_006_381_333_931_123_456.0).unwrap();
    sheet.write(3, 1, "https://e.com/b.png").unwrap();
    sheet.write(4, 0, "short").unwrap();
    book.save_to_buffer().unwrap()
}

#[test]
fn a_sheet_of_a_workbook_is_read_as_a_spreadsheet_shows_it() {
    let (description, read) = read_bytes("mapped.xlsx", &workbook(), Some("Products")).unwrap();
    assert_eq!(description, None);
    assert_eq!(read.jobs.len(), 1);
    let NewJob {
        row_key,
        input,
        line,
        ..
    } = &read.jobs[0];
    assert_eq!(
        (row_key.as_str(), *line, input.duration()),
        ("1001", 3, Some(10))
    );
    assert_eq!(input.get("prompt").unwrap(), "Grüne Tasse, 2026-11-21");
    assert_eq!(
        read.problems[0],
        "m:4: id: is the number 4.0063813339311237e18, whose last digits are lost; format the cell as \
         text and enter it again"
    );
    assert!(
        read.problems[2..]
            .iter()
            .all(|problem| problem.starts_with("m:5: ")),
        "{:?}",
        read.problems
    );
}

#[test]
fn the_named_sheet_is_read_or_else_the_first() {
    let (_, first) = read_bytes("a.xlsx", &workbook(), None).unwrap();
    assert!(
        first.problems[0].contains("nothing here"),
        "{:?}",
        first.problems
    );
    let unknown = read_bytes("a.xlsx", &workbook(), Some("Product"))
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        unknown,
        "it has no sheet `Product`, did you mean `Products`?\nhint: its sheets are Notes, Products"
    );
    let damaged = read_bytes("a.xlsx", b"PK\x03\x04 and so on", None)
        .err()
        .unwrap()
        .to_string();
    assert!(
        damaged.starts_with("it is not an Excel workbook"),
        "{damaged}"
    );
    let old = read_bytes("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None)
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        old,
        "it is a workbook in the old Excel format (.xls); save it as .xlsx or CSV"
    );
}
