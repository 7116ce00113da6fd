//! Manifests as programs save them.

use std::io::{Cursor, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rust_xlsxwriter::{ExcelDateTime, Format as CellFormat, Workbook};

use super::*;

const PLAIN: &str = "id,image,prompt\r\ncup,https://e.com/a.png,Grüne Tasse – 5 €\r\n";

/// Reads a file as `load` does: what it is read as, and its rows.
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
    let layout = Layout {
        prompt,
        ..Layout::default()
    };
    let mapper = RowMapper::new(model, ProviderName::ALL.to_vec(), layout).unwrap();
    let mut file = Cursor::new(bytes.to_vec());
    let kind = FileFormat::of(Path::new(name), &mut file)?;
    let mut collected = Collected::default();
    read_file(file, kind, sheet, "m", &mapper, &mut collected)?;
    Ok((kind.told(), collected))
}

#[track_caller]
fn assert_cup(name: &str, bytes: &[u8], told: Option<&str>) {
    let (said, read) = read_bytes(name, bytes, None).unwrap();
    assert_eq!(said.as_deref(), told);
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

fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn text_of_each_encoding_is_read_letter_by_letter_and_told() {
    let marked = format!("\u{feff}{PLAIN}");
    assert_cup("a.csv", PLAIN.as_bytes(), None);
    assert_cup("a.csv", marked.as_bytes(), None);
    assert_cup(
        "a.csv",
        &utf_16(&marked, u16::to_le_bytes),
        Some("read as UTF-16LE text"),
    );
    assert_cup(
        "a.csv",
        &utf_16(&marked, u16::to_be_bytes),
        Some("read as UTF-16BE text"),
    );
    assert_cup(
        "a.csv",
        &utf_16(PLAIN, u16::to_le_bytes),
        Some("read as UTF-16LE text"),
    );
    let (windows, ..) = encoding_rs::WINDOWS_1252.encode(PLAIN);
    assert_cup("a.csv", &windows, Some("read as windows-1252 text"));
}

#[test]
fn text_that_no_encoding_reads_for_certain_is_never_guessed_at() {
    let odd = b"id,image,prompt\ncup,https://e.com/a.png,a \x81 b \xfc\n";
    let refused = read_bytes("a.csv", odd, None).err().unwrap().to_string();
    assert_eq!(
        refused,
        "it is neither UTF-8 nor Windows-1252 text; save it as UTF-8"
    );
    // UTF-8 with one damaged character stays UTF-8, and its row is told.
    let mixed = [
        "id,image,prompt\ncup,https://e.com/a.png,Grün ".as_bytes(),
        b"\xfc\n",
    ]
    .concat();
    let (said, read) = read_bytes("a.csv", &mixed, None).unwrap();
    assert_eq!((said, read.jobs.len()), (None, 0));
    assert_eq!(read.problems, ["m:2: prompt: is not UTF-8 text"]);
    let mut half = utf_16(&format!("\u{feff}{PLAIN}"), u16::to_le_bytes);
    half.extend(0xd800_u16.to_le_bytes());
    let refused = read_bytes("a.csv", &half, None).err().unwrap().to_string();
    assert_eq!(refused, "it is damaged UTF-16LE text; save it as UTF-8");
}

#[test]
fn a_character_cut_by_the_end_of_a_read_is_whole() {
    for shift in 0..4 {
        let prompt = format!("{}{}", "x".repeat(shift), "€".repeat(200_000));
        let text = format!("id,image,prompt\ncup,https://e.com/a.png,{prompt}\n");
        let (said, read) = read_bytes("a.csv", text.as_bytes(), None).unwrap();
        assert_eq!((said, read.problems), (None, vec![]));
        assert_eq!(read.jobs[0].input.get("prompt").unwrap(), prompt.as_str());
    }
}

#[test]
fn cells_are_separated_by_what_the_header_says() {
    let with = |separator: &str| PLAIN.replace(',', separator);
    assert_cup(
        "a.csv",
        with(";").as_bytes(),
        Some("read as separated by semicolons"),
    );
    assert_cup(
        "a.txt",
        with("\t").as_bytes(),
        Some("read as separated by tabs"),
    );
    assert_cup(
        "a.tsv",
        with("\t").as_bytes(),
        Some("read as separated by tabs"),
    );
    assert_cup(
        "a.csv",
        with("|").as_bytes(),
        Some("read as separated by bars"),
    );
    let quoted = with(";")
        .replace("id;", "\"id\";")
        .replace("prompt", "\"prompt\"");
    assert_cup(
        "a.csv",
        quoted.as_bytes(),
        Some("read as separated by semicolons"),
    );
}

#[test]
fn excels_own_first_line_tells_the_separator_and_is_no_row() {
    let text = format!("sep=;\r\n{}", PLAIN.replace(',', ";"));
    let (said, read) = read_bytes("a.csv", text.as_bytes(), None).unwrap();
    assert_eq!(said.as_deref(), Some("read as separated by semicolons"));
    assert_eq!((read.jobs.len(), read.jobs[0].line), (1, 3));
}

#[test]
fn empty_rows_below_a_table_are_no_rows() {
    let text = format!("{PLAIN},,\r\n , ,\r\n\r\n");
    assert_cup("a.csv", text.as_bytes(), None);
}

#[test]
fn packed_files_are_unpacked() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(PLAIN.as_bytes()).unwrap();
    let mut packed = gzip.finish().unwrap();
    assert_cup("a.csv.gz", &packed, None);
    packed.truncate(packed.len() - 9);
    assert!(read_bytes("a.csv.gz", &packed, None).is_err());
    assert_cup(
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
fn a_workbooks_sheet_is_read_as_a_person_sees_it() {
    let (said, read) = read_bytes("mapped.xlsx", &workbook(), Some("Products")).unwrap();
    assert_eq!(said, None);
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
        "m:4: holds the number 4.0063813339311237e18, whose last digits are lost; format its cell as text"
    );
    assert!(
        read.problems[1..]
            .iter()
            .all(|problem| problem.starts_with("m:5: ")),
        "{:?}",
        read.problems
    );
}

#[test]
fn the_sheet_is_the_first_or_that_of_a_name() {
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
        "it has no sheet `Product`, did you mean `Products`?\nhint: there are Notes, Products"
    );
    let no_workbook = read_bytes("a.xlsx", b"PK\x03\x04 and so on", None)
        .err()
        .unwrap()
        .to_string();
    assert!(
        no_workbook.starts_with("it is not an Excel workbook"),
        "{no_workbook}"
    );
    let old = read_bytes("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None)
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        old,
        "it is a workbook of an old Excel; save it as .xlsx or as CSV"
    );
}
