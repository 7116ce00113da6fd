//! A provider that names addresses of the private network: as clips, as redirects, as places to upload to,
//! as status URLs, by number and by name, directly and through a proxy.
//!
//! The test runs in a network namespace of its own, which has "public" and "internal" addresses, a name
//! server, and a certificate authority that the program trusts. Every internal address counts the
//! connections that it gets: none may come. Where the system gives no namespace, the test is skipped.

#![expect(
    clippy::print_stdout,
    reason = "the printed figures are a result of this test"
)]

mod network;
mod roads;

use std::process::Command;

use network::Network;
use roads::{Case, Road};

/// Set in the namespace.
const INSIDE: &str = "OVERNIGHT_TEST_NAMESPACE";

#[test]
fn no_address_that_a_provider_names_leads_into_the_private_network() {
    if std::env::var_os(INSIDE).is_some() {
        return try_all();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let name = "hostile::inside::no_address_that_a_provider_names_leads_into_the_private_network";
    let program = std::env::current_exe().expect("this program");
    let mut inside = network::command_in_namespace(folder.path(), &program);
    inside
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1");
    if let Err(reason) = namespace_works() {
        println!("SKIPPED: no network namespace: {reason}");
        return;
    }
    let output = inside.output().expect("`unshare` of util-linux");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{error}");
    assert!(
        said.contains(" tries, 0 connections inside"),
        "{said}\n{error}"
    );
    println!("{said}");
}

fn namespace_works() -> Result<(), String> {
    let mut command = Command::new("unshare");
    command.args(["-rnm", "ip", "link", "set", "lo", "up"]);
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Tries every road at every provider, several at a time: most of the time is waiting.
fn try_all() {
    let network = &Network::start();
    network.assert_counts_connections();
    let mut cases = Vec::new();
    for provider in ["eachlabs", "aimlapi", "fal"] {
        cases.push(Case::new(provider, Road::Clip));
        cases.push(Case::new(provider, Road::Redirect));
    }
    for provider in ["eachlabs", "fal"] {
        cases.push(Case::new(provider, Road::Upload));
        cases.push(Case::new(provider, Road::UploadRedirect));
    }
    cases.push(Case::new("fal", Road::StatusUrl));
    for road in [Road::Clip, Road::Redirect, Road::Upload] {
        cases.push(Case::new("fal", road).on_this_machine());
    }
    for road in [Road::Clip, Road::Redirect] {
        cases.push(Case::new("fal", road).through_proxy());
    }
    let tries: usize = std::thread::scope(|scope| {
        let run = |case| scope.spawn(move || roads::run(case, network));
        let running: Vec<_> = cases.into_iter().map(run).collect();
        running
            .into_iter()
            .map(|run| run.join().expect("a case"))
            .sum()
    });
    println!(
        "{tries} tries, {} connections inside",
        network.connections()
    );
    assert_eq!(network.connections(), 0);
}
