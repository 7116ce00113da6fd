//! Tables of other programs, which have hardly any column of the name of a field: which of their columns
//! may be meant.

use std::collections::HashSet;

use super::column_names::ColumnNames;
use super::row_mapper::RowMapper;
use crate::manifest::cell_text::folded;
use crate::manifest::formats::table_reader::Record;
use crate::manifest::pictures::links::split;
use crate::manifest::pictures::odd_link::is_picture_name;
use crate::manifest::problem::Mistake;
use crate::manifest::row::ID_FIELD;

/// Number of unknown columns from which a table is one of another program, and not one with a mistake.
const MIN_UNKNOWN_COLUMNS: usize = 3;

/// Words in the names of columns that identify rows, the surest first.
const KEY_WORDS: [&str; 9] = [
    "sku",
    "handle",
    "artikelnummer",
    "reference",
    "ref",
    "article",
    "id",
    "ean",
    "code",
];

/// Words in the names of columns that identify something else.
const NO_KEY_WORDS: [&str; 9] = [
    "currency", "country", "category", "parent", "tax", "postal", "zip", "brand", "google",
];

/// Parts of the names of columns with pictures.
const IMAGE_PARTS: [&str; 8] = [
    "image",
    "photo",
    "picture",
    "img",
    "bild",
    "foto",
    "attachment",
    "media",
];

/// Words in the names of columns about pictures that do not hold them.
const NO_IMAGE_WORDS: [&str; 7] = ["id", "alt", "title", "position", "count", "sort", "label"];

/// Names of columns with the name of a product.
const TITLES: [&str; 14] = [
    "title",
    "name",
    "titel",
    "titre",
    "titolo",
    "título",
    "nom",
    "nombre",
    "nome",
    "naam",
    "product name",
    "product title",
    "item_name",
    "produktname",
];

/// Words in the names of columns that name something else than the product.
const NO_TITLE_WORDS: [&str; 12] = [
    "meta",
    "seo",
    "brand",
    "description",
    "variant",
    "variante",
    "option",
    "category",
    "image",
    "media",
    "file",
    "attribute",
];

/// Returns one mistake in place of many if hardly any column has the name of a field. `samples` are some records
/// below the header.
pub(in crate::manifest) fn unknown_columns(
    names: &ColumnNames<'_>,
    samples: &[&Record],
    mapper: &RowMapper<'_>,
) -> Option<Mistake> {
    let columns = names.names();
    let named: Vec<&str> = columns
        .iter()
        .copied()
        .filter(|name| !name.is_empty())
        .collect();
    let unknown = named
        .iter()
        .filter(|name| mapper.default_field(name).is_err());
    if unknown.count() < MIN_UNKNOWN_COLUMNS {
        return None;
    }
    let is_field = |name: &str, field: &str| mapper.default_field(name) == Ok(Some(field));
    let has = |field: &str| named.iter().any(|name| is_field(name, field));
    let with_pictures = (0..columns.len())
        .find(|column| !columns[*column].is_empty() && has_pictures(samples, *column));
    let is_key = |column: usize, word: &str| {
        let name = folded(columns[column]);
        let is_other = has_image_part(&name) || has_word(&name, &NO_KEY_WORDS);
        has_word(&name, &[word]) && !is_other && is_distinct(samples, column)
    };
    let key_column = KEY_WORDS
        .iter()
        .find_map(|word| (0..columns.len()).find(|column| is_key(*column, word)));
    let image = with_pictures
        .map(|column| columns[column].to_owned())
        .or_else(|| {
            find(&named, |name| {
                is_about_pictures(name) && has_word(name, &["url", "link"])
            })
        })
        .or_else(|| find(&named, is_about_pictures));
    let title = TITLES
        .iter()
        .find_map(|title| find(&named, |name| name == *title))
        .or_else(|| find(&named, |name| is_title(name, &["title", "titel", "name"])))
        .or_else(|| find(&named, |name| is_title(name, &["product", "item"])))
        .or_else(|| first_text(columns, samples));
    // A name of its own is better than none, if no two are alike.
    let is_title = |column: &usize| Some(columns[*column]) == title.as_deref();
    let key_column = key_column.or_else(|| {
        let column = (0..columns.len()).find(is_title);
        column.filter(|column| is_distinct(samples, *column))
    });
    let key = key_column.map(|column| columns[column].to_owned());
    let prompt = find(&named, |name| has_word(name, &["prompt"]));
    Some(Mistake::UnknownColumns {
        has_prompt: has("prompt"),
        prompt: prompt.filter(|_| !has("prompt")),
        key: key.filter(|_| !has(ID_FIELD)),
        image,
        title,
        columns: named.into_iter().map(str::to_owned).collect(),
    })
}

/// Returns the first column for whose name, in lower case, something is so.
fn find(names: &[&str], is_so: impl Fn(&str) -> bool) -> Option<String> {
    let found = names.iter().find(|name| is_so(&folded(name)));
    found.map(|name| (*name).to_owned())
}

fn has_word(name: &str, words: &[&str]) -> bool {
    let mut own = name.split(|c: char| !c.is_alphanumeric());
    own.any(|word| words.contains(&word))
}

fn has_image_part(name: &str) -> bool {
    IMAGE_PARTS.iter().any(|part| name.contains(part))
}

fn is_about_pictures(name: &str) -> bool {
    has_image_part(name) && !has_word(name, &NO_IMAGE_WORDS)
}

fn is_title(name: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| name.contains(part)) && !has_word(name, &NO_TITLE_WORDS)
}

/// Returns the first column whose cells are words.
fn first_text(columns: &[&str], samples: &[&Record]) -> Option<String> {
    let is_words = |text: &str| {
        let letters = text.chars().filter(|c| c.is_alphabetic()).count();
        letters >= 3 && letters * 2 > text.chars().count() && !text.contains("://")
    };
    let has_words = |column: &usize| {
        let mut cells = samples.iter().map(|record| record.text(*column));
        !columns[*column].is_empty() && !samples.is_empty() && cells.all(is_words)
    };
    let found = (0..columns.len()).find(has_words);
    found.map(|column| columns[column].to_owned())
}

/// Returns whether no cell of a column is empty or like another one.
fn is_distinct(samples: &[&Record], column: usize) -> bool {
    let mut seen = HashSet::new();
    let mut cells = samples.iter().map(|record| record.text(column));
    cells.all(|cell| !cell.is_empty() && seen.insert(cell))
}

/// Returns whether most cells of a column, as far as they are not empty, hold links that end like pictures.
fn has_pictures(samples: &[&Record], column: usize) -> bool {
    let cells = samples.iter().map(|record| record.text(column));
    let cells: Vec<&str> = cells.filter(|cell| !cell.is_empty()).collect();
    let is_picture = |cell: &&&str| {
        let links = split(cell, None);
        links
            .iter()
            .any(|written| written.link.contains("://") && is_picture_name(written))
    };
    let pictures = cells.iter().filter(is_picture).count();
    pictures > 0 && pictures * 2 >= cells.len()
}
