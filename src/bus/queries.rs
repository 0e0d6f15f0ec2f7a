//! Queries read views from the disk, so they run on a bounded number of threads of their own.
//!
//! ```text
//!   login checks ──▶ 2 threads      support ──▶ 2      audit ──▶ 2
//!   operators' looks ──▶ 1          operators' acts ──▶ 4
//!   a position that is not there yet ──▶ 8 threads that wait, at most 500 ms ──▶ its own lane
//! ```
//! Lanes share no thread: an export, a backup or a position that is never reached delays no login
//! check. Within a lane, callers take turns.

use std::sync::Arc;

use bytes::Bytes;
use countersign_schemas::admin::ViewName;
use countersign_schemas::audit::{
    AccountAtQuery, AuditExplainQuery, AuditExportQuery, AuditRecordsQuery, ConsistencyQuery,
    ProofQuery,
};
use countersign_schemas::ids::{AccountId, Reason};
use countersign_schemas::query::{
    AuditPageQuery, AuditTimelineQuery, FindAccountQuery, NoFields, ResetQueueQuery, decode_query,
};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;

use super::answering::{answer, is_reached};
use super::endpoints::{LaneName, QueryKind};
use super::lane::{Bounds, Lane};
use super::replier::ReplyGuard;
use super::reply::Response;
use crate::engine::{Engine, Viewer};

/// Login checks: they are short, and every platform waits for them.
const LOGIN_CHECKS: Bounds = Bounds {
    threads: 2,
    running_per_caller: 2,
    waiting: 256,
    waiting_per_caller: 256,
};
/// Queries of agents; each may wait for its access record.
const SUPPORT: Bounds = Bounds {
    threads: 2,
    running_per_caller: 1,
    waiting: 256,
    waiting_per_caller: 64,
};
/// Queries of auditors, which may read long histories.
const AUDIT: Bounds = Bounds {
    threads: 2,
    running_per_caller: 1,
    waiting: 256,
    waiting_per_caller: 64,
};
/// Queries of operators.
const OPERATORS_LOOKS: Bounds = Bounds {
    threads: 1,
    running_per_caller: 1,
    waiting: 64,
    waiting_per_caller: 16,
};
/// Backups and rebuilds of views, which can take minutes.
const OPERATORS_ACTS: Bounds = Bounds {
    threads: 4,
    running_per_caller: 2,
    waiting: 16,
    waiting_per_caller: 4,
};
/// Queries that wait for a position, 500 ms at most: the last one of a caller begins within 2 s.
const PATIENT: Bounds = Bounds {
    threads: 8,
    running_per_caller: 2,
    waiting: 64,
    waiting_per_caller: 8,
};

/// A query, decoded.
#[derive(Debug)]
pub enum Query {
    /// What a login check may know about an account.
    LoginStatus(AccountId),
    /// The account of a username.
    FindAccount(FindAccountQuery),
    /// What an agent may know about an account.
    AccountCard(AccountId),
    /// The reset cases.
    ResetQueue(ResetQueueQuery),
    /// One account's history.
    AuditTimeline(AccountId, AuditTimelineQuery),
    /// A page of the whole history.
    AuditPage(AuditPageQuery),
    /// One account as it was.
    AccountAt(AccountId, AccountAtQuery),
    /// The log's newest state, signed.
    Checkpoint,
    /// The proof that a record is in the log.
    Proof(ProofQuery),
    /// The proof that one state of the log is the beginning of another.
    Consistency(ConsistencyQuery),
    /// Records as they are hashed.
    AuditRecords(AuditRecordsQuery),
    /// An export of events.
    AuditExport(AuditExportQuery),
    /// The reasons for a decision.
    AuditExplain(AuditExplainQuery),
}

/// What an operator asks of the running service: no query, so that it has lanes of its own.
#[derive(Debug)]
pub enum OperatorsRequest {
    /// A backup into the configured folders, for this reason.
    Backup(Reason),
    /// The numbers of the log.
    LogStats,
    /// The list of the views.
    ViewList,
    /// The list of the keys, without their key material.
    KeyList,
    /// The rebuild of a view, for this reason.
    ViewRebuild(ViewName, Reason),
}

/// What a lane answers.
#[derive(Debug)]
pub enum Wanted {
    /// A query's answer; the kind is that of its endpoint.
    Query(QueryKind, Query),
    /// What an operator asks for.
    Operators(OperatorsRequest),
}

impl Query {
    /// Decodes a query of this kind.
    ///
    /// # Errors
    /// `request.malformed` if the body is not JSON, `request.invalid` if body or id break the
    /// schema.
    pub fn decode(kind: QueryKind, id: &str, body: &[u8]) -> Result<Self, Refusal> {
        let account = || {
            AccountId::parse(id).map_err(|rule| Refusal::because(ErrorCode::RequestInvalid, rule.0))
        };
        Ok(match kind {
            QueryKind::LoginStatus => {
                decode_query::<NoFields>(body)?;
                Self::LoginStatus(account()?)
            }
            QueryKind::FindAccount => Self::FindAccount(decode_query(body)?),
            QueryKind::AccountCard => {
                decode_query::<NoFields>(body)?;
                Self::AccountCard(account()?)
            }
            QueryKind::ResetQueue => Self::ResetQueue(decode_query(body)?),
            QueryKind::AuditTimeline => {
                let query: AuditTimelineQuery = decode_query(body)?;
                let account = account()?;
                Self::AuditTimeline(account, query)
            }
            QueryKind::AuditPage => Self::AuditPage(decode_query(body)?),
            QueryKind::AccountAt => {
                let query: AccountAtQuery = decode_query(body)?;
                let account = account()?;
                Self::AccountAt(account, query)
            }
            QueryKind::Checkpoint => {
                decode_query::<NoFields>(body)?;
                Self::Checkpoint
            }
            QueryKind::Proof => Self::Proof(decode_query(body)?),
            QueryKind::Consistency => Self::Consistency(decode_query(body)?),
            QueryKind::AuditRecords => Self::AuditRecords(decode_query(body)?),
            QueryKind::AuditExport => Self::AuditExport(decode_query(body)?),
            QueryKind::AuditExplain => Self::AuditExplain(decode_query(body)?),
        })
    }
}

/// A query, its caller and its limits.
#[derive(Debug)]
pub struct QueryRequest {
    /// What is asked.
    pub wanted: Wanted,
    /// The position that the view must have reached.
    pub min_position: Option<u64>,
    /// The deadline; after it the caller no longer waits for the answer.
    pub deadline: Option<Micros>,
    /// The caller.
    pub viewer: Viewer,
}

type Job = (QueryRequest, ReplyGuard);

/// The lanes; their threads end once this is dropped and no query waits.
pub struct QueryPool {
    engine: Arc<Engine>,
    lanes: Arc<Lanes>,
    patient: Lane<Job>,
}

/// The lanes of queries that need not wait for a position.
struct Lanes {
    login_checks: Lane<Job>,
    support: Lane<Job>,
    audit: Lane<Job>,
    operators_looks: Lane<Job>,
    operators_acts: Lane<Job>,
}

impl QueryPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// The error of the operating system if it cannot start a thread.
    pub fn start(engine: &Arc<Engine>) -> std::io::Result<Self> {
        let lane = |name, bounds| {
            let engine = Arc::clone(engine);
            let respond =
                move |(request, guard): Job| guard.respond(response(answer(&engine, &request)));
            Lane::start(name, bounds, respond)
        };
        let lanes = Arc::new(Lanes {
            login_checks: lane("query", LOGIN_CHECKS)?,
            support: lane("query-support", SUPPORT)?,
            audit: lane("query-audit", AUDIT)?,
            operators_looks: lane("query-look", OPERATORS_LOOKS)?,
            operators_acts: lane("query-act", OPERATORS_ACTS)?,
        });
        let (waiting, reached) = (Arc::clone(engine), Arc::clone(&lanes));
        let patient =
            Lane::start(
                "query-wait",
                PATIENT,
                move |(request, guard): Job| match is_reached(&waiting, &request) {
                    Ok(()) => reached.ask(request, guard),
                    Err(refusal) => guard.respond(Response::Refused(refusal)),
                },
            )?;
        Ok(Self {
            engine: Arc::clone(engine),
            lanes,
            patient,
        })
    }

    /// Queues a query; never waits. If the lane is full, the newest query of the caller with the
    /// most waiting queries is refused as `overloaded`.
    pub fn ask(&self, request: QueryRequest, guard: ReplyGuard) {
        if self.engine.queries().has_reached(request.min_position) {
            self.lanes.ask(request, guard);
        } else {
            submit(&self.patient, request, guard);
        }
    }
}

impl Lanes {
    fn ask(&self, request: QueryRequest, guard: ReplyGuard) {
        let lane = match &request.wanted {
            Wanted::Query(kind, _) => match kind.lane(request.viewer.caller.role) {
                LaneName::LoginChecks => &self.login_checks,
                LaneName::Support => &self.support,
                LaneName::Audit => &self.audit,
            },
            Wanted::Operators(wanted) => match wanted {
                OperatorsRequest::LogStats
                | OperatorsRequest::ViewList
                | OperatorsRequest::KeyList => &self.operators_looks,
                OperatorsRequest::Backup(_) | OperatorsRequest::ViewRebuild(..) => {
                    &self.operators_acts
                }
            },
        };
        submit(lane, request, guard);
    }
}

fn submit(lane: &Lane<Job>, request: QueryRequest, guard: ReplyGuard) {
    let caller = &request.viewer.caller;
    let key = (caller.role, caller.name.clone());
    let (Ok(shed) | Err(shed)) = lane.submit(key, (request, guard)).map_err(Some);
    if let Some((_, guard)) = shed {
        guard.respond(Response::Refused(Refusal::new(ErrorCode::Overloaded)));
    }
}

fn response(answer: Result<Bytes, Refusal>) -> Response {
    match answer {
        Ok(body) => Response::Answer(body),
        Err(refusal) => Response::Refused(refusal),
    }
}
