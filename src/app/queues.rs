//! Opens queues: files and databases.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::{App, AppError};
use crate::clock::SystemClock;
use crate::domain::{DatabaseUrl, QueueAddress};
use crate::queue::copy::{self, CopyStore};
use crate::queue::postgres::{Database, PostgresCopy, PostgresQueue};
use crate::queue::sqlite::{SqliteCopy, SqliteQueue};
use crate::queue::{self, Queue, QueueError, StoreError, StoreErrorKind, UnsafePlace};
use crate::rehearsal::{self, RehearsalReport, Scenario};
use crate::worker::StopSignal;

impl App {
    /// Opens the existing queue.
    ///
    /// # Errors
    /// As [`SqliteQueue::open`] or [`PostgresQueue::open`].
    pub fn queue(&self) -> Result<Arc<dyn Queue>, AppError> {
        self.queue_of(&self.config.queue)
    }

    fn queue_of(&self, address: &QueueAddress) -> Result<Arc<dyn Queue>, AppError> {
        Ok(match address {
            QueueAddress::File(path) => Arc::new(SqliteQueue::open(path, Arc::clone(&self.clock))?),
            QueueAddress::Database(url) => {
                let clock = Arc::clone(&self.adjusted_clock);
                Arc::new(PostgresQueue::open(self.database(url)?, clock)?)
            }
        })
    }

    /// Opens the existing queue, without migrating an older version; a file is opened read-only.
    ///
    /// # Errors
    /// As [`SqliteQueue::open_read_only`] or [`PostgresQueue::open`].
    pub fn queue_read_only(&self) -> Result<Arc<dyn Queue>, AppError> {
        let QueueAddress::File(path) = &self.config.queue else {
            return self.queue();
        };
        let clock = Arc::clone(&self.clock);
        Ok(Arc::new(SqliteQueue::open_read_only(path, clock)?))
    }

    /// Opens the queue, or creates it.
    ///
    /// # Errors
    /// As [`SqliteQueue::open_or_create`] or [`PostgresQueue::open_or_create`].
    pub fn queue_or_new(&self) -> Result<Arc<dyn Queue>, AppError> {
        Ok(match &self.config.queue {
            QueueAddress::File(path) => queue_at(path)?,
            QueueAddress::Database(url) => {
                let clock = Arc::clone(&self.adjusted_clock);
                Arc::new(PostgresQueue::open_or_create(self.database(url)?, clock)?)
            }
        })
    }

    /// Returns whether there is a queue.
    ///
    /// # Errors
    /// As [`PostgresQueue::exists`].
    pub fn has_queue(&self) -> Result<bool, AppError> {
        Ok(match &self.config.queue {
            QueueAddress::File(path) => path.exists(),
            QueueAddress::Database(url) => PostgresQueue::exists(self.database(url)?)?,
        })
    }

    /// Creates the queue, or brings an older one to the version of this program. Returns the version before,
    /// which is 0 if there was none, and the one after.
    ///
    /// # Errors
    /// As [`SqliteQueue::open_or_create`] or [`PostgresQueue::migrate`].
    pub async fn migrate_queue(&self) -> Result<(usize, usize), AppError> {
        let before = match &self.config.queue {
            QueueAddress::Database(url) => return Ok(PostgresQueue::migrate(self.database(url)?)?),
            QueueAddress::File(path) if path.exists() => {
                self.queue_read_only()?.health().await?.version
            }
            QueueAddress::File(_) => 0,
        };
        let after = self.queue_or_new()?.health().await?.version;
        Ok((before, after))
    }

    /// Removes the queue if it was never used. Returns whether it was removed.
    ///
    /// # Errors
    /// As [`SqliteQueue::remove_unused`] or [`PostgresQueue::remove_unused`].
    pub fn remove_unused_queue(&self) -> Result<bool, AppError> {
        Ok(match &self.config.queue {
            QueueAddress::File(path) => SqliteQueue::remove_unused(path)?,
            QueueAddress::Database(url) => PostgresQueue::remove_unused(self.database(url)?)?,
        })
    }

    /// Returns why the existing queue is not safe where it is; `None` if nothing is known against it.
    ///
    /// # Errors
    /// As [`SqliteQueue::find_unsafe_place`] or [`PostgresQueue::find_unsafe_place`].
    pub fn unsafe_place(&self) -> Result<Option<UnsafePlace>, AppError> {
        Ok(match &self.config.queue {
            QueueAddress::File(path) => SqliteQueue::find_unsafe_place(path)?,
            QueueAddress::Database(url) => PostgresQueue::find_unsafe_place(self.database(url)?)?,
        })
    }

    /// Copies a queue, and marks the original as moved. Returns the number of its jobs; 0 if an interrupted copy
    /// was finished.
    ///
    /// # Errors
    /// As [`copy::copy`], and as [`open`](SqliteQueue::open) if there is no queue at `from`.
    pub async fn copy_queue(
        &self,
        from: &QueueAddress,
        to: &QueueAddress,
    ) -> Result<usize, AppError> {
        // Pools that are gone hold leases still, which end as in a takeover.
        match self.queue_of(from) {
            Ok(original) => end_dead_pools(original.as_ref()).await?,
            // An interrupted copy is finished.
            Err(AppError::Queue(QueueError::Store(StoreError {
                kind: StoreErrorKind::Moved { .. },
                ..
            }))) => {}
            Err(error) => return Err(error),
        }
        let open_from = self.copy_store(from)?;
        let open_to = self.copy_store(to)?;
        let copied = tokio::task::spawn_blocking(move || {
            copy::copy(open_from()?.as_mut(), open_to()?.as_mut())
        });
        let copied = copied
            .await
            .map_err(|error| QueueError::Fault(error.to_string()));
        Ok(copied??)
    }

    /// Returns the folder of the project: that of the queue's file, or else the current one.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn project(&self) -> std::io::Result<PathBuf> {
        let QueueAddress::File(path) = &self.config.queue else {
            return std::env::current_dir();
        };
        let path = path.canonicalize()?;
        Ok(path.parent().unwrap_or(Path::new("")).to_owned())
    }

    /// Returns what opens a store that is copied, or a copy, outside of asynchronous code.
    fn copy_store(&self, address: &QueueAddress) -> Result<OpenCopyStore, AppError> {
        Ok(match address.clone() {
            QueueAddress::File(path) => {
                Box::new(move || Ok(Box::new(SqliteCopy::open(&path)?) as Box<dyn CopyStore>))
            }
            QueueAddress::Database(url) => {
                let database = self.database(&url)?;
                Box::new(move || Ok(Box::new(PostgresCopy::open(database)?) as Box<dyn CopyStore>))
            }
        })
    }

    /// Returns a database with what is configured for it.
    fn database(&self, url: &DatabaseUrl) -> Result<Database, AppError> {
        let mut database = Database::new(url, &self.environment).map_err(AppError::Config)?;
        if let Some(session) = &self.config.queue_session {
            let with_session = database.with_session(session, &self.environment);
            database = with_session.map_err(AppError::Config)?;
        }
        Ok(database.with_patience(self.config.queue_patience.unsigned_abs()))
    }
}

/// Opens a store that is copied, or a copy.
type OpenCopyStore = Box<dyn FnOnce() -> queue::Result<Box<dyn CopyStore>> + Send>;

/// Ends the leases of the pools that are known to be dead, which takes two checks.
///
/// # Errors
/// Returns [`QueueError::RunIsActive`] if one may be alive.
async fn end_dead_pools(queue: &dyn Queue) -> queue::Result<()> {
    const CHECKS: u32 = 3;
    const BETWEEN_CHECKS: Duration = Duration::from_secs(1);
    for check in 0..CHECKS {
        queue.take_over().await?;
        let running = queue.status(None).await?.pools.len();
        if running + queue.health().await?.dead_pools == 0 {
            return Ok(());
        }
        if check + 1 < CHECKS {
            tokio::time::sleep(BETWEEN_CHECKS).await;
        }
    }
    Err(QueueError::RunIsActive)
}

/// Opens the queue in a file, whatever is configured, or creates it.
///
/// # Errors
/// As [`SqliteQueue::open_or_create`].
pub fn queue_at(path: &Path) -> queue::Result<Arc<dyn Queue>> {
    Ok(Arc::new(SqliteQueue::open_or_create(
        path,
        Arc::new(SystemClock),
    )?))
}

/// Writes a copy of the queue in a file, also while runs are active.
///
/// # Errors
/// As [`SqliteQueue::back_up`].
pub fn back_up(queue: &Path, to: &Path) -> queue::Result<()> {
    SqliteQueue::back_up(queue, to)
}

/// Creates an empty queue to check a manifest against, which disappears when it is closed. SQLite
/// takes an empty path for a temporary file.
///
/// # Errors
/// As [`SqliteQueue::open_or_create`].
pub fn temporary_queue() -> queue::Result<Arc<dyn Queue>> {
    queue_at(Path::new(""))
}

/// Simulates a run once, on a copy of a loaded queue that is removed afterwards. No connection to
/// the loaded queue may be open.
///
/// # Errors
/// Returns an error if the copy fails, or a [`RehearsalError`](rehearsal::RehearsalError).
pub fn simulate_copy(
    scenario: &Arc<Scenario>,
    loaded: &Path,
    seed: u64,
    stop: &StopSignal,
) -> anyhow::Result<RehearsalReport> {
    let folder = loaded.parent().unwrap_or(Path::new("."));
    let dir = tempfile::tempdir_in(folder).context("cannot create a temporary folder")?;
    let path = dir.path().join("rehearsal.db");
    std::fs::copy(loaded, &path)
        .with_context(|| format!("cannot copy the queue to {}", path.display()))?;
    let open_queue = move |clock| Ok(Arc::new(SqliteQueue::for_rehearsal(&path, clock)?) as _);
    Ok(rehearsal::simulate(
        scenario,
        open_queue,
        seed,
        stop.clone(),
    )?)
}
