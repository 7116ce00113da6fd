//! What a turn needs to know about the steps that it records: read together with its lock.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::posted::Values;
use super::row::{Columns, values};
use crate::domain::{JobId, PoolId, ProviderName};
use crate::queue::Result;
use crate::queue::storage::TurnReads;
use crate::queue::stored_row::StoredRow;

const LEASES: &str =
    "SELECT job_id, lease_token FROM jobs WHERE job_id = ANY($1) AND lease_token IS NOT NULL";

const OWNERS: &str = "
    SELECT a.provider, a.prediction_id, a.job_id, a.attempt_id
    FROM unnest($1::TEXT[], $2::TEXT[]) AS found (provider, prediction_id)
         JOIN attempts a ON a.provider = found.provider AND a.prediction_id = found.prediction_id";

const POOL: &str = "SELECT pool_id FROM pools WHERE pool_id = $1";

/// A job and one of its attempts, by their numbers.
type Owner = (i64, i64);

/// What is known about the steps of a turn.
#[derive(Default)]
pub(super) struct OwnSteps {
    /// The pool, if it is registered.
    pool: Option<PoolId>,
    /// The leases, by job and token, and whether they are current.
    pub(super) leases: HashMap<(JobId, i64), bool>,
    /// Who has the predictions; `None` if nobody does.
    owners: HashMap<(ProviderName, String), Option<Owner>>,
}

/// Number of statements of [`statements`].
pub(super) const STATEMENTS: usize = 3;

/// Returns the statements that read what there is to know about the steps of a turn.
pub(super) fn statements(turn: &TurnReads) -> [(&'static str, Values); STATEMENTS] {
    let jobs: Vec<i64> = turn.leases.iter().map(|lease| lease.job_id.0).collect();
    let found = turn.predictions.iter().cloned();
    let (providers, predictions): (Vec<&str>, Vec<String>) =
        found.map(|(provider, id)| (provider.as_str(), id)).unzip();
    [
        (LEASES, values![jobs]),
        (OWNERS, values![providers, predictions]),
        (POOL, values![turn.pool.0.clone()]),
    ]
}

impl OwnSteps {
    /// Reads the results of the [`statements`].
    pub(super) fn read(turn: &TurnReads, rows: &[Vec<Row>]) -> Result<Self> {
        let mut own = Self::default();
        let [leases, owners, pool] = rows else {
            return Ok(own);
        };
        let expected = turn.leases.iter();
        let expected = expected.map(|lease| ((lease.job_id, lease.token), false));
        own.leases.extend(expected);
        for row in leases {
            let columns = Columns(row);
            let key = (JobId(columns.get("job_id")?), columns.get("lease_token")?);
            if let Some(is_current) = own.leases.get_mut(&key) {
                *is_current = true;
            }
        }
        let found = turn.predictions.iter().cloned();
        own.owners.extend(found.map(|key| (key, None)));
        for row in owners {
            let columns = Columns(row);
            let key = (columns.parse("provider")?, columns.get("prediction_id")?);
            let owner = (columns.get("job_id")?, columns.get("attempt_id")?);
            own.owners.insert(key, Some(owner));
        }
        own.pool = Some(turn.pool.clone()).filter(|_| !pool.is_empty());
        Ok(own)
    }

    /// Returns whether a pool is known to be registered.
    pub(super) fn has_pool(&self, pool: &PoolId) -> bool {
        self.pool.as_ref() == Some(pool)
    }

    /// Returns who has a prediction; `None` if that is not known.
    pub(super) fn owner(&self, provider: ProviderName, prediction: &str) -> Option<Option<Owner>> {
        self.owners.get(&(provider, prediction.to_owned())).copied()
    }

    /// Notes that an attempt has a prediction from now on.
    pub(super) fn set_owner(&mut self, provider: ProviderName, prediction: &str, owner: Owner) {
        let key = (provider, prediction.to_owned());
        self.owners.insert(key, Some(owner));
    }

    /// Notes that the lease of a job has ended.
    pub(super) fn end_lease(&mut self, job: JobId) {
        let mut leases = self.leases.iter_mut();
        leases
            .by_ref()
            .filter(|((job_id, _), _)| *job_id == job)
            .for_each(|(_, is_current)| *is_current = false);
    }
}
