//! Queries read views from the disk, so they run on threads of their own, a bounded few.
//!
//! ```text
//!   login checks ──▶ 2 threads      support ──▶ 2      audit ──▶ 2
//!   operators' looks ──▶ 1          operators' acts ──▶ 4
//!   a position that is not there yet ──▶ 8 threads that wait, at most 500 ms ──▶ its own lane
//! ```
//! Lanes share no thread: an export, a backup or a position that is never reached holds up nobody's
//! login check. Within a lane callers take turns.

use std::sync::Arc;

use bytes::Bytes;
use countersign_schemas::admin::ViewName;
use countersign_schemas::audit::{
    AccountAtQuery, AuditExplainQuery, AuditExportQuery, AuditRecordsQuery, ConsistencyQuery,
    ProofQuery,
};
use countersign_schemas::ids::AccountId;
use countersign_schemas::query::{
    AuditPageQuery, AuditTimelineQuery, FindAccountQuery, NoFields, ResetQueueQuery, decode_query,
};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;

use super::answering::{answer, is_reached};
use super::endpoints::{LaneName, Queried};
use super::lane::{Bounds, Lane};
use super::replier::Ticket;
use super::reply::Told;
use crate::engine::{Engine, Viewer};

/// Login checks: short, and every platform waits for them.
const LOGIN_CHECKS: Bounds = Bounds {
    threads: 2,
    running_per_caller: 2,
    waiting: 256,
    waiting_per_caller: 256,
};
/// What agents ask; each may wait for the record of who looked.
const SUPPORT: Bounds = Bounds {
    threads: 2,
    running_per_caller: 1,
    waiting: 256,
    waiting_per_caller: 64,
};
/// What auditors ask, which may read long histories.
const AUDIT: Bounds = Bounds {
    threads: 2,
    running_per_caller: 1,
    waiting: 256,
    waiting_per_caller: 64,
};
/// What operators look at.
const OPERATORS_LOOKS: Bounds = Bounds {
    threads: 1,
    running_per_caller: 1,
    waiting: 64,
    waiting_per_caller: 16,
};
/// Backups and views that are built anew, which can take minutes.
const OPERATORS_ACTS: Bounds = Bounds {
    threads: 4,
    running_per_caller: 2,
    waiting: 16,
    waiting_per_caller: 4,
};
/// Queries that wait for a position, 500 ms at most: a caller's last one begins within 2 s.
const PATIENT: Bounds = Bounds {
    threads: 8,
    running_per_caller: 2,
    waiting: 64,
    waiting_per_caller: 8,
};

/// A query that reads a view.
#[derive(Debug)]
pub enum Query {
    /// What a login check may know of an account.
    LoginStatus(AccountId),
    /// Whose name it is.
    FindAccount(FindAccountQuery),
    /// What an agent may know of an account.
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
    /// That a record is in the log.
    Proof(ProofQuery),
    /// That one state of the log is the beginning of another.
    Consistency(ConsistencyQuery),
    /// Records as they are hashed.
    AuditRecords(AuditRecordsQuery),
    /// Events to take away.
    AuditExport(AuditExportQuery),
    /// Why a decision came out as it did.
    AuditExplain(AuditExplainQuery),
}

/// What an operator asks of the running service: no query, so that it has lanes of its own.
#[derive(Debug)]
pub enum OperatorsRequest {
    /// A backup into the configured folder.
    Backup,
    /// The numbers of the log.
    LogStats,
    /// The views.
    ViewList,
    /// The keys, without any of them.
    KeyList,
    /// A view folded anew.
    ViewRebuild(ViewName),
}

/// What a lane answers.
#[derive(Debug)]
pub enum Wanted {
    /// A query's answer; the kind is that of its endpoint.
    Query(Queried, Query),
    /// What an operator asks for.
    Operators(OperatorsRequest),
}

impl Query {
    /// Reads a query of a view.
    ///
    /// # Errors
    /// `request.invalid` or `request.malformed`, as the body or the id asks for it.
    pub fn decode(queried: Queried, id: &str, body: &[u8]) -> Result<Self, Refusal> {
        let account = || {
            AccountId::parse(id).map_err(|rule| Refusal::because(ErrorCode::RequestInvalid, rule.0))
        };
        Ok(match queried {
            Queried::LoginStatus => {
                decode_query::<NoFields>(body)?;
                Self::LoginStatus(account()?)
            }
            Queried::FindAccount => Self::FindAccount(decode_query(body)?),
            Queried::AccountCard => {
                decode_query::<NoFields>(body)?;
                Self::AccountCard(account()?)
            }
            Queried::ResetQueue => Self::ResetQueue(decode_query(body)?),
            Queried::AuditTimeline => {
                let query: AuditTimelineQuery = decode_query(body)?;
                let account = account()?;
                Self::AuditTimeline(account, query)
            }
            Queried::AuditPage => Self::AuditPage(decode_query(body)?),
            Queried::AccountAt => {
                let query: AccountAtQuery = decode_query(body)?;
                let account = account()?;
                Self::AccountAt(account, query)
            }
            Queried::Checkpoint => {
                decode_query::<NoFields>(body)?;
                Self::Checkpoint
            }
            Queried::Proof => Self::Proof(decode_query(body)?),
            Queried::Consistency => Self::Consistency(decode_query(body)?),
            Queried::AuditRecords => Self::AuditRecords(decode_query(body)?),
            Queried::AuditExport => Self::AuditExport(decode_query(body)?),
            Queried::AuditExplain => Self::AuditExplain(decode_query(body)?),
        })
    }
}

/// A query and what bounds its answer.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub wanted: Wanted,
    /// The position that the view must have reached.
    pub min_position: Option<u64>,
    /// Later than this nobody waits for the answer.
    pub deadline: Option<Micros>,
    /// Who asks.
    pub viewer: Viewer,
}

type Job = (Question, Ticket);

/// The lanes; their threads end once this is dropped and nothing waits.
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
    /// Those of the operating system where it gives no thread.
    pub fn start(engine: &Arc<Engine>) -> std::io::Result<Self> {
        let lane = |name, bounds| {
            let engine = Arc::clone(engine);
            let tell = move |(question, ticket): Job| ticket.tell(told(answer(&engine, &question)));
            Lane::start(name, bounds, tell)
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
                move |(question, ticket): Job| match is_reached(&waiting, &question) {
                    Ok(()) => reached.ask(question, ticket),
                    Err(refusal) => ticket.tell(Told::Refused(refusal)),
                },
            )?;
        Ok(Self {
            engine: Arc::clone(engine),
            lanes,
            patient,
        })
    }

    /// Takes a query; never waits. Where the lane is full the newest query of the caller with the
    /// most waiting is `overloaded`.
    pub fn ask(&self, question: Question, ticket: Ticket) {
        if self.engine.queries().has_reached(question.min_position) {
            self.lanes.ask(question, ticket);
        } else {
            submit(&self.patient, question, ticket);
        }
    }
}

impl Lanes {
    fn ask(&self, question: Question, ticket: Ticket) {
        let lane = match &question.wanted {
            Wanted::Query(queried, _) => match queried.lane(question.viewer.caller.role) {
                LaneName::LoginChecks => &self.login_checks,
                LaneName::Support => &self.support,
                LaneName::Audit => &self.audit,
            },
            Wanted::Operators(request) => match request {
                OperatorsRequest::LogStats
                | OperatorsRequest::ViewList
                | OperatorsRequest::KeyList => &self.operators_looks,
                OperatorsRequest::Backup | OperatorsRequest::ViewRebuild(_) => &self.operators_acts,
            },
        };
        submit(lane, question, ticket);
    }
}

fn submit(lane: &Lane<Job>, question: Question, ticket: Ticket) {
    let caller = &question.viewer.caller;
    let key = (caller.role, caller.name.clone());
    let (Ok(shed) | Err(shed)) = lane.submit(key, (question, ticket)).map_err(Some);
    if let Some((_, ticket)) = shed {
        ticket.tell(Told::Refused(Refusal::new(ErrorCode::Overloaded)));
    }
}

fn told(answer: Result<Bytes, Refusal>) -> Told {
    match answer {
        Ok(body) => Told::Answer(body),
        Err(refusal) => Told::Refused(refusal),
    }
}
