//! What a manifest may contain at most, and how its text may begin.

/// The byte order mark that some programs write before UTF-8 text.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Maximum number of columns. More are a mistake: no spreadsheet holds them.
pub(super) const MAX_COLUMNS: usize = 16_384;

/// Maximum length of a row, in bytes. A longer one is a mistake and is not kept in memory.
pub(super) const MAX_ROW_BYTES: usize = 16 << 20;
