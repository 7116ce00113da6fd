//! How the rows of a text manifest are written.

/// How the rows of a text manifest are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// A table with a header (RFC 4180).
    Csv {
        /// The byte between two cells.
        separator: u8,
    },
    /// A table of tab-separated values in which a quote is a character like any other.
    RawTsv,
    /// One JSON object per line.
    Jsonl,
    /// A JSON document with a list of objects.
    Json,
}

impl RowFormat {
    /// Comma-separated values.
    pub const CSV: Self = Self::Csv { separator: b',' };
}
