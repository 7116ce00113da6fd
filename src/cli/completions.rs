//! `completions` and `man`: generated from the same definitions as `--help`.

use std::fs;

use anyhow::Context;
use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::exit::Exit;
use super::render;

/// Prints the completion script of a shell.
pub(super) fn completions(args: CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    // Buffered, because `clap_complete` panics if standard output is closed.
    clap_complete::generate(args.shell, &mut Cli::command(), "overnight", &mut script);
    render::print_line(String::from_utf8(script)?.trim_end())?;
    Ok(Exit::Success)
}

/// Prints the main manual page, or writes one page per command to a folder.
pub(super) fn man(args: ManArgs) -> anyhow::Result<Exit> {
    let Some(folder) = args.out else {
        let mut page = Vec::new();
        // The main page lists the pages of the subcommands, and `help` has none.
        clap_mangen::Man::new(Cli::command().disable_help_subcommand(true)).render(&mut page)?;
        render::print_line(String::from_utf8(page)?.trim_end())?;
        return Ok(Exit::Success);
    };
    let write = || {
        fs::create_dir_all(&folder)?;
        clap_mangen::generate_to(Cli::command(), &folder)
    };
    write().with_context(|| format!("cannot write the manual to {}", folder.display()))?;
    render::print_note(format_args!("wrote the manual to {}", folder.display()));
    Ok(Exit::Success)
}
