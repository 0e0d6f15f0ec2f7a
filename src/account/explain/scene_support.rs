//! Reconstructs the commands of agents, operators and an objecting owner from their events.

use countersign_schemas::event::Event;
use countersign_schemas::event::attempts::v1::SuspendedCause;
use countersign_schemas::event::reset::v1::{CancelledBy, Lost, ResetRequested};
use serde_json::{Value, json};

use super::recording::Scene;
use super::recording::{Recording, Rerun};

/// The stand-in for a reason, which is sealed.
const AS_RECORDED: &str = "as recorded";
const ERASURE_COMPLETED: &str = "a start completed an erasure that a crash had cut short: its tombstone beside the keyring asked for it, and the log does not hold tombstones";
const ROTATION_COMPLETED: &str = "a start recorded a rotation that it found done in the keyring file, and the log does not hold the keyring";

/// Reconstructs the command whose first event this is; `None` if it is no command of these callers.
pub(super) fn support_scene(event: &Event, recording: &Recording) -> Option<Result<Scene, Rerun>> {
    let reason = json!({"reason": AS_RECORDED});
    let (name, body) = match event {
        Event::AttemptsCleared(_) => ("clear-attempts", reason),
        Event::FactorSuspended(e) => match e.cause {
            SuspendedCause::Support => ("suspend-factor", with_ticket()),
            SuspendedCause::Failures => return None,
        },
        Event::ResetRequested(e) => return Some(Ok(request(e, recording))),
        Event::ResetExpired(e) => match recording.events.get(1) {
            Some(Event::ResetRequested(e)) => return Some(Ok(request(e, recording))),
            // Any step on the case would have found it expired.
            Some(_) | None => ("approve-reset", on_case(&e.case_id)),
        },
        Event::ResetApproved(e) => ("approve-reset", on_case(&e.case_id)),
        Event::ResetRejected(e) => ("reject-reset", on_case(&e.case_id)),
        Event::ResetCancelled(e) => match e.by {
            CancelledBy::Agent => ("cancel-reset", on_case(&e.case_id)),
            CancelledBy::User => ("user-cancel-reset", json!({})),
            CancelledBy::Login | CancelledBy::Disabled => return None,
        },
        Event::ResetExecuted(e) => ("execute-reset", on_case(&e.case_id)),
        Event::AccountErased(e) => match e.reason {
            Some(_) => ("erase-account", reason),
            None => return Some(Err(Rerun::Not(ERASURE_COMPLETED))),
        },
        Event::KeysRotated(e) => match e.reason {
            Some(_) => ("rotate-keys", reason),
            None => return Some(Err(Rerun::Not(ROTATION_COMPLETED))),
        },
        _ => return None,
    };
    Some(Ok(Scene::new(name, body, recording.at)))
}

fn on_case(case_id: &str) -> Value {
    json!({"case_id": case_id, "reason": AS_RECORDED})
}

fn with_ticket() -> Value {
    json!({"reason": AS_RECORDED, "ticket": "T"})
}

fn request(e: &ResetRequested, recording: &Recording) -> Scene {
    let mut body = with_ticket();
    if let Some(lost) = e.lost {
        body["lost"] = match lost {
            Lost::App => "app",
            Lost::BackupCodes => "backup-codes",
            Lost::Both => "both",
        }
        .into();
    }
    let mut scene = Scene::new("request-reset", body, recording.at);
    scene.draws(0, &e.case_id);
    scene
}
