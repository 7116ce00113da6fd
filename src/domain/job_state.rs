//! The state machine of a job. [`JobState::after`] is the only definition of how a state changes. The
//! usual path, and the detour of a submission whose response was lost:
//!
//! ```text
//! queued ──Submit──▶ submitting ──Accept──▶ running ──Finish──▶ downloading ──Save──▶ succeeded
//!   ▲                     │                    ▲
//!   │                LoseResponse              │
//!   │                     ▼                    │
//!   └───ProveAbsent─── in_doubt ─────Adopt─────┘
//! ```
//!
//! A submission is paid work, so a job returns to `queued` only
//!
//! - when the provider refused its last submission for now, or that was never sent;
//! - when that submission is proven absent, or the user decides to submit the job again;
//! - when its prediction failed without being billed;
//! - when the user retries a job whose prediction failed or is not known;
//! - when its manifest row has changed.

use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::names::name_variants;

/// The state of a job. The last three are final: only the user or a changed manifest row can make a
/// job leave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its due time, a free slot at a provider, that provider's submission rate and the
    /// budget.
    Queued,
    /// An attempt with its request and reserved price is committed; the submit call may be under
    /// way.
    Submitting,
    /// It is unknown whether the provider accepted the submission, so the job may be paid for.
    InDoubt,
    /// The prediction id is stored. The provider works on the prediction, or is polled for a fresh
    /// link to a finished clip; in the second case the attempt is done and occupies no slot.
    Running,
    /// The link to the finished clip is stored; the provider's slot is free again.
    Downloading,
    /// The clip is saved at its final path and synced.
    Succeeded,
    /// The submission was rejected, the prediction failed, or the job was given up.
    Failed,
    /// The user cancelled the job.
    Cancelled,
}

name_variants!(JobState, "state", {
    Queued => "queued",
    Submitting => "submitting",
    InDoubt => "in_doubt",
    Running => "running",
    Downloading => "downloading",
    Succeeded => "succeeded",
    Failed => "failed",
    Cancelled => "cancelled",
});

/// Something that happened to a job and may change its state.
///
/// Two words are kept apart: a provider *refuses* a submission for now, so that it may be sent
/// again later, and *rejects* it for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum JobEvent {
    /// A pool claimed the job to submit it; its price is reserved.
    Submit,
    /// The provider accepted the submission and returned a prediction id.
    Accept,
    /// The provider did not accept the submission now, but may later; or it was never sent.
    Refuse,
    /// The provider will never accept this request, or a local image of it cannot be used.
    Reject,
    /// The submit call ended without a trustworthy response.
    LoseResponse,
    /// The lost submission was found, or accepted late, or the user named its prediction.
    Adopt,
    /// The provider's history proves the lost submission absent, or the user takes it to be.
    ProveAbsent,
    /// Nothing has changed; the step is repeated later.
    Wait,
    /// The provider finished the clip and returned a link to it.
    Finish,
    /// The prediction failed and the job is not submitted again.
    Fail,
    /// The prediction failed, was not billed, and the job may be submitted again.
    FailUnbilled,
    /// The link no longer works; the prediction has to be polled for a fresh one.
    ExpireLink,
    /// The clip was saved to its final path.
    Save,
    /// The retries are exhausted, or the user gave the job up.
    GiveUp,
    /// The user cancelled the job.
    Cancel,
    /// The user, or a changed manifest row, wants the clip generated again from the start.
    Restart,
    /// The user wants the known prediction polled again, which costs nothing.
    ResumePolling,
    /// The user wants a missing or damaged clip downloaded again, which costs nothing.
    Redownload,
    /// A clip that was made for the same request is taken, which costs nothing.
    Reuse,
    /// The user gives a file as the clip.
    TakeFile,
}

/// An event that the job's state does not allow. It indicates a bug in the program, never bad user
/// data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("illegal transition: event {event:?} in state {state}")]
pub struct IllegalTransition {
    /// The state of the job, which the event does not change.
    pub state: JobState,
    /// The event that was not allowed.
    pub event: JobEvent,
}

impl JobState {
    /// Returns the state that follows this one after `event`.
    ///
    /// This match is the state machine; there is no other.
    ///
    /// # Errors
    ///
    /// Returns [`IllegalTransition`] if this state does not allow the event.
    pub fn after(self, event: JobEvent) -> Result<Self, IllegalTransition> {
        use JobEvent::*;
        use JobState::*;
        Ok(match (self, event) {
            (Queued, Submit) => Submitting,
            (Queued, Reuse) => Downloading,
            (Queued, TakeFile) => Succeeded,

            (Submitting, Accept) | (InDoubt | Queued, Adopt) => Running,
            (Submitting, Refuse) | (InDoubt, ProveAbsent) => Queued,
            (Submitting, Reject) => Failed,
            (Submitting, LoseResponse) => InDoubt,
            (InDoubt, Wait) => InDoubt,
            (InDoubt, GiveUp) => Failed,

            (Running, Wait) => Running,
            (Running, Finish) => Downloading,
            (Running, Fail | GiveUp) => Failed,
            (Running, FailUnbilled) => Queued,

            (Downloading, Wait) => Downloading,
            (Downloading, ExpireLink) => Running,
            (Downloading, Save) => Succeeded,
            (Downloading, GiveUp) => Failed,

            (Queued | Running | Downloading, Cancel) => Cancelled,
            (Queued | Succeeded | Failed | Cancelled, Restart) => Queued,
            (Failed | Cancelled, ResumePolling) => Running,
            (Succeeded, Redownload) => Downloading,

            (state, event) => return Err(IllegalTransition { state, event }),
        })
    }

    /// Returns whether the job is finished. Only the user or a changed manifest row can make it
    /// leave a final state.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Returns whether the job is submitted, or may be, and not finished yet. Exactly these jobs
    /// have `at_provider` set in the queue.
    pub const fn is_in_progress(self) -> bool {
        matches!(
            self,
            Self::Submitting | Self::InDoubt | Self::Running | Self::Downloading
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn is_user_decision(event: JobEvent) -> bool {
        matches!(
            event,
            JobEvent::Restart | JobEvent::ResumePolling | JobEvent::Redownload
        )
    }

    #[test]
    fn only_a_queued_job_can_be_submitted() {
        for state in JobState::ALL {
            assert_eq!(
                state.after(JobEvent::Submit).is_ok(),
                state == JobState::Queued,
                "{state}"
            );
        }
    }

    #[test]
    fn a_job_in_doubt_returns_to_the_queue_only_when_it_is_proven_absent() {
        let requeuing: Vec<JobEvent> = JobEvent::VARIANTS
            .iter()
            .copied()
            .filter(|event| JobState::InDoubt.after(*event) == Ok(JobState::Queued))
            .collect();
        assert_eq!(requeuing, [JobEvent::ProveAbsent]);
    }

    #[test]
    fn a_job_whose_clip_is_paid_for_never_returns_to_the_queue() {
        for event in JobEvent::VARIANTS.iter().copied() {
            assert_ne!(
                JobState::Downloading.after(event),
                Ok(JobState::Queued),
                "{event:?}"
            );
        }
    }

    #[test]
    fn a_missing_file_is_downloaded_again_and_never_regenerated() {
        for state in JobState::ALL {
            let after = state.after(JobEvent::Redownload).ok();
            assert_eq!(
                after,
                (state == JobState::Succeeded).then_some(JobState::Downloading),
                "{state}"
            );
        }
    }

    #[test]
    fn every_state_can_be_reached_and_left() {
        let mut reached = vec![JobState::Queued];
        let mut next = 0;
        while next < reached.len() {
            let state = reached[next];
            next += 1;
            let mut can_be_left = false;
            for event in JobEvent::VARIANTS.iter().copied() {
                if let Ok(after) = state.after(event) {
                    can_be_left |= after != state;
                    if !reached.contains(&after) {
                        reached.push(after);
                    }
                }
            }
            assert!(can_be_left, "{state}");
        }
        assert_eq!(reached.len(), JobState::ALL.len());
    }

    #[test]
    fn only_the_user_can_make_a_job_leave_a_final_state() {
        for state in JobState::ALL.into_iter().filter(|state| state.is_final()) {
            for event in JobEvent::VARIANTS.iter().copied() {
                if state.after(event).is_ok() {
                    assert!(is_user_decision(event), "{state} {event:?}");
                }
            }
        }
    }

    #[test]
    fn state_names_parse_back_to_their_states() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }

    proptest! {
        // Failures are not persisted to a file: the message lists the events, which can then become
        // a regression test of their own.
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_job_is_never_submitted_while_an_earlier_submission_may_be_live(
            events in prop::collection::vec(prop::sample::select(JobEvent::VARIANTS), 0..400)
        ) {
            let mut state = JobState::Queued;
            let mut may_be_live = false;
            for event in events {
                let Ok(next) = state.after(event) else {
                    // The error names the state and the event, and the job's state is unchanged.
                    prop_assert_eq!(state.after(event), Err(IllegalTransition { state, event }));
                    continue;
                };
                match event {
                    JobEvent::Submit => {
                        prop_assert!(!may_be_live);
                        may_be_live = true;
                    }
                    JobEvent::Refuse
                    | JobEvent::ProveAbsent
                    | JobEvent::FailUnbilled
                    | JobEvent::Restart => may_be_live = false,
                    _ => {}
                }
                prop_assert!(
                    !state.is_final() || is_user_decision(event),
                    "{:?} left {}",
                    event,
                    state
                );
                state = next;
            }
        }
    }

    /// Returns the lines of the first Mermaid diagram of a kind in a document.
    fn diagram<'a>(document: &'a str, kind: &str) -> BTreeSet<&'a str> {
        document
            .split(&format!("```mermaid\n{kind}\n"))
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .expect("a diagram")
            .lines()
            .map(str::trim)
            .collect()
    }

    /// Returns every transition of the state machine.
    fn transitions() -> Vec<(JobState, JobEvent, JobState)> {
        let mut transitions = Vec::new();
        for state in JobState::ALL {
            for event in JobEvent::VARIANTS.iter().copied() {
                transitions.extend(state.after(event).map(|next| (state, event, next)));
            }
        }
        transitions
    }

    #[test]
    fn the_diagram_in_the_architecture_document_has_every_transition() {
        let document = include_str!("../../docs/architecture.md");
        let mut expected: BTreeSet<String> = transitions()
            .into_iter()
            .map(|(state, event, next)| format!("{state} --> {next}: {event:?}"))
            .collect();
        expected.insert("[*] --> queued".into());
        let diagram = diagram(document, "stateDiagram-v2");
        assert_eq!(diagram, expected.iter().map(String::as_str).collect());
    }

    #[test]
    fn the_diagram_in_the_readme_has_every_change_of_state() {
        let expected: BTreeSet<(&str, &str)> = transitions()
            .into_iter()
            .filter(|(state, _, next)| state != next)
            .map(|(state, _, next)| (state.as_str(), next.as_str()))
            .collect();
        let diagram = diagram(include_str!("../../README.md"), "flowchart LR");
        let drawn: BTreeSet<(&str, &str)> = diagram
            .iter()
            .filter_map(|line| line.split_once(" --> "))
            .flat_map(|(state, next)| next.split(" & ").map(move |next| (state, next)))
            .collect();
        assert_eq!(drawn, expected);
    }
}
