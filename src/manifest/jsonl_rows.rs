//! Reads JSONL: one object a line.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, Read};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::pipeline::Producer;
use super::row::Row;
use super::{BOM, ID, LONGEST_ROW, MOST_COLUMNS, RowMapper};

/// The parser's reason is shown, but not a whole row in it.
const LONGEST_REASON: usize = 200;

/// Reads all rows.
pub(super) fn read(
    mut source: impl BufRead,
    mapper: &RowMapper<'_>,
    ahead: &mut Producer<'_>,
) -> anyhow::Result<u64> {
    let (mut rows, mut line) = (0, 0);
    if mapper.one_per.is_some() || mapper.each_image {
        ahead.problem(
            1,
            "--preset, --one-per and --each-image are for tables, not for JSONL".into(),
        );
        return Ok(0);
    }
    let mut text = Vec::new();
    loop {
        text.clear();
        // One byte more than allowed: the newline of a line that just fits.
        let length = (&mut source)
            .take(LONGEST_ROW as u64 + 1)
            .read_until(b'\n', &mut text)?;
        if length == 0 {
            return Ok(rows);
        }
        line += 1;
        if length > LONGEST_ROW && !text.ends_with(b"\n") {
            ahead.problem(line, format!("is longer than {} MiB", LONGEST_ROW >> 20));
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
        rows += u64::from(ahead.row(line, read_row(bytes, line, mapper), mapper)?);
    }
}

fn read_row(bytes: &[u8], line: u64, mapper: &RowMapper<'_>) -> Result<Row, String> {
    let Pairs(pairs) = serde_json::from_slice(bytes).map_err(|error| {
        // The parser sees one line, so only its column says something.
        let text = error.to_string();
        let what = text
            .rsplit_once(" at line ")
            .map_or(text.as_str(), |(what, _)| what);
        // It may quote the whole line.
        let what: String = what.chars().take(LONGEST_REASON).collect();
        match error.column() {
            0 => format!("is not a JSON object: {what}"),
            column => format!("is not a JSON object: {what} at column {column}"),
        }
    })?;
    if pairs.len() > MOST_COLUMNS {
        return Err(format!(
            "has {} fields, the most are {MOST_COLUMNS}",
            pairs.len()
        ));
    }
    let mut row = Row {
        line,
        ..Row::default()
    };
    let mut keys = HashSet::new();
    for (key, value) in &pairs {
        if !keys.insert(key) {
            row.wrong(key, "is given twice");
            continue;
        }
        let fields = match mapper.fields_of(key) {
            Ok(fields) => fields,
            Err(message) => {
                row.problems.push((None, message));
                continue;
            }
        };
        // `null` leaves the field out, as an empty cell does.
        if value.is_null() {
            continue;
        }
        for field in fields {
            match (field, value) {
                (ID, Value::String(id)) => row.id = Some(id.clone()),
                // So long a number has lost its last digits by now, and two ids could have become one.
                (ID, Value::Number(id))
                    if id.is_f64() && id.as_f64().is_some_and(|id| id.abs() >= 9e15) =>
                {
                    row.wrong(ID, "is too long for a number; write it in quotes");
                }
                (ID, Value::Number(id)) => row.id = Some(id.to_string()),
                (ID, _) => row.wrong(ID, "is neither a text nor a number"),
                (field, value) => row.set(field, value.clone()),
            }
        }
    }
    mapper.fill_prompt(&mut row, |name| {
        match pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
        {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Null) | None => None,
            Some(other) => Some(other.to_string()),
        }
    });
    Ok(row)
}

/// An object's pairs in order, with those that come twice.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a row's fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
