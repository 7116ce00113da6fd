//! How well a header fits what is read: which of its columns are known, and what it lacks.

use super::column_names::ColumnNames;
use super::preset::Preset;
use super::row_mapper::RowMapper;
use crate::domain::suggest::nearest;
use crate::manifest::problem::Mistake;

impl RowMapper<'_> {
    /// Returns the preset whose fields a header's columns all provide. Returns `None` if there is
    /// none, or if the user has mapped columns or written a prompt.
    pub(super) fn suggested_preset(&self, columns: &ColumnNames<'_>) -> Option<Preset> {
        let is_there = |name: &&str| columns.names().contains(name);
        let has_all_fields = |preset: &Preset| {
            let is_signed =
                preset.signature().is_empty() || preset.signature().iter().any(is_there);
            let mut fields = preset.columns().into_iter();
            is_signed && fields.all(|(_, names)| names.iter().any(is_there))
        };
        let is_unspecified = self.mappings.is_empty() && self.prompt.is_none();
        Preset::ALL
            .into_iter()
            .find(has_all_fields)
            .filter(|_| is_unspecified)
    }

    /// Returns how many of the columns that are read have one of these names. A header has
    /// [`max_known`](Self::max_known) of them.
    pub(in crate::manifest) fn count_known(&self, names: &[&str]) -> usize {
        let names = ColumnNames::new(names.to_vec());
        if self.suggested_preset(&names).is_some() {
            return self.max_known();
        }
        let mapped = self.mappings.iter().filter(|mapping| {
            let candidates = mapping.candidates(|name| names.has(name));
            candidates.iter().any(|name| names.has(name))
        });
        let in_template = self.template_columns().filter(|name| names.has(name));
        let required = self.unmapped_fields().filter(|field| {
            let is_field = |name: &&&str| self.find_field(name) == Some(field);
            names.names().iter().any(|name| is_field(&name))
        });
        mapped.count() + in_template.count() + required.count()
    }

    /// Returns how many columns are read at least.
    pub(in crate::manifest) fn max_known(&self) -> usize {
        self.mappings.len() + self.template_columns().count() + self.unmapped_fields().count()
    }

    /// Returns the fields that every row needs and that only a column of their name provides.
    fn unmapped_fields(&self) -> impl Iterator<Item = &str> {
        self.needed_fields()
            .filter(|field| self.mapping_for(field).is_none())
    }

    /// Returns a mistake for each field that every row needs and that neither the columns nor the
    /// user provide. `unused` are columns that provide no field, of which one may be meant.
    pub(super) fn check_needed_fields(&self, provided: &[&str], unused: &[&str]) -> Vec<Mistake> {
        let missing = self
            .needed_fields()
            .filter(|field| !provided.contains(field));
        missing
            .map(|field| Mistake::NoColumnFor {
                field: field.to_owned(),
                candidate: nearest(field, unused.iter().copied()).map(str::to_owned),
            })
            .collect()
    }
}
