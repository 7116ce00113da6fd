//! Reads the rows of a JSONL manifest: one object per line.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, Read};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::domain::Shape;

use super::pipeline::Producer;
use crate::manifest::cell_text::{folded, trim};
use crate::manifest::columns::column_names::ColumnNames;
use crate::manifest::columns::row_mapper::{KeyField, RowMapper};
use crate::manifest::columns::unknown_columns::unknown_columns;
use crate::manifest::limits::{BOM, MAX_COLUMNS, MAX_ROW_BYTES};
use crate::manifest::pictures::choice::choose;
use crate::manifest::pictures::links::{WrittenLink, split};
use crate::manifest::pictures::read_link::read_one;
use crate::manifest::problem::Mistake;
use crate::manifest::remark::Remark;
use crate::manifest::row::{ID_FIELD, Row};

/// Maximum length of the JSON parser's reason in a message, in characters. The reason may quote a
/// whole row.
const MAX_REASON_CHARS: usize = 200;

/// Reads all rows and returns their number.
pub(in crate::manifest) fn read_rows(
    mut source: impl BufRead,
    mapper: &RowMapper<'_>,
    producer: &mut Producer<'_>,
) -> anyhow::Result<u64> {
    if mapper.needs_table() {
        producer.add_problem(1, Mistake::NotATable);
        return Ok(0);
    }
    let mut rows = 0;
    let mut keys = RowKeys::new(mapper);
    let mut line = 0;
    let mut text = Vec::new();
    loop {
        text.clear();
        // One byte more than the maximum leaves room for the newline of the longest line.
        let length = (&mut source)
            .take(MAX_ROW_BYTES as u64 + 1)
            .read_until(b'\n', &mut text)?;
        if length == 0 {
            keys.report_missing(producer);
            return Ok(rows);
        }
        line += 1;
        if length > MAX_ROW_BYTES && !text.ends_with(b"\n") {
            let size = MAX_ROW_BYTES >> 20;
            producer.add_problem(line, format!("the row is longer than {size} MiB").into());
            source.skip_until(b'\n')?;
            rows += 1;
            continue;
        }
        let bytes = if line == 1 {
            text.strip_prefix(BOM).unwrap_or(&text)
        } else {
            &text
        };
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        rows += add_row(bytes, line, &mut keys, producer)?;
    }
}

/// What is known of the keys of all rows.
pub(super) struct RowKeys<'a, 'm> {
    pub(super) mapper: &'a RowMapper<'m>,
    /// The keys of the user's conditions that no row had so far: a condition on none would be met in silence.
    missing: Vec<&'a str>,
    /// Whether the first row was read.
    has_read: bool,
    /// Whether the rows are those of another program, so that they are not read.
    are_foreign: bool,
}

impl<'a, 'm> RowKeys<'a, 'm> {
    pub(in crate::manifest) fn new(mapper: &'a RowMapper<'m>) -> Self {
        Self {
            mapper,
            missing: mapper.conditions.columns().collect(),
            has_read: false,
            are_foreign: false,
        }
    }

    /// Returns one mistake in place of many if hardly any key of the first row has the name of a field.
    fn begin(&mut self, entries: &[(String, Value)]) -> Option<Mistake> {
        if std::mem::replace(&mut self.has_read, true) || entries.len() > MAX_COLUMNS {
            return None;
        }
        let names = entries.iter().map(|(key, _)| key.as_str());
        let mistake = unknown_columns(&ColumnNames::new(names.collect()), &[], self.mapper);
        self.are_foreign = mistake.is_some();
        mistake
    }

    /// Reports the keys that no row had.
    pub(super) fn report_missing(&self, producer: &mut Producer<'_>) {
        if self.are_foreign {
            return;
        }
        for column in &self.missing {
            producer.add_problem(1, Mistake::MissingKey((*column).to_owned()));
        }
    }
}

/// Reads a row and passes it on; returns 1 if it counts, and 0 if it is left out.
fn add_row(
    bytes: &[u8],
    line: u64,
    keys: &mut RowKeys<'_, '_>,
    producer: &mut Producer<'_>,
) -> anyhow::Result<u64> {
    match parse_entries(bytes) {
        Ok(ObjectEntries(entries)) => add_entries(&entries, line, keys, producer),
        Err(mistake) => {
            let mapper = keys.mapper;
            Ok(u64::from(producer.add_row(line, Err(mistake), mapper)?))
        }
    }
}

/// Passes a row on; returns 1 if it counts, and 0 if it is left out.
pub(super) fn add_entries(
    entries: &[(String, Value)],
    line: u64,
    keys: &mut RowKeys<'_, '_>,
    producer: &mut Producer<'_>,
) -> anyhow::Result<u64> {
    if let Some(mistake) = keys.begin(entries) {
        producer.add_problem(line, mistake);
    }
    if keys.are_foreign {
        return Ok(0);
    }
    let mapper = keys.mapper;
    keys.missing.retain(|name| {
        let mut keys = entries.iter().map(|(key, _)| key);
        !keys.any(|key| folded(key) == folded(name))
    });
    let cell = |name: &str| Cow::Owned(text_of(entries, name).unwrap_or_default());
    if !mapper.conditions.take_row(cell) {
        producer.add_remark(Remark::Filtered, line);
        return Ok(0);
    }
    let mut pictures = Vec::new();
    if mapper.has_products() {
        pictures = links_of_pictures(entries, mapper);
        for remark in choose(&mut pictures, |picture| picture, mapper.each_image) {
            producer.add_remark(remark, line);
        }
    }
    if pictures.is_empty() {
        let row = read_row(entries, line, mapper, None);
        return Ok(u64::from(producer.add_row(line, row, mapper)?));
    }
    let mut rows = 0;
    for (index, picture) in pictures.iter().enumerate() {
        let row = read_row(entries, line, mapper, Some(picture));
        let row = row.map(|mut row| {
            if mapper.each_image {
                row.number_picture(index + 1);
            }
            row
        });
        rows += u64::from(producer.add_row(line, row, mapper)?);
    }
    Ok(rows)
}

/// Returns the distinct links in the values that provide an image.
fn links_of_pictures(entries: &[(String, Value)], mapper: &RowMapper<'_>) -> Vec<WrittenLink> {
    let mut links: Vec<WrittenLink> = Vec::new();
    for (key, value) in entries {
        let fields = mapper.fields_for(key).unwrap_or_default();
        let mut shapes = fields.iter().map(|field| mapper.shape_of(field.field));
        let text = shapes.find_map(|shape| text_of_links(value, shape));
        let Some(text) = text else { continue };
        for written in split(&text, mapper.image_base.as_ref()) {
            if !links.iter().any(|known| known.link == written.link) {
                links.push(written);
            }
        }
    }
    links
}

/// Returns a link of an image, or the JSON of a list of links, as a cell would hold it; `None` if the value
/// is neither.
fn text_of_links<'a>(value: &'a Value, shape: Option<&Shape>) -> Option<Cow<'a, str>> {
    match value {
        _ if shape != Some(&Shape::Image) => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Object(_) => Some(Cow::Owned(format!("[{value}]"))),
        Value::Array(_) => Some(Cow::Owned(value.to_string())),
        _ => None,
    }
}

/// Returns the text of an entry, whose key may differ in case; `None` if there is none.
fn text_of(entries: &[(String, Value)], name: &str) -> Option<String> {
    let exact = entries.iter().find(|(key, _)| key == name);
    let is_meant = |key: &str| folded(key) == folded(name);
    let found = exact.or_else(|| entries.iter().find(|(key, _)| is_meant(key)));
    match &found?.1 {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// Reads a row's object.
///
/// # Errors
/// Returns the mistake if the line is no object.
fn parse_entries(bytes: &[u8]) -> Result<ObjectEntries, Mistake> {
    serde_json::from_slice(bytes).map_err(|error| {
        // The parser sees a single line, so only the column of its position is useful.
        let text = error.to_string();
        let reason = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(reason, _)| reason);
        let reason: String = reason.chars().take(MAX_REASON_CHARS).collect();
        match error.column() {
            0 => format!("the row is not a JSON object: {reason}"),
            column => format!("the row is not a JSON object: {reason} at column {column}"),
        }
        .into()
    })
}

/// Reads a row from its entries, with one of its pictures in place of all if it is given.
///
/// # Errors
/// Returns the mistake that leaves nothing of the row to check; other mistakes are in the row.
fn read_row(
    entries: &[(String, Value)],
    line: u64,
    mapper: &RowMapper<'_>,
    picture: Option<&WrittenLink>,
) -> Result<Row, Mistake> {
    if entries.len() > MAX_COLUMNS {
        return Err(format!(
            "the row has {} fields; at most {MAX_COLUMNS} are allowed",
            entries.len()
        )
        .into());
    }
    let mut row = Row {
        line,
        ..Row::default()
    };
    let mut seen_keys = HashSet::new();
    let mut targets = Vec::new();
    for (key, value) in entries {
        if !seen_keys.insert(key) {
            row.add_problem(key, "is given twice");
            continue;
        }
        match mapper.fields_for(key) {
            Ok(fields) => targets.extend(fields.into_iter().map(|field| (field, value))),
            Err(mistake) => row.problems.push((None, mistake)),
        }
    }
    // Of several keys that may provide a field, the first that is not empty does.
    targets.sort_by_key(|(field, _)| field.rank);
    for (
        KeyField {
            field,
            has_alternatives,
            ..
        },
        value,
    ) in targets
    {
        let is_blank = value.as_str().is_some_and(|text| trim(text).is_empty());
        let is_set = match field {
            ID_FIELD => row.id.is_some(),
            field => row.fields.contains_key(field),
        };
        // `null` leaves the field out, like an empty cell.
        if value.is_null() || (has_alternatives && (is_blank || is_set)) {
            continue;
        }
        match (field, value) {
            (ID_FIELD, _) if is_set => row.add_problem(ID_FIELD, "is given twice"),
            (ID_FIELD, Value::String(id)) => row.id = Some(id.clone()),
            // A float of this size has lost its last digits, and two ids could have become one.
            (ID_FIELD, Value::Number(id))
                if id.is_f64() && id.as_f64().is_some_and(|id| id.abs() >= 9e15) =>
            {
                row.add_problem(ID_FIELD, "is too long for a number; write it in quotes");
            }
            (ID_FIELD, Value::Number(id)) => row.id = Some(id.to_string()),
            (ID_FIELD, _) => row.add_problem(ID_FIELD, "must be a string or a number"),
            (field, value) if let Some(text) = text_of_links(value, mapper.shape_of(field)) => {
                if picture.is_some() && row.fields.contains_key(field) {
                    continue;
                }
                let (text, file_name) = match picture {
                    Some(WrittenLink { link, file_name }) => {
                        (Cow::Borrowed(link.as_str()), file_name.as_deref())
                    }
                    None => (text, None),
                };
                let base = mapper.image_base.as_ref();
                if let Some(link) = read_one(&mut row, field, &text, file_name, base) {
                    row.set(field, Value::from(link));
                }
            }
            (field, value) => row.set(field, value.clone()),
        }
    }
    mapper.fill_prompt(&mut row, |name| text_of(entries, name));
    Ok(row)
}

/// The keys and values of an object in order, including repeated keys, which a map would merge.
pub(super) struct ObjectEntries(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for ObjectEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = ObjectEntries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a row's fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectEntries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(ObjectEntries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}
