//! A network between a program and its server, which a test can disturb.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// What becomes of a message to the server.
pub(super) enum Fate {
    /// It arrives.
    Arrives,
    /// This many of its bytes arrive, and then the connection is cut.
    Cut(usize),
    /// It arrives, and its answer is dropped with the connection.
    Unanswered,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

/// What a network does with all that passes through it.
pub(super) trait Network: Send + Sync + 'static {
    /// Waits until something may pass, the end of a connection as well.
    fn wait(&self, direction: Direction) {
        let _ = direction;
    }

    /// Returns the fate of a whole message to the server.
    fn request(&self, message: &[u8]) -> Fate {
        let _ = message;
        Fate::Arrives
    }

    /// Returns how many of the bytes to the client arrive; if not all do, the connection is cut.
    fn answer(&self, bytes: &[u8]) -> usize {
        bytes.len()
    }
}

/// Lets a program reach the server at a socket through a network. Returns the URL of a database of this server.
pub(super) fn through(network: &Arc<impl Network>, socket: &Path, database: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let socket = socket.to_owned();
    let network = Arc::clone(network);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = UnixStream::connect(&socket) else {
                continue;
            };
            let network = Arc::clone(&network);
            thread::spawn(move || pass_on(&client, &server, &network));
        }
    });
    format!("postgres://overnight@127.0.0.1:{port}/{database}")
}

/// Passes messages on until either side ends the connection, or the network does.
fn pass_on(client: &TcpStream, server: &UnixStream, network: &Arc<impl Network>) -> io::Result<()> {
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    let answering = Arc::clone(network);
    let answers = thread::spawn(move || {
        let _ = pass_answers(&from_server, &to_client, &*answering);
        answering.wait(Direction::ToClient);
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
    let is_unanswered = pass_requests(client, server, &**network).unwrap_or(false);
    network.wait(Direction::ToServer);
    if is_unanswered {
        // The server has made it when it ends the connection after it.
        server.shutdown(Shutdown::Write)?;
    } else {
        server.shutdown(Shutdown::Both)?;
    }
    let _ = answers.join();
    Ok(())
}

/// Returns whether the last request is not to be answered.
fn pass_requests(
    mut client: &TcpStream,
    mut server: &UnixStream,
    network: &impl Network,
) -> io::Result<bool> {
    // The first message has no type.
    let mut type_length = 0;
    loop {
        let mut message = vec![0; type_length + 4];
        client.read_exact(&mut message)?;
        let length = message[type_length..].try_into().map(u32::from_be_bytes);
        let length = length.expect("four bytes") as usize;
        message.resize(type_length + length, 0);
        client.read_exact(&mut message[type_length + 4..])?;
        type_length = 1;
        network.wait(Direction::ToServer);
        match network.request(&message) {
            Fate::Arrives => server.write_all(&message)?,
            Fate::Cut(length) => {
                server.write_all(&message[..length])?;
                client.shutdown(Shutdown::Both)?;
                return Ok(false);
            }
            Fate::Unanswered => {
                client.shutdown(Shutdown::Both)?;
                server.write_all(&message)?;
                return Ok(true);
            }
        }
    }
}

fn pass_answers(
    mut server: &UnixStream,
    mut client: &TcpStream,
    network: &impl Network,
) -> io::Result<()> {
    let mut bytes = [0; 8192];
    loop {
        let length = server.read(&mut bytes)?;
        network.wait(Direction::ToClient);
        let passed = network.answer(&bytes[..length]);
        client.write_all(&bytes[..passed])?;
        if passed < length || length == 0 {
            return Ok(());
        }
    }
}
