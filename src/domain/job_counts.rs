//! How many jobs are in each state.

use std::ops::AddAssign;

use super::JobState;

/// The number of jobs in each state, of one batch or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts([u64; JobState::ALL.len()]);

impl JobCounts {
    /// Returns the number of jobs in a state.
    pub const fn count(&self, state: JobState) -> u64 {
        self.0[state as usize]
    }

    /// Sets the number of jobs in a state.
    pub const fn set(&mut self, state: JobState, jobs: u64) {
        self.0[state as usize] = jobs;
    }

    /// Counts one job less in `from` and one more in `to`.
    pub const fn move_one(&mut self, from: JobState, to: JobState) {
        self.0[from as usize] = self.0[from as usize].saturating_sub(1);
        self.0[to as usize] += 1;
    }

    /// Returns the number of jobs in all states.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl AddAssign for JobCounts {
    fn add_assign(&mut self, other: Self) {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(count, added)| *count += added);
    }
}
