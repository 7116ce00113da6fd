//! A write: one transaction, whose result counts once the server has confirmed its commit.
//!
//! If the confirmation is lost, the transaction may have been made, may be under way still, or may be on a
//! server that has not passed it on. Each write therefore leaves a random token in the row of its process in
//! `writers`. Whoever locks that row waits until the lost transaction is over, and finds the token or not.

use std::time::Duration;

use jiff::Timestamp;

use super::connection::Connection;
use super::own_steps::{self, OwnSteps};
use super::read_ahead::ReadAhead;
use super::row::{params, values};
use super::schema;
use super::time::{Started, Time};
use super::transaction::PostgresTransaction;
use super::wake_up;
use crate::failpoint::fail_point;
use crate::queue::Result;
use crate::queue::lease::draw_token;
use crate::queue::storage::{Transaction, TurnReads, WriteOperation};

/// How long the server keeps a transaction open whose process does not go on with it, such as that of a machine
/// which sleeps: others wait for its lock.
const MAX_IDLE: Duration = Duration::from_secs(5);

/// Statements are planned once, and by indexes: a plan that was made when the tables were small would read all
/// of them later. None is worth being compiled.
const PLANS: &str = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL jit = off";

/// Waits for the lock of all writes without a snapshot, which would keep old versions of rows.
const LOCK_GATE: &str = "LOCK TABLE gate IN EXCLUSIVE MODE";

/// Lets the commit of a transaction not wait until the server has stored it: others wait for the lock, and need not
/// wait for that as well. The write counts once a [commit after it](confirm) is confirmed.
const COMMIT_EARLY: &str = "SELECT set_config('synchronous_commit', 'off', true)";

/// What became of a write.
pub(super) enum Written<T> {
    /// It was committed.
    Committed {
        /// Its result.
        result: T,
        /// Whether it was a turn that has left slots free that it had taken.
        frees_slots: bool,
    },
    /// It was sent, and the server has not confirmed it.
    Unconfirmed {
        /// Its result, if it was committed.
        result: T,
        /// The token that it has left.
        token: i64,
    },
}

/// Returns the statements that begin a transaction which holds the lock of all writes.
fn begin() -> String {
    format!(
        "{}; {LOCK_GATE}; {}; SET LOCAL idle_in_transaction_session_timeout = {}; {PLANS}",
        begin_unlocked(),
        schema::LOCK,
        MAX_IDLE.as_millis()
    )
}

/// Begins a write, and reads at once what it is likely to need.
fn begin_write<'a>(
    tx: &'a Connection,
    time: &Time,
    turn: Option<&TurnReads>,
) -> Result<(PostgresTransaction<'a>, Started)> {
    let Some(turn) = turn else {
        let started = time.of_started_and_read(tx, &begin(), Vec::new())?;
        schema::ensure_serves(tx)?;
        return Ok((PostgresTransaction::new(tx), started));
    };
    let usual = if turn.has_claim {
        tx.usual().next()
    } else {
        Vec::new()
    };
    let mut statements: Vec<_> = own_steps::statements(turn).into_iter().collect();
    statements.append(&mut ReadAhead::statements(&usual, &tx.usual().heads));
    let mut started = time.of_started_and_read(tx, &begin(), statements)?;
    let ahead = ReadAhead::new(usual, started.rows.split_off(own_steps::STATEMENTS));
    let own = OwnSteps::read(turn, &started.rows)?;
    Ok((PostgresTransaction::of_turn(tx, own, ahead), started))
}

/// Returns the statements that begin a transaction in which only this process writes, and which may take
/// minutes, in a database that may have no queue.
pub(super) fn begin_anywhere() -> String {
    format!("{}; {}", begin_unlocked(), schema::lock_all())
}

/// Returns the statements that begin a load. Loads follow each other; everybody else may write until the load
/// [locks the queue](lock_queue).
pub(super) fn begin_load() -> String {
    let first = "LOCK TABLE batches IN SHARE UPDATE EXCLUSIVE MODE";
    format!("{}; {first}", begin_unlocked())
}

fn begin_unlocked() -> String {
    // A user or a database for which commits are not waited for would lose what was paid.
    format!(
        "BEGIN; {}; SET LOCAL synchronous_commit = on",
        schema::SEARCH_PATH
    )
}

/// Takes the lock of all writes in a load.
///
/// # Errors
/// [`StoreErrorKind::Moved`](crate::queue::StoreErrorKind::Moved) if the queue was moved since it was opened.
pub(super) fn lock_queue(tx: &Connection) -> Result<()> {
    tx.batch(&format!("{LOCK_GATE}; {}", schema::LOCK))?;
    schema::ensure_serves(tx)
}

/// Runs a write of a process.
///
/// # Errors
/// Returns an error if nothing was written.
pub(super) fn write<T>(
    tx: &Connection,
    time: &Time,
    writer: &str,
    turn: Option<&TurnReads>,
    operation: &impl WriteOperation<T>,
) -> Result<Written<T>> {
    let token = draw_token();
    let run = || -> Result<(T, bool, bool)> {
        let (mut transaction, started) = begin_write(tx, time, turn)?;
        let Started {
            now, has_waited, ..
        } = started;
        let result = operation(&mut transaction as &mut dyn Transaction, now)?;
        let frees_slots = turn.is_some() && transaction.frees_slots();
        if turn.is_none() && transaction.has_news() {
            tx.post(&wake_up::statement(writer), Vec::new())?;
        }
        transaction.finish()?;
        set_token(tx, writer, token, now)?;
        if has_waited {
            tx.post(COMMIT_EARLY, Vec::new())?;
        }
        fail_point!("write sent");
        Ok((result, frees_slots, has_waited))
    };
    let (result, frees_slots, is_early) = run().inspect_err(|_| {
        // The error of what failed before is what matters.
        let _ = tx.roll_back();
    })?;
    let committed = tx.commit();
    if is_early && matches!(committed, Ok(true)) {
        return Ok(match confirm(tx, &begin_unlocked(), writer, token) {
            Ok(true) => Written::Committed {
                result,
                frees_slots,
            },
            // Nobody knows whether the server has it still.
            Ok(false) | Err(_) => Written::Unconfirmed { result, token },
        });
    }
    Ok(match committed {
        Ok(true) => Written::Committed {
            result,
            frees_slots,
        },
        Ok(false) => Written::Unconfirmed { result, token },
        Err(error) if error.is_lost_store() => {
            tracing::info!("the answer to a commit was lost: {error}");
            Written::Unconfirmed { result, token }
        }
        Err(error) => return Err(error),
    })
}

/// Finds out whether a write was committed. If it was, a commit after it is confirmed as well: then what it wrote
/// is wherever this one is, also on a standby.
///
/// # Errors
/// Returns an error if that is still unknown.
pub(super) fn is_committed(tx: &Connection, writer: &str, token: i64) -> Result<bool> {
    // The lost transaction may be under way still.
    confirm(tx, &begin(), writer, token)
}

/// Makes a commit that waits until the server has stored it, and with it the write that has left a token. Returns
/// whether the server has that write and has confirmed the commit.
fn confirm(tx: &Connection, begin: &str, writer: &str, token: i64) -> Result<bool> {
    let run = || -> Result<bool> {
        // A pooler may lead to a server that was started anew since, or to a standby in its place.
        let (_, found) = tx.begin(begin, vec![(TOUCH, values![writer.to_owned(), token])])?;
        if found.iter().flatten().next().is_none() {
            tx.roll_back()?;
            return Ok(false);
        }
        tx.commit()
    };
    run().inspect_err(|_| {
        let _ = tx.roll_back();
    })
}

/// Writes the token of a write again, if it is there.
const TOUCH: &str =
    "UPDATE writers SET token = token WHERE writer = $1 AND token = $2 RETURNING token";

fn set_token(tx: &Connection, writer: &str, token: i64, now: Timestamp) -> Result<()> {
    tx.post(
        "INSERT INTO writers (writer, token, written_at) VALUES ($1, $2, $3)
         ON CONFLICT (writer) DO UPDATE SET token = excluded.token, written_at = excluded.written_at",
        values![writer.to_owned(), token, now.as_millisecond()],
    )
}

/// Forgets a process that writes no more, and those that have not written for a week.
pub(super) fn forget(tx: &Connection, writer: &str) -> Result<()> {
    tx.batch(&format!("BEGIN; {}", schema::SEARCH_PATH))?;
    tx.execute(
        "DELETE FROM writers WHERE writer = $1
            OR written_at < (extract(epoch FROM clock_timestamp() - INTERVAL '7 days') * 1000)::BIGINT",
        params![writer],
    )?;
    tx.batch("COMMIT")
}
