//! Sets of backup codes: issued and superseded as a whole.

use countersign_schemas::command::RegenerateBackupCodes;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::Purpose;
use countersign_schemas::event::backup_codes::v1::{BackupCodesIssued, IssueCause};

use super::codes::GivenCode;
use super::{codes, credentials};
use crate::account::evidence::{Created, Evidence, Issued};
use crate::account::outcome::{Reply, SecretReply};
use crate::account::{Account, Ctx, Decision, Step};

/// Issues a new set of ten backup codes, which voids every code of the old one.
///
/// Checks the first factor, then that 2FA is on, then the code if one is given, if policy requires
/// one, or while app codes are suspended. Records the accepted code and `backup-codes-issued`. A
/// wrong password or code, and a missing code that policy requires, count as attempts.
pub(in crate::account) fn regenerate(
    account: &Account,
    command: &RegenerateBackupCodes,
    evidence: &Evidence,
    ctx: &Ctx,
) -> Decision {
    let proof = match credentials::prove(account, evidence, Purpose::Regenerate, ctx) {
        Ok(proof) => proof,
        Err(decision) => return *decision,
    };
    let Some(on) = account.on() else {
        return Decision::refused(account.why_not_on(ctx));
    };
    let given = GivenCode::of(command.proof.as_ref());
    let code = match codes::prove(account, given, Purpose::Regenerate, proof, evidence, ctx) {
        Ok(code) => code,
        Err(decision) => return *decision,
    };
    let Created::Codes(issued) = &evidence.created else {
        return Decision::Needs(Step::MakeCodes);
    };
    // A code of the old set that came as a proof is spent, not superseded.
    let superseded_unused = code.as_ref().map_or(on.codes.left(), |code| code.left);
    let cause = IssueCause::Regenerated(proof);
    let event = issue(account, issued, cause, superseded_unused);
    let reply = Reply::Secret(SecretReply::BackupCodesRegenerated {
        set_no: account.set_no + 1,
        issued: issued.clone(),
        display_name: evidence.display_name.clone(),
        superseded_unused,
    });
    let spent = code.map(|accepted| accepted.event);
    Decision::recorded(spent.into_iter().chain([event]).collect(), reply)
}

/// Returns the event that issues a new set and voids the old one.
pub(super) fn issue(
    account: &Account,
    issued: &Issued,
    cause: IssueCause,
    superseded_unused: u8,
) -> Event {
    Event::BackupCodesIssued(BackupCodesIssued {
        set_no: account.set_no + 1,
        fingerprint: issued.fingerprint.clone(),
        cause,
        slots: issued.codes.len() as u8,
        verifiers: issued.verifiers.clone(),
        superseded_unused,
    })
}
