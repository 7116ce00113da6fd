//! The simulator as the other tests rely on it: what it counts, refuses and serves.

use std::io::{Cursor, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use overnight::media::{self, MediaKind};
use overnight_simulator::{Api, Call, Fault, Faults, Simulator, clip};

use crate::support::{TestEnv, high_limits};

/// Uploads a file to a slot that does not exist, and returns all of the response; empty if the
/// connection was closed without one.
fn upload(simulator: &Simulator) -> String {
    let mut stream = TcpStream::connect(simulator.address()).expect("a connection");
    stream
        .write_all(b"PUT /storage/eachlabs/none HTTP/1.1\r\nHost: s\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
        .expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

#[test]
fn the_storage_counts_exactly_the_faults_that_it_injects() {
    /// The only fault whose response is the ordinary one, but late.
    const SLOW_S: f64 = 0.1;
    let mut counted = Vec::new();
    for fault in Fault::ALL {
        let name = fault.name();
        let env = TestEnv::new(high_limits());
        let mut faults = Faults::default().at(Api::Eachlabs, Call::Upload, fault, 1.0);
        faults.slow_s = SLOW_S;
        env.simulator.set_faults(faults);
        let sent = Instant::now();
        let is_ordinary = upload(&env.simulator).starts_with("HTTP/1.1 403");
        let is_counted = !env.simulator.requests().faults.is_empty();
        if fault == Fault::Slow {
            assert!(sent.elapsed().as_secs_f64() >= SLOW_S);
        } else {
            assert_eq!(is_counted, !is_ordinary, "{name}");
        }
        if is_counted {
            counted.push(name);
        }
    }
    let injected = [
        "server-error",
        "bad-gateway",
        "drop-before",
        "drop-after",
        "slow",
    ];
    assert_eq!(counted, injected);
}

#[test]
fn a_bound_simulator_refuses_connections_until_it_serves() {
    let env = TestEnv::new(high_limits());
    let bound = Simulator::bind(high_limits()).expect("a port");
    let address = bound.address();
    let refused = TcpStream::connect(address).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let simulator = env.serve(bound);
    assert_eq!(simulator.address(), address);
    assert!(upload(&simulator).starts_with("HTTP/1.1 403"));
}

#[test]
fn a_simulated_clip_is_a_valid_video_whatever_its_size() {
    for min_bytes in [0, 3000, 65_536] {
        for seconds in [1, 5, 10] {
            let clip = clip::for_prediction("p-17", min_bytes, seconds);
            let media = media::check(&mut Cursor::new(clip)).expect("no error");
            let media = media.unwrap_or_else(|error| panic!("{min_bytes} bytes: {error}"));
            assert_eq!(media.kind, MediaKind::Mp4);
            let duration = media.duration.expect("a duration").as_secs_f64();
            assert!((duration - f64::from(seconds)).abs() < 0.01, "{duration}");
        }
    }
}
