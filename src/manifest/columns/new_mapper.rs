//! Makes a mapper of what the user specifies, which is checked here once.

use std::path::Path;

use url::Url;

use super::mapping::{ColumnMapping, MappingOptions};
use super::mapping_error::MappingError;
use super::preset::Preset;
use super::row_filter::Conditions;
use super::row_mapper::RowMapper;
use super::template::Template;
use crate::domain::{Model, ProviderName};
use crate::manifest::pictures::images::ImageResolver;
use crate::manifest::problem::ColumnOption;
use crate::manifest::row::ID_FIELD;

impl<'a> RowMapper<'a> {
    /// Creates a mapper for a model and the providers that may run it.
    ///
    /// # Errors
    /// Returns which of the options is wrong and why.
    pub fn new(
        model: &'a Model,
        providers: Vec<ProviderName>,
        layout: MappingOptions,
    ) -> Result<Self, MappingError> {
        let mut mapper = Self {
            model,
            providers,
            mappings: Vec::new(),
            constants: Vec::new(),
            prompt: None,
            one_per: None,
            is_one_per_given: false,
            each_image: layout.each_image,
            skip_missing: Vec::new(),
            images: ImageResolver::new(layout.image_fixes),
            preset: layout.preset,
            is_one_per_product: false,
            group_by: layout.group_by,
            conditions: Conditions {
                only: layout.only,
                except: layout.except,
                statuses: layout.preset.map_or(&[], Preset::statuses),
                takes_all_statuses: layout.all_statuses,
            },
            image_base: layout.image_base.or_else(|| {
                let base = layout.preset.and_then(Preset::image_base);
                base.and_then(|base| Url::parse(base).ok())
            }),
            header_row: layout.header_row,
        };
        mapper.map_columns(layout.map)?;
        if let Some(preset) = layout.preset {
            mapper.map_columns_of(preset);
        }
        mapper.set_constants(layout.set)?;
        if let Some(text) = &layout.prompt {
            mapper.set_prompt(text)?;
        }
        mapper.skip_missing(layout.skip_missing)?;
        mapper.identify_products(layout.one_per);
        Ok(mapper)
    }

    /// Adds the columns that the user has named for fields.
    fn map_columns(&mut self, map: Vec<(String, String)>) -> Result<(), MappingError> {
        for (name, column) in map {
            let invalid = |field: &str, reason: String| MappingError::InvalidColumn {
                field: field.to_owned(),
                column: column.clone(),
                reason,
            };
            let field = self
                .resolve_field(&name)
                .map_err(|reason| invalid(&name, reason))?;
            if self.mapping_for(&field).is_some() {
                return Err(MappingError::RepeatedColumn(field));
            }
            if column.trim().is_empty() {
                return Err(invalid(&field, "the column name is blank".into()));
            }
            self.mappings.push(ColumnMapping {
                field,
                columns: vec![column],
                option: ColumnOption::Map,
            });
        }
        Ok(())
    }

    /// Adds the columns of a preset for the fields that the user has named none for.
    fn map_columns_of(&mut self, preset: Preset) {
        for (field, columns) in preset.columns() {
            if self.mapping_for(field).is_none() && self.find_field(field).is_some() {
                let columns = columns.iter().map(|column| (*column).to_owned()).collect();
                self.mappings.push(ColumnMapping {
                    field: field.to_owned(),
                    columns,
                    option: ColumnOption::Preset(preset.as_str()),
                });
            }
        }
    }

    /// Sets the values of fields in rows that leave them out.
    fn set_constants(&mut self, set: Vec<(String, String)>) -> Result<(), MappingError> {
        for (name, text) in set {
            let invalid = |reason: String| MappingError::InvalidValue {
                field: name.clone(),
                value: text.clone(),
                reason,
            };
            let field = self.resolve_field(&name).map_err(invalid)?;
            let Some(field) = self.model.field(&field) else {
                return Err(invalid("every row needs its own id".into()));
            };
            let mut value = field.shape.read_text(&text).map_err(invalid)?;
            self.images
                .resolve(&field.shape, &mut value, Path::new(""), &mut Vec::new())
                .map_err(|image| invalid(image.reason))?;
            field.shape.check(&value).map_err(invalid)?;
            if self.has_constant(&field.name) {
                return Err(MappingError::RepeatedValue(field.name.clone()));
            }
            self.constants.push((field.name.clone(), value));
        }
        Ok(())
    }

    fn set_prompt(&mut self, text: &str) -> Result<(), MappingError> {
        if self.model.field("prompt").is_none() {
            let reason = format!("the model {} has no field `prompt`", self.model.name);
            return Err(MappingError::InvalidPrompt(reason));
        }
        if self.mapping_for("prompt").is_some() {
            return Err(MappingError::RepeatedPrompt);
        }
        self.prompt = Some(Template::parse(text).map_err(MappingError::InvalidPrompt)?);
        Ok(())
    }

    /// Sets the fields without which a row is left out.
    fn skip_missing(&mut self, names: Vec<String>) -> Result<(), MappingError> {
        for name in names {
            let field = self.resolve_field(&name);
            let field = field.map_err(|reason| MappingError::InvalidSkip {
                field: name,
                reason,
            })?;
            self.skip_missing.push(field);
        }
        Ok(())
    }

    /// Sets what identifies a product: what the user names, or else what the preset does.
    fn identify_products(&mut self, one_per: Option<String>) {
        self.is_one_per_product =
            self.preset == Some(Preset::Woocommerce) && one_per.as_deref() == Some("product");
        let one_per = one_per.filter(|_| !self.is_one_per_product);
        self.is_one_per_given = one_per.is_some();
        self.one_per = one_per.or_else(|| {
            let has_several = self.preset.is_some_and(Preset::has_rows_per_product);
            let is_grouped = has_several || self.group_by.is_some();
            is_grouped.then(|| ID_FIELD.to_owned())
        });
        if let Some(column) = &self.one_per
            && self.find_field(column).is_none()
            && self.mapping_for(ID_FIELD).is_none()
        {
            // The column that identifies a product also provides its key.
            self.mappings.push(ColumnMapping {
                field: ID_FIELD.to_owned(),
                columns: vec![column.clone()],
                option: ColumnOption::OnePer,
            });
        }
    }
}
