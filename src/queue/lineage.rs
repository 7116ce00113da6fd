//! Which queue this is, and how old: what tells a copy or a backup from the queue that was run last.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::ProviderName;

/// Which queue this is, and how old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// A random id, which copies of the queue share.
    pub queue_id: String,
    /// A number that grows with each run. Of two copies, the one with the lower number does not know
    /// what the other has paid for.
    pub generation: u64,
    /// The number of the last attempt, or 0. Of two copies, the one with the lower number does not know
    /// what the other has submitted.
    pub last_attempt: i64,
    /// When a run was last seen to work on the queue; before the first, when its first batch was
    /// created. `None` if it has no batch.
    pub last_seen: Option<Timestamp>,
    /// Since when the queue may not know what was paid for, because a copy or another queue has been
    /// run; `None` if it has been compared with the providers' histories since.
    pub doubt_since: Option<Timestamp>,
    /// Since when a copy or another queue has paid for what may be loaded into this one yet; `None` if
    /// there was none.
    pub unclaimed_since: Option<Timestamp>,
    /// Whether another server holds the queue than when its last run began, or a standby that has taken its
    /// place: it may lack what was committed last. `false` if the queue is a file.
    pub has_other_server: bool,
    /// The providers whose keys it was run with.
    pub providers: BTreeSet<ProviderName>,
    /// When rows of a batch were last loaded to be rendered anew, whatever was made before, by the name
    /// of the batch.
    pub fresh: BTreeMap<String, Timestamp>,
}
