//! What the steps of a pool share: the ports they call and the policies they follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::domain::{Catalog, ProviderName, RetryPolicy};
use crate::image::ImageSource;
use crate::output::{ClipSource, OutputStore};
use crate::provider::Provider;
use crate::queue::WorkQueue;

use super::host_gates::HostGates;
use super::{Observer, ProcessingTimes};

/// The ports and policies that steps use, and the code of the steps. Shared by all steps of a pool.
pub struct StepContext {
    /// The queue in which results are recorded.
    pub queue: Arc<dyn WorkQueue>,
    /// The providers that this run may call, by name.
    pub providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
    /// The marks of their keys, by which a run with other keys is noticed; of those that are not in it, nothing is
    /// known.
    pub key_marks: BTreeMap<ProviderName, String>,
    /// Where clips and images are read and written.
    pub files: FilePorts,
    /// The models and their routes: prices and typical processing times.
    pub catalog: Arc<Catalog>,
    /// The clock that all due times are computed from.
    pub clock: Arc<dyn Clock>,
    /// How often and after which delays a failed step is retried.
    pub policy: RetryPolicy,
    /// Measured and configured processing times, from which polls are scheduled.
    pub processing_times: ProcessingTimes,
    /// The hosts of clips that have failed lately.
    pub host_gates: HostGates,
    /// Receives every event of the pool.
    pub observer: Observer,
}

/// The ports to clips and images.
#[derive(Clone)]
pub struct FilePorts {
    /// The store that finished clips are written to.
    pub output: Arc<dyn OutputStore>,
    /// The source that finished clips are downloaded from.
    pub clips: Arc<dyn ClipSource>,
    /// The source of images that a manifest names by a local path.
    pub images: Arc<dyn ImageSource>,
}

impl StepContext {
    /// Creates a context with the default retries, without processing times of its own, and with an
    /// observer that ignores events.
    pub fn new(
        queue: Arc<dyn WorkQueue>,
        providers: BTreeMap<ProviderName, Arc<dyn Provider>>,
        files: FilePorts,
        catalog: Arc<Catalog>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            queue,
            providers,
            key_marks: BTreeMap::new(),
            files,
            catalog,
            clock,
            policy: RetryPolicy::default(),
            processing_times: ProcessingTimes::default(),
            host_gates: HostGates::default(),
            observer: Arc::new(|_| ()),
        }
    }
}
