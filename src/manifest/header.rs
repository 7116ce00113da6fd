//! The header of a table: which columns provide which fields. Everything that reading the
//! rows needs from it is computed here, once.

use std::collections::HashSet;

use crate::domain::Shape;
use crate::domain::printable::printable_excerpt;
use crate::domain::suggest::nearest;

use super::limits::MAX_COLUMNS;
use super::problem::{ColumnOption, Mistake};
use super::products::Grouping;
use super::row::ID_FIELD;
use super::row_mapper::RowMapper;
use super::table_reader::Record;

/// The columns of a table.
pub(super) struct Header<'a> {
    pub(super) columns: Vec<Column<'a>>,
    /// Indices of the columns in the order in which a row is read: if several columns provide one
    /// field, the first that is not empty sets it.
    pub(super) read_order: Vec<usize>,
}

/// A column and the fields that it provides.
pub(super) struct Column<'a> {
    pub(super) name: String,
    /// Empty if the column is only data for the prompt template, or is not used at all.
    pub(super) targets: Vec<Target<'a>>,
}

/// A field that a column provides.
pub(super) struct Target<'a> {
    pub(super) field: &'a str,
    /// What the field's value may be; `None` for the row's key.
    pub(super) shape: Option<&'a Shape>,
    /// Whether several columns may provide the field.
    pub(super) has_alternatives: bool,
}

impl<'a> Header<'a> {
    /// Reads a header and reports its mistakes. Returns `None` if no row can be read under it.
    pub(super) fn parse(
        record: &Record,
        mapper: &'a RowMapper<'_>,
        report: &mut dyn FnMut(Mistake),
    ) -> Option<Self> {
        let columns = parse_columns(record, mapper, report)?;
        let mut read_order: Vec<usize> = (0..columns.len()).collect();
        read_order.sort_by_key(|index| mapper.preference_rank(&columns[*index].name));
        Some(Self {
            columns,
            read_order,
        })
    }

    /// Returns how rows are combined into products; `None` if the user did not ask for that.
    ///
    /// # Errors
    /// Returns the mistake if a column that the grouping needs is not in the table.
    pub(super) fn grouping(&self, mapper: &RowMapper<'_>) -> Result<Option<Grouping>, Mistake> {
        if mapper.one_per.is_none() && !mapper.each_image {
            return Ok(None);
        }
        let columns_for = |field: &str| -> Vec<usize> {
            let provides_field = |index: &usize| {
                self.columns[*index]
                    .targets
                    .iter()
                    .any(|target| target.field == field)
            };
            self.read_order
                .iter()
                .copied()
                .filter(provides_field)
                .collect()
        };
        let image_columns = columns_for("image");
        if mapper.each_image && image_columns.is_empty() {
            return Err(Mistake::NoImageColumn);
        }
        let mut key_columns = Vec::new();
        if let Some(name) = &mapper.one_per {
            let column = self.columns.iter().position(|column| column.name == *name);
            key_columns = column.map_or_else(|| columns_for(name), |index| vec![index]);
            if key_columns.is_empty() {
                let columns = self.columns.iter().map(|column| column.name.as_str());
                return Err(Mistake::MissingColumn {
                    option: ColumnOption::OnePer,
                    column: name.clone(),
                    nearest: nearest(name, columns).map(str::to_owned),
                });
            }
        }
        Ok(Some(Grouping {
            key_columns,
            image_columns,
            each_image: mapper.each_image,
        }))
    }
}

fn parse_columns<'a>(
    record: &Record,
    mapper: &'a RowMapper<'_>,
    report: &mut dyn FnMut(Mistake),
) -> Option<Vec<Column<'a>>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    let mut is_usable = true;
    let mut reject = |mistake: Mistake| {
        is_usable = false;
        report(mistake);
    };
    if let Some(fault) = &record.fault {
        reject(fault.clone());
        return None;
    }
    if record.cells.len() > MAX_COLUMNS {
        let columns = record.cells.len();
        reject(
            format!("the header has {columns} columns; at most {MAX_COLUMNS} are allowed").into(),
        );
        return None;
    }
    let names: Vec<&str> = record
        .cells
        .iter()
        .filter_map(|cell| std::str::from_utf8(cell).ok().map(str::trim))
        .collect();
    if let Some(preset) = mapper.suggested_preset(&names) {
        let preset = preset.as_str();
        reject(Mistake::ShopExport { preset });
        return None;
    }
    let mut seen_names = HashSet::new();
    let mut provided_fields = HashSet::new();
    for (index, cell) in record.cells.iter().enumerate() {
        let Ok(name) = std::str::from_utf8(cell).map(str::trim) else {
            let number = index + 1;
            reject(
                format!("the name of column {number} is not UTF-8 text; save the file as UTF-8")
                    .into(),
            );
            continue;
        };
        if name.contains('\0') {
            reject(
                "the header contains NUL characters, so the file may be UTF-16 text; save it as \
                 UTF-8"
                    .into(),
            );
            return None;
        }
        if !name.is_empty() && !seen_names.insert(name) {
            let name = printable_excerpt(name);
            reject(format!("two columns are named `{name}`; rename or remove one").into());
        }
        // Spreadsheets leave empty columns at the right. Their cells must be empty too, which is
        // checked row by row.
        let fields = if name.is_empty() {
            Ok(Vec::new())
        } else {
            mapper.fields_for(name)
        };
        let fields = fields.unwrap_or_else(|mistake| {
            reject(mistake);
            Vec::new()
        });
        let targets: Vec<Target<'a>> = fields
            .into_iter()
            .map(|field| target(field, mapper))
            .collect();
        for Target {
            field,
            has_alternatives,
            ..
        } in &targets
        {
            if !provided_fields.insert(*field) && !has_alternatives {
                let name = printable_excerpt(name);
                reject(
                    format!("two columns provide `{field}`; remove one (the second is `{name}`)")
                        .into(),
                );
            }
        }
        columns.push(Column {
            name: name.to_owned(),
            targets,
        });
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    mapper
        .check_named_columns(&names)
        .into_iter()
        .for_each(&mut reject);
    if is_usable {
        // Reported once here instead of once per row. After another mistake it would often only
        // repeat that one.
        let provided: Vec<&str> = columns
            .iter()
            .flat_map(|column| &column.targets)
            .map(|target| target.field)
            .collect();
        let unused = columns.iter().filter(|column| column.targets.is_empty());
        let unused: Vec<&str> = unused.map(|column| column.name.as_str()).collect();
        for mistake in mapper.check_required_fields(&provided, &unused) {
            is_usable = false;
            report(mistake);
        }
    }
    is_usable.then_some(columns)
}

fn target<'a>(field: &'a str, mapper: &'a RowMapper<'_>) -> Target<'a> {
    let shape = if field == ID_FIELD {
        None
    } else {
        mapper.model.field(field).map(|field| &field.shape)
    };
    Target {
        field,
        shape,
        has_alternatives: mapper.has_alternatives(field),
    }
}
