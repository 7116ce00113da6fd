//! The steps a pool has in hand, and for how many more there is room.

use crate::queue::{Capacity, Step};

/// Steps in hand, by kind.
#[derive(Debug, Default)]
pub(super) struct WorkerSlots {
    polls: usize,
    submits: usize,
    downloads: usize,
    uploads: usize,
}

impl WorkerSlots {
    /// Takes a step in hand.
    pub(super) fn acquire(&mut self, step: Step) {
        *self.of(step) += 1;
    }

    /// Lets a step go.
    pub(super) fn release(&mut self, step: Step) {
        *self.of(step) -= 1;
    }

    /// Takes an upload in hand.
    pub(super) fn acquire_upload(&mut self) {
        self.uploads += 1;
    }

    /// Lets an upload go.
    pub(super) fn release_upload(&mut self) {
        self.uploads -= 1;
    }

    /// Tells for how many steps there is room. An eighth of the workers is kept for each kind: a storm of looks must not
    /// keep slots from being filled, nor downloads, which may take minutes, keep them from being freed. Uploads run ahead of
    /// what needs them, and get a quarter at most.
    pub(super) fn capacity(&self, workers: usize) -> Capacity {
        let kept = if workers < 4 { 0 } else { (workers / 8).max(1) };
        let lacking = |slots: usize| kept.saturating_sub(slots);
        let slots = self.polls + self.submits + self.downloads + self.uploads;
        let steps = workers.saturating_sub(slots);
        let all = lacking(self.polls) + lacking(self.submits) + lacking(self.downloads);
        let capacity = |slots: usize| steps.saturating_sub(all - lacking(slots));
        let uploads = (workers / 4)
            .max(1)
            .saturating_sub(self.uploads)
            .min(steps.saturating_sub(all));
        let (polls, submits, downloads) = (
            capacity(self.polls),
            capacity(self.submits),
            capacity(self.downloads),
        );
        Capacity {
            steps,
            polls,
            submits,
            downloads,
            uploads,
        }
    }

    fn of(&mut self, step: Step) -> &mut usize {
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
    fn no_kind_of_step_takes_all_workers() {
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
    fn one_worker_does_everything() {
        let mut slots = WorkerSlots::default();
        assert_eq!(slots.capacity(1), Capacity::uniform(1));
        slots.acquire(Step::Submit);
        assert_eq!(slots.capacity(1), Capacity::uniform(0));
    }
}
