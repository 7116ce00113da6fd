//! Where the rows of a manifest go.

use crate::domain::NewJob;

use crate::manifest::problem::{Mistake, Problem};
use crate::manifest::remark::Remark;

/// Receives what is read from a manifest, several rows at a time.
pub trait RowSink {
    /// Accepts rows that passed every check of this folder. Returns the line and the message of
    /// each row that is rejected nevertheless, such as a duplicate; they are reported as problems
    /// of the field `id`.
    fn rows(&mut self, jobs: Vec<NewJob>) -> anyhow::Result<Vec<(u64, Mistake)>>;

    /// Receives a problem.
    fn problem(&mut self, problem: Problem);

    /// Receives what was done with a number of rows, products or links that is no mistake, and the line of
    /// the first.
    fn remark(&mut self, remark: &Remark, count: u64, line: u64);
}
