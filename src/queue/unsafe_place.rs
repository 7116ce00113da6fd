//! Places where a queue cannot be kept safely.

/// Why the place of a queue is not safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsafePlace {
    /// A file system on another machine, or one that is shared with another machine.
    #[error(
        "the queue is on a network file system ({0}), which may lose commits and let two machines \
         submit the same job"
    )]
    Network(String),
    /// A file system of a user-space program, which may be on another machine.
    #[error(
        "the queue is on a file system of a user-space program ({0}), which may be a network; there a \
         queue is not safe"
    )]
    MaybeNetwork(String),
    /// SQLite cannot use its write-ahead log.
    #[error(
        "the queue is on a file system without shared memory, where SQLite has no write-ahead log"
    )]
    NoWriteAheadLog,
    /// The file has several names. SQLite keeps the log and the locks under the name by which it was
    /// opened, so that two runs would not see each other.
    #[error(
        "the queue's file has {0} names (hard links), and runs under two of them would not see each other"
    )]
    SeveralNames(u64),
    /// The server sends what it commits to standbys, and waits for none of them.
    #[error(
        "the server of the queue does not wait for its standbys, so that one which takes its place may not \
         know what was paid for last"
    )]
    AsynchronousStandby,
    /// The server does not wait until what it commits is on its disk.
    #[error(
        "the server of the queue runs without fsync, so that it may forget what was paid for if its machine fails"
    )]
    NoSync,
}

impl UnsafePlace {
    /// Returns whether it is certain that the place is not safe.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::MaybeNetwork(_))
    }
}
