//! Puts the rows of one product together: a shop's export has a row for each variant and image.
//!
//! The rows of a product stand together in a file, so that reading takes the memory of one product. Where they do not,
//! the second part is told as an id that comes twice.

use std::collections::{HashSet, VecDeque};

use csv::ByteRecord;

use crate::domain::printable::shown;

use super::table_reader::{Record, TableReader};

/// More rows than this are no product.
const MOST_ROWS: usize = 10_000;

/// How rows become products.
pub(super) struct Grouping {
    /// The columns that name the product; the first that is not empty does. Without any each row is one.
    pub(super) by: Vec<usize>,
    /// The columns that give its images; the first that is not empty does.
    pub(super) images: Vec<usize>,
    /// A record for each image, not only for the first.
    pub(super) each_image: bool,
}

/// The products of a table, each a record or several.
pub(super) struct Products<'a> {
    rows: &'a mut dyn TableReader,
    grouping: Grouping,
    width: usize,
    /// The first row of the next product.
    next: Option<Record>,
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

    /// Reads a row, as its own.
    fn row(&mut self) -> anyhow::Result<Option<Record>> {
        let mut row = Record::default();
        Ok(match self.next.take() {
            Some(next) => Some(next),
            None => self.rows.read(&mut row)?.then_some(row),
        })
    }

    /// What names the product of a row; `None` where it is no part of one.
    fn key<'r>(&self, row: &'r Record) -> Option<&'r [u8]> {
        let is_whole = row.fault.is_none() && row.cells.len() == self.width;
        is_whole
            .then(|| first_filled(row, &self.grouping.by))
            .flatten()
            .map(|(_, key)| key)
    }

    fn read_product(&mut self, first: Record) -> anyhow::Result<()> {
        let Some(key) = self.key(&first).map(<[u8]>::to_vec) else {
            self.make_records(&[first]);
            return Ok(());
        };
        let mut rows = vec![first];
        while let Some(row) = self.row()? {
            if self.key(&row) != Some(&key) {
                self.next = Some(row);
                break;
            }
            if rows.len() < MOST_ROWS {
                rows.push(row);
            } else {
                let key = shown(&String::from_utf8_lossy(&key));
                rows[0].fault = Some(format!("`{key}` stands on more than {MOST_ROWS} rows"));
            }
        }
        self.make_records(&rows);
        Ok(())
    }

    fn make_records(&mut self, rows: &[Record]) {
        let Some(first) = rows.first() else { return };
        let (mut images, mut seen) = (Vec::new(), HashSet::new());
        for row in rows
            .iter()
            .filter(|row| row.fault.is_none() && row.cells.len() == self.width)
        {
            if let Some((column, cell)) = first_filled(row, &self.grouping.images) {
                let links = std::str::from_utf8(cell).map_or_else(
                    |_| vec![cell],
                    |text| links(text).into_iter().map(str::as_bytes).collect(),
                );
                images.extend(
                    links
                        .into_iter()
                        .filter(|link| seen.insert(*link))
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
        for (number, (row, image_column, link)) in images.into_iter().enumerate() {
            let mut cells = ByteRecord::new();
            for (column, (cell, inherited)) in row.cells.iter().zip(&first.cells).enumerate() {
                let own = if cell.trim_ascii().is_empty() {
                    inherited
                } else {
                    cell
                };
                cells.push_field(if column == image_column { link } else { own });
            }
            self.ready.push_back(Record {
                line: row.line,
                fault: None,
                cells,
                image: number + 1,
            });
        }
    }
}

impl TableReader for Products<'_> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        if self.ready.is_empty()
            && let Some(first) = self.row()?
        {
            self.read_product(first)?;
        }
        let ready = self.ready.pop_front();
        let is_there = ready.is_some();
        *record = ready.unwrap_or_default();
        Ok(is_there)
    }
}

fn first_filled<'r>(row: &'r Record, columns: &[usize]) -> Option<(usize, &'r [u8])> {
    let cells = columns
        .iter()
        .filter_map(|column| Some((*column, row.cells.get(*column)?.trim_ascii())));
    cells.into_iter().find(|(_, cell)| !cell.is_empty())
}

/// Takes a cell's links apart: a separator and another link's beginning behind it end one. A link may hold a comma.
pub(super) fn links(cell: &str) -> Vec<&str> {
    let cell = cell.trim();
    let is_link = |text: &str| {
        let begins = |scheme: &str| {
            text.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        begins("https://") || begins("http://")
    };
    if !is_link(cell) {
        return vec![cell];
    }
    let is_separator = |sign: char| matches!(sign, ',' | ';' | '|') || sign.is_whitespace();
    let (mut links, mut from) = (Vec::new(), 0);
    for (at, _) in cell.match_indices(is_separator) {
        let rest = cell[at..].trim_start_matches(is_separator);
        if is_link(rest) && at > from {
            links.push(cell[from..at].trim_end_matches(is_separator));
            from = cell.len() - rest.len();
        }
    }
    links.push(cell[from..].trim_end_matches(is_separator));
    links
}

#[cfg(test)]
mod tests {
    use super::links;

    #[test]
    fn links_in_one_cell_are_taken_apart_and_a_comma_in_a_link_is_its_own() {
        assert_eq!(links("https://a/1.jpg"), ["https://a/1.jpg"]);
        assert_eq!(
            links(" https://a/1.jpg, HTTPS://a/2.jpg ,http://a/3.jpg,"),
            ["https://a/1.jpg", "HTTPS://a/2.jpg", "http://a/3.jpg"]
        );
        assert_eq!(
            links("https://a/w_100,h_200/1.jpg|https://a/2.jpg"),
            ["https://a/w_100,h_200/1.jpg", "https://a/2.jpg"]
        );
        assert_eq!(links("photos/a, b.jpg"), ["photos/a, b.jpg"]);
    }
}
