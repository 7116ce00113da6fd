//! Files that are no manifests but are taken for some, named for what they are with what to do.

use std::io::{Read, Seek};

use zip::ZipArchive;

/// Maximum number of bytes of an old workbook that are searched for a mark.
const MAX_SEARCHED_BYTES: u64 = 64 << 20;

/// What an archive holds.
pub(super) enum ArchiveKind {
    /// An Excel workbook, or something that its reader names.
    Workbook,
    /// An OpenDocument spreadsheet.
    OpenDocument,
}

/// Returns what an archive holds.
///
/// # Errors
/// Returns what to do if it is a document that cannot be read.
pub(super) fn archive_kind(file: impl Read + Seek) -> Result<ArchiveKind, String> {
    let Ok(mut archive) = ZipArchive::new(file) else {
        return Ok(ArchiveKind::Workbook);
    };
    let mut kind = String::new();
    if let Ok(part) = archive.by_name("mimetype") {
        let _ = part.take(100).read_to_string(&mut kind);
    }
    match kind.trim() {
        "application/vnd.oasis.opendocument.spreadsheet"
        | "application/vnd.oasis.opendocument.spreadsheet-template" => {
            let mut manifest = String::new();
            if let Ok(part) = archive.by_name("META-INF/manifest.xml") {
                let _ = part.take(1 << 20).read_to_string(&mut manifest);
            }
            if manifest.contains("encryption-data") {
                return Err("it is protected by a password; save it without one, or as CSV".into());
            }
            return Ok(ArchiveKind::OpenDocument);
        }
        "application/vnd.oasis.opendocument.text" => {
            return Err("it is a text document (.odt); save its table as .ods or CSV".into());
        }
        _ => {}
    }
    let names: Vec<String> = archive
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .collect();
    let has = |start: &str| names.iter().any(|name| name.starts_with(start));
    if has("Index/") || has("Index.zip") {
        return Err(
            "it is a Numbers document; in Numbers, export it as Excel or CSV (File > Export To)"
                .into(),
        );
    }
    if has("word/") {
        return Err("it is a Word document (.docx); save its table as .xlsx or CSV".into());
    }
    if has("xl/worksheets/") && has("xl/workbook.bin") {
        return Err("it is a binary workbook (.xlsb); save it as .xlsx or CSV".into());
    }
    if !has("xl/") && !has("[Content_Types].xml") {
        return Err("it is a ZIP archive; unpack it, and load the table that is in it".into());
    }
    Ok(ArchiveKind::Workbook)
}

/// Returns what a file in Microsoft's compound format is, and what to do.
pub(super) fn describe_compound(file: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = file.take(MAX_SEARCHED_BYTES).read_to_end(&mut bytes);
    // The name of the stream that holds an encrypted workbook, as the directory writes it.
    let name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    if memchr::memmem::find(&bytes, &name).is_some() {
        return "it is a workbook that is protected by a password; save it without one, or as CSV"
            .into();
    }
    "it is a workbook in the old Excel format (.xls); save it as .xlsx or CSV".into()
}

/// Returns what a text that begins like markup is, and what to do; `None` if it may be a feed in XML.
pub(super) fn describe_markup(text: &str) -> Option<&'static str> {
    let start = text
        .get(..2_000.min(text.len()))
        .unwrap_or(text)
        .to_ascii_lowercase();
    let has = |name: &str| start.contains(name);
    if has("urn:schemas-microsoft-com:office:spreadsheet") || has("progid=\"excel.sheet\"") {
        return Some("it is a workbook in XML of Excel 2003; save it as .xlsx or CSV");
    }
    // The first element, after declarations and comments.
    let mut rest = start.trim_start();
    while rest.starts_with("<?") || rest.starts_with("<!--") {
        let end = if rest.starts_with("<?") { "?>" } else { "-->" };
        rest = rest.split_once(end)?.1.trim_start();
    }
    let name: String = rest
        .strip_prefix('<')?
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '!')
        .collect();
    let is_page = match name.as_str() {
        "html" | "head" | "body" | "table" | "meta" | "style" | "div" => true,
        "!doctype" => rest.starts_with("<!doctype html"),
        _ => false,
    };
    if is_page {
        return Some(
            "it is a web page (HTML), whatever its ending is; open it in a spreadsheet program and save \
             it as .xlsx or CSV. If it was downloaded, it may be the page that asks to log in",
        );
    }
    None
}
