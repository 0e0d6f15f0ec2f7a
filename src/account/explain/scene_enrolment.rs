//! Reconstructs the commands that began, confirmed or failed to confirm an enrolment.

use countersign_schemas::event::Event;
use countersign_schemas::event::enrolment::v1::Mismatch;
use countersign_schemas::time::Micros;
use serde_json::json;

use super::recording::{Recording, Rerun};
use super::recording::{Scene, no_command};
use super::stand_ins::Given;
use crate::account::evidence::CodeEvidence;
use crate::crypto::otp::step_at;

pub(super) fn enrolment(recording: &Recording, events: &[Event]) -> Result<Scene, Rerun> {
    let Some(Event::EnrolmentStarted(e)) = events.first() else {
        return Err(no_command());
    };
    let mut body = json!({});
    for (name, value) in [("account_name", &e.account_name), ("label", &e.label)] {
        if value.is_some() {
            body[name] = "as recorded".into();
        }
    }
    let mut scene = Scene::new("enable-2fa", body, recording.at).proven_by(e.proof);
    scene.draws(20, &e.authenticator_id);
    Ok(scene)
}

pub(super) fn confirmation(authenticator_id: &str, wrong_kind: bool, at: Micros) -> Scene {
    let mut body = json!({"authenticator_id": authenticator_id});
    let code = if wrong_kind {
        Given::Backup(1)
    } else {
        Given::App
    };
    code.put(&mut body);
    Scene::new("confirm-code", body, at)
}

pub(super) fn rejected_confirmation(recording: &Recording, reason: Mismatch, id: &str) -> Scene {
    let mut scene = confirmation(id, reason == Mismatch::WrongKind, recording.at);
    let now = step_at(recording.at.unix_s());
    scene.evidence.code = match reason {
        Mismatch::ClockOff(steps) => {
            pending_code(recording, now.saturating_add_signed(steps), steps)
        }
        Mismatch::Wrong | Mismatch::WrongKind => match pending_code(recording, now, 0) {
            CodeEvidence::Totp {
                enrolment,
                step_now,
                ..
            } => CodeEvidence::Totp {
                enrolment,
                step_now,
                matched: Vec::new(),
                next_matched: Vec::new(),
            },
            other => other,
        },
    };
    scene
}

/// Returns the evidence of a code that matches a step of the pending enrolment.
pub(super) fn pending_code(recording: &Recording, step: u64, drift: i64) -> CodeEvidence {
    CodeEvidence::Totp {
        enrolment: recording
            .before
            .pending()
            .map_or(0, |pending| pending.enrolment),
        step_now: step.saturating_add_signed(-drift),
        matched: vec![step],
        next_matched: Vec::new(),
    }
}
