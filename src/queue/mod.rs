//! The ports to the queue, by who calls, and their adapters.
//!
//! [`WorkQueue`] is what a pool works through, [`Loader`] what a load does, [`Reports`] what is
//! shown, and [`Operator`] what the user decides. Each method is one intent in domain types. A
//! write applies completely or not at all, and when it returns `Ok`, its effects survive power
//! loss.
//!
//! The ports are built once, on a [`Storage`](storage::Storage): an adapter only reads and writes.
//! What it writes is decided by [`policy`](crate::policy), in transaction scripts that every adapter
//! shares: `turn`, `load`, `pools`, `findings` and `commands`.

pub(crate) mod bill;
pub(crate) mod claim;
pub mod claim_reads;
pub(crate) mod clip_versions;
mod commands;
pub mod copy;
pub(crate) mod error;
pub(crate) mod findings;
pub(crate) mod health;
pub mod job_reader;
mod lease;
pub(crate) mod lineage;
pub(crate) mod live_setting;
pub mod load;
mod load_pictures;
mod load_store;
mod lookup;
pub(crate) mod operator;
pub(crate) mod pool_lookups;
mod pools;
mod ports;
pub mod postgres;
mod rate_counts;
mod record;
pub(crate) mod reports;
mod shortened;
pub mod sqlite;
pub(crate) mod staging;
pub mod storage;
mod stored_cost;
mod stored_row;
mod stored_update;
mod stored_values;
pub(crate) mod throughput;
mod turn;
mod turn_gates;
mod turn_reads;
mod unsafe_place;
pub(crate) mod upload;
pub(crate) mod views;
pub(crate) mod work;

pub use crate::policy::claim::{
    Backlog, BudgetLimit, Capacity, ClaimRequest, ProviderLimits, Step,
};
pub use crate::policy::operator::{Decision, NotApplicable, Remedy};
pub use crate::policy::upload::UploadOutcome;
pub use bill::{BillGrouping, BillLine, BillSums};
pub use claim::{Claim, ClaimResponse};
pub use clip_versions::ClipVersion;
pub use error::{Cause, QueueError, Result, StoreError, StoreErrorKind};
pub use findings::{HistoryFinding, UnknownPrediction};
pub use health::Health;
pub use lineage::Lineage;
pub use live_setting::{LiveSetting, SettingChange};
pub use operator::{
    BatchClips, CancelResult, CounterMismatch, KeyNote, Operator, RunSetup, Selection,
};
pub use pool_lookups::{AbsentAttempt, Gates, PoolLookups};
pub use reports::Reports;
pub use staging::{
    Differences, LoadPlan, Loader, NewBatch, QueryDifferences, RemovedRows, RowChange, Staging,
};
pub use throughput::{Completion, Throughput};
pub use unsafe_place::UnsafePlace;
pub use upload::{UploadClaim, UploadLease};
pub use views::{
    AttemptRecord, BatchStatus, JobFilter, JobRecord, PoolRecord, ProviderStatus, RouteStatus,
    Status,
};
pub use work::{Completed, LEASE_DURATION, Recorded, Turn, TurnResult, WorkQueue};

/// All ports of one queue.
pub trait Queue: WorkQueue + Loader + Reports + Operator {}

impl<Q: WorkQueue + Loader + Reports + Operator> Queue for Q {}
