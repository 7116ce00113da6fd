//! The rules over whole lives of a job. Each property is a promise of docs/guarantees.md.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::operator::Decision;
use super::reconcile::{Absence, HoldReason, Verdict};
use super::*;
use crate::domain::{
    JobState, LaterSubmissions, Money, Outcome, PredictionHandle, ProviderName, ProviderSignal,
    SavedFile,
};
use crate::policy::gate::ProviderGate;
use crate::policy::tally::{BatchTally, Tally};

const PRICE: Money = Money::from_micros(225_000);
const BATCH: &str = "b";
const FAL: ProviderName = ProviderName::Fal;

fn start_time() -> Timestamp {
    "2026-08-20T22:00:00Z".parse().unwrap()
}

/// What the provider knows of a submission, and the books do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Truth {
    /// It has not arrived, or was refused.
    NotAccepted,
    /// It was accepted and may be billed.
    Accepted,
}

/// A job with all its attempts. Only the last one may be open.
struct Life {
    job: JobProgress,
    attempts: Vec<(AttemptProgress, Truth)>,
    now: Timestamp,
    /// What all changes add up to.
    tally: Tally,
}

impl Life {
    fn new() -> Self {
        let now = start_time();
        Self {
            job: load::queued(now),
            attempts: Vec::new(),
            now,
            tally: Tally::default(),
        }
    }

    fn attempt(&self) -> Option<&AttemptProgress> {
        self.attempts.last().map(|(attempt, _)| attempt)
    }

    fn write(&mut self, change: Change) {
        self.tally.add_job(BATCH, self.job.state, change.job.state);
        self.job = change.job;
        if let (Some(new), Some((attempt, _))) = (change.attempt, self.attempts.last_mut()) {
            self.tally.add_attempt(BATCH, FAL, Some(attempt), &new);
            *attempt = new;
        }
    }

    fn submit(&mut self) {
        let (job, attempt) = claim::submit(&self.job, PRICE, self.now).unwrap();
        self.tally.add_job(BATCH, self.job.state, job.state);
        self.tally.add_attempt(BATCH, FAL, None, &attempt);
        self.job = job;
        self.attempts.push((attempt, Truth::NotAccepted));
    }

    fn record(&mut self, outcome: &Outcome) {
        let attempt = self.attempt().unwrap();
        let change = outcome::apply(&self.job, attempt, outcome, self.now).unwrap();
        self.write(change);
    }

    fn mark_accepted(&mut self) {
        if let Some((_, truth)) = self.attempts.last_mut() {
            *truth = Truth::Accepted;
        }
    }

    /// Accepts the last submission after its lease was lost, if nothing else is known of it.
    fn accept_late(&mut self, id: String) {
        let Some(attempt) = self.attempt() else {
            return;
        };
        let prediction = PredictionHandle::from_id(id);
        let change = stray::adopt(&self.job, attempt, &prediction, None, self.now, self.now);
        if let Some(change) = change.unwrap() {
            self.mark_accepted();
            self.write(change);
        }
    }

    /// Takes one step that the job's state permits; `choice` selects it.
    fn step(&mut self, choice: u8) {
        self.now += SignedDuration::from_secs(i64::from(choice));
        let due_at = self.now;
        let reason = || String::from("reason");
        let id = format!("p{}", self.attempts.len());
        let is_accepted = self
            .attempts
            .last()
            .is_some_and(|(_, truth)| *truth == Truth::Accepted);
        match (self.job.state, choice % 8) {
            (JobState::Queued, 0) => {
                let change = operator::cancel(&self.job, self.attempt(), self.now).unwrap();
                self.write(change);
            }
            (JobState::Queued | JobState::Failed, 1) | (JobState::InDoubt, 5) => {
                self.accept_late(id);
            }
            (JobState::Queued, _) => self.submit(),
            (JobState::Submitting, 0 | 1) => {
                self.mark_accepted();
                let prediction = PredictionHandle::from_id(id);
                self.record(&Outcome::Accepted {
                    prediction,
                    early_cost: None,
                    due_at,
                });
            }
            (JobState::Submitting, 2) => self.record(&Outcome::Refused {
                reason: reason(),
                due_at,
                counts_as_failure: true,
            }),
            (JobState::Submitting, 3) => self.record(&Outcome::Rejected { reason: reason() }),
            (JobState::Submitting, 4) => {
                self.mark_accepted();
                self.record(&Outcome::LostResponse {
                    reason: reason(),
                    due_at,
                });
            }
            (JobState::Submitting, 5) => self.record(&Outcome::LostResponse {
                reason: reason(),
                due_at,
            }),
            (JobState::InDoubt, 0..=2) if is_accepted => {
                let prediction = PredictionHandle::from_id(id);
                self.record(&Outcome::Adopted { prediction, due_at });
            }
            (JobState::InDoubt, 0..=2) => self.record(&Outcome::Absent {
                due_at,
                is_proven: choice.is_multiple_of(8),
            }),
            (JobState::InDoubt, 3) => {
                let decision = Decision::Fail;
                let attempt = self.attempt().unwrap();
                let change = operator::resolve(&self.job, attempt, &decision, self.now).unwrap();
                self.write(change);
            }
            (JobState::InDoubt, 4) => self.record(&Outcome::Wait {
                due_at: None,
                failure: Some(reason()),
            }),
            (JobState::Running, 0..=2) => self.record(&Outcome::Finished {
                output_url: Some("https://e.com/a.mp4".into()),
                cost: Cost {
                    amount: PRICE,
                    source: CostSource::Reported,
                },
                processing: Some(Duration::from_secs(60)),
                due_at,
            }),
            (JobState::Running, 3) => {
                let is_open = self
                    .attempt()
                    .is_some_and(|attempt| attempt.state.is_open());
                if is_open {
                    self.record(&Outcome::FailedUnbilled {
                        reason: reason(),
                        source: CostSource::Reported,
                        due_at,
                    });
                }
            }
            (JobState::Running | JobState::Downloading, 4) => {
                self.record(&Outcome::GaveUp { reason: reason() });
            }
            (JobState::Downloading, 0 | 1) => self.record(&Outcome::Saved {
                file: SavedFile {
                    location: "/renders/a.mp4".into(),
                    bytes: 1,
                    sha256: "0".into(),
                },
            }),
            (JobState::Downloading, 2) => self.record(&Outcome::LinkExpired {
                due_at,
                reason: reason(),
                counts_as_failure: true,
            }),
            (JobState::Downloading, 3) => self.record(&Outcome::Postponed {
                due_at,
                reason: reason(),
            }),
            (JobState::Running | JobState::Downloading, 5) => {
                let change = operator::cancel(&self.job, self.attempt(), self.now).unwrap();
                self.write(change);
            }
            (JobState::Succeeded, 0) => {
                let change = operator::download_again(&self.job, self.attempt(), self.now).unwrap();
                self.write(change);
            }
            (JobState::Failed | JobState::Cancelled, _) => {
                let change = operator::retry(&self.job, self.attempt(), self.now).unwrap();
                self.write(change);
            }
            (state, 6) if state.is_in_progress() => {
                let attempt = self.attempt().unwrap();
                let change = leased::release(&self.job, attempt, self.now).unwrap();
                self.write(change);
            }
            (state, 7) if state.is_in_progress() => {
                let attempt = self.attempt().unwrap();
                let change = takeover::release(&self.job, attempt, self.now).unwrap();
                self.write(change);
            }
            _ => {}
        }
    }

    fn assert_consistent(&self) {
        let job = &self.job;
        assert_eq!(job.finished_at.is_some(), job.state.is_final(), "{job:?}");
        assert!(!job.state.is_in_progress() || !self.attempts.is_empty());
        let last = self.attempts.len().saturating_sub(1);
        for (index, (attempt, truth)) in self.attempts.iter().enumerate() {
            let is_open = attempt.state.is_open();
            assert_eq!(is_open, attempt.finished_at.is_none(), "{attempt:?}");
            assert!(!is_open || attempt.cost.is_none(), "{attempt:?}");
            // What the provider may bill is either reserved or booked.
            let is_presumed = attempt.state == AttemptState::PresumedAbsent;
            let is_covered = is_open || is_presumed || attempt.cost.is_some();
            assert!(*truth == Truth::NotAccepted || is_covered, "{attempt:?}");
            // A slot is held only by the current attempt, and only while the job is in progress.
            let may_be_open = index == last && job.state.is_in_progress();
            assert!(!is_open || may_be_open, "{attempt:?} of {job:?}");
        }
        // What was submitted and not refused counts as an attempt.
        let counted = |state| {
            !matches!(
                state,
                AttemptState::Submitting
                    | AttemptState::Refused
                    | AttemptState::PresumedAbsent
                    | AttemptState::Absent
            )
        };
        let counted = self
            .attempts
            .iter()
            .filter(|(attempt, _)| counted(attempt.state));
        assert_eq!(job.attempts as usize, counted.count(), "{job:?}");
    }

    /// Returns the number of attempts that may have been paid for and produced, or may produce, a
    /// clip.
    fn payable(&self) -> usize {
        let is_payable = |state| {
            matches!(
                state,
                AttemptState::InDoubt
                    | AttemptState::Accepted
                    | AttemptState::Done
                    | AttemptState::Abandoned
            )
        };
        self.attempts
            .iter()
            .filter(|(attempt, _)| is_payable(attempt.state) && attempt.prediction.is_some())
            .count()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_to_a_job_what_may_be_billed_is_reserved_or_booked(
        choices in prop::collection::vec(any::<u8>(), 0..60)
    ) {
        let mut life = Life::new();
        for choice in choices {
            life.step(choice);
            life.assert_consistent();
        }
    }

    #[test]
    fn whatever_happens_to_a_job_the_sums_move_with_it(
        choices in prop::collection::vec(any::<u8>(), 0..60)
    ) {
        let mut life = Life::new();
        for choice in choices {
            life.step(choice);
            let mut expected = BatchTally::default();
            expected.jobs[JobState::Queued as usize] -= 1;
            expected.jobs[life.job.state as usize] += 1;
            let mut open = 0;
            for (attempt, _) in &life.attempts {
                if let Some(cost) = attempt.cost {
                    expected.spent += cost.amount.micros();
                }
                let estimate = attempt.estimate.micros();
                if attempt.finished_at.is_none() {
                    open += 1;
                    expected.reserved += estimate;
                }
                if attempt.state == AttemptState::InDoubt {
                    expected.at_risk += estimate;
                }
                if attempt.state == AttemptState::PresumedAbsent {
                    expected.reserved += estimate;
                    expected.at_risk += estimate;
                }
            }
            prop_assert_eq!(life.tally.of_batch(BATCH), expected);
            prop_assert_eq!(life.tally.of_provider(FAL), open);
        }
    }

    #[test]
    fn a_job_whose_prediction_is_known_is_never_submitted_again(
        choices in prop::collection::vec(any::<u8>(), 0..60)
    ) {
        let mut life = Life::new();
        for choice in choices {
            life.step(choice);
            prop_assert!(life.payable() <= 1, "{:?}", life.attempts);
        }
    }

    #[test]
    fn a_hold_of_a_provider_is_never_shortened(
        signals in prop::collection::vec((0..5u8, 0..1000i64), 0..20)
    ) {
        let mut gate = ProviderGate::default();
        for (kind, seconds) in signals {
            let until = start_time() + SignedDuration::from_secs(seconds);
            let signal = match kind {
                0 => ProviderSignal::Healthy,
                1 => ProviderSignal::HoldSubmits { until },
                2 => ProviderSignal::HoldAll { until },
                3 => ProviderSignal::LostResponse { until, at: start_time() },
                _ => ProviderSignal::Suspend { reason: "r".into(), polls_too: seconds > 500 },
            };
            let next = gate.after(&signal, 0);
            prop_assert!(next.submits_held_until >= gate.submits_held_until);
            prop_assert!(next.calls_held_until >= gate.calls_held_until);
            prop_assert!(next.suspended.is_some() || gate.suspended.is_none());
            prop_assert!(next.refuses_polls || !gate.refuses_polls);
            gate = next;
        }
    }

    #[test]
    fn absence_proves_nothing_before_the_history_delay_and_is_believed_once(
        waited in 0..10_000u64, delay in 1..3_000u64, lists_running: bool, later in later(),
        processing in 0..600u64, earlier_absences in 0..3u32, min_interval in 1..120u64,
        key_was_changed: bool,
    ) {
        let absence = Absence {
            waited: Duration::from_secs(waited),
            history_delay: Duration::from_secs(delay),
            lists_running,
            later,
            processing: Duration::from_secs(processing),
            earlier_absences,
            min_interval: Duration::from_secs(min_interval),
            key_was_changed,
        };
        let unlisted = delay + if lists_running { 0 } else { 3 * processing };
        match reconcile::judge(&absence) {
            Verdict::Absent => {
                prop_assert!(waited >= unlisted && earlier_absences == 0 && !key_was_changed);
                prop_assert_eq!(later, LaterSubmissions::Listed);
            }
            Verdict::PresumedAbsent => {
                prop_assert!(waited >= unlisted && earlier_absences == 0 && !key_was_changed);
                prop_assert_eq!(later, LaterSubmissions::None);
            }
            Verdict::Hold(HoldReason::SecondAbsence) => {
                prop_assert!(waited >= unlisted && earlier_absences > 0);
            }
            Verdict::Hold(HoldReason::KeyChanged) => {
                prop_assert!(waited >= unlisted && key_was_changed);
            }
            Verdict::Hold(HoldReason::NotCurrent) => {
                prop_assert!(waited >= 4 * unlisted);
                let is_unlisted = matches!(later, LaterSubmissions::Unlisted { .. });
                prop_assert!(is_unlisted);
            }
            Verdict::SearchAgain(pause) => prop_assert!(pause > Duration::ZERO),
        }
    }
}

/// Returns what histories show of later submissions.
fn later() -> impl Strategy<Value = LaterSubmissions> {
    prop_oneof![
        Just(LaterSubmissions::None),
        Just(LaterSubmissions::Listed),
        (0..10_000u64).prop_map(|since| LaterSubmissions::Unlisted {
            since: Duration::from_secs(since)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_history_shows_a_row_is_paid_at_most_twice_and_what_is_unproven_stays_reserved(
        searches in prop::collection::vec((any::<bool>(), later(), 0..4_000u64), 0..40)
    ) {
        let mut life = Life::new();
        life.submit();
        life.mark_accepted();
        let lost = Outcome::LostResponse { reason: "r".into(), due_at: life.now };
        life.record(&lost);
        // The provider accepts every submission, and its history never lists one.
        for (lists_running, later, seconds) in searches {
            let earlier = life.attempts.len() - 1;
            let absence = Absence {
                waited: Duration::from_secs(seconds),
                history_delay: Duration::from_secs(900),
                lists_running,
                later,
                processing: Duration::from_secs(270),
                earlier_absences: u32::try_from(earlier).unwrap(),
                min_interval: Duration::from_secs(2),
                key_was_changed: false,
            };
            let is_proven = match reconcile::judge(&absence) {
                Verdict::Absent => true,
                Verdict::PresumedAbsent => false,
                Verdict::SearchAgain(_) => continue,
                Verdict::Hold(_) => break,
            };
            life.record(&Outcome::Absent { due_at: life.now, is_proven });
            let at_risk = life.tally.of_batch(BATCH).at_risk;
            prop_assert_eq!(at_risk, if is_proven { 0 } else { PRICE.micros() });
            life.submit();
            life.record(&lost);
        }
        prop_assert!(life.attempts.len() <= 2);
        prop_assert_eq!(life.job.state, JobState::InDoubt);
        let reserved = life.attempts.iter().filter(|(attempt, _)| {
            matches!(attempt.state, AttemptState::InDoubt | AttemptState::PresumedAbsent)
        });
        let reserved = i64::try_from(reserved.count()).unwrap();
        prop_assert_eq!(life.tally.of_batch(BATCH).reserved, reserved * PRICE.micros());
    }
}

#[test]
fn a_job_that_ends_the_program_ten_times_waits_for_the_user_and_stays_booked() {
    let mut life = Life::new();
    life.submit();
    life.mark_accepted();
    life.record(&Outcome::Accepted {
        prediction: PredictionHandle::from_id("p"),
        early_cost: None,
        due_at: life.now,
    });
    for crash in 1..=takeover::MAX_CRASHES {
        assert_eq!(life.job.state, JobState::Running, "crash {crash}");
        let change = takeover::release(&life.job, life.attempt().unwrap(), life.now).unwrap();
        life.write(change);
        // The next pool claims it once it is due.
        life.now = life.job.due_at.unwrap_or(life.now);
    }
    assert_eq!(life.job.state, JobState::Failed);
    let cost = life.attempt().unwrap().cost.map(|cost| cost.amount);
    assert_eq!(cost, Some(PRICE));
}

#[test]
fn a_step_that_was_not_started_keeps_the_crashes_of_its_job() {
    let mut life = Life::new();
    life.job.crashes = 3;
    life.submit();
    let change = leased::release(&life.job, life.attempt().unwrap(), life.now).unwrap();
    life.write(change);
    assert_eq!((life.job.state, life.job.crashes), (JobState::Queued, 3));
    assert_eq!(life.attempt().unwrap().cost, None);
}

#[test]
fn a_prediction_of_another_job_leaves_a_submission_in_doubt_and_a_search_to_be_repeated() {
    let prediction = PredictionHandle::from_id("p");
    let now = start_time();
    let accepted = Outcome::Accepted {
        prediction: prediction.clone(),
        early_cost: None,
        due_at: now,
    };
    let substitute = taken_prediction::outcome_instead(&accepted, "taken".into(), now);
    assert!(matches!(substitute, Some(Outcome::LostResponse { .. })));
    let adopted = Outcome::Adopted {
        prediction,
        due_at: now,
    };
    let substitute = taken_prediction::outcome_instead(&adopted, "taken".into(), now);
    assert!(matches!(substitute, Some(Outcome::Wait { due_at: Some(at), .. }) if at > now));
}

#[test]
fn a_job_that_a_dead_pool_only_held_keeps_its_due_time_and_counts_no_crash() {
    let mut life = Life::new();
    life.submit();
    life.record(&Outcome::Accepted {
        prediction: PredictionHandle::from_id("p"),
        early_cost: None,
        due_at: life.now + SignedDuration::from_secs(60),
    });
    let change = takeover::release(&life.job, life.attempt().unwrap(), life.now).unwrap();
    assert_eq!(change.job, life.job);
}
