//! Reads the rows of a JSON document: an array of objects, or an object that holds one.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::jsonl_rows::{ObjectEntries, RowKeys, add_entries};
use super::pipeline::Producer;
use crate::manifest::columns::row_mapper::RowMapper;
use crate::manifest::limits::{BOM, MAX_ROW_BYTES};
use crate::manifest::problem::Mistake;

/// Reads all rows and returns their number.
pub(in crate::manifest) fn read_rows(
    mut source: impl BufRead,
    mapper: &RowMapper<'_>,
    producer: &mut Producer<'_>,
) -> anyhow::Result<u64> {
    if source.fill_buf()?.starts_with(BOM) {
        source.consume(BOM.len());
    }
    if mapper.needs_table() {
        producer.add_problem(1, Mistake::NotATable);
        return Ok(0);
    }
    let position = Position {
        line: Cell::new(1),
        row_bytes: Cell::new(0),
    };
    let mut rows = Rows {
        position: &position,
        keys: RowKeys::new(mapper),
        producer,
        count: 0,
        member: 0,
        list: None,
        failure: None,
    };
    let source = Counted {
        source,
        position: &position,
    };
    let mut document = serde_json::Deserializer::from_reader(source);
    let read = Document(&mut rows)
        .deserialize(&mut document)
        .and_then(|()| document.end());
    let Rows {
        count,
        list,
        failure,
        producer,
        keys,
        ..
    } = rows;
    if let Some(failure) = failure {
        return Err(failure);
    }
    if let Err(error) = read {
        let line = position.line.get();
        producer.add_problem(line, format!("the rest cannot be read: {error}").into());
    } else if list.is_none() {
        producer.add_problem(1, "it is JSON, but has no list of objects".into());
    } else {
        keys.report_missing(producer);
    }
    Ok(count)
}

/// Where the parser is.
struct Position {
    /// The line of the next byte, from 1.
    line: Cell<u64>,
    /// Number of bytes of the current row.
    row_bytes: Cell<usize>,
}

/// Counts the bytes on their way to the parser, which takes one at a time.
struct Counted<'a, R> {
    source: R,
    position: &'a Position,
}

impl<R: BufRead> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        let lines = buffer[..length]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let Position { line, row_bytes } = self.position;
        line.set(line.get() + lines as u64);
        row_bytes.set(row_bytes.get() + length);
        if row_bytes.get() > MAX_ROW_BYTES {
            return Err(io::Error::other("a row is longer than 16 MiB"));
        }
        Ok(length)
    }
}

/// The rows that were read.
struct Rows<'a, 'm, 'p> {
    position: &'a Position,
    keys: RowKeys<'a, 'm>,
    producer: &'a mut Producer<'p>,
    count: u64,
    /// The number of the document's member that is read, from 1; 0 if the document is the list.
    member: usize,
    /// The member that is the list of rows, once one was found.
    list: Option<usize>,
    /// Why no more rows are taken; `None` if they are.
    failure: Option<anyhow::Error>,
}

/// The document: a list of rows, or an object that holds one.
struct Document<'r, 'a, 'm, 'p>(&'r mut Rows<'a, 'm, 'p>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.list = Some(self.0.member);
        while items.next_element_seed(RowSeed(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_key::<IgnoredAny>()?.is_some() {
            self.0.position.row_bytes.set(0);
            self.0.member += 1;
            entries.next_value_seed(Member(self.0))?;
        }
        Ok(())
    }
}

/// A member of the document's object. Only a list of objects is read.
struct Member<'r, 'a, 'm, 'p>(&'r mut Rows<'a, 'm, 'p>);

impl<'de> DeserializeSeed<'de> for Member<'_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(ItemSeed(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// An item of a list in the document: a row, if it is an object.
struct ItemSeed<'r, 'a, 'm, 'p>(&'r mut Rows<'a, 'm, 'p>);

impl<'de> DeserializeSeed<'de> for ItemSeed<'_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let rows = self.0;
        rows.position.row_bytes.set(0);
        let line = rows.position.line.get();
        let item = Value::deserialize(deserializer)?;
        let Value::Object(fields) = item else {
            return Ok(());
        };
        if rows.list.is_some_and(|list| list != rows.member) {
            return Err(D::Error::custom(
                "it has several lists; save the one with the rows alone",
            ));
        }
        rows.list = Some(rows.member);
        let entries: Vec<(String, Value)> = fields.into_iter().collect();
        rows.add(&entries, line)
    }
}

/// One row.
struct RowSeed<'r, 'a, 'm, 'p>(&'r mut Rows<'a, 'm, 'p>);

impl<'de> DeserializeSeed<'de> for RowSeed<'_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let rows = self.0;
        rows.position.row_bytes.set(0);
        let line = rows.position.line.get();
        let ObjectEntries(entries) = ObjectEntries::deserialize(deserializer)?;
        rows.add(&entries, line)
    }
}

impl Rows<'_, '_, '_> {
    /// Passes a row on.
    fn add<E: serde::de::Error>(
        &mut self,
        entries: &[(String, Value)],
        line: u64,
    ) -> Result<(), E> {
        match add_entries(entries, line, &mut self.keys, self.producer) {
            Ok(count) => self.count += count,
            Err(error) => {
                self.failure = Some(error);
                return Err(E::custom("the rows are not taken"));
            }
        }
        Ok(())
    }
}
