//! An operator rotates the keys that protect other keys, and a login updates its outdated verifier.

use countersign_schemas::command::RotateKeys;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::PasswordRehashed;
use countersign_schemas::event::enrolment::v1::FirstFactor;
use countersign_schemas::event::log::v1::KeysRotated;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::sealed::Protected;

use crate::account::evidence::{Evidence, Kept};
use crate::account::outcome::Reply;
use crate::account::{Ctx, Decision, Step};

/// Begins a key rotation; records `keys-rotated`.
///
/// Only one rotation runs at a time: the keys that the last one replaced must be out of use first.
pub(in crate::account) fn rotate(command: &RotateKeys, ctx: &Ctx) -> Decision {
    let Some(key_id) = ctx.next_key_id else {
        return Decision::refused_for(ErrorCode::Overloaded, RETRY_S);
    };
    let event = Event::KeysRotated(KeysRotated {
        key_id,
        reason: Some(Protected::clear(command.reason.as_str().as_bytes())),
    });
    Decision::recorded(vec![event], Reply::KeysRotated { key_id })
}

/// Seconds until it is worth asking again: the key rewriter waits a minute at most between two
/// runs.
const RETRY_S: u64 = 60;

/// Returns the event that replaces the outdated verifier of a verified password by one under
/// today's pepper and cost; `None` if it is not outdated, or if no password was verified.
///
/// # Errors
/// The step that makes the new verifier, if it is not made yet.
pub(super) fn rehashed(proof: FirstFactor, evidence: &Evidence) -> Result<Option<Event>, Step> {
    match (proof, &evidence.kept) {
        (FirstFactor::Vouched, _) | (_, Kept::AsPolicyAsks) => Ok(None),
        (FirstFactor::Password(_), Kept::Outdated) => Err(Step::Rehash),
        (FirstFactor::Password(_), Kept::Rehashed(verifier)) => {
            let verifier = verifier.clone();
            Ok(Some(Event::PasswordRehashed(PasswordRehashed { verifier })))
        }
    }
}
