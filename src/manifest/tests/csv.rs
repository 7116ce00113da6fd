//! What only CSV has: lines, quotes and the header.

use super::*;

#[test]
fn lines_are_counted_through_newlines_in_quotes_blank_lines_and_crlf() {
    let text = format!(
        "\u{feff}id,image,prompt,duration\r\n\r\na,{IMAGE},\"two\r\nlines\",5\r\n\r\n\r\n\
         b,{IMAGE},\"x\ny\nz\",7\r\n\
         c,{IMAGE},ok,8\r\n\r\n"
    );
    let read = read_all(text, &CSV);
    assert_eq!(read.jobs.len(), 1);
    assert_eq!(read.jobs[0].line, 3);
    assert_eq!(
        read.problems,
        [
            "m:7: duration: 7 is not one of 5, 10",
            "m:10: duration: 8 is not one of 5, 10"
        ]
    );
}

#[test]
fn a_header_that_cannot_be_used_is_reported_once() {
    let problems = |header: &str| read_all(format!("{header}\n{IMAGE},x,y\n"), &CSV).problems;
    assert_eq!(
        problems("image,promt,prompt"),
        ["m:1: unknown column `promt`, did you mean `prompt`?"]
    );
    assert_eq!(
        problems("image,prompt,prompt")[0],
        "m:1: two columns are named `prompt`; rename or remove one"
    );
    assert_eq!(
        problems("image,prompt,image_url"),
        ["m:1: two columns provide `image`; remove one (the second is `image_url`)"]
    );
    assert_eq!(
        read_all("", &CSV).problems,
        ["m:1: the file is empty; write a header with the names of the columns"]
    );
}

#[test]
fn a_quote_that_is_never_closed_does_not_swallow_the_rows_after_it() {
    let problems = |rows: &str| {
        let read = read_all(format!("id,image,prompt\n{rows}"), &CSV);
        (
            read.jobs
                .iter()
                .map(|job| job.row_key.clone())
                .collect::<Vec<_>>(),
            read.problems,
        )
    };
    let never_closed = |line: u64| {
        format!(
            "m:2: the quote opened on line {line} is never closed, so nothing after it could be \
             read"
        )
    };
    assert_eq!(
        problems(&format!("a,{IMAGE},\"turn\n")),
        (vec![], vec![never_closed(2)])
    );
    assert_eq!(
        problems(&format!("a,{IMAGE},\"turn\nb,{IMAGE},x\nc,{IMAGE},y\n")),
        (vec![], vec![never_closed(2)])
    );
    assert_eq!(
        problems(&format!("\"a\n\",{IMAGE},\"turn\n")),
        (vec![], vec![never_closed(3)])
    );
    assert_eq!(
        problems(&format!("a,{IMAGE},\"turn\nb,{IMAGE},\"x\"\nc,{IMAGE},y\n")),
        (
            vec!["c".to_owned()],
            vec![
                "m:2: the quote opened on line 2 is closed in the middle of a cell on line 3; \
                 write \"\" for a quote inside a quoted cell"
                    .to_owned()
            ]
        )
    );
    let read = read_all("id,image,\"prompt\n", &CSV);
    assert_eq!(
        read.problems,
        ["m:1: the quote opened on line 1 is never closed, so nothing after it could be read"]
    );
}

#[test]
fn quotes_are_read_as_spreadsheets_write_them() {
    let prompts = |cell: &str| {
        let read = read_all(format!("image,prompt\n{IMAGE},{cell}\n"), &CSV);
        assert_eq!(read.problems, [""; 0], "{cell}");
        read.jobs[0]
            .input
            .get("prompt")
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(prompts("\"a \"\"blue\"\" cup\""), "a \"blue\" cup");
    assert_eq!(prompts("\"cup, and\r\nsaucer\""), "cup, and\r\nsaucer");
    assert_eq!(prompts("\"cup\" "), "cup ");
    assert_eq!(prompts("a 12\" plate"), "a 12\" plate");
}

#[test]
fn lines_may_end_with_lf_crlf_or_cr() {
    for end in ["\n", "\r\n", "\r"] {
        let text = [
            "id,image,prompt",
            "",
            "a,https://e.com/a.png,x",
            "   ",
            "b,https://e.com/a.png,",
        ]
        .join(end);
        for text in [text.clone(), format!("{text}{end}{end}")] {
            let read = read_all(text, &CSV);
            assert_eq!((read.jobs.len(), read.jobs[0].line), (1, 3), "{end:?}");
            assert_eq!(read.problems, ["m:5: prompt: is missing"], "{end:?}");
        }
    }
}

#[test]
fn line_numbers_do_not_depend_on_the_size_of_reads() {
    let text = format!(
        "id,image,prompt\r\n\r\na,{IMAGE},\"x\r\ny\"\r\nb,{IMAGE},\r\n\"c\",{IMAGE},\"\"\"\"\r\n"
    );
    let catalog = catalog::load(&[]).unwrap();
    let model = catalog.model("kling-v1-standard").unwrap();
    let mapper =
        RowMapper::new(model, ProviderName::ALL.to_vec(), MappingOptions::default()).unwrap();
    for capacity in 1..64 {
        let mut collected = Collected::default();
        // A text without a byte order mark, because one that is split between reads is not found.
        let source = std::io::BufReader::with_capacity(capacity, text.as_bytes());
        read(source, "m", RowFormat::CSV, &mapper, &mut collected).unwrap();
        assert_eq!(
            collected
                .jobs
                .iter()
                .map(|job| job.line)
                .collect::<Vec<_>>(),
            [3, 6],
            "{capacity}"
        );
        assert_eq!(
            collected.problems,
            ["m:5: prompt: is missing"],
            "{capacity}"
        );
    }
}

#[test]
fn a_field_that_no_column_provides_is_reported_once() {
    let rows = format!("a,{IMAGE}\n").repeat(100);
    let read = read_all(format!("id,image\n{rows}"), &CSV);
    assert_eq!(
        read.problems,
        ["m:1: no column provides `prompt`, which every row needs"]
    );
    let options = ReadOptions {
        mapping: &[("id", "SKU")],
        ..CSV
    };
    let read = read_all(format!("SKU,image,Promt\na,{IMAGE},x\n"), &options);
    let meant = Mistake::NoColumnFor {
        field: "prompt".into(),
        candidate: Some("Promt".into()),
    };
    assert_eq!(read.mistakes, [meant]);
    let options = ReadOptions {
        constants: &[("prompt", "turn it")],
        ..CSV
    };
    assert_eq!(
        read_all(format!("id,image\n{rows}"), &options)
            .problems
            .len(),
        99
    );
}

#[test]
fn an_unknown_column_is_reported() {
    let problems = |header: &str| read_all(format!("{header}\n"), &CSV).problems;
    assert_eq!(
        problems("image,prompt,warehouse"),
        ["m:1: unknown column `warehouse`"]
    );
}
