//! Combines the rows of one product: a shop's export has a row for each variant and image.
//!
//! The rows of a product must be consecutive in the file, so that reading takes the memory of one
//! product. If they are not, the second group of rows is reported as a duplicate id.

use std::collections::{HashSet, VecDeque};

use csv::ByteRecord;

use super::problem::Mistake;
use super::table_reader::{Record, TableReader};

/// Maximum number of rows of one product. More are the sign of a wrong column.
const MAX_PRODUCT_ROWS: usize = 10_000;

/// How rows are combined into products.
pub(super) struct Grouping {
    /// Columns that identify the product; the first that is not empty does. If there are none, each
    /// row is a product.
    pub(super) key_columns: Vec<usize>,
    /// Columns that provide the product's images; the first that is not empty does.
    pub(super) image_columns: Vec<usize>,
    /// Whether each image of a product becomes a record, and not only the first.
    pub(super) each_image: bool,
}

/// Reads the products of a table: one record per product, or one per image of a product.
pub(super) struct Products<'a> {
    rows: &'a mut dyn TableReader,
    grouping: Grouping,
    /// Number of cells in a complete row.
    width: usize,
    /// The first row of the next product, if it was read already.
    next: Option<Record>,
    /// Records of the last product that were not returned yet.
    ready: VecDeque<Record>,
}

impl<'a> Products<'a> {
    pub(super) fn new(rows: &'a mut dyn TableReader, grouping: Grouping, width: usize) -> Self {
        Self {
            rows,
            grouping,
            width,
            next: None,
            ready: VecDeque::new(),
        }
    }

    fn next_row(&mut self) -> anyhow::Result<Option<Record>> {
        let mut row = Record::default();
        Ok(match self.next.take() {
            Some(next) => Some(next),
            None => self.rows.read(&mut row)?.then_some(row),
        })
    }

    /// Returns what identifies the product of a row; `None` if the row is not part of one.
    fn product_key<'r>(&self, row: &'r Record) -> Option<&'r [u8]> {
        self.is_complete(row)
            .then(|| first_non_empty(row, &self.grouping.key_columns))
            .flatten()
            .map(|(_, key)| key)
    }

    fn is_complete(&self, row: &Record) -> bool {
        row.fault.is_none() && row.cells.len() == self.width
    }

    fn read_product(&mut self, first: Record) -> anyhow::Result<()> {
        let Some(key) = self.product_key(&first).map(<[u8]>::to_vec) else {
            self.queue_records(&[first]);
            return Ok(());
        };
        let mut rows = vec![first];
        while let Some(row) = self.next_row()? {
            if self.product_key(&row) != Some(&key) {
                self.next = Some(row);
                break;
            }
            if rows.len() < MAX_PRODUCT_ROWS {
                rows.push(row);
            } else {
                rows[0].fault = Some(Mistake::HugeProduct {
                    key: String::from_utf8_lossy(&key).into_owned(),
                    max_rows: MAX_PRODUCT_ROWS,
                });
            }
        }
        self.queue_records(&rows);
        Ok(())
    }

    fn queue_records(&mut self, rows: &[Record]) {
        let Some(first) = rows.first() else { return };
        let mut images = Vec::new();
        let mut seen_links = HashSet::new();
        for row in rows.iter().filter(|row| self.is_complete(row)) {
            if let Some((column, cell)) = first_non_empty(row, &self.grouping.image_columns) {
                let links = std::str::from_utf8(cell).map_or_else(
                    |_| vec![cell],
                    |text| split_links(text).into_iter().map(str::as_bytes).collect(),
                );
                images.extend(
                    links
                        .into_iter()
                        .filter(|link| seen_links.insert(*link))
                        .map(|link| (row, column, link)),
                );
            }
        }
        if images.is_empty() || first.fault.is_some() {
            self.ready.push_back(first.clone());
            return;
        }
        images.truncate(if self.grouping.each_image {
            images.len()
        } else {
            1
        });
        for (index, (row, image_column, link)) in images.into_iter().enumerate() {
            let mut cells = ByteRecord::new();
            for (column, (cell, inherited)) in row.cells.iter().zip(&first.cells).enumerate() {
                let value = if cell.trim_ascii().is_empty() {
                    inherited
                } else {
                    cell
                };
                cells.push_field(if column == image_column { link } else { value });
            }
            self.ready.push_back(Record {
                line: row.line,
                fault: None,
                cells,
                image_number: index + 1,
            });
        }
    }
}

impl TableReader for Products<'_> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        if self.ready.is_empty()
            && let Some(first) = self.next_row()?
        {
            self.read_product(first)?;
        }
        let ready = self.ready.pop_front();
        let has_record = ready.is_some();
        *record = ready.unwrap_or_default();
        Ok(has_record)
    }
}

/// Returns the first of these columns that is not empty in a row, with its trimmed cell.
fn first_non_empty<'r>(row: &'r Record, columns: &[usize]) -> Option<(usize, &'r [u8])> {
    let cells = columns
        .iter()
        .filter_map(|column| Some((*column, row.cells.get(*column)?.trim_ascii())));
    cells.into_iter().find(|(_, cell)| !cell.is_empty())
}

/// Splits a cell into its links. A link ends at a separator only if another link follows, because a
/// link may contain a comma.
pub(super) fn split_links(cell: &str) -> Vec<&str> {
    let cell = cell.trim();
    let is_link = |text: &str| {
        let has_scheme = |scheme: &str| {
            text.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        has_scheme("https://") || has_scheme("http://")
    };
    if !is_link(cell) {
        return vec![cell];
    }
    let is_separator = |c: char| matches!(c, ',' | ';' | '|') || c.is_whitespace();
    let mut links = Vec::new();
    let mut start = 0;
    for (at, _) in cell.match_indices(is_separator) {
        let rest = cell[at..].trim_start_matches(is_separator);
        if is_link(rest) && at > start {
            links.push(cell[start..at].trim_end_matches(is_separator));
            start = cell.len() - rest.len();
        }
    }
    links.push(cell[start..].trim_end_matches(is_separator));
    links
}

#[cfg(test)]
mod tests {
    use super::split_links;

    #[test]
    fn links_in_one_cell_are_split_and_a_comma_in_a_link_is_kept() {
        assert_eq!(split_links("https://a/1.jpg"), ["https://a/1.jpg"]);
        assert_eq!(
            split_links(" https://a/1.jpg, HTTPS://a/2.jpg ,http://a/3.jpg,"),
            ["https://a/1.jpg", "HTTPS://a/2.jpg", "http://a/3.jpg"]
        );
        assert_eq!(
            split_links("https://a/w_100,h_200/1.jpg|https://a/2.jpg"),
            ["https://a/w_100,h_200/1.jpg", "https://a/2.jpg"]
        );
        assert_eq!(split_links("photos/a, b.jpg"), ["photos/a, b.jpg"]);
    }
}
