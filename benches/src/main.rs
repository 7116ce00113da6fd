//! What the program costs. Most figures are ratios to the work that cannot be avoided, or to
//! another program of its kind; both sides are measured alternately, in the same run and on the
//! same machine.
//!
//! Arguments after `--` select sections; without any, all are run. `--quick` reduces all sizes: it
//! shows that the benchmarks work and the order of magnitude of the figures, no more.

mod database;
mod database_peers;
mod delay;
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
mod storage;
mod table;

use std::io::Write;

use anyhow::{Context, bail};

use table::Table;

/// The allocator that the program itself uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The size of the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// One or two minutes for all sections.
    Quick,
    /// The size of the figures in the README.
    Full,
}

impl Scale {
    /// Returns the value for this scale.
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// A group of measurements that can be selected on the command line.
struct Section {
    name: &'static str,
    measure: fn(Scale, &mut Table) -> anyhow::Result<()>,
}

const SECTIONS: [Section; 10] = [
    Section {
        name: "engine",
        measure: engine::measure,
    },
    Section {
        name: "database",
        measure: database::measure,
    },
    Section {
        name: "database-peers",
        measure: database_peers::measure,
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
        name: "storage",
        measure: storage::measure,
    },
    Section {
        name: "makespan",
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
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some(serve::SUBCOMMAND) => return serve::serve(&args[1..]),
        Some(storage::SUBCOMMAND) => return storage::serve(&args[1..]),
        Some(engine::SUBCOMMAND) => return engine::run_alone(&args[1..]),
        Some(database::SUBCOMMAND) => return database::run_alone(&args[1..]),
        _ => {}
    }
    let scale = if args.iter().any(|arg| arg == "--quick") {
        Scale::Quick
    } else {
        Scale::Full
    };
    args.retain(|arg| arg != "--quick");
    for arg in &args {
        if !SECTIONS.iter().any(|section| section.name == arg) {
            let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
            bail!(
                "unknown section `{arg}`\nhint: use one of {}",
                names.join(", ")
            );
        }
    }
    let mut table = Table::default();
    let is_selected =
        |section: &&Section| args.is_empty() || args.iter().any(|arg| arg == section.name);
    let result = SECTIONS.iter().filter(is_selected).try_for_each(|section| {
        (section.measure)(scale, &mut table)
            .with_context(|| format!("cannot measure {}", section.name))
    });
    // If a section fails, the results of the earlier ones are printed all the same.
    write!(std::io::stdout(), "{table}")?;
    result
}
