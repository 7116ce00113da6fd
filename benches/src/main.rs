//! What the program costs: each figure is a ratio to the bare work below it, or to another of its kind, and both sides
//! are measured in turn, in the same run, on the same machine.
//!
//! Words after `--` name sections; without any, all are run. `--quick` makes everything small: it shows that the benches
//! work and roughly where the figures are, no more.

mod drain;
mod engine;
mod fixture;
mod flight;
mod load;
mod makespan;
mod measure;
mod peers;
mod plot;
mod process;
mod program;
mod raw;
mod restart;
mod serve;
mod table;

use std::io::Write;

use anyhow::{Context, bail};

use table::Table;

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// A minute or two in all.
    Quick,
    /// What the figures in the README come from.
    Full,
}

impl Scale {
    /// Takes the size that fits.
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// A part of the table.
struct Section {
    name: &'static str,
    measure: fn(Scale, &mut Table) -> anyhow::Result<()>,
}

const SECTIONS: [Section; 7] = [
    Section {
        name: "engine",
        measure: engine::measure,
    },
    Section {
        name: "peers",
        measure: peers::measure,
    },
    Section {
        name: "load",
        measure: load::measure,
    },
    Section {
        name: "drain",
        measure: drain::measure,
    },
    Section {
        name: "pace",
        measure: makespan::measure,
    },
    Section {
        name: "restart",
        measure: restart::measure,
    },
    Section {
        name: "flight",
        measure: flight::measure,
    },
];

fn main() -> anyhow::Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == serve::WORD) {
        return serve::serve(&words[1..]);
    }
    if words.first().is_some_and(|word| word == engine::WORD) {
        return engine::alone(&words[1..]);
    }
    let scale = if words.iter().any(|word| word == "--quick") {
        Scale::Quick
    } else {
        Scale::Full
    };
    words.retain(|word| word != "--quick");
    for word in &words {
        if !SECTIONS.iter().any(|section| section.name == word) {
            let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
            bail!(
                "there is no section `{word}`\nhint: there are {}",
                names.join(", ")
            );
        }
    }
    let mut table = Table::default();
    let chosen =
        |section: &&Section| words.is_empty() || words.iter().any(|word| word == section.name);
    let measured = SECTIONS.iter().filter(chosen).try_for_each(|section| {
        (section.measure)(scale, &mut table)
            .with_context(|| format!("cannot measure {}", section.name))
    });
    // What was measured before something failed is worth as much.
    write!(std::io::stdout(), "{table}")?;
    measured
}
