//! What the readers of XML share: of workbooks, spreadsheets and product feeds.

use std::io::{BufReader, Read};

use quick_xml::events::{BytesRef, BytesStart};
use quick_xml::{Reader, XmlVersion};

/// Returns a reader of a part of an archive, in which an empty element is a start and an end.
pub(super) fn open<R: Read>(part: R) -> Reader<BufReader<R>> {
    let mut reader = Reader::from_reader(BufReader::new(part));
    let config = reader.config_mut();
    config.check_end_names = false;
    config.expand_empty_elements = true;
    reader
}

/// Returns the value of an attribute, whatever the prefix of its name is.
pub(super) fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attributes = tag.attributes().flatten();
    let mut named = attributes.filter(|attribute| attribute.key.local_name().as_ref() == name);
    let value = named
        .next()?
        .normalized_value(XmlVersion::Implicit1_0)
        .ok()?;
    Some(value.into_owned())
}

/// Returns the text of an entity, such as `&amp;`; `None` if it is none of XML's own.
pub(super) fn entity_text(entity: &BytesRef<'_>) -> Option<String> {
    let escaped = format!("&{};", &**entity);
    let text = quick_xml::escape::unescape(&escaped).ok()?;
    Some(text.into_owned())
}
