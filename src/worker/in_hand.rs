//! The steps a pool has in hand, and for how many more there is room.

use crate::queue::{Room, Step};

/// Steps in hand, by kind.
#[derive(Debug, Default)]
pub(super) struct InHand {
    looks: usize,
    creates: usize,
    downloads: usize,
    uploads: usize,
}

impl InHand {
    /// Takes a step in hand.
    pub(super) fn take(&mut self, step: Step) {
        *self.of(step) += 1;
    }

    /// Lets a step go.
    pub(super) fn let_go(&mut self, step: Step) {
        *self.of(step) -= 1;
    }

    /// Takes an upload in hand.
    pub(super) fn take_upload(&mut self) {
        self.uploads += 1;
    }

    /// Lets an upload go.
    pub(super) fn let_go_of_upload(&mut self) {
        self.uploads -= 1;
    }

    /// Tells for how many steps there is room. An eighth of the workers is kept for each kind: a storm of looks must not
    /// keep slots from being filled, nor downloads, which may take minutes, keep them from being freed. Uploads run ahead of
    /// what needs them, and get a quarter at most.
    pub(super) fn room(&self, workers: usize) -> Room {
        let kept = if workers < 4 { 0 } else { (workers / 8).max(1) };
        let lacking = |in_hand: usize| kept.saturating_sub(in_hand);
        let in_hand = self.looks + self.creates + self.downloads + self.uploads;
        let steps = workers.saturating_sub(in_hand);
        let all = lacking(self.looks) + lacking(self.creates) + lacking(self.downloads);
        let room = |in_hand: usize| steps.saturating_sub(all - lacking(in_hand));
        let uploads = (workers / 4).max(1).saturating_sub(self.uploads).min(steps.saturating_sub(all));
        let (looks, creates, downloads) = (room(self.looks), room(self.creates), room(self.downloads));
        Room { steps, looks, creates, downloads, uploads }
    }

    fn of(&mut self, step: Step) -> &mut usize {
        match step {
            Step::Submit => &mut self.creates,
            Step::Poll | Step::Reconcile => &mut self.looks,
            Step::Download => &mut self.downloads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_of_step_takes_all_workers() {
        let mut in_hand = InHand::default();
        for _ in 0..in_hand.room(16).downloads {
            in_hand.take(Step::Download);
        }
        let room = in_hand.room(16);
        assert_eq!((room.downloads, room.looks, room.creates), (0, 2, 2));
        in_hand.take(Step::Poll);
        in_hand.take(Step::Reconcile);
        in_hand.let_go(Step::Download);
        let room = in_hand.room(16);
        assert_eq!((room.steps, room.downloads, room.looks, room.creates), (3, 1, 1, 3));
    }

    #[test]
    fn one_worker_does_everything() {
        let mut in_hand = InHand::default();
        assert_eq!(in_hand.room(1), Room::of(1));
        in_hand.take(Step::Submit);
        assert_eq!(in_hand.room(1), Room::of(0));
    }
}
