//! Logging to standard error.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::args::{Cli, LogFormat};
use super::render;
use super::screen::live_region;

/// Starts logging to standard error.
pub(super) fn start_logs(cli: &Cli) {
    let level = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => "error",
        (false, 0) => "overnight=warn,error",
        (false, 1) => "overnight=info,warn",
        (false, _) => "overnight=debug,info",
    };
    let filter = EnvFilter::try_from_env("OVERNIGHT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let color = render::use_color(cli.global.color, std::io::stderr().is_terminal());
    let logs = tracing_subscriber::fmt::layer()
        .with_writer(|| live_region::LogWriter)
        .with_ansi(color);
    let logs = match cli.global.log_format {
        LogFormat::Text => logs.with_target(false).boxed(),
        LogFormat::Json => logs.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(logs.with_filter(filter.and(filter_fn(may_be_logged))))
        .init();
}

/// Reports whether a log event may be written, whatever `OVERNIGHT_LOG` asks for.
///
/// Libraries may log request URLs, frames and headers below `INFO`, and any update may change what
/// they log. That no key, prompt or signed link reaches the logs must not depend on them.
fn may_be_logged(log: &Metadata<'_>) -> bool {
    *log.level() <= Level::INFO || log.target().starts_with(env!("CARGO_PKG_NAME"))
}
