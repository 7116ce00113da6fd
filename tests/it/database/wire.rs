//! Connections that are cut when a transaction is committed, by a proxy between the program and its server.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::postgres_server;
use crate::support::{TestEnv, high_limits};

const ROWS: usize = 4;

/// More commits than a run of [`ROWS`] rows makes.
const MAX_COMMITS: u32 = 24;

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The server never sees it.
    Request,
    /// The server makes it, and its answer is dropped.
    Answer,
}

/// Passes messages on between the program and the server, and cuts one connection.
struct Proxy {
    port: u16,
    /// Commits that passed so far.
    commits: Arc<AtomicU32>,
}

impl Proxy {
    /// Cuts the connection at the commit of this number, counted from 1.
    fn start(socket: &Path, cut: Cut, at: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let commits = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&commits);
        let socket = socket.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&socket) else {
                    continue;
                };
                let counted = Arc::clone(&counted);
                thread::spawn(move || {
                    // The end of either side ends the connection.
                    let _ = pass_on(&client, &server, &counted, cut, at);
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, commits }
    }
}

/// Passes the messages of a client on until its connection is to be cut.
fn pass_on(
    client: &TcpStream,
    server: &UnixStream,
    commits: &AtomicU32,
    cut: Cut,
    at: u32,
) -> io::Result<()> {
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let answers = thread::spawn(move || io::copy(&mut from_server, &mut to_client));
    let (mut client, mut server) = (client, server);
    // The first message has no type.
    let mut is_first = true;
    loop {
        let mut head = vec![0; if is_first { 4 } else { 5 }];
        client.read_exact(&mut head)?;
        let length = head[head.len() - 4..].try_into().map(u32::from_be_bytes);
        let length = length.expect("four bytes") as usize - 4;
        let mut body = vec![0; length];
        client.read_exact(&mut body)?;
        let is_commit = !is_first && head[0] == b'Q' && body == b"COMMIT\0";
        is_first = false;
        if !is_commit || commits.fetch_add(1, Ordering::SeqCst) + 1 != at {
            server.write_all(&head)?;
            server.write_all(&body)?;
            continue;
        }
        client.shutdown(Shutdown::Both)?;
        if cut == Cut::Answer {
            server.write_all(&head)?;
            server.write_all(&body)?;
            // The server has made it when it ends the connection after it.
            server.shutdown(Shutdown::Write)?;
            let _ = answers.join();
        }
        return Ok(());
    }
}

/// Runs to the end through a proxy that cuts one commit. Returns whether there were that many.
fn run_with_cut(cut: Cut, at: u32) -> bool {
    let url = postgres_server::create_database();
    let (socket, database) = postgres_server::socket_and_database(&url).expect("a socket");
    let env = TestEnv::new(high_limits()).on_database(url);
    env.load(ROWS, "fal");
    let proxy = Proxy::start(&socket, cut, at);
    let through = format!("postgres://overnight@127.0.0.1:{}/{database}", proxy.port);
    let run = env.run(&["run", "--queue", &through]);
    assert_eq!(run.code, 0, "{cut:?} at commit {at}: {run:?}");
    env.assert_all_rendered_once(ROWS);
    let doctor = env.run(&["doctor"]);
    assert!(
        doctor.stdout.contains("every stored counter agrees"),
        "{doctor:?}"
    );
    proxy.commits.load(Ordering::SeqCst) >= at
}

fn cut_each_commit(cut: Cut) {
    if !postgres_server::is_available() {
        return;
    }
    let numbers: Vec<u32> = (1..=MAX_COMMITS).collect();
    let mut were_cut = 0;
    for chunk in numbers.chunks(8) {
        were_cut += thread::scope(|scope| {
            let runs = chunk
                .iter()
                .map(|at| scope.spawn(|| run_with_cut(cut, *at)));
            let runs: Vec<_> = runs.collect();
            let results = runs.into_iter().map(|run| run.join().expect("no panic"));
            results.filter(|is_cut| *is_cut).count()
        });
    }
    let is_each_cut = (10..numbers.len()).contains(&were_cut);
    assert!(is_each_cut, "{were_cut} commits were cut");
}

#[test]
fn a_run_goes_on_after_any_of_its_commits_whose_answer_was_lost() {
    cut_each_commit(Cut::Answer);
}

#[test]
fn a_run_goes_on_after_any_of_its_commits_that_never_arrived() {
    cut_each_commit(Cut::Request);
}
