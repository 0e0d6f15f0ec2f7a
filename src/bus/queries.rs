//! Queries read views from the disk, so they run on threads of their own, a bounded few.
//!
//! Those that wait for a position have lanes apart: a caller who asks for a position that is
//! never reached would otherwise hold up everybody's login checks, 500 ms at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use countersign_schemas::audit::{
    AccountAtQuery, AuditExplainQuery, AuditExportQuery, AuditRecordsQuery, ConsistencyQuery,
    ProofQuery,
};
use countersign_schemas::ids::AccountId;
use countersign_schemas::query::{
    AuditPageQuery, AuditTimelineQuery, FindAccountQuery, NoFields, ResetQueueQuery, decode_query,
    page_limit,
};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;

use super::endpoints::Queried;
use super::replier::Ticket;
use super::reply::{Told, json};
use crate::engine::{Engine, LookUp, Viewer, filter_text};

/// Threads for queries that are answered at once.
const PROMPT_THREADS: usize = 2;
/// Such queries that may wait for a thread; one more is `overloaded`.
const PROMPT_QUEUE_MAX: usize = 256;
/// Threads for queries that wait for a position.
const PATIENT_THREADS: usize = 8;
/// Such queries that may wait for a thread: 2 s at most, at 500 ms each.
const PATIENT_QUEUE_MAX: usize = 32;

/// Threads for auditors' queries, which may read long histories or wait for their record.
const LONG_THREADS: usize = 2;
/// Such queries that may wait for a thread.
const LONG_QUEUE_MAX: usize = 256;

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
    /// A backup into the configured folder.
    Backup,
    /// The numbers of the log.
    LogStats,
    /// The views.
    ViewList,
    /// The keys, without any of them.
    KeyList,
    /// A view folded anew.
    ViewRebuild(String),
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
                page_limit(query.limit)?;
                Self::AuditTimeline(account, query)
            }
            Queried::AuditPage => {
                let query: AuditPageQuery = decode_query(body)?;
                page_limit(query.limit)?;
                Self::AuditPage(query)
            }
            Queried::AccountAt => {
                let query: AccountAtQuery = decode_query(body)?;
                let account = account()?;
                query.moment()?;
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

    /// Whether it can take long, so that it must not stand before anybody's login check.
    fn is_long(&self) -> bool {
        match self {
            Self::AuditTimeline(..)
            | Self::AuditPage(_)
            | Self::AccountAt(..)
            | Self::Checkpoint
            | Self::Proof(_)
            | Self::Consistency(_)
            | Self::AuditRecords(_)
            | Self::AuditExport(_)
            | Self::AuditExplain(_) => true,
            // These wait for the record of who looked, as auditors' queries do.
            Self::FindAccount(_) | Self::AccountCard(_) | Self::ResetQueue(_) => true,
            Self::LoginStatus(_)
            | Self::Backup
            | Self::LogStats
            | Self::ViewList
            | Self::KeyList
            | Self::ViewRebuild(_) => false,
        }
    }
}

/// A query and what bounds its answer.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub query: Query,
    /// The position that the view must have reached.
    pub min_position: Option<u64>,
    /// Later than this nobody waits for the answer.
    pub deadline: Option<Micros>,
    /// Who asks.
    pub viewer: Viewer,
}

type Job = (Question, Ticket);

/// The threads and their queues; the threads end once this is dropped and the queues are empty.
pub struct QueryPool {
    prompt: SyncSender<Job>,
    patient: SyncSender<Job>,
    long: SyncSender<Job>,
}

impl QueryPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// Those of the operating system where it gives no thread.
    pub fn start(engine: &Arc<Engine>) -> std::io::Result<Self> {
        Ok(Self {
            prompt: lane(engine, "query", PROMPT_THREADS, PROMPT_QUEUE_MAX)?,
            patient: lane(engine, "query-wait", PATIENT_THREADS, PATIENT_QUEUE_MAX)?,
            long: lane(engine, "query-audit", LONG_THREADS, LONG_QUEUE_MAX)?,
        })
    }

    /// Takes a query; never waits. Where the queue is full the answer is `overloaded`.
    pub fn ask(&self, question: Question, ticket: Ticket) {
        let lane = match question.min_position {
            None if question.query.is_long() => &self.long,
            None => &self.prompt,
            Some(_) => &self.patient,
        };
        if let Err(error) = lane.try_send((question, ticket)) {
            let (_, ticket) = match error {
                std::sync::mpsc::TrySendError::Full(job)
                | std::sync::mpsc::TrySendError::Disconnected(job) => job,
            };
            ticket.tell(Told::Refused(Refusal::new(ErrorCode::Overloaded)));
        }
    }
}

fn lane(
    engine: &Arc<Engine>,
    name: &str,
    threads: usize,
    queue_max: usize,
) -> std::io::Result<SyncSender<Job>> {
    let (sender, receiver) = sync_channel::<Job>(queue_max);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..threads {
        let (engine, receiver) = (Arc::clone(engine), Arc::clone(&receiver));
        thread::Builder::new()
            .name(name.into())
            .spawn(move || work(&engine, &receiver))?;
    }
    Ok(sender)
}

fn work(engine: &Engine, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((question, ticket)) = job else { return };
        // A panic costs its own query an answer of `outcome.unknown`, and nobody a thread.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            ticket.tell(match answer(engine, &question) {
                Ok(body) => Told::Answer(body),
                Err(refusal) => Told::Refused(refusal),
            });
        }));
    }
}

fn answer(engine: &Engine, question: &Question) -> Result<Bytes, Refusal> {
    if question
        .deadline
        .is_some_and(|deadline| deadline <= engine.now())
    {
        return Err(Refusal::new(ErrorCode::DeadlineExceeded));
    }
    let (queries, min) = (engine.queries(), question.min_position);
    queries.reached(min)?;
    let body = match &question.query {
        Query::LoginStatus(account) => json(&queries.login_status(account, min)?),
        Query::FindAccount(query) => {
            // A name that nobody has is on record too: trying names out must not stay unseen.
            let found = queries.find_account(query);
            let subject = found.as_ref().ok().map(|found| &found.account_id);
            let look_up = LookUp::Viewed(subject, "find-account");
            queries.record_look_up(&question.viewer, &look_up)?;
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
            let look_up = LookUp::Viewed(subject, "audit-explain");
            queries.record_look_up(&question.viewer, &look_up)?;
            json(&explained)
        }
        Query::Backup => json(&engine.admin().backup()?),
        Query::LogStats => json(&engine.admin().log_stats()?),
        Query::KeyList => json(&engine.admin().key_list()?),
        Query::ViewList => json(&engine.admin().view_list()),
        Query::ViewRebuild(view) => json(&engine.admin().view_rebuild(view)?),
    }?;
    if let Some(look_up) = look_up(&question.query) {
        queries.record_look_up(&question.viewer, &look_up)?;
    }
    Ok(body)
}

/// What a query shows of somebody's history, where it shows that.
fn look_up(query: &Query) -> Option<LookUp<'_>> {
    match query {
        Query::AccountCard(account) => Some(LookUp::Viewed(Some(account), "account-card")),
        Query::ResetQueue(_) => Some(LookUp::Viewed(None, "reset-queue")),
        Query::AuditTimeline(account, _) => Some(LookUp::Viewed(Some(account), "audit-timeline")),
        Query::AuditPage(query) => Some(LookUp::Viewed(query.account_id.as_ref(), "audit-page")),
        // It carries a whole record. One look stands for every position: each has another subject,
        // and whoever walks through them all must not fill the log.
        Query::Proof(_) => Some(LookUp::Viewed(None, "proof")),
        Query::AccountAt(account, _) => Some(LookUp::Viewed(Some(account), "account-at")),
        Query::AuditRecords(_) => Some(LookUp::Exported(None, "records", "{}".into())),
        Query::AuditExport(query) => Some(LookUp::Exported(
            query.account_id.as_ref(),
            query.format.as_str(),
            filter_text(query),
        )),
        // Whom a name or a position led to, only the answer knows. Checkpoints and what proves that
        // one continues another are hashes.
        Query::FindAccount(_)
        | Query::AuditExplain(_)
        | Query::LoginStatus(_)
        | Query::Checkpoint
        | Query::Consistency(_)
        | Query::Backup
        | Query::LogStats
        | Query::ViewList
        | Query::KeyList
        | Query::ViewRebuild(_) => None,
    }
}
