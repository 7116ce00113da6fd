//! Reads a product feed in XML as a table: Google's and Meta's (`g:` elements in RSS or Atom), and others
//! whose products are elements of one name.

use std::collections::HashMap;
use std::io::BufRead;

use csv::ByteRecord;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::table_reader::{Record, TableReader};
use super::xml::{self, attribute};
use crate::manifest::limits::{MAX_COLUMNS, MAX_ROW_BYTES};

/// The names of the elements that are products.
const ITEMS: [&str; 9] = [
    "item", "entry", "product", "offer", "shopitem", "listing", "article", "record", "row",
];

/// The names of elements that hold the links of a field, such as `images`.
const NESTED_LINKS: [&str; 7] = ["url", "src", "link", "image", "img", "picture", "photo"];

/// Maximum depth of the elements around products.
const MAX_DEPTH: usize = 100;

/// A product: each element's name and text, in order.
struct Item {
    line: u64,
    fields: Vec<(String, String)>,
}

/// Returns the names of all elements of products, in the order in which they occur.
///
/// # Errors
/// Returns an error if the feed is damaged or has no products.
pub(in crate::manifest) fn column_names(source: impl BufRead) -> anyhow::Result<Vec<String>> {
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
pub(in crate::manifest) struct FeedReader<R> {
    items: Items<R>,
    positions: HashMap<String, usize>,
    header: Option<ByteRecord>,
}

impl<R: BufRead> FeedReader<R> {
    pub(in crate::manifest) fn new(source: R, names: &[String]) -> Self {
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
        let mut xml = Reader::from_reader(LineCounter {
            source,
            line: 1,
            item_bytes: 0,
        });
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
            self.xml.get_mut().item_bytes = 0;
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
                    anyhow::ensure!(
                        self.path.len() < MAX_DEPTH,
                        "line {line}: nested too deeply"
                    );
                    self.path.push(name);
                }
                Event::End(_) => drop(self.path.pop()),
                Event::Eof => {
                    anyhow::ensure!(
                        self.path.is_empty(),
                        "line {line}: the file ends in the middle of the feed; export it again"
                    );
                    return Ok(None);
                }
                _ => {}
            }
        }
    }

    fn read_item(&mut self, line: u64, attributes: Vec<(String, String)>) -> anyhow::Result<Item> {
        let mut fields = Fields::default();
        for (name, value) in attributes {
            fields.add(name, Origin::Attribute, &value);
        }
        // The name of the open field, where it comes from, and its text.
        let mut field: Option<(String, Origin, String)> = None;
        let mut depth = 0;
        // Whether the open element in the field holds a link.
        let mut is_nested_link = false;
        let mut bytes = 0;
        loop {
            let at = self.line();
            self.buffer.clear();
            self.xml.get_mut().item_bytes = 0;
            let event = self.xml.read_event_into(&mut self.buffer);
            let event = event.map_err(|error| anyhow::anyhow!("line {at}: {error}"))?;
            let text = match event {
                Event::Start(tag) => {
                    depth += 1;
                    let nested = tag.local_name().as_ref().to_lowercase();
                    is_nested_link = depth == 2 && NESTED_LINKS.contains(&nested.as_str());
                    if is_nested_link && let Some((_, _, field)) = &mut field {
                        field.push('\n');
                    }
                    if depth == 1 {
                        let name = tag.local_name().as_ref().to_owned();
                        let origin = if tag.name().prefix().is_some() {
                            Origin::Prefixed
                        } else {
                            Origin::Plain
                        };
                        // Atom writes a link as an attribute.
                        let link = attribute(&tag, "href").unwrap_or_default();
                        field = Some((name, origin, link));
                        anyhow::ensure!(
                            fields.texts.len() < MAX_COLUMNS,
                            "line {line}: the product has more than {MAX_COLUMNS} fields"
                        );
                    }
                    continue;
                }
                Event::Text(text) => text.to_string(),
                Event::CData(text) => text.to_string(),
                Event::GeneralRef(entity) => {
                    xml::entity_text(&entity).unwrap_or_else(|| format!("&{};", &*entity))
                }
                Event::End(_) if depth == 0 => {
                    let fields = fields.texts;
                    return Ok(Item { line, fields });
                }
                Event::End(_) => {
                    depth -= 1;
                    is_nested_link = false;
                    if depth == 0
                        && let Some((name, origin, text)) = field.take()
                    {
                        fields.add(name, origin, &text);
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
            // What else is nested, such as a price of shipping, is not a field of the product.
            let is_own = depth == 1 || is_nested_link;
            if let Some((_, _, field)) = field.as_mut().filter(|_| is_own) {
                field.push_str(&text);
            }
        }
    }
}

/// Where a field comes from; a later one replaces an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// An attribute of the product: some feeds have its id there.
    Attribute,
    /// An element without a prefix.
    Plain,
    /// An element with one, such as `g:title`.
    Prefixed,
}

/// The fields of a product.
#[derive(Default)]
struct Fields {
    texts: Vec<(String, String)>,
    /// The position and the origin of each.
    known: HashMap<String, (usize, Origin)>,
}

impl Fields {
    /// Adds a field. One that is repeated has all texts.
    fn add(&mut self, name: String, origin: Origin, text: &str) {
        let text = text.trim();
        let Some((position, known)) = self.known.get_mut(&name) else {
            self.known.insert(name.clone(), (self.texts.len(), origin));
            self.texts.push((name, text.to_owned()));
            return;
        };
        let (_, all) = &mut self.texts[*position];
        if origin > *known {
            *known = origin;
            text.clone_into(all);
        } else if origin == *known {
            all.push_str(if name.contains("image") { "\n" } else { ", " });
            all.push_str(text);
        }
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

/// Counts the lines that the parser has taken.
struct LineCounter<R> {
    source: R,
    /// Number of bytes of the current tag or text.
    item_bytes: usize,
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
        if self.item_bytes > MAX_ROW_BYTES {
            return Err(std::io::Error::other(
                "a tag or a text is longer than 16 MiB",
            ));
        }
        self.source.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Ok(taken) = self.source.fill_buf() {
            let taken = &taken[..amount.min(taken.len())];
            self.line += memchr::memchr_iter(b'\n', taken).count() as u64;
        }
        self.item_bytes += amount;
        self.source.consume(amount);
    }
}
