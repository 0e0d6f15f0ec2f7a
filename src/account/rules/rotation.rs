//! An operator rotates the keys that protect keys, and a login brings its verifier up to date.

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

/// One rotation at a time: what the last one replaced must be out of use first.
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

/// When it is worth asking again: a rewriting waits for the one before it, a minute at most.
const RETRY_S: u64 = 60;

/// The event by which a proven password is kept under the pepper and the cost of today; none where
/// it is, or where no password was proven.
///
/// # Errors
/// The step that makes the new verifier, where that is still to be done.
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
