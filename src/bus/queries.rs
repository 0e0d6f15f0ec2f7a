//! Queries read views from the disk, so they run on threads of their own, a bounded few.
//!
//! Those that wait for a position have lanes apart: a caller who asks for a position that is
//! never reached would otherwise hold up everybody's login checks, 500 ms at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use countersign_schemas::ids::AccountId;
use countersign_schemas::query::{
    AuditPageQuery, AuditTimelineQuery, FindAccountQuery, ResetQueueQuery,
};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::time::Micros;

use super::replier::Ticket;
use super::reply::{Told, json};
use crate::engine::Engine;

/// Threads for queries that are answered at once.
const PROMPT_THREADS: usize = 2;
/// Such queries that may wait for a thread; one more is `overloaded`.
const PROMPT_QUEUE_MAX: usize = 256;
/// Threads for queries that wait for a position.
const PATIENT_THREADS: usize = 8;
/// Such queries that may wait for a thread: 2 s at most, at 500 ms each.
const PATIENT_QUEUE_MAX: usize = 32;

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

/// A query and what bounds its answer.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub query: Query,
    /// The position that the view must have reached.
    pub min_position: Option<u64>,
    /// Later than this nobody waits for the answer.
    pub deadline: Option<Micros>,
}

type Job = (Question, Ticket);

/// The threads and their queues; the threads end once this is dropped and the queues are empty.
pub struct QueryPool {
    prompt: SyncSender<Job>,
    patient: SyncSender<Job>,
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
        })
    }

    /// Takes a query; never waits. Where the queue is full the answer is `overloaded`.
    pub fn ask(&self, question: Question, ticket: Ticket) {
        let lane = match question.min_position {
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
    match &question.query {
        Query::LoginStatus(account) => json(&queries.login_status(account, min)?),
        Query::FindAccount(query) => json(&queries.find_account(query)?),
        Query::AccountCard(account) => json(&queries.account_card(account, min)?),
        Query::ResetQueue(query) => json(&queries.reset_queue(query, min)?),
        Query::AuditTimeline(account, query) => json(&queries.audit_timeline(account, query, min)?),
        Query::AuditPage(query) => json(&queries.audit_page(query, min)?),
        Query::Backup => json(&engine.admin().backup()?),
        Query::LogStats => json(&engine.admin().log_stats()?),
        Query::KeyList => json(&engine.admin().key_list()?),
        Query::ViewList => json(&engine.admin().view_list()),
        Query::ViewRebuild(view) => json(&engine.admin().view_rebuild(view)?),
    }
}
