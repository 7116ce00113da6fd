//! A network that delays what it passes on, between this program and a server on this machine.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use url::Url;

/// Accepts connections for as long as this program runs, and passes each on to the server of a URL. What either
/// side sends arrives half a round trip later. Returns the URL of the server behind the delay.
pub(crate) fn behind(url: &str, round_trip: Duration) -> anyhow::Result<String> {
    let mut delayed = Url::parse(url)?;
    let host = delayed.host_str().context("the URL names no host")?;
    let server = (host.to_owned(), delayed.port().unwrap_or(5432));
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    delayed
        .set_ip_host(address.ip())
        .ok()
        .context("the URL takes no host")?;
    delayed
        .set_port(Some(address.port()))
        .ok()
        .context("the URL takes no port")?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A connection that cannot be passed on ends, as at a server that is away.
            let _ = pass_on(client, &server, round_trip / 2);
        }
    });
    Ok(delayed.into())
}

fn pass_on(client: TcpStream, server: &(String, u16), delay: Duration) -> io::Result<()> {
    let server = TcpStream::connect(server)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    delay_bytes(client.try_clone()?, server.try_clone()?, delay);
    delay_bytes(server, client, delay);
    Ok(())
}

/// Passes bytes on in one direction. One thread reads them and another waits, so that the delay of the first ones
/// does not hold back those after them.
fn delay_bytes(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok(length) = from.read(&mut buffer)
            && length > 0
            && sender
                .send((Instant::now() + delay, buffer[..length].to_vec()))
                .is_ok()
        {}
    });
    thread::spawn(move || {
        for (due_at, bytes) in receiver {
            thread::sleep(due_at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // The other side may have closed it already.
        let _ = to.shutdown(Shutdown::Both);
    });
}
