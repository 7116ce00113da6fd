//! The header of a table: which columns fill which fields. What rows need of it is worked out here, once.

use std::collections::HashSet;

use crate::domain::Shape;
use crate::domain::printable::shown;
use crate::domain::suggest::did_you_mean;

use super::products::Grouping;
use super::table_reader::Record;
use super::{ID, MOST_COLUMNS, RowMapper};

/// The columns of a table.
pub(super) struct Header<'a> {
    pub(super) columns: Vec<Column<'a>>,
    /// Their places, in the order in which a row is read: of several columns that give one field the first that is not
    /// empty does.
    pub(super) in_order: Vec<usize>,
}

/// A column, and what it fills.
pub(super) struct Column<'a> {
    pub(super) name: String,
    pub(super) fills: Vec<Fill<'a>>,
}

/// A field that a column fills.
pub(super) struct Fill<'a> {
    pub(super) field: &'a str,
    /// What its values are; `None` is the row's key.
    pub(super) shape: Option<&'a Shape>,
    /// Whether several columns may give it.
    pub(super) has_alternatives: bool,
}

impl<'a> Header<'a> {
    /// Reads a header; `None` when no row could be understood under it.
    pub(super) fn read(
        record: &Record,
        mapper: &'a RowMapper<'_>,
        wrong: &mut dyn FnMut(String),
    ) -> Option<Self> {
        let columns = read_columns(record, mapper, wrong)?;
        let mut in_order: Vec<usize> = (0..columns.len()).collect();
        in_order.sort_by_key(|index| mapper.rank(&columns[*index].name));
        Some(Self { columns, in_order })
    }

    /// How the rows become products, where the user said so.
    pub(super) fn grouping(&self, mapper: &RowMapper<'_>) -> Result<Option<Grouping>, String> {
        if mapper.one_per.is_none() && !mapper.each_image {
            return Ok(None);
        }
        let of = |field: &str| -> Vec<usize> {
            let gives = |index: &usize| {
                self.columns[*index]
                    .fills
                    .iter()
                    .any(|fill| fill.field == field)
            };
            self.in_order.iter().copied().filter(gives).collect()
        };
        let images = of("image");
        if mapper.each_image && images.is_empty() {
            return Err("no column gives `image`, of which --each-image makes jobs".into());
        }
        let mut by = Vec::new();
        if let Some(name) = &mapper.one_per {
            let named = self.columns.iter().position(|column| column.name == *name);
            by = named.map_or_else(|| of(name), |index| vec![index]);
            if by.is_empty() {
                let near =
                    did_you_mean(name, self.columns.iter().map(|column| column.name.as_str()));
                return Err(format!(
                    "there is no column `{}`, which --one-per names{near}",
                    shown(name)
                ));
            }
        }
        Ok(Some(Grouping {
            by,
            images,
            each_image: mapper.each_image,
        }))
    }
}

fn read_columns<'a>(
    record: &Record,
    mapper: &'a RowMapper<'_>,
    wrong: &mut dyn FnMut(String),
) -> Option<Vec<Column<'a>>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    let mut usable = true;
    let mut tell = |message: String| {
        usable = false;
        wrong(message);
    };
    if let Some(fault) = &record.fault {
        tell(fault.clone());
        return None;
    }
    if record.cells.len() > MOST_COLUMNS {
        tell(format!(
            "has {} columns, the most are {MOST_COLUMNS}",
            record.cells.len()
        ));
        return None;
    }
    let names: Vec<&str> = record
        .cells
        .iter()
        .filter_map(|cell| std::str::from_utf8(cell).ok().map(str::trim))
        .collect();
    if let Some(preset) = mapper.likely_preset(&names) {
        let word = preset.as_str();
        tell(format!(
            "has the columns of {word}; read it with --preset {word} --prompt TEMPLATE"
        ));
        return None;
    }
    let (mut seen, mut filled) = (HashSet::new(), HashSet::new());
    for (index, cell) in record.cells.iter().enumerate() {
        let Ok(name) = std::str::from_utf8(cell).map(str::trim) else {
            tell(format!(
                "the name of column {} is not UTF-8 text",
                index + 1
            ));
            continue;
        };
        if name.contains('\0') {
            tell("its header holds NUL characters; is it UTF-16 text? Save it as UTF-8".into());
            return None;
        }
        if !name.is_empty() && !seen.insert(name) {
            tell(format!("two columns are called `{}`", shown(name)));
        }
        // Spreadsheets leave empty columns at the right; their cells must be empty, which is checked row by row.
        let fields = if name.is_empty() {
            Ok(Vec::new())
        } else {
            mapper.fields_of(name)
        };
        let fields = fields.unwrap_or_else(|message| {
            tell(message);
            Vec::new()
        });
        let fills: Vec<Fill<'a>> = fields
            .into_iter()
            .map(|field| fill(field, mapper))
            .collect();
        for Fill {
            field,
            has_alternatives,
            ..
        } in &fills
        {
            if !filled.insert(*field) && !has_alternatives {
                tell(format!(
                    "two columns give `{field}`; `{}` is the second",
                    shown(name)
                ));
            }
        }
        columns.push(Column {
            name: name.to_owned(),
            fills,
        });
    }
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    mapper
        .missing_columns(&names)
        .into_iter()
        .for_each(&mut tell);
    if usable {
        // Told once here, not once a row. After another mistake it would only repeat that one.
        let given: Vec<&str> = columns
            .iter()
            .flat_map(|column| &column.fills)
            .map(|fill| fill.field)
            .collect();
        let spare = columns.iter().filter(|column| column.fills.is_empty());
        let spare: Vec<&str> = spare.map(|column| column.name.as_str()).collect();
        for message in mapper.missing_fields(&given, &spare) {
            usable = false;
            wrong(message);
        }
    }
    usable.then_some(columns)
}

fn fill<'a>(field: &'a str, mapper: &'a RowMapper<'_>) -> Fill<'a> {
    let shape = if field == ID {
        None
    } else {
        mapper.model.field(field).map(|known| &known.shape)
    };
    Fill {
        field,
        shape,
        has_alternatives: mapper.has_alternatives(field),
    }
}
