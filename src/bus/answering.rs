//! Answers a query, and leaves its access record.

use bytes::Bytes;
use countersign_schemas::event::audit::v1::OperatorAct;
use countersign_schemas::record::Role;
use countersign_schemas::refusal::{ErrorCode, Refusal};

use super::queries::{OperatorsRequest, Query, QueryRequest, Wanted};
use super::reply::json;
use crate::engine::{Access, Engine, Viewer, filter_text};

/// Waits until the log has the position that the caller names.
///
/// # Errors
/// `deadline.exceeded` if the caller no longer waits for the answer, `projection.behind` if the log
/// does not reach the position within 500 ms.
pub(super) fn is_reached(engine: &Engine, request: &QueryRequest) -> Result<(), Refusal> {
    if request
        .deadline
        .is_some_and(|deadline| deadline <= engine.now())
    {
        return Err(Refusal::new(ErrorCode::DeadlineExceeded));
    }
    engine.queries().reached(request.min_position)
}

/// Answers a query, and makes its access record before the answer leaves.
pub(super) fn answer(engine: &Engine, request: &QueryRequest) -> Result<Bytes, Refusal> {
    is_reached(engine, request)?;
    let viewer = &request.viewer;
    let query = match &request.wanted {
        Wanted::Query(_, query) => query,
        Wanted::Operators(wanted) => return operators(engine, wanted, viewer),
    };
    let queries = engine.queries();
    let access = access(query, viewer.caller.role);
    match (query, &access) {
        // Every name counts: the request does not show whether an access record covers it.
        (Query::FindAccount(_), _) => queries.admit_access(viewer, "find-account", None)?,
        (_, Some(access)) => {
            queries.admit_access(viewer, access.query(), Some(access))?;
        }
        (_, None) => {}
    }
    let body = body(engine, query, request);
    // An unknown id has an access record too, so that guessing ids is visible.
    if let (Err(refusal), Some(Access::Viewed(Some(_), query))) = (&body, &access)
        && refusal.code == ErrorCode::AccountNotFound
    {
        queries.record_access(viewer, &Access::Viewed(None, query))?;
    }
    let body = body?;
    if let Some(access) = &access {
        queries.record_access(viewer, access)?;
    }
    Ok(body)
}

fn body(engine: &Engine, query: &Query, request: &QueryRequest) -> Result<Bytes, Refusal> {
    let (queries, min) = (engine.queries(), request.min_position);
    match query {
        Query::LoginStatus(account) => json(&queries.login_status(account, min)?),
        Query::FindAccount(query) => {
            // An unknown name is recorded too: trying names out must not stay unseen.
            let found = queries.find_account(query);
            let subject = found.as_ref().ok().map(|found| &found.account_id);
            let access = Access::Viewed(subject, "find-account");
            queries.record_access(&request.viewer, &access)?;
            json(&found?)
        }
        Query::AccountCard(account) => json(&queries.account_card(account, min)?),
        Query::ResetQueue(query) => json(&queries.reset_queue(query, min)?),
        Query::AuditTimeline(account, query) => json(&queries.audit_timeline(account, query, min)?),
        Query::AuditPage(query) => json(&queries.audit_page(query, min)?),
        Query::AccountAt(account, query) => json(&queries.account_at(account, query)?),
        Query::Checkpoint => json(&queries.checkpoint()?),
        Query::Proof(query) => json(&queries.proof(query)?),
        Query::Consistency(query) => json(&queries.consistency(query)?),
        Query::AuditRecords(query) => json(&queries.audit_records(query)?),
        Query::AuditExport(query) => json(&queries.audit_export(query)?),
        Query::AuditExplain(query) => {
            let explained = queries.audit_explain(query)?;
            let subject = explained.events.first().and_then(|e| e.account_id.as_ref());
            let access = Access::Viewed(subject, "audit-explain");
            queries.admit_access(&request.viewer, access.query(), Some(&access))?;
            queries.record_access(&request.viewer, &access)?;
            json(&explained)
        }
    }
}

/// Answers an operator's request. An act leaves a record before it begins.
fn operators(
    engine: &Engine,
    request: &OperatorsRequest,
    viewer: &Viewer,
) -> Result<Bytes, Refusal> {
    let (admin, queries) = (engine.admin(), engine.queries());
    match request {
        OperatorsRequest::Backup(reason) => {
            queries.record_act(viewer, (OperatorAct::Backup, None), reason)?;
            json(&admin.backup()?)
        }
        OperatorsRequest::LogStats => json(&admin.log_stats()?),
        OperatorsRequest::KeyList => json(&admin.key_list()?),
        OperatorsRequest::ViewList => json(&admin.view_list()),
        OperatorsRequest::ViewRebuild(view, reason) => {
            let act = (OperatorAct::ViewRebuild, Some(view.as_str()));
            queries.record_act(viewer, act, reason)?;
            json(&admin.view_rebuild(view.as_str())?)
        }
    }
}

/// Returns the access record for a query that shows a user's history; `None` for the other queries.
fn access(query: &Query, role: Role) -> Option<Access<'_>> {
    match query {
        // A platform asks at every login; an agent asks about another person.
        Query::LoginStatus(account) if role == Role::Support => {
            Some(Access::Viewed(Some(account), "login-status"))
        }
        Query::AccountCard(account) => Some(Access::Viewed(Some(account), "account-card")),
        Query::ResetQueue(_) => Some(Access::Viewed(None, "reset-queue")),
        Query::AuditTimeline(account, _) => Some(Access::Viewed(Some(account), "audit-timeline")),
        Query::AuditPage(query) => Some(Access::Viewed(query.account_id.as_ref(), "audit-page")),
        // The answer contains a whole record. One access record covers every position: each has
        // another subject, and a caller that walks through all positions must not fill the log.
        Query::Proof(_) => Some(Access::Viewed(None, "proof")),
        Query::AccountAt(account, _) => Some(Access::Viewed(Some(account), "account-at")),
        Query::AuditRecords(_) => Some(Access::Exported(None, "records", "{}".into())),
        Query::AuditExport(query) => Some(Access::Exported(
            query.account_id.as_ref(),
            query.format.as_str(),
            filter_text(query),
        )),
        // Only the answer shows which account a name or a position led to. Checkpoints and
        // consistency proofs contain nothing but hashes.
        Query::FindAccount(_)
        | Query::AuditExplain(_)
        | Query::LoginStatus(_)
        | Query::Checkpoint
        | Query::Consistency(_) => None,
    }
}
