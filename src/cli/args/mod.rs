//! Every command and flag, with the text of its `--help`.

mod command;
mod ctl;
mod location;
mod manifest;
mod operator;
mod possible_values;
mod queries;
mod queue;
mod run;
mod setup;
mod simulate;

pub use command::{Cli, Command};
pub(super) use command::{Color, Global, LogFormat};
pub(super) use ctl::{AcceptPriceArgs, CtlArgs, CtlCommand, CtlSetArgs, KeyArgs};
pub(super) use manifest::{LoadArgs, ManifestArgs, RehearseArgs};
pub(super) use operator::{BackupArgs, CleanArgs, MoveArgs, ResolveArgs, SelectArgs, VerifyArgs};
pub(super) use queries::{
    BillArgs, ExportArgs, ExportFormat, JobsArgs, ModelsArgs, ReportArgs, ShowArgs, StatusArgs,
};
pub(super) use queue::{QueueArgs, QueueCommand, QueueCopyArgs};
pub(super) use run::RunArgs;
pub(super) use setup::{CompletionsArgs, DoctorArgs, InitArgs, ManArgs};
pub(super) use simulate::{DemoArgs, SimulateArgs};
