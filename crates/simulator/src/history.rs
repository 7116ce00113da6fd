//! What the histories of the APIs list.

/// Which predictions the histories list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistoryScope {
    /// All of the account.
    #[default]
    All,
    /// Those whose creates were answered. The others are missing, although they are billed.
    Answered,
    /// Those of another account.
    OtherAccount,
}
