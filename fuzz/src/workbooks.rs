//! Any bytes as a workbook.

use std::io::Cursor;
use std::path::Path;

use overnight::manifest::FileFormat;

use super::manifests::check_workbook;

/// Checks the rows and problems that a file is read as, if it is taken for a workbook.
pub fn check(bytes: &[u8]) {
    let mut file = Cursor::new(bytes.to_vec());
    let Ok(format) = FileFormat::detect(Path::new("m.xlsx"), &mut file) else {
        return;
    };
    if format.is_workbook() {
        check_workbook(file, format);
    }
}
