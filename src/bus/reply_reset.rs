//! Renders the replies of support resets.

use bytes::Bytes;
use countersign_schemas::refusal::Refusal;
use countersign_schemas::reply::Details;
use countersign_schemas::support::CaseState;
use countersign_schemas::support_reply;

use super::reply::with_details;
use crate::account::Reply;

pub(super) fn reset_success(reply: Reply, details: Details) -> Result<Bytes, Refusal> {
    let changed = |state| with_details(support_reply::CaseChanged { state }, details);
    match reply {
        Reply::ResetRequested {
            case_id,
            expires_at,
        } => {
            let body = support_reply::ResetRequested {
                case_id,
                state: CaseState::WaitingApproval,
                expires_at,
            };
            with_details(body, details)
        }
        Reply::ResetApproved { execute_after } => {
            let body = support_reply::ResetApproved {
                state: CaseState::CoolingOff,
                execute_after,
            };
            with_details(body, details)
        }
        Reply::ResetRejected => changed(CaseState::Rejected),
        Reply::ResetCancelled => changed(CaseState::Cancelled),
        Reply::ResetExecuted => changed(CaseState::Executed),
        _ => unreachable!("only the replies of resets come here"),
    }
}
