//! Arguments that name a folder of clips.

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::domain::Location;

/// Returns the parser of a path, or of the URL of a folder in object storage.
pub(super) fn parser() -> impl TypedValueParser<Value = Location> {
    OsStringValueParser::new().try_map(Location::try_from)
}
