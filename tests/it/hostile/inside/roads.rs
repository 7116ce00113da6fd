//! The roads by which a provider names an address, and the addresses that it names.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use url::Url;

use super::network::{Network, PROXY_PORT, PUBLIC, PUBLIC_NAME};
use crate::hostile::{HostileProxy, Request, Response, Upstream};
use crate::support::{TestEnv, high_limits, load_args};

/// How long the addresses of a case may take.
const MAX_WAIT: Duration = Duration::from_secs(40);

const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Addresses that are not public, or lead to one that is not.
const TARGETS: [&str; 35] = [
    "https://10.0.0.5",
    "https://172.16.0.1",
    "https://192.168.1.1",
    "https://169.254.169.254",
    "https://100.64.0.1",
    "https://198.18.0.1",
    "https://127.0.0.1",
    "https://127.8.8.8",
    "https://127.1",
    "https://0.0.0.0",
    "https://167772165",
    "https://0x0a000005",
    "https://0177.0.0.1",
    "https://[::1]",
    "https://[::]",
    "https://[fd00::5]",
    "https://[::ffff:10.0.0.5]",
    "https://[::ffff:a9fe:a9fe]",
    "https://[::10.0.0.5]",
    "https://[64:ff9b::10.0.0.5]",
    "https://localhost",
    "https://localhost.",
    "https://LOCALHOST",
    "https://clips.localhost",
    "https://inside.test",
    "https://meta.test",
    "https://loop.test",
    "https://six.test",
    "https://mapped.test",
    "https://translated.test",
    "https://rebind.public.test",
    "http://10.0.0.5",
    "http://inside.test",
    "https://api.public.test@10.0.0.5",
    "https://user:password@inside.test",
];

/// How a provider names an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Road {
    /// As the link of a clip.
    Clip,
    /// As the place that a public link of a clip redirects to.
    Redirect,
    /// As the place to upload an image to.
    Upload,
    /// As the place that a public one redirects the upload to.
    UploadRedirect,
    /// As the places to ask for the state and the result of a submission.
    StatusUrl,
}

/// One road at one provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    provider: &'static str,
    road: Road,
    /// Whether the provider is at an address of this machine.
    is_local: bool,
    is_proxied: bool,
}

impl Case {
    pub(super) fn new(provider: &'static str, road: Road) -> Self {
        Self {
            provider,
            road,
            is_local: false,
            is_proxied: false,
        }
    }

    pub(super) fn on_this_machine(mut self) -> Self {
        self.is_local = true;
        self
    }

    pub(super) fn through_proxy(mut self) -> Self {
        self.is_proxied = true;
        self
    }

    /// Returns the addresses to try. A provider on this machine may name addresses on it; a proxy that
    /// resolves a name again may always get another answer.
    fn targets(self) -> Vec<&'static str> {
        let is_here = |target: &str| {
            let url = Url::parse(target).expect("a URL");
            let host = url.host_str().unwrap_or_default();
            host.contains("localhost")
                || matches!(
                    host,
                    "127.0.0.1" | "127.8.8.8" | "0.0.0.0" | "[::1]" | "[::]"
                )
        };
        let mut targets = TARGETS.to_vec();
        targets.retain(|target| !(self.is_local && is_here(target)));
        targets.retain(|target| !(self.is_proxied && target.contains("rebind")));
        targets
    }
}

/// Which address each job or image gets.
#[derive(Debug, Default)]
struct Given {
    /// The number of the address and how often it was given, by what it was given for.
    targets: BTreeMap<String, (usize, usize)>,
}

impl Given {
    /// Returns the address for a path that names a prediction or an upload, with that path; `None` for the
    /// first one, which keeps its own.
    fn target(&mut self, path: &str, targets: &[&str]) -> Option<String> {
        let next = self.targets.len();
        // A fresh link has another signature.
        let name = path.split('?').next().unwrap_or_default();
        let (number, times) = self.targets.entry(name.to_owned()).or_insert((next, 0));
        *times += 1;
        let target = targets[number.checked_sub(1)? % targets.len()];
        Some(format!("{target}{path}"))
    }
}

/// Runs a batch whose provider names an address for each row but the first. Returns the number of
/// addresses, each of which was named.
pub(super) fn run(case: Case, network: &Network) -> usize {
    let targets = case.targets();
    let rows = targets.len() + 1;
    let env = TestEnv::new(high_limits());
    if matches!(case.road, Road::Upload | Road::UploadRedirect) {
        env.write_image_manifest("batch.csv", rows);
        let loaded = env.run(&load_args(case.provider));
        assert_eq!(loaded.code, 0, "{loaded:?}");
    } else {
        env.load(rows, case.provider);
    }
    let given = Arc::new(Mutex::new(Given::default()));
    let in_rule = Arc::clone(&given);
    let address = if case.is_local {
        "127.0.0.1:0"
    } else {
        "9.9.9.10:0"
    };
    let listener = TcpListener::bind(address).expect("a free port");
    let address = listener.local_addr().expect("an address");
    let base = if case.is_local {
        format!("http://{address}")
    } else {
        format!("https://{PUBLIC_NAME}:{}", address.port())
    };
    let own = base.clone();
    let rule = move |request: &Request, simulator: &Upstream| {
        let mut given = in_rule.lock().expect("the addresses");
        let mut name = |path: &str| given.target(path, &targets);
        respond(case.road, request, simulator, &own, &mut name)
    };
    let simulator = env.simulator.address();
    let _proxy = if case.is_local {
        HostileProxy::start_on(listener, simulator, rule, Ok)
    } else {
        HostileProxy::start_on(listener, simulator, rule, network.accept_tls())
    };
    let mut command = env.command(&["run"]);
    for (name, value) in env.simulator.environment() {
        command.env(name, value.replace(&format!("http://{simulator}"), &base));
    }
    command.env("SSL_CERT_FILE", &network.authority);
    if case.is_proxied {
        command.env("HTTPS_PROXY", format!("http://{PUBLIC}:{PROXY_PORT}"));
    }
    let mut running = Running::start(&mut command);
    let deadline = Instant::now() + MAX_WAIT;
    let is_breached = || network.connections() > 0;
    while !running.has_ended() && !is_breached() && !is_each_tried(&env, &given, rows) {
        assert!(
            Instant::now() < deadline,
            "{}",
            describe(case, &env, &given)
        );
        std::thread::sleep(POLL_INTERVAL);
    }
    drop(running);
    let done = env
        .export()
        .into_iter()
        .filter(|job| job["state"] == "succeeded");
    let is_public_reached = done.count() >= 1;
    assert!(
        is_breached() || is_public_reached,
        "{}",
        describe(case, &env, &given)
    );
    let given = given.lock().expect("the addresses");
    // An upload that is tried again has another name, and gets another address.
    let is_each_named = given.targets.len() >= rows;
    assert!(
        is_breached() || is_each_named,
        "{case:?}: {} names",
        given.targets.len()
    );
    rows - 1
}

fn describe(case: Case, env: &TestEnv, given: &Mutex<Given>) -> String {
    let given = given.lock().expect("the addresses");
    let mut text = format!("{case:?}: {} addresses given\n", given.targets.len());
    for job in env.export() {
        let line = format!("{} {} {}\n", job["id"], job["state"], job["error"]);
        text.push_str(&line);
    }
    text
}

/// Returns whether each row was given an address and has come to know that it leads nowhere.
fn is_each_tried(env: &TestEnv, given: &Mutex<Given>, rows: usize) -> bool {
    let given = given.lock().expect("the addresses");
    let jobs = env.export();
    let settled = |job: &&Value| {
        matches!(job["state"].as_str(), Some("succeeded" | "failed")) || !job["error"].is_null()
    };
    let settled = jobs.iter().filter(settled).count();
    let repeated = given
        .targets
        .values()
        .filter(|(_, times)| *times > 1)
        .count();
    given.targets.len() >= rows && (settled == rows || repeated + 1 >= rows)
}

/// Answers a request as the simulator does, with another address where the road has one.
fn respond(
    road: Road,
    request: &Request,
    simulator: &Upstream,
    own: &str,
    name: &mut dyn FnMut(&str) -> Option<String>,
) -> Response {
    let mut response = simulator.forward();
    let text = String::from_utf8(response.body.clone());
    if let Ok(text) = text {
        response.body = text.replace(&simulator.base(), own).into_bytes();
    }
    let redirected = match road {
        Road::Redirect => request.is_download(),
        Road::UploadRedirect => request.method == "PUT",
        Road::Clip | Road::Upload | Road::StatusUrl => false,
    };
    if redirected && let Some(target) = name(&request.target) {
        response.status = 307;
        response.headers.push(("location".into(), target));
        return response;
    }
    let is_clip = |url: &Url| request.is_poll() && url.path().ends_with(".mp4");
    let is_renamed = |key: &str, url: &Url| match road {
        Road::Clip => is_clip(url),
        Road::Upload => key == "upload_url" || key == "presigned_url",
        Road::StatusUrl => key == "status_url" || key == "response_url",
        Road::Redirect | Road::UploadRedirect => false,
    };
    let mut body = response.to_json();
    let mut is_changed = false;
    rename(&mut body, "", &mut |key, text| {
        let mut url = Url::parse(text).ok()?;
        if road == Road::Redirect && is_clip(&url) {
            // A host of its own for each clip: one that is away does not keep others waiting.
            let domain = if own.starts_with("https") {
                "public.test"
            } else {
                "localhost"
            };
            let mut hash = DefaultHasher::new();
            url.path().hash(&mut hash);
            let host = format!("clip-{}.{domain}", hash.finish());
            url.set_host(Some(&host)).ok()?;
            is_changed = true;
            return Some(url.to_string());
        }
        if !is_renamed(key, &url) {
            return None;
        }
        let target = name(&url[url::Position::BeforePath..])?;
        is_changed = true;
        Some(target)
    });
    if is_changed {
        response.body = body.to_string().into_bytes();
    }
    response
}

/// Replaces texts at any depth.
fn rename(value: &mut Value, key: &str, replace: &mut dyn FnMut(&str, &str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(other) = replace(key, text) {
                *text = other;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, key, replace)),
        Value::Object(fields) => {
            for (key, value) in fields {
                rename(value, key, replace);
            }
        }
        _ => {}
    }
}

/// A run that is killed at the end of its case.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the binary starts"))
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("a status").is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
