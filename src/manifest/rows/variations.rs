//! Variations of products, as WooCommerce exports them: rows that name the row of their product, whose
//! picture and texts they take where they have none.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::manifest::columns::header::Header;
use crate::manifest::columns::preset::{
    Preset, WOOCOMMERCE_KINDS, WOOCOMMERCE_PARENTS, WOOCOMMERCE_SKUS,
};
use crate::manifest::columns::row_mapper::RowMapper;
use crate::manifest::formats::table_reader::{Record, TableReader};
use crate::manifest::remark::Remark;
use crate::manifest::row::ID_FIELD;

/// Maximum length of the rows that are kept until the end, in bytes.
const MAX_KEPT_BYTES: usize = 256 << 20;

/// What WooCommerce writes into `Published` for a product that is.
const PUBLISHED: &str = "1";

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
    /// Columns that identify a job.
    pub(super) keys: Vec<usize>,
    /// Columns with pictures.
    pub(super) images: Vec<usize>,
    /// Columns in which the shop says something about a product, and so about its variations.
    pub(super) statuses: Vec<usize>,
    /// Whether a product is one job, whatever its variations are.
    pub(super) is_one_per_product: bool,
}

impl VariationColumns {
    /// Returns the columns of a shop's variations; `None` if the table has none.
    pub(super) fn of(header: &Header<'_>, mapper: &RowMapper<'_>) -> Option<Self> {
        let _ = mapper
            .preset
            .filter(|preset| *preset == Preset::Woocommerce)?;
        let names = header.names();
        let find = |wanted: &[&str]| {
            wanted
                .iter()
                .find_map(|name| names.find(name).first().copied())
        };
        Some(Self {
            id: find(&["ID"]),
            sku: find(&WOOCOMMERCE_SKUS),
            kind: find(&WOOCOMMERCE_KINDS)?,
            parent: find(&WOOCOMMERCE_PARENTS)?,
            keys: header.columns_for(ID_FIELD),
            images: header.columns_for("image"),
            statuses: header.filter.status_columns().collect(),
            is_one_per_product: mapper.is_one_per_product,
        })
    }
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
    /// Variations whose products were not read yet.
    waiting: Vec<Record>,
    /// Length of the rows that are kept, in bytes.
    kept_bytes: usize,
    /// What is left to return after the last row; `None` before that.
    ready: Option<VecDeque<Record>>,
}

impl<'a> Variations<'a> {
    pub(in crate::manifest) fn new(
        rows: Box<dyn TableReader + 'a>,
        columns: VariationColumns,
    ) -> Self {
        Self {
            rows,
            columns,
            parents: Vec::new(),
            positions: HashMap::new(),
            with_variations: HashSet::new(),
            waiting: Vec::new(),
            kept_bytes: 0,
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

    /// Returns what is left after the last row: variations in front of their products, the products that
    /// have no variations, and with one job for each product those that have some.
    fn finish(&mut self) -> VecDeque<Record> {
        let mut left = VecDeque::new();
        for mut variation in std::mem::take(&mut self.waiting) {
            self.join(&mut variation);
            left.push_back(variation);
        }
        let parents = std::mem::take(&mut self.parents).into_iter().enumerate();
        left.extend(parents.map(|(position, mut record)| {
            if self.with_variations.contains(&position) {
                record.is_left_out |= !self.columns.is_one_per_product;
                record.remarks.push(Remark::WithVariations);
            }
            record
        }));
        left
    }

    /// Keeps a row until the end.
    ///
    /// # Errors
    /// Fails if the rows that are kept take too much memory.
    fn keep(&mut self, record: &Record) -> anyhow::Result<()> {
        self.kept_bytes += record.cells.as_slice().len();
        anyhow::ensure!(
            self.kept_bytes <= MAX_KEPT_BYTES,
            "the products with variations take more than {} MiB",
            MAX_KEPT_BYTES >> 20
        );
        Ok(())
    }

    /// Completes a variation with its product, or the product's picture with that of its variation.
    fn join(&mut self, variation: &mut Record) {
        let parent = variation.text(self.columns.parent);
        let Some(position) = self.positions.get(parent).copied() else {
            return;
        };
        let parent = &mut self.parents[position];
        // A row that is not whole is a mistake, whatever it belongs to.
        if variation.fault.is_some() || variation.cells.len() != parent.cells.len() {
            return;
        }
        self.with_variations.insert(position);
        let images = &self.columns.images;
        let has_picture = |row: &Record| images.iter().any(|column| !row.text(*column).is_empty());
        if self.columns.is_one_per_product {
            if !has_picture(parent) && has_picture(variation) {
                let cells = parent.cells.iter().enumerate().map(|(column, cell)| {
                    let is_picture = images.contains(&column);
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
        // What identifies a variation is its own.
        let is_taken = |column: usize| {
            let is_empty = variation.text(column).is_empty();
            let is_key = self.columns.keys.contains(&column);
            // A variation of a draft is one; one may be a draft itself.
            let is_status = self.columns.statuses.contains(&column);
            (is_empty && !is_key) || (is_status && parent.text(column) != PUBLISHED)
        };
        let faults = parent.cell_faults.iter();
        let faults: Vec<_> = faults
            .filter(|(column, _)| is_taken(*column))
            .cloned()
            .collect();
        let cells = variation.cells.iter().enumerate().map(|(column, cell)| {
            let inherited = parent.cells.get(column).filter(|_| is_taken(column));
            inherited.unwrap_or(cell)
        });
        variation.cells = cells.collect();
        variation.cell_faults.extend(faults);
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
            let mut kinds = kind.split(',').map(str::trim);
            if kinds.clone().any(|kind| kind.contains("variation")) {
                let is_known = self.positions.contains_key(row.text(self.columns.parent));
                if !is_known && row.fault.is_none() {
                    self.keep(&row)?;
                    self.waiting.push(row);
                    continue;
                }
                self.join(&mut row);
            } else if kinds.any(|kind| kind.starts_with("variable")) && row.fault.is_none() {
                self.keep(&row)?;
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
