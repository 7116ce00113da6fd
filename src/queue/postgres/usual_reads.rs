//! The reads that every claim makes, and which of them the next one is likely to make.

use std::collections::HashMap;

use super::lane_heads::LaneHeads;
use super::posted::Values;
use super::progress::job_progress_columns;
use super::row::{bigint, values};

/// How many claims go without a read before it is not made ahead any more.
const MAX_UNUSED: u64 = 16;

/// A read that claims make.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Read {
    Batches,
    Providers,
    Routes,
    LastAttempt,
    Unresolved,
    /// The lanes of the batch with this number.
    Lanes(i64),
    /// The first jobs of the lane with this number.
    Queued(i64),
    /// The first jobs in a state at a provider that wait for their next step.
    Due(&'static str, &'static str),
}

impl Read {
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Batches => BATCHES,
            Self::Providers => PROVIDERS,
            Self::Routes => ROUTES,
            Self::LastAttempt => LAST_ATTEMPT,
            Self::Unresolved => UNRESOLVED,
            Self::Lanes(_) => LANES,
            Self::Queued(_) => QUEUED,
            Self::Due(..) => DUE,
        }
    }

    /// Returns the values of its parameters; at most `limit` rows are read, of a lane from its head on.
    pub(super) fn values(self, limit: usize, heads: &LaneHeads) -> Values {
        match self {
            Self::Batches
            | Self::Providers
            | Self::Routes
            | Self::LastAttempt
            | Self::Unresolved => Vec::new(),
            Self::Lanes(batch_id) => {
                let mut values: Values = values![batch_id];
                values.append(&mut heads.columns());
                values
            }
            Self::Queued(lane_id) => {
                let (due_at, job_id) = heads.of(lane_id);
                values![lane_id, bigint(limit), due_at, job_id]
            }
            Self::Due(state, provider) => values![state, provider, bigint(limit)],
        }
    }
}

/// The reads of the last claims, with how many rows were asked for and in which claim.
#[derive(Default)]
pub(super) struct Usual {
    claims: u64,
    reads: HashMap<Read, (usize, u64)>,
    pub(super) heads: LaneHeads,
}

impl Usual {
    pub(super) fn note(&mut self, read: Read, limit: usize) {
        let (known, used_in) = self.reads.entry(read).or_default();
        let is_outdated = *used_in + MAX_UNUSED < self.claims;
        if limit >= *known || is_outdated {
            *known = limit;
        }
        *used_in = self.claims;
    }

    /// Counts a claim, and returns the reads that it is likely to make.
    pub(super) fn next(&mut self) -> Vec<(Read, usize)> {
        self.claims += 1;
        self.heads.forget_old();
        let oldest = self.claims.saturating_sub(MAX_UNUSED);
        self.reads.retain(|_, (_, used_in)| *used_in >= oldest);
        let reads = self.reads.iter();
        reads.map(|(read, (limit, _))| (*read, *limit)).collect()
    }
}

/// Selects every batch with its sums. Spent and reserved come from one statement: read apart, an attempt that ends
/// in between would be missed in both.
pub(super) const BATCHES: &str = "
    SELECT b.*, t.* FROM batches b, LATERAL (
        SELECT coalesce(sum(spent), 0)::BIGINT AS spent,
            coalesce(sum(reserved), 0)::BIGINT AS reserved,
            coalesce(sum(at_risk), 0)::BIGINT AS at_risk,
            coalesce(sum(queued), 0)::BIGINT AS queued,
            coalesce(sum(submitting), 0)::BIGINT AS submitting,
            coalesce(sum(in_doubt), 0)::BIGINT AS in_doubt,
            coalesce(sum(running), 0)::BIGINT AS running,
            coalesce(sum(downloading), 0)::BIGINT AS downloading,
            coalesce(sum(succeeded), 0)::BIGINT AS succeeded,
            coalesce(sum(failed), 0)::BIGINT AS failed,
            coalesce(sum(cancelled), 0)::BIGINT AS cancelled
        FROM tallies WHERE tallies.batch_id = b.batch_id) AS t
    ORDER BY b.batch_id";

const PROVIDERS: &str = "
    SELECT p.*, coalesce((SELECT sum(in_flight) FROM slots s WHERE s.provider = p.provider), 0)::BIGINT AS in_flight
    FROM providers p";

const LAST_ATTEMPT: &str = "SELECT max(attempt_id) AS last FROM attempts";

const UNRESOLVED: &str = "
    SELECT a.attempt_id, a.provider, a.wire_model, a.request_digest,
           j.state = 'in_doubt' AND j.due_at IS NULL AND j.lease_token IS NULL AS is_held
    FROM attempts a JOIN jobs j USING (job_id)
    WHERE a.finished_at IS NULL AND a.state IN ('submitting', 'in_doubt')";

/// Selects the gates of all routes that have one.
const ROUTES: &str = "SELECT * FROM routes";

/// Selects the lanes of a batch, with one index lookup each.
const LANES: &str = "
    SELECT lane_id, providers,
           (SELECT due_at FROM jobs j WHERE j.state = 'queued' AND j.lane_id = l.lane_id
                AND (j.due_at, j.job_id) >= (coalesce(h.due_at, 0), coalesce(h.job_id, 0))
            ORDER BY due_at, job_id LIMIT 1) AS due_at
    FROM lanes l LEFT JOIN unnest($2::BIGINT[], $3::BIGINT[], $4::BIGINT[]) AS h (lane_id, due_at, job_id)
        USING (lane_id)
    WHERE batch_id = $1 ORDER BY providers COLLATE \"C\"";

/// Selects the first jobs of a lane, due or not. Each row is looked up by itself: the planner does not know how few
/// there are, and would read all rows to join them.
const QUEUED: &str = concat!(
    "SELECT j.job_id, r.row_key, r.input, r.file_stem || '.mp4' AS file_name,
            CASE WHEN j.submitted_at IS NULL THEN 0 ELSE
                (SELECT coalesce(max(number), 0) FROM attempts a WHERE a.job_id = j.job_id)
            END AS last_attempt_number,
            CASE WHEN j.submitted_at IS NULL THEN 0 ELSE
                (SELECT count(*) FROM attempts a WHERE a.job_id = j.job_id
                    AND a.state IN ('presumed_absent', 'absent'))
            END AS absent_attempts, ",
    job_progress_columns!(),
    " FROM (SELECT * FROM jobs WHERE state = 'queued' AND lane_id = $1 AND (due_at, job_id) >= ($3, $4)
            ORDER BY due_at, job_id LIMIT $2) AS j,
           LATERAL (SELECT * FROM rows WHERE rows.job_id = j.job_id LIMIT 1) AS r
      ORDER BY j.due_at, j.job_id"
);

/// Selects the first jobs in a state at a provider that wait for their next step.
const DUE: &str = "
    SELECT due_at, job_id FROM jobs
    WHERE state = $1 AND at_provider = $2 AND lease_token IS NULL AND due_at IS NOT NULL
    ORDER BY due_at, job_id LIMIT $3";
