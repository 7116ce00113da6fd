//! The database of a queue: its hosts, its user, and how long to wait for it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::domain::DatabaseUrl;
use crate::queue::QueueError;

/// Time for a connection to one host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time without an answer of the network after which a connection counts as lost.
const SILENCE: Duration = Duration::from_secs(15);

/// A database that holds a queue, or may.
#[derive(Clone, Debug)]
pub struct Database {
    /// Where statements are sent.
    pub(super) config: Config,
    /// Where the locks of pools are held, which must be the server itself and no connection pooler.
    pub(super) session: Config,
    /// How long a run waits for a server that is away.
    pub(super) patience: Duration,
    /// The URL as messages name it: without a password.
    address: String,
}

impl Database {
    /// Reads the URL of a database, such as `postgres://user@db1,db2/overnight`. What it leaves out comes from
    /// `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE` and `PGSSLMODE`, as in other programs.
    ///
    /// A host of another machine is reached by TLS and must have a certificate for its name, whatever `sslmode`
    /// asks for beside `disable`.
    ///
    /// # Errors
    /// Returns what is wrong with the URL.
    pub fn new(url: &DatabaseUrl, environment: &BTreeMap<String, String>) -> Result<Self, String> {
        let config = read(url, environment)?;
        Ok(Self {
            session: config.clone(),
            config,
            patience: Duration::ZERO,
            address: url.to_string(),
        })
    }

    /// Sets the server's own address, if the other is that of a connection pooler.
    ///
    /// # Errors
    /// Returns what is wrong with the URL.
    pub fn with_session(
        mut self,
        url: &DatabaseUrl,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        self.session = read(url, environment)?;
        Ok(self)
    }

    /// Sets how long a run waits for a server that is away.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Names the database in an error.
    pub(super) fn add_address(&self, error: QueueError) -> QueueError {
        match error {
            QueueError::Store(error) => error.at(self.address.as_ref()).into(),
            other => other,
        }
    }

    /// Returns the URL as messages name it: without a password.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

fn read(url: &DatabaseUrl, environment: &BTreeMap<String, String>) -> Result<Config, String> {
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let (text, ssl_mode) = split_ssl_mode(url.secret());
    let parsed = text.parse::<Config>();
    let mut config =
        parsed.map_err(|error| format!("{url} is not the URL of a database: {error}"))?;
    if config.get_hosts().is_empty() {
        let hosts = variable("PGHOST").map_or("localhost", String::as_str);
        for host in hosts.split(',') {
            config.host(host);
        }
    }
    if config.get_ports().is_empty()
        && let Some(ports) = variable("PGPORT")
    {
        for port in ports.split(',') {
            let port = port.parse();
            config.port(port.map_err(|error| format!("PGPORT is not a port: {error}"))?);
        }
    }
    if config.get_user().is_none()
        && let Some(user) = variable("PGUSER")
    {
        config.user(user);
    }
    if config.get_password().is_none()
        && let Some(password) = variable("PGPASSWORD")
    {
        config.password(password);
    }
    if config.get_dbname().is_none()
        && let Some(name) = variable("PGDATABASE")
    {
        config.dbname(name);
    }
    let ssl_mode = ssl_mode.or(variable("PGSSLMODE").cloned());
    config.ssl_mode(match ssl_mode.as_deref() {
        Some("disable") => SslMode::Disable,
        Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
        None | Some("allow" | "prefer") if is_local(&config) => SslMode::Disable,
        None | Some("allow" | "prefer") => SslMode::Require,
        Some(other) => {
            return Err(format!(
                "sslmode `{other}` of {url} is none of disable, require and verify-full"
            ));
        }
    });
    config
        .application_name("overnight")
        // A standby answers as well, but takes no writes.
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .connect_timeout(CONNECT_TIMEOUT)
        .keepalives_idle(Duration::from_secs(5))
        .keepalives_interval(Duration::from_secs(2))
        .keepalives_retries(3)
        .tcp_user_timeout(SILENCE);
    Ok(config)
}

/// Takes `sslmode` out of a URL, of which the parser knows only some values, and names each of several hosts of
/// its options apart, which the parser takes for one.
fn split_ssl_mode(url: &str) -> (String, Option<String>) {
    let Some((address, options)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let mut mode = None;
    let mut others = Vec::new();
    for option in options.split('&') {
        match option.strip_prefix("sslmode=") {
            Some(value) => mode = Some(value.to_owned()),
            None => match option.strip_prefix("host=") {
                Some(hosts) => others.extend(hosts.split(',').map(|host| format!("host={host}"))),
                None => others.push(option.to_owned()),
            },
        }
    }
    (format!("{address}?{}", others.join("&")), mode)
}

/// Returns whether every host is reached without a network.
fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(url: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        read(
            &DatabaseUrl::from(url.to_owned()),
            &variables.iter().map(owned).collect(),
        )
    }

    #[test]
    fn what_a_url_leaves_out_comes_from_the_environment() {
        let variables = [
            ("PGHOST", "db1,db2"),
            ("PGPORT", "5433"),
            ("PGUSER", "anna"),
            ("PGPASSWORD", "s3cret"),
            ("PGDATABASE", "season"),
        ];
        let config = read_with("postgres://", &variables).unwrap();
        let hosts = ["db1", "db2"].map(|name| Host::Tcp(name.into()));
        assert_eq!(config.get_hosts(), hosts);
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(config.get_user(), Some("anna"));
        assert_eq!(config.get_password(), Some(b"s3cret".as_slice()));
        assert_eq!(config.get_dbname(), Some("season"));
        let config = read_with("postgres://ben@db3:1/other", &variables).unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("db3".into())]);
        assert_eq!(
            (config.get_ports(), config.get_user()),
            ([1].as_slice(), Some("ben"))
        );
        assert_eq!(config.get_dbname(), Some("other"));
        let config = read_with("postgres://", &[]).unwrap();
        assert_eq!(config.get_hosts(), [Host::Tcp("localhost".into())]);
    }

    #[test]
    fn several_hosts_are_named_in_either_part_of_a_url() {
        let hosts = |url: &str| read_with(url, &[]).unwrap().get_hosts().to_vec();
        let names = ["db1", "db2"].map(|name| Host::Tcp(name.into()));
        assert_eq!(hosts("postgres://db1,db2/o"), names);
        assert_eq!(hosts("postgres:///o?host=db1,db2"), names);
        let sockets = ["/a", "/b"].map(|path| Host::Unix(path.into()));
        assert_eq!(hosts("postgres:///o?host=%2Fa,%2Fb"), sockets);
    }

    #[test]
    fn a_password_crosses_a_network_only_encrypted_unless_that_is_switched_off() {
        let mode = |url: &str| read_with(url, &[]).unwrap().get_ssl_mode();
        assert_eq!(mode("postgres://db/o"), SslMode::Require);
        assert_eq!(mode("postgres://db/o?sslmode=prefer"), SslMode::Require);
        assert_eq!(
            mode("postgres://db/o?sslmode=verify-full"),
            SslMode::Require
        );
        assert_eq!(mode("postgres://localhost,db/o"), SslMode::Require);
        assert_eq!(mode("postgres://db/o?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres://localhost/o"), SslMode::Disable);
        assert_eq!(mode("postgres:///o?host=%2Ftmp"), SslMode::Disable);
        assert_eq!(
            mode("postgres://127.0.0.1/o?sslmode=require"),
            SslMode::Require
        );
        let by_variable = read_with("postgres://db/o", &[("PGSSLMODE", "disable")]);
        assert_eq!(by_variable.unwrap().get_ssl_mode(), SslMode::Disable);
    }

    #[test]
    fn a_url_that_cannot_be_read_is_named_without_its_password() {
        for url in [
            "postgres://anna:s3cret@db/o?sslmode=maybe",
            "postgres://anna:s3cret@db/o?colour=red",
            "postgres://anna:s3cret@db:port/o",
        ] {
            let error = read_with(url, &[]).unwrap_err();
            assert!(error.contains("postgres://anna@db"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
