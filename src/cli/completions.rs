//! `completions` and `man`: what the shell and `man` know of the commands, made of the same source as `--help`.

use std::fs;

use anyhow::Context;
use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::exit::Exit;
use super::render;

/// Prints the completions of a shell.
pub(super) fn completions(args: CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    // Not to standard output at once: clap takes a closed one for a fault in the program.
    clap_complete::generate(args.shell, &mut Cli::command(), "overnight", &mut script);
    render::line(String::from_utf8(script)?.trim_end())?;
    Ok(Exit::Success)
}

/// Prints the first page of the manual, or writes one for each command.
pub(super) fn man(args: ManArgs) -> anyhow::Result<Exit> {
    let Some(folder) = args.out else {
        let mut page = Vec::new();
        // There is no page of the `help` command to point to.
        clap_mangen::Man::new(Cli::command().disable_help_subcommand(true)).render(&mut page)?;
        render::line(String::from_utf8(page)?.trim_end())?;
        return Ok(Exit::Success);
    };
    let write = || {
        fs::create_dir_all(&folder)?;
        clap_mangen::generate_to(Cli::command(), &folder)
    };
    write().with_context(|| format!("cannot write the manual to {}", folder.display()))?;
    render::note(format_args!("wrote the manual to {}", folder.display()));
    Ok(Exit::Success)
}
