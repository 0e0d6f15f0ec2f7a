//! What becomes of one message: sized, named, read, decoded, and handed on. Nothing here waits.

use std::sync::Arc;

use async_nats::{Fault, HeaderMap, Message, Subject};
use bytes::Bytes;
use countersign_schemas::admin::{BackupRequest, ViewRebuildRequest};
use countersign_schemas::command::{Command, CommandKind};
use countersign_schemas::ids::CommandId;
use countersign_schemas::query::{NoFields, decode_query};
use countersign_schemas::record::Role;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::strict::decode;
use countersign_schemas::time::Micros;
use tokio::sync::mpsc;
use uuid::{NoContext, Timestamp, Uuid};

use super::documents::Documents;
use super::endpoints::{AdminAsked, Asked, Document, Endpoint, Queried};
use super::gate::Gate;
use super::headers::{self, Headers};
use super::identity::Identity;
use super::queries::{OperatorsRequest, Query, QueryPool, Question, Wanted};
use super::replier::{Answer, Ticket, Waiting};
use super::reply::{Echo, Told, json};
use super::shares::{Share, Shares};
use super::stats::Stats;
use crate::engine::{Caller, Engine, Request, Viewer};

/// The largest payload of a request, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 65_536;

const NO_SUCH_SCHEMA: &str =
    "there is no schema of that name: $SRV.INFO.countersign names them in its metadata";

const NOT_READY: &str = "the service is not ready on this broker: its log and /readyz say why";

/// Everything that it takes to deal with a message.
pub struct Desk {
    /// Decides commands and answers queries.
    pub engine: Arc<Engine>,
    /// How callers are told apart.
    pub identity: Identity,
    /// What can be asked.
    pub endpoints: Arc<[Endpoint]>,
    /// The counters, one for each endpoint.
    pub stats: Arc<[Stats]>,
    /// What the service says of itself.
    pub documents: Documents,
    /// The way out.
    pub answers: mpsc::Sender<Answer>,
    /// The threads that read views.
    pub queries: QueryPool,
    /// What each caller holds of the way out.
    pub shares: Arc<Shares>,
    /// Whether requests are taken at all.
    pub gate: Gate,
}

/// A request that was taken.
enum Work {
    Decide(Request),
    Ask(Question),
    Tell(Bytes),
}

fn overloaded() -> Told {
    Told::Refused(Refusal::new(ErrorCode::Overloaded))
}

fn at_once(waiting: Waiting, told: Told) -> Answer {
    Answer {
        waiting,
        told,
        share: None,
    }
}

impl Desk {
    /// Deals with one message of an endpoint: its answer leaves later through the way out. What is
    /// returned is an answer that is known at once, so that it takes no slot from one that is not:
    /// a document, a refusal, or that there was no room on that way, in all or for this caller.
    ///
    /// A message without a reply subject that we answer on is counted and not executed: nobody would
    /// learn that a code is spent.
    pub fn take(&self, at: usize, message: Message) -> Option<Answer> {
        let (endpoint, stats) = (&self.endpoints[at], &self.stats[at]);
        stats.received();
        let Some(reply_to) = message.reply.clone().filter(is_answerable) else {
            stats.unanswerable();
            return None;
        };
        let received_at = self.engine.now();
        let map = message.headers.as_ref();
        let command_id = headers::command_id(map).map(|id| match endpoint.asked {
            Asked::Command(CommandKind::Platform) => {
                Some(id.unwrap_or_else(|| new_command_id(received_at)))
            }
            Asked::Command(CommandKind::Support | CommandKind::Operator) => id,
            _ => None,
        });
        let waiting = Waiting {
            reply_to,
            endpoint: at,
            received_at,
            echo: Echo {
                command_id: command_id.ok().flatten(),
                trace: headers::trace(map),
            },
        };
        // What is done must be answered, and by the only one who answers for this log.
        if !self.gate.is_open() {
            let refusal = Refusal::because(ErrorCode::Overloaded, NOT_READY);
            return Some(at_once(waiting, Told::Refused(refusal)));
        }
        let Ok(slot) = self.answers.clone().try_reserve_owned() else {
            return Some(at_once(waiting, overloaded()));
        };
        match self.admit(endpoint, &message, &waiting) {
            Ok(Work::Decide(request)) => {
                let Some(share) = self.share_of(&request.caller) else {
                    return Some(at_once(waiting, overloaded()));
                };
                let ticket = Ticket::new(slot, waiting, share);
                let caller = request.caller.name.clone();
                let reply = move |outcome| ticket.tell(Told::Outcome(outcome, caller));
                self.engine.submit(request, Box::new(reply));
            }
            Ok(Work::Ask(question)) => {
                let Some(share) = self.share_of(&question.viewer.caller) else {
                    return Some(at_once(waiting, overloaded()));
                };
                self.queries
                    .ask(question, Ticket::new(slot, waiting, share));
            }
            Ok(Work::Tell(body)) => return Some(at_once(waiting, Told::Answer(body))),
            Err(refusal) => return Some(at_once(waiting, Told::Refused(refusal))),
        }
        None
    }

    /// One more slot of a caller's, where it may hold one; one is reserved for it already.
    fn share_of(&self, caller: &Caller) -> Option<Share> {
        let free = self.answers.capacity() + 1;
        self.shares.take((caller.role, caller.name.clone()), free)
    }

    /// Size first, then who asks, then the headers, then the body.
    fn admit(
        &self,
        endpoint: &Endpoint,
        message: &Message,
        waiting: &Waiting,
    ) -> Result<Work, Refusal> {
        match message.fault {
            Some(Fault::TooLarge) => return Err(Refusal::new(ErrorCode::PayloadTooLarge)),
            Some(Fault::Malformed) => return Err(self.identity.malformed()),
            None => {}
        }
        // The connection's own bound is no other, but who raises it there must not raise it here.
        if message.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Refusal::new(ErrorCode::PayloadTooLarge));
        }
        // Only messages of the broker have a status.
        if message.status.is_some() {
            return Err(self.identity.malformed());
        }
        match endpoint.asked {
            Asked::Command(kind) => self.command(endpoint, kind, message, waiting),
            Asked::Admin(asked) => self.admin(endpoint, asked, message, waiting),
            Asked::Query(queried) => self.query(endpoint, queried, message, waiting),
            Asked::Document(document) => self.document(endpoint, document, message, waiting),
        }
    }

    /// An operator's request: the subject is the permission, a reason and an id are required.
    fn admin(
        &self,
        endpoint: &Endpoint,
        asked: AdminAsked,
        message: &Message,
        waiting: &Waiting,
    ) -> Result<Work, Refusal> {
        let map = message.headers.as_ref();
        let caller = self.caller(endpoint, Role::Operator, message)?;
        let headers = in_time(endpoint, map, waiting.received_at)?;
        if headers.command_id.is_none() {
            return Err(Refusal::because(
                ErrorCode::RequestInvalid,
                headers::MSG_ID_REQUIRED,
            ));
        }
        let wanted = Wanted::Operators(operators_request(asked, &message.payload)?);
        tracing::info!(caller = caller.name, asked = ?asked, "an operator's request");
        Ok(Work::Ask(Question {
            wanted,
            min_position: headers.min_position,
            deadline: headers.deadline,
            viewer: viewer(caller, headers.on_behalf_of, waiting),
        }))
    }

    /// Who sends a command or an operator's request.
    fn caller(
        &self,
        endpoint: &Endpoint,
        role: Role,
        message: &Message,
    ) -> Result<Caller, Refusal> {
        let map = message.headers.as_ref();
        match endpoint.names_user() {
            false => self.identity.caller_of_command(map, role),
            true => {
                let named = endpoint.user_in(&message.subject);
                self.identity.caller_in_subject(map, role, named)
            }
        }
    }

    fn command(
        &self,
        endpoint: &Endpoint,
        kind: CommandKind,
        message: &Message,
        waiting: &Waiting,
    ) -> Result<Work, Refusal> {
        let map = message.headers.as_ref();
        let caller = self.caller(endpoint, kind.into(), message)?;
        let headers = in_time(endpoint, map, waiting.received_at)?;
        let missing = || Refusal::because(ErrorCode::RequestInvalid, headers::MSG_ID_REQUIRED);
        let command_id = waiting.echo.command_id.clone().ok_or_else(missing)?;
        let command = Command::decode(endpoint.name, &message.payload)?;
        let tags =
            self.engine
                .body_tags(&caller.name, &message.subject, &message.payload, &command);
        let mut request = Request::new(command, command_id, caller, tags, waiting.received_at);
        request.on_behalf_of = headers.on_behalf_of;
        request.trace_id = waiting.echo.trace.as_ref().map(|trace| trace.id);
        request.deadline = headers.deadline;
        Ok(Work::Decide(request))
    }

    fn query(
        &self,
        endpoint: &Endpoint,
        queried: Queried,
        message: &Message,
        waiting: &Waiting,
    ) -> Result<Work, Refusal> {
        let map = message.headers.as_ref();
        let caller = self.identity.caller_of_query(map, endpoint.roles())?;
        let headers = in_time(endpoint, map, waiting.received_at)?;
        let id = endpoint.id_in(&message.subject).unwrap_or_default();
        let query = Query::decode(queried, id, &message.payload)?;
        let wanted = Wanted::Query(queried, query);
        Ok(Work::Ask(Question {
            wanted,
            min_position: headers.min_position,
            deadline: headers.deadline,
            viewer: viewer(caller, headers.on_behalf_of, waiting),
        }))
    }

    /// What needs neither log nor views, and is told at once.
    fn document(
        &self,
        endpoint: &Endpoint,
        document: Document,
        message: &Message,
        waiting: &Waiting,
    ) -> Result<Work, Refusal> {
        let map = message.headers.as_ref();
        self.identity.caller_of_query(map, endpoint.roles())?;
        in_time(endpoint, map, waiting.received_at)?;
        decode_query::<NoFields>(&message.payload)?;
        let body = match document {
            Document::Schema => {
                let name = endpoint.id_in(&message.subject).unwrap_or_default();
                let unknown = || Refusal::because(ErrorCode::RequestInvalid, NO_SUCH_SCHEMA);
                self.documents.schema(name).ok_or_else(unknown)?
            }
            Document::Errors => self.documents.errors(),
            Document::Jwks => json(&self.engine.jwks())?,
        };
        Ok(Work::Tell(body))
    }
}

// BUG: acts-drop-reasons: the reason of a backup and of a view's building is demanded and kept
// nowhere.
/// Reads an operator's request.
///
/// # Errors
/// `request.invalid` or `request.malformed`, as the body asks for it.
pub(super) fn operators_request(
    asked: AdminAsked,
    body: &[u8],
) -> Result<OperatorsRequest, Refusal> {
    let nothing = || decode_query::<NoFields>(body);
    Ok(match asked {
        AdminAsked::Backup => decode::<BackupRequest>(body).map(|_| OperatorsRequest::Backup)?,
        AdminAsked::ViewRebuild => {
            OperatorsRequest::ViewRebuild(decode::<ViewRebuildRequest>(body)?.view)
        }
        AdminAsked::LogStats => nothing().map(|_| OperatorsRequest::LogStats)?,
        AdminAsked::KeyList => nothing().map(|_| OperatorsRequest::KeyList)?,
        AdminAsked::ViewList => nothing().map(|_| OperatorsRequest::ViewList)?,
    })
}

/// Whether we answer on a reply subject. A request must not make the service publish where its own
/// user may and the caller may not: among its events and requests, or to an API of the broker.
pub fn is_answerable(reply_to: &Subject) -> bool {
    let is_literal = |token: &str| !token.is_empty() && token != "*" && token != ">";
    let first = reply_to.split('.').next().unwrap_or_default();
    first != "countersign" && !first.starts_with('$') && reply_to.split('.').all(is_literal)
}

fn viewer(caller: Caller, on_behalf_of: Option<String>, waiting: &Waiting) -> Viewer {
    Viewer {
        caller,
        on_behalf_of,
        trace_id: waiting.echo.trace.as_ref().map(|trace| trace.id),
    }
}

/// The headers of a request whose deadline has not passed.
fn in_time(
    endpoint: &Endpoint,
    map: Option<&HeaderMap>,
    received_at: Micros,
) -> Result<Headers, Refusal> {
    let headers = Headers::read(map, endpoint.headers())?;
    match headers.deadline {
        Some(deadline) if deadline <= received_at => Err(Refusal::new(ErrorCode::DeadlineExceeded)),
        Some(_) | None => Ok(headers),
    }
}

fn new_command_id(now: Micros) -> CommandId {
    let nanos = (now.0 % Micros::SECOND) as u32 * 1_000;
    let id = Uuid::new_v7(Timestamp::from_unix(NoContext, now.unix_s(), nanos));
    CommandId::parse(&id.to_string()).expect("a UUID is 36 printable ASCII characters")
}
