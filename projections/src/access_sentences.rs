//! The sentences of access records, and of acts beyond what one agent may do.

use countersign_schemas::event::audit::v1::{
    AgentAct, AgentActsRefused, AuditExported, LookUpsCounted, OperatorAct, OperatorActed,
    SubjectViewed,
};

pub(crate) fn subject_viewed(e: &SubjectViewed) -> String {
    match &e.account_id {
        Some(account) => format!("Account {account} was looked at ({}).", e.query),
        None => format!("Several accounts were looked at ({}).", e.query),
    }
}

pub(crate) fn audit_exported(e: &AuditExported) -> String {
    let whose = match &e.account_id {
        Some(account) => format!("The history of account {account}"),
        None => "The history".to_owned(),
    };
    format!("{whose} was exported ({}).", e.format)
}

pub(crate) fn look_ups_counted(e: &LookUpsCounted) -> String {
    let times = match e.count {
        1 => "once more".to_owned(),
        count => format!("{count} more times"),
    };
    match &e.account_id {
        Some(account) => format!("Account {account} was looked at {times} ({}).", e.query),
        None => format!("The same was asked {times} ({}).", e.query),
    }
}

pub(crate) fn operator_acted(e: &OperatorActed) -> String {
    match (e.act, &e.view) {
        (OperatorAct::ViewRebuild, Some(view)) => {
            format!("A rebuild of the view {view} was asked for.")
        }
        (OperatorAct::ViewRebuild, None) => "A rebuild of a view was asked for.".to_owned(),
        (OperatorAct::Backup, _) => "A backup was asked for.".to_owned(),
    }
}

pub(crate) fn agent_acts_refused(e: &AgentActsRefused) -> String {
    let what = match e.act {
        AgentAct::SuspendFactor => "suspend app codes",
        AgentAct::ClearAttempts => "clear attempts",
        AgentAct::EndReset => "reject or cancel resets",
        AgentAct::EraseAccount => "erase accounts",
    };
    let requests = match e.count {
        1 => "1 request".to_owned(),
        count => format!("{count} requests"),
    };
    let verb = if e.count == 1 { "was" } else { "were" };
    format!(
        "{requests} of {} to {what} {verb} refused because one agent may make only so many.",
        e.by
    )
}
