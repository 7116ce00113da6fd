//! Where a queue is: in a file, or in a database that several hosts share.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// How the URL of a database starts.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Where a queue is.
///
/// Displayed, a password is left out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum QueueAddress {
    /// A file of this machine.
    File(PathBuf),
    /// A database of a PostgreSQL server.
    Database(DatabaseUrl),
}

/// The URL of a database. It may hold a password, which neither `Display` nor `Debug` shows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct DatabaseUrl(String);

impl QueueAddress {
    /// Returns the path of a file; `None` if the queue is in a database.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Database(_) => None,
        }
    }
}

impl DatabaseUrl {
    /// Returns the whole URL, which may hold a password.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl From<String> for QueueAddress {
    fn from(address: String) -> Self {
        if SCHEMES.iter().any(|scheme| address.starts_with(scheme)) {
            Self::Database(DatabaseUrl(address))
        } else {
            Self::File(address.into())
        }
    }
}

impl From<OsString> for QueueAddress {
    fn from(address: OsString) -> Self {
        match address.into_string() {
            Ok(address) => address.into(),
            Err(path) => Self::File(path.into()),
        }
    }
}

impl From<PathBuf> for QueueAddress {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl fmt::Display for QueueAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Database(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, options) = match self.0.split_once('?') {
            Some((address, options)) => (address, Some(options)),
            None => (self.0.as_str(), None),
        };
        let (scheme, address) = address.split_once("://").unwrap_or(("postgres", address));
        // A password may contain a slash or an at sign, so the last one ends it.
        match address.rsplit_once('@') {
            Some((credentials, place)) => {
                let user = credentials.split(':').next().unwrap_or_default();
                write!(f, "{scheme}://{user}@{place}")?;
            }
            None => write!(f, "{scheme}://{address}")?,
        }
        let shown: Vec<&str> = options
            .into_iter()
            .flat_map(|options| options.split('&'))
            .filter(|option| !option.to_ascii_lowercase().contains("password"))
            .collect();
        if !shown.is_empty() {
            write!(f, "?{}", shown.join("&"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_database_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://db/overnight", "postgres://db/overnight"),
            ("postgres://anna@db:5433/o", "postgres://anna@db:5433/o"),
            ("postgresql://anna:s3cret@a,b/o", "postgresql://anna@a,b/o"),
            ("postgres://anna:s3@cr/et@db/o", "postgres://anna@db/o"),
            (
                "postgres:///o?host=%2Ftmp&password=s3cret&sslmode=require",
                "postgres:///o?host=%2Ftmp&sslmode=require",
            ),
            ("postgres://db/o?PASSWORD=s3cret", "postgres://db/o"),
        ] {
            let address = QueueAddress::from(url.to_owned());
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("s3cret"), "{url}");
            let QueueAddress::Database(database) = address else {
                panic!("{url}");
            };
            assert_eq!(database.secret(), url);
        }
    }

    #[test]
    fn anything_else_is_a_file() {
        for path in ["overnight.db", "/a/b.db", "postgres", "C:\\queue.db"] {
            let address = QueueAddress::from(path.to_owned());
            assert_eq!(address, QueueAddress::File(path.into()));
            assert_eq!(address.to_string(), path);
        }
    }
}
