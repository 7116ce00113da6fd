//! Tables of other programs, which have hardly any column of the name of a field: which of their columns
//! may be meant.

use super::column_names::ColumnNames;
use super::row_mapper::RowMapper;
use crate::manifest::cell_text::folded;
use crate::manifest::problem::Mistake;
use crate::manifest::row::ID_FIELD;

/// Number of unknown columns from which a table is one of another program, and not one with a mistake.
const MIN_UNKNOWN_COLUMNS: usize = 3;

/// Words in the names of columns that identify rows.
const KEY_WORDS: [&str; 9] = [
    "sku",
    "id",
    "code",
    "handle",
    "ref",
    "reference",
    "article",
    "artikelnummer",
    "ean",
];

/// Returns one mistake in place of many if hardly any column has the name of a field.
pub(super) fn unknown_columns(names: &ColumnNames<'_>, mapper: &RowMapper<'_>) -> Option<Mistake> {
    let names = names.names().iter().filter(|name| !name.is_empty());
    let unknown = names
        .clone()
        .filter(|name| mapper.default_field(name).is_err());
    if unknown.count() < MIN_UNKNOWN_COLUMNS {
        return None;
    }
    let find = |parts: &[&str]| {
        let of_part = |part: &&str| names.clone().find(|name| folded(name).contains(*part));
        let found = parts.iter().find_map(of_part);
        found.map(|name| (*name).to_owned())
    };
    let is_field = |name: &str, field: &str| mapper.default_field(name) == Ok(Some(field));
    let has = |field: &str| names.clone().any(|name| is_field(name, field));
    let is_key = |name: &&&str| {
        let name = folded(name);
        let mut words = name.split(|c: char| !c.is_alphanumeric());
        words.any(|word| KEY_WORDS.contains(&word))
    };
    let is_name = |name: &&&str| ["name", "title"].contains(&folded(name).as_str());
    let key = names.clone().find(is_key).or(names.clone().find(is_name));
    let key = key.filter(|_| !has(ID_FIELD));
    Some(Mistake::UnknownColumns {
        has_prompt: has("prompt"),
        key: key.map(|name| (*name).to_owned()),
        columns: names.clone().map(|name| (*name).to_owned()).collect(),
        image: find(&[
            "image",
            "photo",
            "picture",
            "img",
            "bild",
            "foto",
            "attachment",
            "media",
        ]),
        title: find(&["title", "name", "titel", "product", "description"]),
    })
}
