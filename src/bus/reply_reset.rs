//! Renders the replies of support resets.

use bytes::Bytes;
use countersign_schemas::refusal::Refusal;
use countersign_schemas::reply::Details;
use countersign_schemas::support::CaseState;
use countersign_schemas::support_reply;

use super::reply::with_details;
use crate::account::ResetReply;

pub(super) fn reset_success(reply: ResetReply, details: Details) -> Result<Bytes, Refusal> {
    let changed = |state| with_details(support_reply::CaseChanged { state }, details);
    match reply {
        ResetReply::Requested {
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
        ResetReply::Approved { execute_after } => {
            let body = support_reply::ResetApproved {
                state: CaseState::CoolingOff,
                execute_after,
            };
            with_details(body, details)
        }
        ResetReply::Rejected => changed(CaseState::Rejected),
        ResetReply::Cancelled => changed(CaseState::Cancelled),
        ResetReply::Executed => changed(CaseState::Executed),
    }
}
