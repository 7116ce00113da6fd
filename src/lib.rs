//! Overnight renders product catalogues in bulk through hosted image-to-video APIs.
//!
//! This is the crate behind the `overnight` command. It is a library so that tests, benches and
//! fuzz targets can use its parts; only the command line, its JSON output and the config are a
//! stable interface.
//!
//! # A tour
//!
//! A **job** is one image and prompt that become one clip. [`domain::job`] holds its states and the
//! one transition table, [`JobState::after`](domain::JobState::after). An **attempt** is one paid
//! submission of a job ([`domain::attempt`]).
//!
//! [`manifest`] turns the rows of a spreadsheet into jobs, priced by the models of the [`catalog`].
//! They are kept in a [`queue`], whose adapter is one SQLite file ([`queue::sqlite`]).
//!
//! A [`worker::Pool`] claims due **steps**. Each step is one claim, one external call to a
//! [`provider`] or a clip's host, and one transaction that records its outcome
//! ([`domain::outcome`]). Finished clips are saved through [`output`]. Between its steps a job is
//! only a row with a due time, so resuming after a crash is the ordinary path.
//!
//! [`simulator`] is a second implementation of the three APIs, with faults and a ledger, for tests,
//! rehearsals and the demo. [`rehearsal`] runs the worker against it in virtual time.
//!
//! # The map
//!
//! Arrows point one way: `main → cli → worker → {queue, provider, output} → domain`, and
//! `{manifest, catalog} → domain`. `image` reads local images for `manifest`, `worker` and
//! `provider`. `cli → report → queue` writes the report page. `cli → rehearsal → {worker,
//! simulator}` simulates a run. `simulator` uses nothing of `provider`. Only `cli/setup.rs` names
//! concrete adapters.
//!
//! # Reading order
//!
//! From a claim to a clip, in one sitting: `domain::job`, `domain::outcome`, `domain::retry`,
//! `queue`, `queue::claim`, `provider`, `worker::pool`, `worker::step`, `worker::submit`.
//! `docs/architecture.md` describes the same path in prose.

pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
mod failpoint;
pub mod image;
pub mod manifest;
pub mod output;
pub mod provider;
pub mod queue;
pub mod rehearsal;
pub(crate) mod report;
pub mod simulator;
pub(crate) mod tls;
pub(crate) mod toml_file;
pub mod worker;
