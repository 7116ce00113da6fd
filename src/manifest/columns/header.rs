//! The header of a table: which columns provide which fields. Everything that reading the
//! rows needs from it is computed here, once.

use std::collections::HashMap;

use crate::domain::Shape;
use crate::domain::printable::printable_excerpt;

use super::column_names::ColumnNames;
use super::row_filter::RowFilter;
use super::row_mapper::RowMapper;
use super::unknown_columns::unknown_columns;
use crate::manifest::cell_text::{folded, trim};
use crate::manifest::formats::table_reader::Record;
use crate::manifest::limits::MAX_COLUMNS;
use crate::manifest::problem::{ColumnOption, Mistake};

/// The columns of a table.
pub(in crate::manifest) struct Header<'a> {
    pub(in crate::manifest) columns: Vec<Column<'a>>,
    /// Indices of the columns in the order in which a row is read: if several columns provide one
    /// field, the first that is not empty sets it.
    pub(in crate::manifest) read_order: Vec<usize>,
    /// The columns of the prompt's template, by the names that it has for them.
    pub(in crate::manifest) template_columns: HashMap<&'a str, usize>,
    pub(in crate::manifest) filter: RowFilter<'a>,
}

/// A column and the fields that it provides.
pub(in crate::manifest) struct Column<'a> {
    pub(in crate::manifest) name: String,
    /// Empty if the column is only data for the prompt template or a condition, or is not used at all.
    pub(in crate::manifest) targets: Vec<Target<'a>>,
    /// Whether anything is read from the column.
    pub(in crate::manifest) is_used: bool,
    /// Whether it has no name, and no column after it has one.
    pub(in crate::manifest) is_trailing: bool,
}

impl Column<'_> {
    /// Returns what a mistake in the column concerns: the field that it provides, or its name.
    pub(in crate::manifest) fn label(&self) -> &str {
        let first = self.targets.first();
        first.map_or(self.name.as_str(), |target| target.field)
    }
}

/// A field that a column provides.
pub(in crate::manifest) struct Target<'a> {
    pub(in crate::manifest) field: &'a str,
    /// What the field's value may be; `None` for the row's key.
    pub(in crate::manifest) shape: Option<&'a Shape>,
    /// Whether several columns may provide the field.
    pub(in crate::manifest) has_alternatives: bool,
    /// The position of the column among those that may provide the field, from 0.
    rank: usize,
}

impl<'a> Header<'a> {
    /// Reads a header and reports its mistakes. `samples` are some of the records below it. Returns `None` if no row can be read under it.
    pub(in crate::manifest) fn parse(
        record: &Record,
        samples: &[&Record],
        mapper: &'a RowMapper<'_>,
        report: &mut dyn FnMut(Mistake),
    ) -> Option<Self> {
        let names = match column_names(record) {
            Ok(names) => names,
            Err(mistake) => {
                report(mistake);
                return None;
            }
        };
        let names = ColumnNames::new(names);
        if let Some(preset) = mapper.suggested_preset(&names) {
            let titles = preset.titles();
            let there = titles.iter().find(|title| names.has(title));
            report(Mistake::ShopExport {
                preset: preset.as_str(),
                title: there.unwrap_or(&titles[0]),
            });
            return None;
        }
        let mut is_usable = true;
        let mut reject = |mistake: Mistake| {
            is_usable = false;
            report(mistake);
        };
        let targets = assign_targets(&names, samples, mapper, &mut reject);
        let mut template_columns = HashMap::new();
        for name in mapper.template_columns() {
            match names.find_one(name, ColumnOption::Prompt) {
                Ok(index) => drop(template_columns.insert(name, index)),
                Err(mistake) => reject(mistake),
            }
        }
        let filter = RowFilter::new(&names, &mapper.conditions).unwrap_or_else(|mistakes| {
            mistakes.into_iter().for_each(&mut reject);
            RowFilter::default()
        });
        let last_named = names.names().iter().rposition(|name| !name.is_empty());
        let mut columns: Vec<Column<'a>> = names
            .names()
            .iter()
            .zip(targets)
            .enumerate()
            .map(|(index, (name, targets))| Column {
                name: (*name).to_owned(),
                is_used: !targets.is_empty(),
                targets,
                is_trailing: last_named.is_none_or(|last| index > last),
            })
            .collect();
        let others: Vec<usize> = template_columns
            .values()
            .copied()
            .chain(filter.columns())
            .collect();
        for index in others {
            columns[index].is_used = true;
        }
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
            for mistake in mapper.check_needed_fields(&provided, &unused) {
                is_usable = false;
                report(mistake);
            }
        }
        let rank = |index: &usize| {
            let targets = &columns[*index].targets;
            targets.iter().map(|target| target.rank).min().unwrap_or(0)
        };
        let mut read_order: Vec<usize> = (0..columns.len()).collect();
        read_order.sort_by_key(rank);
        is_usable.then_some(Self {
            columns,
            read_order,
            template_columns,
            filter,
        })
    }

    /// Returns the names of all columns.
    pub(in crate::manifest) fn names(&self) -> ColumnNames<'_> {
        let names = self.columns.iter().map(|column| column.name.as_str());
        ColumnNames::new(names.collect())
    }

    /// Returns the columns with texts for the prompt.
    pub(in crate::manifest) fn text_columns(&self) -> Vec<usize> {
        let of_template = self.template_columns.values().copied();
        of_template.chain(self.columns_for("prompt")).collect()
    }

    /// Returns the columns that provide a field, the preferred one first.
    pub(in crate::manifest) fn columns_for(&self, field: &str) -> Vec<usize> {
        let provides_field = |index: &usize| {
            let targets = &self.columns[*index].targets;
            targets.iter().any(|target| target.field == field)
        };
        let read_order = self.read_order.iter().copied();
        read_order.filter(provides_field).collect()
    }
}

/// Returns the names in a header, without the blanks around them.
///
/// # Errors
/// Returns why it is none.
fn column_names(record: &Record) -> Result<Vec<&str>, Mistake> {
    if let Some(fault) = &record.fault {
        return Err(fault.clone());
    }
    if let Some((column, fault)) = record.cell_faults.first() {
        return Err(format!("the name of column {} {fault}", column + 1).into());
    }
    if record.cells.len() > MAX_COLUMNS {
        let columns = record.cells.len();
        return Err(
            format!("the header has {columns} columns; at most {MAX_COLUMNS} are allowed").into(),
        );
    }
    let names = record.cells.iter().enumerate().map(|(index, cell)| {
        let number = index + 1;
        let name = std::str::from_utf8(cell).map_err(|_| {
            format!("the name of column {number} is not UTF-8 text; save the file as UTF-8")
        })?;
        if name.contains('\0') {
            return Err(
                "the header contains NUL characters, so the file may be UTF-16 text; save it as \
                 UTF-8"
                    .into(),
            );
        }
        Ok(trim(name))
    });
    names.collect::<Result<_, String>>().map_err(Mistake::from)
}

/// Returns the fields that each column provides.
fn assign_targets<'a>(
    names: &ColumnNames<'_>,
    samples: &[&Record],
    mapper: &'a RowMapper<'_>,
    reject: &mut dyn FnMut(Mistake),
) -> Vec<Vec<Target<'a>>> {
    let mut targets: Vec<Vec<Target<'a>>> = names.names().iter().map(|_| Vec::new()).collect();
    let mut provided: HashMap<&str, usize> = HashMap::new();
    let target = |field: &'a str, rank, has_alternatives| Target {
        field,
        shape: mapper.shape_of(field),
        has_alternatives,
        rank,
    };
    for mapping in mapper.mappings() {
        let candidates = mapping.candidates(|name| names.has(name));
        let has_alternatives = candidates.len() > 1;
        let mut is_found = false;
        for (rank, name) in candidates.iter().enumerate() {
            let found = names.find(name);
            if found.is_empty() && has_alternatives && mapping.option == ColumnOption::Map {
                let missing = names.find_one(name, mapping.option);
                missing.err().into_iter().for_each(&mut *reject);
                is_found = true;
            }
            if let [first, _, ..] = found.as_slice() {
                reject(Mistake::AmbiguousColumn(names.names()[*first].to_owned()));
            }
            for index in found.into_iter().take(1) {
                is_found = true;
                provided.entry(&mapping.field).or_insert(index);
                targets[index].push(target(&mapping.field, rank, has_alternatives));
            }
        }
        if !is_found && let Some(name) = candidates.first() {
            let missing = names.find_one(name, mapping.option);
            missing.err().into_iter().for_each(&mut *reject);
        }
    }
    if let Some(mistake) = unknown_columns(names, samples, mapper) {
        reject(mistake);
        return targets;
    }
    // Spreadsheets leave empty columns at the right, and some programs an unnamed one at the left.
    for (index, name) in names.names().iter().enumerate() {
        if !targets[index].is_empty() || name.is_empty() {
            continue;
        }
        let field = match mapper.default_field(name) {
            Ok(Some(field)) => field,
            Ok(None) => continue,
            Err(mistake) => {
                reject(mistake);
                continue;
            }
        };
        if let Some(other) = provided.insert(field, index) {
            let is_repeated = folded(names.names()[other]) == folded(name);
            reject(if is_repeated {
                Mistake::AmbiguousColumn((*name).to_owned())
            } else {
                let name = printable_excerpt(name);
                format!("two columns provide `{field}`; remove one (the second is `{name}`)").into()
            });
        }
        targets[index].push(target(field, 0, false));
    }
    targets
}
