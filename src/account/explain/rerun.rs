//! Makes a recorded decision again: from the account right before, the policy that was in force,
//! and the evidence in the events themselves.
//!
//! Secrets that the log does not keep are replaced by stand-ins that no rule reads: the code's
//! digits, the password, the challenge's id. Sealed and random values are copied from the record.
//! Everything else must have the recorded result.

use countersign_schemas::event::Event;
use countersign_schemas::refusal::Refusal;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;

use super::recording::{Recording, Rerun};
use super::scene::scene;
use crate::account::evidence::{CodeEvidence, Created, Evidence, ProofEvidence};
use crate::account::{Ctx, Decision, decide};

/// How long before its record a command may have passed the gate, in seconds: a challenge that was
/// open then may have ended while its backup code waited for its turn at the password hashes.
const GATED_BEFORE_S: u64 = 60;

/// Decides again and compares the result with the record.
pub fn rerun(recording: &Recording) -> Rerun {
    let scene = match scene(recording) {
        Ok(scene) => scene,
        Err(unmade) => return unmade,
    };
    if scene.role() != Some(recording.role) {
        return Rerun::Different(
            "the caller's role may not send the command of these events".into(),
        );
    }
    let Some(command) = scene.command(recording) else {
        return Rerun::Not("this build cannot reconstruct the command");
    };
    let account = scene.account(recording.before);
    let again = |gated_at| {
        let ctx = Ctx {
            now: recording.at,
            gated_at,
            clock_floor: Micros(0),
            policy: recording.policy,
            entropy: &scene.entropy,
            caller: recording.caller,
            source_key: recording.source_key,
            source_waits_s: scene.passwords_wait.then_some(1),
            pair_waits_s: None,
            is_elsewhere: is_elsewhere(recording),
            name_taken: false,
            next_key_id: recording.across.next_key_id,
            requested_at: recording.across.requested_at,
            is_own_account: recording.across.is_own_account.unwrap_or(false),
        };
        compared(decide(&account, &command, &scene.evidence, &ctx), recording)
    };
    match again(recording.at) {
        Rerun::Different(what) if has_waited(&scene.evidence) => {
            match again(recording.at.minus_s(GATED_BEFORE_S)) {
                Rerun::Same => Rerun::Same,
                Rerun::Different(_) | Rerun::Not(_) => Rerun::Different(what),
            }
        }
        same => same,
    }
}

/// Returns whether a decision waited for a hash between gate and record.
fn has_waited(evidence: &Evidence) -> bool {
    let has_hashed = match evidence.proof {
        ProofEvidence::Compared { .. } | ProofEvidence::Elsewhere { .. } => true,
        ProofEvidence::Absent | ProofEvidence::NotCompared | ProofEvidence::Vouched => false,
    };
    let has_made = !matches!(evidence.created, Created::None);
    has_hashed || has_made || matches!(evidence.code, CodeEvidence::Backup { .. })
}

/// Compares a decision with the recorded one.
fn compared(decision: Decision, recording: &Recording) -> Rerun {
    let (decided, reply) = match decision {
        Decision::Done { events, reply } => (events, reply),
        Decision::Needs(_) => {
            return Rerun::Different("the evidence does not fit the account".into());
        }
    };
    let (decided, recorded) = (comparable(&decided), comparable(recording.events));
    if decided == recorded {
        return Rerun::Same;
    }
    Rerun::Different(difference(&decided, &recorded, reply.err().as_ref()))
}

/// Returns whether accounts needed no registration: only then does one begin without a name.
fn is_elsewhere(recording: &Recording) -> bool {
    matches!(
        recording.events.first(),
        Some(Event::AccountRegistered(e)) if e.username.is_none()
    )
}

/// Returns the events without their sealed and random values.
fn comparable(events: &[Event]) -> Vec<Event> {
    let blank = |event: &Event| {
        let mut event = event.clone();
        for (_, field) in event.protected() {
            *field = Protected::clear(&[]);
        }
        match &mut event {
            Event::LoginStarted(e) => e.challenge = [0; 16],
            Event::TotpAccepted(e) => e.challenge = e.challenge.map(|_| [0; 16]),
            Event::BackupCodeAccepted(e) => e.challenge = e.challenge.map(|_| [0; 16]),
            _ => {}
        }
        event
    };
    events.iter().map(blank).collect()
}

/// Describes the first difference, without a secret.
fn difference(decided: &[Event], recorded: &[Event], refusal: Option<&Refusal>) -> String {
    let names = |events: &[Event]| {
        let names: Vec<_> = events.iter().map(Event::name).collect();
        names.join(", ")
    };
    let differs = decided.iter().zip(recorded).find(|(a, b)| a != b);
    match differs {
        Some((a, b)) if a.name() == b.name() => {
            format!(
                "{} comes out as {} and was recorded as {}",
                a.name(),
                a.data(),
                b.data()
            )
        }
        _ => format!(
            "[{}] comes out{}, [{}] was recorded",
            names(decided),
            refusal.map_or_else(String::new, refused),
            names(recorded)
        ),
    }
}

fn refused(refusal: &Refusal) -> String {
    let because = refusal
        .detail
        .map_or_else(String::new, |d| format!(": {d}"));
    let wait = refusal.retry_after_s;
    let wait = wait.map_or_else(String::new, |s| format!(", {s} s too early"));
    format!(" ({}{because}{wait})", refusal.code.as_str())
}
