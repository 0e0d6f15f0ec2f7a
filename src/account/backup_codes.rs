//! Sets of backup codes: issued as a whole, superseded as a whole.

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::Purpose;
use countersign_schemas::event::backup_codes::v1::{BackupCodesIssued, IssueCause};
use countersign_schemas::sealed::Protected;

use super::evidence::{Created, Evidence, Issued};
use super::outcome::Reply;
use super::{Account, Ctx, Decision, credentials};

pub(super) fn regenerate(account: &Account, evidence: &Evidence, ctx: &Ctx) -> Decision {
    let proof = match credentials::prove(account, evidence, Purpose::Regenerate, ctx) {
        Ok(proof) => proof,
        Err(decision) => return *decision,
    };
    let Some(on) = account.on() else {
        return Decision::refused(account.why_not_on());
    };
    let Created::Codes(issued) = &evidence.created else {
        return Decision::Stale;
    };
    let event = issue(account, issued, IssueCause::Regenerated(proof));
    let reply = Reply::BackupCodesRegenerated {
        set_no: account.set_no + 1,
        issued: issued.clone(),
        display_name: evidence.display_name.clone(),
        superseded_unused: on.codes.left(),
    };
    Decision::recorded(vec![event], reply)
}

/// The event that puts a new set in the place of whatever was there.
pub(super) fn issue(account: &Account, issued: &Issued, cause: IssueCause) -> Event {
    Event::BackupCodesIssued(BackupCodesIssued {
        set_no: account.set_no + 1,
        fingerprint: issued.fingerprint.clone(),
        cause,
        slots: issued.codes.len() as u8,
        verifiers: Protected::clear(&issued.verifiers),
        superseded_unused: account.on().map_or(0, |on| on.codes.left()),
    })
}
