//! Reads a product feed in XML as a table: Google's and Meta's (`g:` elements in RSS or Atom), and others
//! whose products are elements of one name.

use std::collections::HashMap;
use std::io::BufRead;

use csv::ByteRecord;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::limits::{MAX_COLUMNS, MAX_ROW_BYTES};
use super::table_reader::{Record, TableReader};

/// The names of the elements that are products.
const ITEMS: [&str; 5] = ["item", "entry", "product", "offer", "shopitem"];

/// A product: each element's name and text, in order.
struct Item {
    line: u64,
    fields: Vec<(String, String)>,
}

/// Returns the names of all elements of products, in the order in which they occur.
///
/// # Errors
/// Returns an error if the feed is damaged or has no products.
pub(super) fn column_names(source: impl BufRead) -> anyhow::Result<Vec<String>> {
    let mut items = Items::new(source);
    let mut names = Vec::new();
    let mut positions = HashMap::new();
    while let Some(item) = items.next_item()? {
        for (name, _) in item.fields {
            let position = names.len();
            if positions.len() < MAX_COLUMNS && !positions.contains_key(&name) {
                positions.insert(name.clone(), position);
                names.push(name);
            }
        }
    }
    anyhow::ensure!(
        !names.is_empty(),
        "it is XML, but has no products: elements named {}",
        ITEMS.join(", ")
    );
    Ok(names)
}

/// Reads the products of a feed, with a header of the given names.
pub(super) struct FeedReader<R> {
    items: Items<R>,
    positions: HashMap<String, usize>,
    header: Option<ByteRecord>,
}

impl<R: BufRead> FeedReader<R> {
    pub(super) fn new(source: R, names: &[String]) -> Self {
        let positions = names.iter().cloned().zip(0..).collect();
        Self {
            items: Items::new(source),
            positions,
            header: Some(names.iter().collect()),
        }
    }
}

impl<R: BufRead> TableReader for FeedReader<R> {
    fn read(&mut self, record: &mut Record) -> anyhow::Result<bool> {
        *record = Record {
            line: 1,
            ..Record::default()
        };
        if let Some(header) = self.header.take() {
            record.cells = header;
            return Ok(true);
        }
        let Some(item) = self.items.next_item()? else {
            return Ok(false);
        };
        let mut cells = vec![String::new(); self.positions.len()];
        for (name, text) in item.fields {
            if let Some(position) = self.positions.get(&name) {
                cells[*position] = text;
            }
        }
        record.line = item.line;
        record.cells = ByteRecord::from(cells);
        Ok(true)
    }
}

/// Reads a feed product by product.
struct Items<R> {
    xml: Reader<LineCounter<R>>,
    buffer: Vec<u8>,
    /// The names of the open elements, in lower case and without prefixes.
    path: Vec<String>,
}

impl<R: BufRead> Items<R> {
    fn new(source: R) -> Self {
        let mut xml = Reader::from_reader(LineCounter { source, line: 1 });
        let config = xml.config_mut();
        config.expand_empty_elements = true;
        Self {
            xml,
            buffer: Vec::new(),
            path: Vec::new(),
        }
    }

    fn line(&self) -> u64 {
        self.xml.get_ref().line
    }

    /// Returns the next product; `None` at the end.
    fn next_item(&mut self) -> anyhow::Result<Option<Item>> {
        loop {
            let line = self.line();
            self.buffer.clear();
            let event = self.xml.read_event_into(&mut self.buffer);
            let event = event.map_err(|error| anyhow::anyhow!("line {line}: {error}"))?;
            match event {
                Event::Start(tag) => {
                    let name = tag.local_name().as_ref().to_lowercase();
                    // A product is in a list, such as `rss/channel` or `feed`.
                    if ITEMS.contains(&name.as_str()) && !self.path.is_empty() {
                        let attributes = read_attributes(&tag);
                        return Ok(Some(self.read_item(line, attributes)?));
                    }
                    self.path.push(name);
                }
                Event::End(_) => drop(self.path.pop()),
                Event::Eof => return Ok(None),
                _ => {}
            }
        }
    }

    fn read_item(&mut self, line: u64, mut fields: Vec<(String, String)>) -> anyhow::Result<Item> {
        // The name of the open field, whether it has a prefix, and its text.
        let mut field: Option<(String, bool, String)> = None;
        let mut is_prefixed: HashMap<String, bool> = HashMap::new();
        let mut depth = 0;
        let mut bytes = 0;
        loop {
            let at = self.line();
            self.buffer.clear();
            let event = self.xml.read_event_into(&mut self.buffer);
            let event = event.map_err(|error| anyhow::anyhow!("line {at}: {error}"))?;
            let text = match event {
                Event::Start(tag) => {
                    depth += 1;
                    if depth == 1 {
                        let name = tag.local_name().as_ref().to_owned();
                        let has_prefix = tag.name().prefix().is_some();
                        // Atom writes a link as an attribute.
                        let link = attribute(&tag, "href").unwrap_or_default();
                        field = Some((name, has_prefix, link));
                    }
                    continue;
                }
                Event::Text(text) => text.to_string(),
                Event::CData(text) => text.to_string(),
                Event::GeneralRef(entity) => {
                    let entity = format!("&{};", &*entity);
                    quick_xml::escape::unescape(&entity).map_or(entity.clone(), Into::into)
                }
                Event::End(_) if depth == 0 => return Ok(Item { line, fields }),
                Event::End(_) => {
                    depth -= 1;
                    if depth == 0
                        && let Some((name, has_prefix, text)) = field.take()
                    {
                        add_field(&mut fields, &mut is_prefixed, (name, has_prefix, text));
                    }
                    continue;
                }
                Event::Eof => anyhow::bail!("line {line}: the product is never closed"),
                _ => continue,
            };
            bytes += text.len();
            anyhow::ensure!(
                bytes <= MAX_ROW_BYTES,
                "line {line}: the product is longer than 16 MiB"
            );
            // What is nested, such as a price of shipping, is not a field of the product.
            if let Some((_, _, field)) = field.as_mut().filter(|_| depth == 1) {
                field.push_str(&text);
            }
        }
    }
}

/// Adds a field. One that is repeated has all texts; one with a prefix, such as `g:title`, replaces the one
/// without.
fn add_field(
    fields: &mut Vec<(String, String)>,
    is_prefixed: &mut HashMap<String, bool>,
    (name, has_prefix, text): (String, bool, String),
) {
    let text = text.trim().to_owned();
    let Some((_, known)) = fields.iter_mut().find(|(known, _)| *known == name) else {
        is_prefixed.insert(name.clone(), has_prefix);
        fields.push((name, text));
        return;
    };
    let was_prefixed = is_prefixed.get(&name).copied().unwrap_or(false);
    if has_prefix == was_prefixed {
        let separator = if name.contains("image") { "\n" } else { ", " };
        *known = format!("{known}{separator}{text}");
    } else if has_prefix {
        *known = text;
        is_prefixed.insert(name, true);
    }
}

/// Returns the attributes of a product as fields: some feeds have its id there.
fn read_attributes(tag: &BytesStart<'_>) -> Vec<(String, String)> {
    let attributes = tag.attributes().flatten().filter_map(|attribute| {
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
        let name = attribute.key.local_name().as_ref().to_owned();
        Some((name, value.into_owned()))
    });
    attributes.collect()
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attributes = read_attributes(tag).into_iter();
    attributes
        .filter(|(other, _)| other == name)
        .map(|(_, value)| value)
        .next()
}

/// Counts the lines that the parser has taken.
struct LineCounter<R> {
    source: R,
    /// The line of the next byte, from 1.
    line: u64,
}

impl<R: BufRead> std::io::Read for LineCounter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.line += memchr::memchr_iter(b'\n', &buffer[..length]).count() as u64;
        Ok(length)
    }
}

impl<R: BufRead> BufRead for LineCounter<R> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.source.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Ok(taken) = self.source.fill_buf() {
            let taken = &taken[..amount.min(taken.len())];
            self.line += memchr::memchr_iter(b'\n', taken).count() as u64;
        }
        self.source.consume(amount);
    }
}
