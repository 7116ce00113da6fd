//! Counts the steps in progress, so that no kind of step can occupy all workers. A worker of a pool
//! is the room for one step; it has nothing to do with the slots of a provider.

use crate::queue::{Capacity, Step};

/// The steps in progress, by kind.
#[derive(Debug, Default)]
pub(super) struct WorkerSlots {
    /// Polls and history searches.
    polls: usize,
    submits: usize,
    downloads: usize,
    uploads: usize,
}

impl WorkerSlots {
    /// Counts a step that starts.
    pub(super) fn acquire(&mut self, step: Step) {
        *self.count_mut(step) += 1;
    }

    /// Counts a step that has ended.
    pub(super) fn release(&mut self, step: Step) {
        *self.count_mut(step) -= 1;
    }

    /// Counts an upload that starts.
    pub(super) fn acquire_upload(&mut self) {
        self.uploads += 1;
    }

    /// Counts an upload that has ended.
    pub(super) fn release_upload(&mut self) {
        self.uploads -= 1;
    }

    /// Returns the number of steps of jobs in progress.
    pub(super) fn job_steps(&self) -> usize {
        self.polls + self.submits + self.downloads
    }

    /// Returns how many steps of each kind may start, with this number of workers.
    ///
    /// One eighth of the workers is reserved for each kind: many polls must not keep provider slots
    /// from being filled, nor downloads, which may take minutes, keep them from being freed.
    /// Uploads run ahead of the submissions that need them, and get at most a quarter.
    pub(super) fn capacity(&self, workers: usize) -> Capacity {
        let reserved = if workers < 4 { 0 } else { (workers / 8).max(1) };
        let unused_reserve = |running: usize| reserved.saturating_sub(running);
        let running = self.polls + self.submits + self.downloads + self.uploads;
        let free = workers.saturating_sub(running);
        let reserved_for_all = unused_reserve(self.polls)
            + unused_reserve(self.submits)
            + unused_reserve(self.downloads);
        let available = |running: usize| {
            let reserved_for_others = reserved_for_all - unused_reserve(running);
            free.saturating_sub(reserved_for_others)
        };
        let max_uploads = (workers / 4).max(1);
        Capacity {
            steps: free,
            polls: available(self.polls),
            submits: available(self.submits),
            downloads: available(self.downloads),
            uploads: max_uploads
                .saturating_sub(self.uploads)
                .min(free.saturating_sub(reserved_for_all)),
        }
    }

    fn count_mut(&mut self, step: Step) -> &mut usize {
        match step {
            Step::Submit => &mut self.submits,
            Step::Poll | Step::Reconcile => &mut self.polls,
            Step::Download => &mut self.downloads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_of_step_occupies_all_workers() {
        let mut slots = WorkerSlots::default();
        for _ in 0..slots.capacity(16).downloads {
            slots.acquire(Step::Download);
        }
        let capacity = slots.capacity(16);
        assert_eq!(
            (capacity.downloads, capacity.polls, capacity.submits),
            (0, 2, 2)
        );
        slots.acquire(Step::Poll);
        slots.acquire(Step::Reconcile);
        slots.release(Step::Download);
        let capacity = slots.capacity(16);
        assert_eq!(
            (
                capacity.steps,
                capacity.downloads,
                capacity.polls,
                capacity.submits
            ),
            (3, 1, 1, 3)
        );
    }

    #[test]
    fn a_single_worker_runs_steps_of_every_kind() {
        let mut slots = WorkerSlots::default();
        assert_eq!(slots.capacity(1), Capacity::uniform(1));
        slots.acquire(Step::Submit);
        assert_eq!(slots.capacity(1), Capacity::uniform(0));
    }
}
