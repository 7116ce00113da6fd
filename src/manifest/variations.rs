//! Variations of products, as WooCommerce exports them: rows that name the row of their product, whose
//! picture and texts they take where they have none.

use std::collections::{HashMap, HashSet, VecDeque};

use super::remark::Remark;
use super::table_reader::{Record, TableReader};

/// The columns by which variations are found.
#[derive(Clone, Debug)]
pub(super) struct VariationColumns {
    /// The number of a row in the shop.
    pub(super) id: Option<usize>,
    pub(super) sku: Option<usize>,
    /// What a row is: `simple`, `variable` or `variation`.
    pub(super) kind: usize,
    /// The product of a variation: its SKU, or `id:` and its number.
    pub(super) parent: usize,
    /// Columns with pictures.
    pub(super) images: Vec<usize>,
    /// Columns in which the shop says something about a product, and so about its variations.
    pub(super) statuses: Vec<usize>,
    /// Whether a product is one job, whatever its variations are.
    pub(super) is_one_per_product: bool,
}

/// Reads variations with what they take from their products. A product with variations is read once all of
/// them are, if it turns out to have none.
pub(super) struct Variations<'a> {
    rows: Box<dyn TableReader + 'a>,
    columns: VariationColumns,
    /// The products that may have variations, in the order of the file.
    parents: Vec<Record>,
    /// The position of each among them, by its SKU and by its number.
    positions: HashMap<String, usize>,
    /// Those that have variations.
    with_variations: HashSet<usize>,
    /// What is left to return after the last row; `None` before that.
    ready: Option<VecDeque<Record>>,
}

impl<'a> Variations<'a> {
    pub(super) fn new(rows: Box<dyn TableReader + 'a>, columns: VariationColumns) -> Self {
        Self {
            rows,
            columns,
            parents: Vec::new(),
            positions: HashMap::new(),
            with_variations: HashSet::new(),
            ready: None,
        }
    }

    fn keep_parent(&mut self, record: Record) {
        let position = self.parents.len();
        let sku = self
            .columns
            .sku
            .map(|column| record.text(column).to_owned());
        let id = self
            .columns
            .id
            .map(|column| format!("id:{}", record.text(column)));
        for name in [sku, id].into_iter().flatten() {
            if !name.is_empty() && name != "id:" {
                self.positions.entry(name).or_insert(position);
            }
        }
        self.parents.push(record);
    }

    /// Returns what is left after the last row: the products that have no variations, and with one job for
    /// each product those that have some.
    fn finish(&mut self) -> VecDeque<Record> {
        let parents = std::mem::take(&mut self.parents).into_iter().enumerate();
        let left = parents.map(|(position, mut record)| {
            if self.with_variations.contains(&position) {
                record.is_left_out = !self.columns.is_one_per_product;
                record.remarks.push(Remark::WithVariations);
            }
            record
        });
        left.collect()
    }

    /// Completes a variation with its product, or the product's picture with that of its variation.
    fn join(&mut self, variation: &mut Record) {
        let parent = variation.text(self.columns.parent);
        let Some(position) = self.positions.get(parent).copied() else {
            return;
        };
        self.with_variations.insert(position);
        let parent = &mut self.parents[position];
        let has_picture = |row: &Record| {
            self.columns
                .images
                .iter()
                .any(|column| !row.text(*column).is_empty())
        };
        if self.columns.is_one_per_product {
            if !has_picture(parent) && has_picture(variation) {
                let cells = parent.cells.iter().enumerate().map(|(column, cell)| {
                    let is_picture = self.columns.images.contains(&column);
                    let picture = variation.cells.get(column).filter(|_| is_picture);
                    picture.unwrap_or(cell)
                });
                parent.cells = cells.collect();
            }
            variation.is_left_out = true;
            variation.remarks.push(Remark::VariationOfJob);
            return;
        }
        if !has_picture(variation) && has_picture(parent) {
            variation.remarks.push(Remark::PictureOfProduct);
        }
        variation.remarks.push(Remark::Variation);
        let cells = variation.cells.iter().enumerate().map(|(column, cell)| {
            let is_taken = cell.trim_ascii().is_empty() || self.columns.statuses.contains(&column);
            let inherited = parent.cells.get(column).filter(|_| is_taken);
            inherited.unwrap_or(cell)
        });
        variation.cells = cells.collect();
    }
}

impl TableReader for Variations<'_> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        while self.ready.is_none() {
            let mut row = Record::default();
            if !self.rows.read(&mut row)? {
                self.ready = Some(self.finish());
                break;
            }
            let kind = row.text(self.columns.kind).to_ascii_lowercase();
            let is_variation = kind
                .split(',')
                .any(|kind| kind.trim().starts_with("variation"));
            if is_variation {
                self.join(&mut row);
            } else if kind.split(',').any(|kind| kind.trim() == "variable") && row.fault.is_none() {
                self.keep_parent(row);
                continue;
            }
            *record = row;
            return Ok(true);
        }
        let ready = self.ready.as_mut().and_then(VecDeque::pop_front);
        let has_record = ready.is_some();
        *record = ready.unwrap_or_default();
        Ok(has_record)
    }
}
