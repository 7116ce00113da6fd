//! One connection to the server, driven by the thread that uses it.

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::Bytes;
use futures_util::{SinkExt, future};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{AsyncMessage, Client, Config, Error, Row, SimpleQueryMessage, Statement};

use super::connect::{connect, read_server, silent};
use super::error::store_error;
use super::posted::{self, Posted, Updates, Values};
use super::row::{Columns, Params, as_params};
use super::silence::wait_for_answer;
use super::usual_reads::Usual;
use crate::queue::stored_update::Update;
use crate::queue::{QueueError, Result};

/// An open connection. Its methods wait for the server, and so may not be called by asynchronous code.
pub(super) struct Connection {
    /// Drives the connection while a method waits.
    runtime: Runtime,
    client: Arc<Client>,
    config: Config,
    /// What was posted and is sent with the next statement, in this order.
    posted: RefCell<Vec<Posted>>,
    /// The statements that were prepared, by their text.
    statements: RefCell<HashMap<String, Statement>>,
    /// The number of the server's process, which no other connection has.
    shard: i64,
    /// The server and its timeline; `None` if it does not tell.
    server: Option<String>,
    /// The random id of the queue, once it was read.
    queue_id: OnceCell<String>,
    /// The reads that the last claims made.
    usual: RefCell<Usual>,
    /// Whether the server has warned since this was last reset.
    has_warned: Arc<AtomicBool>,
    /// Whether the server has not answered when it should have.
    is_silent: Cell<bool>,
}

impl Connection {
    /// Connects to the server.
    pub(super) fn open(config: &Config) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| QueueError::Fault(error.to_string()))?;
        let has_warned = Arc::new(AtomicBool::new(false));
        let warned = Arc::clone(&has_warned);
        let client = runtime.block_on(connect(config, move |message| {
            if let AsyncMessage::Notice(notice) = message
                && notice.severity() == "WARNING"
            {
                tracing::warn!("the server of the queue: {}", notice.message());
                warned.store(true, Ordering::Release);
            }
        }))?;
        let mut connection = Self {
            runtime,
            client: Arc::new(client),
            config: config.clone(),
            posted: RefCell::default(),
            statements: RefCell::default(),
            shard: 0,
            server: None,
            queue_id: OnceCell::new(),
            usual: RefCell::default(),
            has_warned,
            is_silent: Cell::new(false),
        };
        let pid = connection.value("SELECT pg_backend_pid()::BIGINT", &[])?;
        connection.shard = pid.unwrap_or(0);
        let server = connection.block_on(read_server(&connection.client))?;
        connection.server = server?;
        Ok(connection)
    }

    /// Returns which server this is, and its timeline, which a standby changes when it becomes the server;
    /// `None` if it does not tell.
    pub(super) fn server(&self) -> Option<&String> {
        self.server.as_ref()
    }

    /// Returns whether the server, or the network, has closed the connection, or does not answer on it.
    pub(super) fn is_lost(&self) -> bool {
        self.client.is_closed() || self.is_silent.get()
    }

    /// Returns the number under which this connection keeps its part of the sums.
    pub(super) fn shard(&self) -> i64 {
        self.shard
    }

    /// Returns the id of the queue, which `read` reads where it is not known yet.
    pub(super) fn queue_id(&self, read: impl FnOnce() -> Result<String>) -> Result<String> {
        if let Some(queue_id) = self.queue_id.get() {
            return Ok(queue_id.clone());
        }
        let queue_id = read()?;
        Ok(self.queue_id.get_or_init(|| queue_id).clone())
    }

    /// Returns the reads that the last claims made.
    pub(super) fn usual(&self) -> RefMut<'_, Usual> {
        self.usual.borrow_mut()
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.wait(self.client.batch_execute(sql))
    }

    /// Rolls the transaction back, and forgets what was posted.
    pub(super) fn roll_back(&self) -> Result<()> {
        self.posted.take();
        self.batch("ROLLBACK")
    }

    /// Sends a statement with the next one whose result is waited for, which fails if this one does: each
    /// statement that is waited for takes a round trip.
    pub(super) fn post(&self, sql: &str, values: Values) -> Result<()> {
        let statement = self.prepare(sql)?;
        let mut posted = self.posted.borrow_mut();
        posted.push(Posted::Statement(statement, values));
        Ok(())
    }

    /// Sends an update with the next statement whose result is waited for, which fails if there is no such row.
    pub(super) fn post_update(&self, update: Update) -> Result<()> {
        let sql = posted::sql_of_many(&update);
        let statement = self.prepare(&sql)?;
        let mut posted = self.posted.borrow_mut();
        if let Some(update) = Posted::merge(&mut posted, &sql, update) {
            posted.push(Posted::Updates(Updates::new(sql, statement, update)));
        }
        Ok(())
    }

    /// Begins a transaction, and makes reads in it before the answer to that is there. Returns the texts of
    /// the last row, and the rows of each read. A read that was never made before takes a round
    /// trip of its own.
    pub(super) fn begin(
        &self,
        sql: &str,
        reads: Vec<(&'static str, Values)>,
    ) -> Result<(Vec<String>, Vec<Vec<Row>>)> {
        let prepared = reads.iter().map(|(sql, values)| {
            let statement = self.statements.borrow().get(*sql).cloned();
            async move {
                let Some(statement) = statement else {
                    return Ok(None);
                };
                let rows = self.client.query(&statement, &as_params(values)).await;
                rows.map(Some)
            }
        });
        let prepared = in_order(prepared.map(Box::pin).collect());
        let begin = async {
            // The lock is sent first, because it is polled first.
            let (messages, rows) = future::join(self.client.simple_query(sql), prepared).await;
            let messages = messages?;
            let rows: std::result::Result<Vec<_>, Error> = rows.into_iter().collect();
            Ok((last_texts(&messages), rows?))
        };
        let (texts, rows) = self.wait(begin)?;
        let reads = reads.iter().zip(rows);
        let rows = reads.map(|((sql, values), rows)| match rows {
            Some(rows) => Ok(rows),
            None => self.rows(sql, &as_params(values)),
        });
        Ok((texts, rows.collect::<Result<_>>()?))
    }

    /// Sends what was posted and then a statement, and waits for the results of all.
    fn wait<T>(&self, run: impl Future<Output = std::result::Result<T, Error>>) -> Result<T> {
        let posted = self.posted.take().into_iter();
        let posted = posted.map(|posted| Box::pin(posted.execute(Arc::clone(&self.client))));
        let posted = in_order(posted.collect());
        let (posted, result) = self.block_on(future::join(posted, run))?;
        for posted in posted {
            // The first error is the cause of the others.
            let (expected, written) = posted.map_err(store_error)?;
            if expected.is_some_and(|expected| expected != written) {
                let message = format!("{written} rows were written instead of {expected:?}");
                return Err(QueueError::corrupt(message));
            }
        }
        result.map_err(store_error)
    }

    /// Waits for the answer of the server.
    fn block_on<T>(&self, answer: impl Future<Output = T>) -> Result<T> {
        // A rollback after an error would wait once more.
        if self.is_silent.get() {
            return Err(silent());
        }
        let answer = wait_for_answer(&self.config, self.server(), answer);
        let answer = self.runtime.block_on(answer);
        answer.inspect_err(|_| self.is_silent.set(true))
    }

    /// Sends rows, as text, to a statement `COPY … FROM STDIN`.
    pub(super) fn copy_in(&self, sql: &str, rows: String) -> Result<()> {
        let copied = self.block_on(async {
            let mut sink = pin!(self.client.copy_in(sql).await?);
            sink.send(Bytes::from(rows)).await?;
            sink.finish().await
        })?;
        copied.map(drop).map_err(store_error)
    }

    /// Commits the transaction. Returns whether the server has confirmed that without a warning: one that gives
    /// up waiting for a standby commits all the same, and warns that the standby may not have it.
    pub(super) fn commit(&self) -> Result<bool> {
        self.has_warned.store(false, Ordering::Release);
        self.batch("COMMIT")?;
        Ok(!self.has_warned.load(Ordering::Acquire))
    }

    /// Runs a query and returns its rows as mapped by `map`.
    pub(super) fn select<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        mut map: impl FnMut(&Columns<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let rows = self.rows(sql, params)?;
        rows.iter().map(|row| map(&Columns(row))).collect()
    }

    /// Runs a query and returns its rows.
    pub(super) fn rows(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let statement = self.prepare(sql)?;
        self.wait(self.client.query(&statement, params))
    }

    /// Runs a query and returns the first column of its first row; `None` if there is no row or the value is
    /// NULL.
    pub(super) fn value<T: FromSqlOwned>(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Option<T>> {
        let statement = self.prepare(sql)?;
        let row = self.wait(self.client.query_opt(&statement, params))?;
        let value = row.map(|row| row.try_get::<_, Option<T>>(0));
        Ok(value.transpose().map_err(store_error)?.flatten())
    }

    /// Runs a statement and returns the number of rows that it changed.
    pub(super) fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64> {
        let statement = self.prepare(sql)?;
        self.wait(self.client.execute(&statement, params))
    }

    /// Runs statements; returns whether none violated a uniqueness. The transaction goes on either way, and with
    /// nothing that they have written if one did.
    pub(super) fn is_unique<T>(
        &self,
        run: impl AsyncFnOnce(&Client) -> std::result::Result<T, Error>,
    ) -> Result<bool> {
        self.batch("SAVEPOINT attempt")?;
        match self.block_on(run(&self.client))? {
            Ok(_) => {
                self.batch("RELEASE SAVEPOINT attempt")?;
                Ok(true)
            }
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                self.batch("ROLLBACK TO SAVEPOINT attempt; RELEASE SAVEPOINT attempt")?;
                Ok(false)
            }
            Err(error) => Err(store_error(error)),
        }
    }

    /// Prepares a statement, unless it was before.
    pub(super) fn prepare(&self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.statements.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.block_on(self.client.prepare(sql))?;
        let statement = statement.map_err(store_error)?;
        let mut statements = self.statements.borrow_mut();
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Returns the texts of the last row.
fn last_texts(messages: &[SimpleQueryMessage]) -> Vec<String> {
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let texts = rows.last().into_iter().flat_map(|row| {
        let columns = 0..row.len();
        columns.map(|column| row.get(column).unwrap_or_default().to_owned())
    });
    texts.collect()
}

/// Runs statements at once. They are sent in their order, because each is sent when it is polled first.
async fn in_order<T, F: Future<Output = T> + Unpin>(statements: Vec<F>) -> Vec<T> {
    let mut statements: Vec<_> = statements.into_iter().map(future::maybe_done).collect();
    poll_fn(|context| {
        let mut is_pending = false;
        for statement in &mut statements {
            is_pending |= Pin::new(statement).poll(context).is_pending();
        }
        if is_pending {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    let results = statements
        .iter_mut()
        .filter_map(|done| Pin::new(done).take_output());
    results.collect()
}
