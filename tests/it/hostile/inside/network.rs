//! A network namespace with public and internal addresses, a name server and a certificate authority.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Where the providers, their clips and the name server are.
pub(super) const PUBLIC: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 10);

/// The name of that.
pub(super) const PUBLIC_NAME: &str = "api.public.test";

/// The port of the HTTP proxy at the public address.
pub(super) const PROXY_PORT: u16 = 3128;

/// Internal addresses: each counts the connections to its ports 80 and 443.
const INTERNAL: [&str; 11] = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.5",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.1",
    "::1",
    "fd00::5",
    "64:ff9b::a00:5",
];

/// The addresses that a name has, in turn for each question.
const NAMES: [(&str, &[&str]); 7] = [
    ("inside.test", &["10.0.0.5"]),
    ("meta.test", &["169.254.169.254"]),
    ("loop.test", &["127.0.0.1"]),
    ("six.test", &["fd00::5"]),
    ("mapped.test", &["::ffff:10.0.0.5"]),
    ("translated.test", &["64:ff9b::a00:5"]),
    ("rebind.public.test", &["9.9.9.10", "10.0.0.5"]),
];

/// Returns a command that runs a program in a new namespace with the addresses of this file.
pub(super) fn command_in_namespace(folder: &Path, program: &Path) -> Command {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let resolver = write("resolv.conf", &format!("nameserver {PUBLIC}\n"));
    let hosts = write("hosts", "127.0.0.1 localhost\n::1 localhost\n");
    let mut script = format!(
        "ip link set lo up\n\
         mount --bind {resolver} /etc/resolv.conf\n\
         mount --bind {hosts} /etc/hosts\n\
         ip addr add {PUBLIC}/32 dev lo\n"
    );
    for address in INTERNAL {
        let bits = if address.contains(':') { 128 } else { 32 };
        if !address.starts_with("127.") && address != "::1" {
            script.push_str(&format!("ip addr add {address}/{bits} dev lo\n"));
        }
    }
    script.push_str("exec \"$0\" \"$@\"\n");
    let mut command = Command::new("unshare");
    command.args(["-rnm", "sh", "-ec", &script]).arg(program);
    command
}

/// The servers of the namespace. Their threads end with the process.
pub(super) struct Network {
    /// Connections to internal addresses.
    connections: Arc<AtomicUsize>,
    tls: Arc<ServerConfig>,
    /// The certificate of the authority, as the program reads it.
    pub(super) authority: PathBuf,
    _folder: tempfile::TempDir,
}

impl Network {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = folder.path().join("authority.pem");
        let tls = Arc::new(certify(&authority));
        let connections = Arc::new(AtomicUsize::new(0));
        for address in INTERNAL {
            for port in [80, 443] {
                let address: IpAddr = address.parse().expect("an address");
                let listener = TcpListener::bind((address, port)).expect("a free port");
                let count = Arc::clone(&connections);
                thread::spawn(move || {
                    for _ in listener.incoming() {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        }
        let names = UdpSocket::bind((PUBLIC, 53)).expect("a name server");
        thread::spawn(move || serve_names(&names));
        let proxy = TcpListener::bind((PUBLIC, PROXY_PORT)).expect("a proxy");
        thread::spawn(move || {
            for client in proxy.incoming().flatten() {
                thread::spawn(move || tunnel(client));
            }
        });
        Self {
            connections,
            tls,
            authority,
            _folder: folder,
        }
    }

    /// Returns the number of connections to internal addresses.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Asserts that connections to internal addresses are possible here, and counted.
    pub(super) fn assert_counts_connections(&self) {
        for address in INTERNAL {
            let address: IpAddr = address.parse().expect("an address");
            drop(TcpStream::connect((address, 443)).expect("a connection"));
        }
        drop(TcpStream::connect(("inside.test", 80)).expect("a name of the name server"));
        let expected = INTERNAL.len() + 1;
        crate::support::wait_until("the count", || self.connections() == expected);
        self.connections.store(0, Ordering::SeqCst);
    }

    /// Returns how a server accepts TLS as any name that is public.
    pub(super) fn accept_tls(
        &self,
    ) -> impl Fn(TcpStream) -> io::Result<StreamOwned<ServerConnection, TcpStream>> + use<> {
        let config = Arc::clone(&self.tls);
        move |socket| {
            let connection = ServerConnection::new(Arc::clone(&config));
            let connection = connection.map_err(io::Error::other)?;
            Ok(StreamOwned::new(connection, socket))
        }
    }
}

/// Creates a certificate authority and a server's certificate, and writes the authority's to `path`.
fn certify(path: &Path) -> ServerConfig {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("a certificate");
    std::fs::write(path, authority.pem()).expect("written");
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().expect("a key");
    let names = vec!["*.public.test".to_owned(), PUBLIC.to_string()];
    let params = CertificateParams::new(names).expect("parameters");
    let server = params
        .signed_by(&server_key, &issuer)
        .expect("a certificate");
    let key = PrivateKeyDer::try_from(server_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().expect("TLS");
    let config = config.with_no_client_auth();
    config
        .with_single_cert(vec![server.der().clone()], key)
        .expect("a configuration")
}

/// Answers questions for the addresses of names (RFC 1035).
fn serve_names(socket: &UdpSocket) {
    let asked = Mutex::new(BTreeMap::new());
    let mut question = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut question) {
        if let Some(answer) = answer_question(&question[..length], &asked) {
            // A client that is gone needs no answer.
            let _ = socket.send_to(&answer, client);
        }
    }
}

fn answer_question(question: &[u8], asked: &Mutex<BTreeMap<String, usize>>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while *question.get(at)? > 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(question.get(at + 1..=at + length)?).to_lowercase());
        at += length + 1;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes([*question.get(at + 1)?, *question.get(at + 2)?]);
    let name = labels.join(".");
    let known = NAMES.iter().find(|(known, _)| *known == name);
    let known = match known {
        Some((_, addresses)) => Some(*addresses),
        None if name.ends_with(".public.test") => Some(&["9.9.9.10"][..]),
        None if name.ends_with(".localhost") => Some(&["127.0.0.1"][..]),
        None => None,
    };
    let mut bytes = Vec::new();
    if let Some(addresses) = known {
        let mut asked = asked.lock().expect("the counts");
        let times = asked.entry(format!("{name} {kind}")).or_insert(0);
        let address = addresses[*times % addresses.len()];
        *times += 1;
        match (kind, address.parse().expect("an address")) {
            (1, IpAddr::V4(address)) => bytes.extend(address.octets()),
            (28, IpAddr::V6(address)) => bytes.extend(Ipv6Addr::octets(&address)),
            _ => {}
        }
    }
    // No such name, unless it is known; an address of the other kind is an empty answer.
    let code = if known.is_some() { 0 } else { 3 };
    let mut answer = question[..2].to_vec();
    answer.extend([0x84, code, 0, 1, 0, u8::from(!bytes.is_empty()), 0, 0, 0, 0]);
    answer.extend(question.get(12..end)?);
    if !bytes.is_empty() {
        // The name of the question, for no time at all.
        answer.extend([0xc0, 12, 0, u8::try_from(kind).ok()?, 0, 1, 0, 0, 0, 0, 0]);
        answer.push(u8::try_from(bytes.len()).ok()?);
        answer.extend(bytes);
    }
    Some(answer)
}

/// Serves one client of the HTTP proxy, which resolves names itself and connects to anything.
fn tunnel(client: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
    }
    let target = first.split(' ').nth(1).unwrap_or_default();
    let server = TcpStream::connect(target)?;
    (&client).write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let mut from_server = server.try_clone()?;
    let mut to_client = client;
    thread::spawn(move || io::copy(&mut from_server, &mut to_client));
    io::copy(&mut reader, &mut &server)?;
    Ok(())
}
