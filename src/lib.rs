//! Overnight renders product catalogues in bulk through hosted image-to-video APIs.
//!
//! This is the crate behind the `overnight` command. It is a library so that tests, benches and
//! fuzz targets can use its parts; only the command line, its JSON output and the config are a
//! stable interface.
//!
//! # A tour
//!
//! [`manifest`] turns the rows of a spreadsheet into jobs, priced by the models of the [`catalog`].
//! A [`loader`] stages them in a [`queue`], whose adapter is one SQLite file ([`queue::sqlite`]).
//!
//! A [`worker::Pool`] claims due steps, runs them, and records their outcomes
//! ([`domain::outcome`]). Finished clips are saved through [`output`]. Between its steps a job is
//! only a record with a due time, so resuming after a crash is the ordinary path. The one
//! transition table of a job is [`JobState::after`](domain::JobState::after).
//!
//! [`overnight_simulator`] is a second implementation of the three APIs, with faults and a ledger, for
//! tests, rehearsals and the demo: a crate of its own. [`rehearsal`] runs the worker against its model
//! in virtual time.
//!
//! # Glossary
//!
//! - **batch**: the rows of one manifest, with one model, one output folder and one budget.
//! - **job**: one image and prompt that become one clip ([`domain::job`]).
//! - **attempt**: one submission of a job, paid for at most once ([`domain::attempt`]). It is
//!   *open* while it is submitting, in doubt or accepted.
//! - **prediction**: the provider's run of a submission that it accepted.
//! - **route**: one provider's offer of a model; the **wire model** is the provider's id of it.
//! - **slot**: one of the attempts that may be open at a provider at one time.
//! - **step**: one claim (a transaction), one call of a port (submit, reconcile, poll or download),
//!   and one transaction that records the outcome. Image uploads work alike but belong to no job.
//! - **pool**: one run of the program on a queue. Its **lease** on a job is the exclusive right to
//!   record the outcome of one step. A pool is *dead* if its process has ended, and *expired* if it
//!   did not renew its leases in time.
//! - **canary**: the first jobs of a run, which the user reviews before any more are submitted.
//! - **in doubt**: whether the provider accepted the submission is unknown. A job in doubt is
//!   **held** if only the user's decision can settle it.
//! - **reserved**: the estimates of open attempts; **at risk**: the part of them in doubt;
//!   **spent**: the booked costs of closed attempts.
//!
//! # The map
//!
//! Arrows point one way: `main → cli → app → {rehearsal, loader, report} → worker → {queue, provider,
//! output, image} → policy → domain`, and `{manifest, catalog} → domain`. [`app`] is the composition
//! root: it alone names concrete adapters. `queue → policy` asks the rules, which are pure.
//! `loader → {manifest, queue, output}` stages rows. `image` reads local images for `manifest`,
//! `worker` and `provider`; `media` tells for `image` and `output` what a file is and whether it is whole; `link_client` is the HTTP of `provider` and `output` for addresses that a
//! provider names. `report → queue` writes the report page. `rehearsal → {worker,
//! overnight_simulator}` simulates a run; the simulator uses nothing of this crate. `cli` parses
//! arguments, calls these, and prints. `docs/architecture.md` draws this map.
//!
//! # Reading order
//!
//! From a claim to a recorded outcome: `domain::job_state`, `domain::outcome`, `domain::retry`,
//! `queue::work`, `provider::port`, `policy::outcome`, `worker::work_loop`, `worker::step`,
//! `worker::submit`. `docs/architecture.md` describes the whole path to a clip in prose.

pub mod app;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
mod failpoint;
pub mod image;
pub mod link_client;
pub mod loader;
pub mod manifest;
pub mod media;
mod open_files;
pub mod output;
pub mod policy;
pub mod provider;
pub mod queue;
pub mod rehearsal;
pub(crate) mod report;
pub(crate) mod tls;
pub(crate) mod toml_file;
pub mod worker;
