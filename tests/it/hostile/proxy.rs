//! A server in front of the simulator that may change any response, byte by byte: what a cache, a broken
//! gateway or a hostile provider would send.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// A request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// A response before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What answers: it may ask the simulator for its response.
type Rule = dyn Fn(&Request, &Upstream) -> Response + Send + Sync;

/// The simulator behind the proxy.
pub(crate) struct Upstream<'a> {
    address: SocketAddr,
    proxy: SocketAddr,
    request: &'a Request,
}

/// A running proxy. Its threads end with the test's process.
pub(crate) struct HostileProxy {
    pub(crate) address: SocketAddr,
}

impl HostileProxy {
    /// Starts a proxy in front of the server at `upstream`.
    pub(crate) fn start(
        upstream: SocketAddr,
        rule: impl Fn(&Request, &Upstream) -> Response + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Self::start_on(listener, upstream, rule, Ok)
    }

    /// Starts a proxy that accepts connections at `listener`. `open` turns each into what the client's bytes
    /// are read from.
    pub(crate) fn start_on<S: Read + Write>(
        listener: TcpListener,
        upstream: SocketAddr,
        rule: impl Fn(&Request, &Upstream) -> Response + Send + Sync + 'static,
        open: impl Fn(TcpStream) -> io::Result<S> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let rule: Arc<Rule> = Arc::new(rule);
        let open = Arc::new(open);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let rule = Arc::clone(&rule);
                let open = Arc::clone(&open);
                // A client that goes away in the middle is no failure of the test.
                thread::spawn(move || serve(open(socket)?, upstream, address, rule.as_ref()));
            }
        });
        Self { address }
    }
}

impl Upstream<'_> {
    /// Returns how the links in its responses begin.
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.proxy)
    }

    /// Sends the request on and returns the simulator's response, whose links lead to the proxy.
    pub(crate) fn forward(&self) -> Response {
        let mut response = exchange(self.address, self.request).expect("the simulator answers");
        let from = self.address.to_string();
        let to = self.proxy.to_string();
        let text = String::from_utf8(response.body);
        response.body = text.map_or_else(
            |error| error.into_bytes(),
            |text| text.replace(&from, &to).into_bytes(),
        );
        response
    }
}

impl Request {
    /// Returns whether the request polls a prediction or reads its result, at any of the providers.
    pub(crate) fn is_poll(&self) -> bool {
        let path = self.target.split('?').next().unwrap_or_default();
        let is_prediction = path.contains("/prediction/") || path.contains("/requests/");
        let is_generation = self.target.contains("generation_id=");
        self.method == "GET" && (is_prediction || is_generation) && !path.contains("/models/")
    }

    /// Returns whether the request submits a prediction, at any of the providers.
    pub(crate) fn is_submission(&self) -> bool {
        let is_other = ["/cancel", "/upload", "/storage"];
        self.method == "POST" && !is_other.iter().any(|part| self.target.contains(part))
    }

    /// Returns whether the request downloads a clip.
    pub(crate) fn is_download(&self) -> bool {
        self.method == "GET" && self.target.contains(".mp4")
    }
}

impl Response {
    /// Creates a response with a JSON body.
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            body: body.to_string().into_bytes(),
        }
    }

    /// Returns the body as JSON; null if it is none.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("HTTP/1.1 {} Any\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            if !matches!(
                name.as_str(),
                "content-length" | "connection" | "transfer-encoding"
            ) {
                bytes.extend(format!("{name}: {value}\r\n").into_bytes());
            }
        }
        let end = format!(
            "content-length: {}\r\nconnection: close\r\n\r\n",
            self.body.len()
        );
        bytes.extend(end.into_bytes());
        bytes.extend(&self.body);
        bytes
    }
}

fn serve(
    socket: impl Read + Write,
    address: SocketAddr,
    proxy: SocketAddr,
    rule: &Rule,
) -> io::Result<()> {
    let mut socket = BufReader::new(socket);
    let request = read_request(&mut socket)?;
    let upstream = Upstream {
        address,
        proxy,
        request: &request,
    };
    let response = rule(&request, &upstream).to_bytes();
    socket.get_mut().write_all(&response)?;
    socket.get_mut().flush()
}

fn exchange(address: SocketAddr, request: &Request) -> io::Result<Response> {
    let mut socket = TcpStream::connect(address)?;
    let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method, request.target).into_bytes();
    for (name, value) in &request.headers {
        if !matches!(name.as_str(), "content-length" | "connection" | "host") {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
    }
    let end = format!(
        "host: {address}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        request.body.len()
    );
    bytes.extend(end.into_bytes());
    bytes.extend(&request.body);
    socket.write_all(&bytes)?;
    let mut reader = BufReader::new(socket);
    let (line, headers) = read_head(&mut reader)?;
    let mut body = Vec::new();
    match content_length(&headers) {
        Some(length) => {
            body.resize(length, 0);
            reader.read_exact(&mut body)?;
        }
        None => {
            reader.read_to_end(&mut body)?;
        }
    }
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    Ok(Response {
        status,
        headers,
        body,
    })
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Request> {
    let (line, headers) = read_head(reader)?;
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let method = word();
    let target = word();
    let mut body = vec![0; content_length(&headers).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Request {
        method,
        target,
        headers,
        body,
    })
}

/// Reads the first line, and the headers with their names in lower case.
fn read_head(reader: &mut impl BufRead) -> io::Result<(String, Vec<(String, String)>)> {
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Ok((first.trim_end().to_owned(), headers));
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn content_length(headers: &[(String, String)]) -> Option<usize> {
    let (_, length) = headers.iter().find(|(name, _)| name == "content-length")?;
    length.parse().ok()
}
