//! What breaks the protocol itself: responses about something else, links that lead elsewhere, odd folders,
//! and machines that run out of something.

mod proxy;

mod folders;
#[cfg(target_os = "linux")]
mod inside;
mod machine;
mod manifests;
mod queue_file;
mod random;
mod responses;
mod stop;
mod text;

use std::process::Command;
use std::time::Duration;

use proxy::{HostileProxy, Request, Response, Upstream};

use crate::support::{CommandOutput, TestEnv};

/// How long a run may take to stop: half a second more than it gives its submissions.
const MAX_STOP: Duration = Duration::from_secs(2);

/// Returns the binary with the providers' addresses replaced by the proxy's.
fn command_through(env: &TestEnv, proxy: &HostileProxy, args: &[&str]) -> Command {
    let mut command = env.command(args);
    let from = env.simulator.address().to_string();
    let to = proxy.address.to_string();
    for (name, value) in env.simulator.environment() {
        command.env(name, value.replace(&from, &to));
    }
    command
}

/// Starts a proxy in front of the simulator and runs the binary to its end.
fn run_against(
    env: &TestEnv,
    rule: impl Fn(&Request, &Upstream) -> Response + Send + Sync + 'static,
) -> CommandOutput {
    let proxy = HostileProxy::start(env.simulator.address(), rule);
    let mut command = command_through(env, &proxy, &["run"]);
    CommandOutput::from_output(command.output().expect("the binary starts"))
}
