//! The pictures of a product, in their order.

use std::collections::HashSet;

use super::grouping::Grouping;
use crate::manifest::formats::table_reader::Record;
use crate::manifest::pictures::links::{WrittenLink, split};

/// A picture of a product: its row, and its link.
pub(super) struct ProductImage<'r> {
    pub(super) row: &'r Record,
    /// The column that the link is read from.
    pub(super) column: usize,
    pub(super) written: WrittenLink,
}

impl Grouping {
    /// Returns the distinct pictures of a product's rows, in the shop's order.
    pub(super) fn images_of_product<'r>(
        &self,
        rows: impl Iterator<Item = &'r Record>,
    ) -> Vec<ProductImage<'r>> {
        let mut images = self.images_in(&self.image_columns, rows);
        if let Some(column) = self.position_column {
            let position = |image: &ProductImage<'_>| image.row.text(column).parse::<u64>();
            images.sort_by_key(|image| position(image).unwrap_or(u64::MAX));
        }
        images
    }

    /// Returns the distinct pictures of the rows of one job.
    pub(super) fn images_of_job<'r>(
        &self,
        rows: impl Iterator<Item = &'r Record>,
    ) -> Vec<ProductImage<'r>> {
        // A row has a picture of the product and a variant, which are not about each other.
        if self.variant_image_columns.is_empty() {
            self.images_in(&self.image_columns, rows)
        } else {
            self.images_in(&self.variant_image_columns, rows)
        }
    }

    fn images_in<'r>(
        &self,
        columns: &[usize],
        rows: impl Iterator<Item = &'r Record>,
    ) -> Vec<ProductImage<'r>> {
        let mut images = Vec::new();
        let mut seen_links = HashSet::new();
        for row in rows {
            for column in columns {
                let cell = row.text(*column);
                if cell.is_empty() {
                    continue;
                }
                let is_read = self.image_columns.contains(column);
                let column = Some(*column).filter(|_| is_read);
                let Some(column) = column.or(self.image_columns.first().copied()) else {
                    continue;
                };
                for written in split(cell, self.image_base.as_ref()) {
                    if seen_links.insert(written.link.clone()) {
                        images.push(ProductImage {
                            row,
                            column,
                            written,
                        });
                    }
                }
            }
        }
        images
    }
}
