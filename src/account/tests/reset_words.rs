//! The words of the scenarios for commands of support agents and operators, and for their replies.

use countersign_schemas::command::{ClearAttempts, Command, EraseAccount, RotateKeys};
use countersign_schemas::ids::{CaseId, Reason, Ticket};
use countersign_schemas::support::{
    ApproveReset, CancelReset, ExecuteReset, RejectReset, RequestReset, SuspendFactor,
    UserCancelReset,
};

use super::scenario::{Password, START, Scenario};
use super::sentences::{Ask, account_id};
use crate::account::{Reply, ResetReply};

pub(in crate::account) fn clear_attempts(_: &Scenario) -> Ask {
    let command = Command::ClearAttempts(ClearAttempts {
        account_id: account_id(),
        reason: Reason::parse("the owner called").expect("a reason"),
        context: None,
    });
    (command, Password::Absent)
}

pub(in crate::account) fn erase(_: &Scenario) -> Ask {
    let command = Command::EraseAccount(EraseAccount {
        account_id: account_id(),
        reason: Reason::parse("the owner asked for it").expect("a reason"),
        context: None,
    });
    (command, Password::Absent)
}

pub(in crate::account) fn rotate_keys(_: &Scenario) -> Ask {
    let command = Command::RotateKeys(RotateKeys {
        reason: Reason::parse("a yearly custom").expect("a reason"),
        context: None,
    });
    (command, Password::Absent)
}

fn reason() -> Reason {
    Reason::parse("phone and codes are lost").expect("a reason")
}

fn ticket() -> Ticket {
    Ticket::parse("T-1").expect("a ticket")
}

pub(in crate::account) fn request_reset(_: &Scenario) -> Ask {
    let command = Command::RequestReset(RequestReset {
        account_id: account_id(),
        reason: reason(),
        ticket: ticket(),
        lost: None,
        context: None,
    });
    (command, Password::Absent)
}

pub(in crate::account) fn suspend_factor(_: &Scenario) -> Ask {
    let command = Command::SuspendFactor(SuspendFactor {
        account_id: account_id(),
        reason: reason(),
        ticket: ticket(),
        context: None,
    });
    (command, Password::Absent)
}

pub(in crate::account) fn user_cancel(_: &Scenario) -> Ask {
    let command = Command::UserCancelReset(UserCancelReset {
        account_id: account_id(),
        context: None,
    });
    (command, Password::Absent)
}

/// Returns the case so many before the latest; an unknown one if there is none.
pub(in crate::account) fn case_back(s: &Scenario, back: usize) -> CaseId {
    let nth = s.cases.len().checked_sub(1 + back);
    nth.map_or_else(
        || CaseId::parse("unknown-case").expect("an id"),
        |nth| s.cases[nth].clone(),
    )
}

/// What an agent does with a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::account) enum Step {
    Approve,
    Reject,
    Cancel,
    Execute,
}

pub(in crate::account) fn with_case(step: Step, case_id: CaseId) -> Ask {
    let (reason, context) = (reason(), None);
    let command = match step {
        Step::Approve => Command::ApproveReset(ApproveReset {
            case_id,
            reason,
            context,
        }),
        Step::Reject => Command::RejectReset(RejectReset {
            case_id,
            reason,
            context,
        }),
        Step::Cancel => Command::CancelReset(CancelReset {
            case_id,
            reason,
            context,
        }),
        Step::Execute => Command::ExecuteReset(ExecuteReset {
            case_id,
            reason,
            context,
        }),
    };
    (command, Password::Absent)
}

pub(in crate::account) fn approve(s: &Scenario) -> Ask {
    with_case(Step::Approve, case_back(s, 0))
}

pub(in crate::account) fn reject(s: &Scenario) -> Ask {
    with_case(Step::Reject, case_back(s, 0))
}

pub(in crate::account) fn cancel_reset(s: &Scenario) -> Ask {
    with_case(Step::Cancel, case_back(s, 0))
}

pub(in crate::account) fn execute(s: &Scenario) -> Ask {
    with_case(Step::Execute, case_back(s, 0))
}

/// Returns a reply about a reset in words.
pub(in crate::account) fn reset_in_words(reply: &Reply) -> String {
    let hours = |at: &countersign_schemas::time::Micros| at.seconds_since(START) / 3_600;
    match reply {
        Reply::Reset(ResetReply::Requested { expires_at, .. }) => {
            format!("reset requested, open until +{}h", hours(expires_at))
        }
        Reply::Reset(ResetReply::Approved { execute_after }) => {
            format!("approved, to execute after +{}h", hours(execute_after))
        }
        Reply::Reset(ResetReply::Rejected) => "rejected".into(),
        Reply::Reset(ResetReply::Cancelled) => "cancelled".into(),
        Reply::Reset(ResetReply::Executed) => "executed".into(),
        other => panic!("no answer about a reset: {other:?}"),
    }
}
