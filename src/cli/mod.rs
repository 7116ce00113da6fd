//! The command line, one file per command.
//!
//! A command parses its arguments, calls the library, and prints. Only `render` prints, and only
//! `screen` draws what changes on a terminal. Suggested commands that can be pasted are built by
//! `shell`. `error_text`, `load_problem` and `remedy` add flags and commands to what the library
//! reports, which knows none.

mod args;
mod backup;
mod balances;
mod bill;
mod canary;
mod clean;
mod clip_links;
mod completions;
mod confirm;
mod copies;
mod ctl;
mod demo;
mod doctor;
mod error_text;
mod examples;
mod exit;
mod export;
mod format;
mod init;
mod jobs;
mod keys;
mod load;
mod load_diff;
mod load_error;
mod load_probe;
mod load_problem;
mod load_remark;
mod load_view;
mod logs;
mod migrate;
mod models;
mod move_batch;
mod moved_folder;
mod operator;
mod progress;
mod progress_bar;
mod prompt;
mod queue_copy;
mod queue_place;
mod rehearsal_summary;
mod rehearse;
mod remedy;
mod removed_rows;
mod render;
mod report;
mod run;
mod run_markers;
mod run_pool;
mod run_setup;
mod screen;
mod setup;
mod shell;
mod simulate;
mod status;
mod stop_signal;
mod summary;
mod verify;
mod width;

use clap::Parser;
use clap::error::ErrorKind;

pub use args::{Cli, Command};
pub use exit::{Exit, Usage};

/// Parses the command line, runs the command, and returns how it ended.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_requested = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            // A reader that closed the pipe early, like `head`, is no failure.
            let _ = error.print();
            return if is_requested {
                Exit::Success
            } else {
                Exit::Usage
            };
        }
    };
    logs::start_logs(&cli);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            render::print_error(&anyhow::Error::new(error).context("cannot start"));
            return Exit::CannotContinue;
        }
    };
    match runtime.block_on(dispatch(cli)) {
        Ok(exit) => exit,
        Err(error) if render::is_broken_pipe(&error) => Exit::Success,
        Err(error) => {
            render::print_error(&error);
            Exit::from_error(&error)
        }
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let global = cli.global;
    match cli.command {
        Command::Load(args) => load::load(&global, args).await,
        Command::Rehearse(args) => rehearse::rehearse(&global, args).await,
        Command::Run(args) => run::run(&global, args).await,
        Command::Status(args) => status::status(&global, args).await,
        Command::Ctl(args) => ctl::ctl(&global, args).await,
        Command::Jobs(args) => jobs::jobs(&global, args).await,
        Command::Show(args) => jobs::show(&global, args).await,
        Command::Retry(args) => operator::retry(&global, args).await,
        Command::Cancel(args) => operator::cancel(&global, args).await,
        Command::Resolve(args) => operator::resolve(&global, args).await,
        Command::Verify(args) => verify::verify(&global, args).await,
        Command::Bill(args) => bill::bill(&global, args).await,
        Command::Report(args) => report::report(&global, args).await,
        Command::Move(args) => move_batch::move_batch(&global, args).await,
        Command::Backup(args) => backup::backup(&global, &args),
        Command::Queue(args) => queue_copy::queue(&global, args).await,
        Command::Migrate => migrate::migrate(&global).await,
        Command::Clean(args) => clean::clean(&global, args).await,
        Command::Export(args) => export::export(&global, args).await,
        Command::Models(args) => models::models(&global, args),
        Command::Simulate(args) => simulate::simulate(args).await,
        Command::Demo(args) => demo::demo(&global, args).await,
        Command::Init(args) => init::init(&global, args),
        Command::Doctor(args) => doctor::doctor(&global, args).await,
        Command::Completions(args) => completions::completions(args),
        Command::Man(args) => completions::man(args),
    }
}
