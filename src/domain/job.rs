//! A job: one image and prompt to become one video, and the one table of how its state changes.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Input;

/// What is true of a job now. The schema's CHECK names the same eight words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its due time, a free slot, a create token and money.
    Queued,
    /// An attempt with its reserved price is committed; the create call may be under way.
    Submitting,
    /// Nobody knows whether the provider took the job.
    InDoubt,
    /// The prediction id is stored; the provider is working, or is asked for a fresh link.
    Running,
    /// The output link is stored; the provider's slot is free again.
    Downloading,
    /// The clip is on disk.
    Succeeded,
    /// Given up, with the reason.
    Failed,
    /// Taken back by a person.
    Cancelled,
}

/// What happened to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEvent {
    /// A worker reserved the price and is about to send the create call.
    Submit,
    /// The provider took the job and gave a prediction id.
    Accept,
    /// The provider did not take the job now, but may later.
    Refuse,
    /// The provider will never take this job.
    Reject,
    /// The create call ended without an answer that can be trusted.
    LoseResponse,
    /// The lost submission was found in the provider's history, or a person named it.
    Adopt,
    /// The lost submission is proven absent, or a person decided to send it again.
    ProveAbsent,
    /// Nothing new; look again later.
    Wait,
    /// The provider finished the clip and gave a link.
    Finish,
    /// The prediction failed for good.
    Fail,
    /// The prediction failed, was not billed, and may be submitted again.
    FailUnbilled,
    /// The link no longer works; the prediction has to be asked for a fresh one.
    ExpireLink,
    /// The clip is on disk.
    Save,
    /// The tries are used up.
    GiveUp,
    /// A person takes the job back.
    Cancel,
    /// A person, or a changed manifest row, wants it made again from the start.
    Restart,
    /// A person wants the known prediction looked at again, which costs nothing.
    ResumePolling,
    /// A person found the clip gone from disk, or damaged, and wants it fetched again, which costs nothing.
    Redownload,
}

/// An event that a state does not allow: a fault in the program, never in the user's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {state} cannot {event:?}")]
pub struct IllegalTransition {
    /// The state the job was in.
    pub state: JobState,
    /// What was said to have happened.
    pub event: JobEvent,
}

impl JobState {
    /// Every state, in the order a job usually meets them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Submitting,
        Self::InDoubt,
        Self::Running,
        Self::Downloading,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Tells the state after an event. This match is the state machine; there is no other.
    pub fn after(self, event: JobEvent) -> Result<Self, IllegalTransition> {
        use JobEvent::*;
        use JobState::*;
        Ok(match (self, event) {
            (Queued, Submit) => Submitting,

            (Submitting, Accept) | (InDoubt, Adopt) => Running,
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

    /// Tells whether the job is over, until a person says otherwise.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Tells whether a provider has the job, or may have it: after its create and before its end.
    pub const fn is_in_progress(self) -> bool {
        matches!(
            self,
            Self::Submitting | Self::InDoubt | Self::Running | Self::Downloading
        )
    }

    /// Tells the word used in the queue, in JSON and on the screen.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Submitting => "submitting",
            Self::InDoubt => "in_doubt",
            Self::Running => "running",
            Self::Downloading => "downloading",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| {
                let words = Self::ALL.map(Self::as_str).join(", ");
                format!("unknown state `{word}`, one of {words}")
            })
    }
}

/// Names a job inside one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct JobId(pub i64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job as a worker sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The job's number in the queue.
    pub job_id: JobId,
    /// The batch it belongs to.
    pub batch: String,
    /// The row's key in its batch.
    pub row_key: String,
    /// The model the user asked for.
    pub model: String,
    /// The input, in our words.
    pub input: Input,
    /// What is true of it now.
    pub state: JobState,
    /// Folder the clip goes to.
    pub folder: std::path::PathBuf,
    /// File name of the clip in that folder, safe on every system.
    pub file_name: String,
    /// Paid submissions so far.
    pub attempts: u32,
    /// Steps of the present state that failed in a row; sets the backoff.
    pub failures: u32,
    /// When the present state began.
    pub state_since: Timestamp,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVENTS: [JobEvent; 18] = [
        JobEvent::Submit,
        JobEvent::Accept,
        JobEvent::Refuse,
        JobEvent::Reject,
        JobEvent::LoseResponse,
        JobEvent::Adopt,
        JobEvent::ProveAbsent,
        JobEvent::Wait,
        JobEvent::Finish,
        JobEvent::Fail,
        JobEvent::FailUnbilled,
        JobEvent::ExpireLink,
        JobEvent::Save,
        JobEvent::GiveUp,
        JobEvent::Cancel,
        JobEvent::Restart,
        JobEvent::ResumePolling,
        JobEvent::Redownload,
    ];

    fn is_a_persons(event: JobEvent) -> bool {
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
    fn a_job_in_doubt_is_sent_again_only_when_it_is_proven_absent() {
        let to_queue: Vec<JobEvent> = EVENTS
            .into_iter()
            .filter(|event| JobState::InDoubt.after(*event) == Ok(JobState::Queued))
            .collect();
        assert_eq!(to_queue, [JobEvent::ProveAbsent]);
    }

    #[test]
    fn a_job_whose_clip_is_paid_for_cannot_go_back_to_the_queue() {
        for event in EVENTS {
            assert_ne!(
                JobState::Downloading.after(event),
                Ok(JobState::Queued),
                "{event:?}"
            );
        }
    }

    #[test]
    fn a_lost_file_is_fetched_and_never_made_anew() {
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
    fn every_state_can_be_reached_and_every_state_that_is_not_final_can_be_left() {
        let mut reached = vec![JobState::Queued];
        let mut next = 0;
        while next < reached.len() {
            let state = reached[next];
            next += 1;
            for event in EVENTS {
                if let Ok(after) = state.after(event)
                    && !reached.contains(&after)
                {
                    reached.push(after);
                }
            }
        }
        assert_eq!(reached.len(), JobState::ALL.len());
    }

    #[test]
    fn a_final_state_is_left_only_by_a_person() {
        for state in JobState::ALL.into_iter().filter(|state| state.is_final()) {
            for event in EVENTS {
                if state.after(event).is_ok() {
                    assert!(is_a_persons(event), "{state} {event:?}");
                }
            }
        }
    }

    #[test]
    fn the_words_of_the_states_are_read_back() {
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }

    proptest! {
        // Nothing is kept of a failure: the message tells the events, and a test of its own can hold them.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_happens_a_job_is_never_created_while_an_earlier_create_may_live(
            events in prop::collection::vec(prop::sample::select(&EVENTS), 0..400)
        ) {
            let mut state = JobState::Queued;
            let mut may_live = false;
            for event in events {
                let Ok(next) = state.after(event) else {
                    // What is refused says what it was, and the job stays as it is.
                    prop_assert_eq!(state.after(event), Err(IllegalTransition { state, event }));
                    continue;
                };
                match event {
                    JobEvent::Submit => {
                        prop_assert!(!may_live);
                        may_live = true;
                    }
                    JobEvent::Refuse | JobEvent::ProveAbsent | JobEvent::FailUnbilled | JobEvent::Restart => may_live = false,
                    _ => {}
                }
                prop_assert!(!state.is_final() || is_a_persons(event), "{:?} left {}", event, state);
                state = next;
            }
        }
    }
}
