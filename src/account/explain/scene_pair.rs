//! Reconstructs a login by password and code that were not both right.

use countersign_schemas::event::account::v1::Purpose;

use super::recording::{Recording, Rerun, Scene, password_judged};
use super::scene::{code_scene, first_factor, proof_scene};
use super::stand_ins::Given;
use crate::account::evidence::{CodeEvidence, ProofEvidence};

/// Reconstructs a login by a password and a code that came together while passwords waited, and
/// were not both right.
pub(super) fn pair_scene(recording: &Recording, credential: u32) -> Result<Scene, Rerun> {
    let rest = &recording.events[1..];
    let mut scene = match rest.is_empty() {
        false => {
            let mut scene = code_scene(&Recording {
                events: rest,
                ..*recording
            })?;
            scene.name = "start-login";
            scene.challenge = None;
            scene.proven_by(first_factor(credential))
        }
        true => {
            let mut scene = proof_scene(Purpose::Login, recording, Some(Given::App));
            scene.name = "start-login";
            scene.evidence.code = CodeEvidence::Nothing;
            // The events do not say which of the two was wrong; the result is the same.
            scene.evidence.proof = match credential {
                0 => ProofEvidence::Vouched,
                credential => password_judged(credential, false),
            };
            scene
        }
    };
    scene.passwords_wait = true;
    Ok(scene)
}
