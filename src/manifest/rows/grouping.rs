//! How rows are combined into products, by the columns of a header.

use crate::manifest::columns::header::Header;
use crate::manifest::columns::preset::Preset;
use crate::manifest::columns::row_mapper::RowMapper;
use crate::manifest::problem::{ColumnOption, Mistake};
use crate::manifest::row::ID_FIELD;

/// How rows are combined into products.
#[derive(Default)]
pub(super) struct Grouping {
    /// Columns that identify what becomes one job; the first that is not empty does. If there are none,
    /// each row is one.
    pub(super) key_columns: Vec<usize>,
    /// The column that identifies the product, of which rows take what they leave empty; `None` if that is
    /// what identifies a job.
    pub(super) product_column: Option<usize>,
    /// Columns that provide the product's images.
    pub(super) image_columns: Vec<usize>,
    /// Columns with the image of a variant, if a row's other images are the product's.
    pub(super) variant_image_columns: Vec<usize>,
    /// The column with the position of a row's image among those of its product.
    pub(super) position_column: Option<usize>,
    /// The column by which rows could be combined, and are not.
    pub(super) unused_group: Option<usize>,
    /// Columns with texts for the prompt.
    pub(super) text_columns: Vec<usize>,
    /// Whether each image of a product becomes a record, and not only the first.
    pub(super) each_image: bool,
    /// The start of links that leave it out.
    pub(super) image_base: Option<url::Url>,
}

impl Grouping {
    /// Returns how rows are combined into products; `None` if the user did not ask for that.
    ///
    /// # Errors
    /// Returns the mistake if a column that the grouping needs is not in the table.
    pub(super) fn of(header: &Header<'_>, mapper: &RowMapper<'_>) -> Result<Option<Self>, Mistake> {
        // A preset's product takes the first of its images.
        if !mapper.has_products() {
            return Ok(None);
        }
        let image_columns = header.columns_for("image");
        if mapper.each_image && image_columns.is_empty() {
            return Err(Mistake::NoImageColumn);
        }
        let names = header.names();
        let key_columns = match &mapper.one_per {
            None => Vec::new(),
            Some(name) => {
                // What the user names is a column first; a product is identified by its key otherwise.
                let exact = header
                    .columns
                    .iter()
                    .position(|column| column.name == *name);
                let exact = exact.filter(|_| mapper.is_one_per_given);
                let of_field = header.columns_for(name);
                match exact {
                    Some(index) => vec![index],
                    None if !of_field.is_empty() => of_field,
                    None if !mapper.is_one_per_given => {
                        return Err(Mistake::NoColumnFor {
                            field: name.clone(),
                            candidate: None,
                        });
                    }
                    // Each row is one then, of which the first image is taken.
                    None if name == ID_FIELD => Vec::new(),
                    None => vec![names.find_one(name, ColumnOption::OnePer)?],
                }
            }
        };
        let find_product = |name: &String| names.find_one(name, ColumnOption::GroupBy);
        let product_column = mapper.group_by.as_ref().map(find_product).transpose()?;
        // The user's own image columns are what they say.
        let preset = mapper
            .preset
            .filter(|_| mapper.has_columns_of_preset("image"));
        let columns = |wanted: &[&str]| -> Vec<usize> {
            wanted.iter().flat_map(|name| names.find(name)).collect()
        };
        let is_combined = mapper.one_per.is_some() || product_column.is_some();
        let group = mapper.preset.filter(|_| !is_combined);
        let group = group.and_then(Preset::group_column);
        Ok(Some(Self {
            unused_group: group.and_then(|name| names.find(name).first().copied()),
            key_columns,
            product_column,
            variant_image_columns: preset
                .map_or(Vec::new(), |preset| columns(preset.variant_images())),
            position_column: preset.and_then(|preset| columns(preset.image_positions()).pop()),
            text_columns: header.text_columns(),
            image_columns,
            each_image: mapper.each_image,
            image_base: mapper.image_base.clone(),
        }))
    }
}
