//! Small files with much inside, and files that are not what they seem.

use std::fs;

use rust_xlsxwriter::Workbook;

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
