//! The way of one message: its size is checked, its caller identified, its headers and body
//! decoded, and it is handed on. Nothing here waits.

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
use super::endpoints::{AdminRequest, Document, Endpoint, Operation, QueryKind};
use super::gate::Gate;
use super::headers::{self, Headers};
use super::identity::Identity;
use super::queries::{OperatorsRequest, Query, QueryPool, QueryRequest, Wanted};
use super::replier::{Answer, Pending, ReplyGuard};
use super::reply::{ReplyHeaders, Response, json};
use super::shares::{Share, Shares};
use super::stats::Stats;
use crate::engine::{Caller, Engine, Request, Viewer};

/// The largest payload of a request, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 65_536;

const NO_SUCH_SCHEMA: &str =
    "there is no schema with that name: $SRV.INFO.countersign lists the names in its metadata";

const NOT_READY: &str =
    "the service is not ready on this broker: see its log or /readyz for the cause";

/// Everything that the endpoint loops share to handle a message.
pub struct Router {
    /// Decides commands and answers queries.
    pub engine: Arc<Engine>,
    /// How callers are identified.
    pub identity: Identity,
    /// The service's endpoints.
    pub endpoints: Arc<[Endpoint]>,
    /// The counters, one for each endpoint.
    pub stats: Arc<[Stats]>,
    /// The documents that the service publishes about itself.
    pub documents: Documents,
    /// The way out.
    pub answers: mpsc::Sender<Answer>,
    /// The threads that answer queries.
    pub queries: QueryPool,
    /// How many slots of the way out each caller holds.
    pub shares: Arc<Shares>,
    /// Whether requests are taken at all.
    pub gate: Gate,
}

/// A request that was admitted.
enum Work {
    Decide(Request),
    Query(QueryRequest),
    Respond(Bytes),
}

fn overloaded() -> Response {
    Response::Refused(Refusal::new(ErrorCode::Overloaded))
}

fn at_once(pending: Pending, response: Response) -> Answer {
    Answer {
        pending,
        response,
        share: None,
    }
}

impl Router {
    /// Handles one message of an endpoint: its answer leaves later through the way out. The answer
    /// is returned instead if it is known at once, so that it takes no slot: a document, a refusal,
    /// or `overloaded` because the way out has no slot left, in all or for this caller.
    ///
    /// A message without a reply subject that the service answers on is counted and not executed:
    /// its caller could not learn that a code is spent.
    pub fn take(&self, at: usize, message: Message) -> Option<Answer> {
        let (endpoint, stats) = (&self.endpoints[at], &self.stats[at]);
        stats.received();
        let Some(reply_to) = message.reply.clone().filter(is_answerable) else {
            stats.unanswerable();
            return None;
        };
        let received_at = self.engine.now();
        let map = message.headers.as_ref();
        let command_id = headers::command_id(map).map(|id| match endpoint.operation {
            Operation::Command(CommandKind::Platform) => {
                Some(id.unwrap_or_else(|| new_command_id(received_at)))
            }
            Operation::Command(CommandKind::Support | CommandKind::Operator) => id,
            _ => None,
        });
        let pending = Pending {
            reply_to,
            endpoint: at,
            received_at,
            reply_headers: ReplyHeaders {
                command_id: command_id.ok().flatten(),
                trace: headers::trace(map),
            },
        };
        // A command that is executed must be answered, and only the one instance of this log may
        // answer.
        if !self.gate.is_open() {
            let refusal = Refusal::because(ErrorCode::Overloaded, NOT_READY);
            return Some(at_once(pending, Response::Refused(refusal)));
        }
        let Ok(slot) = self.answers.clone().try_reserve_owned() else {
            return Some(at_once(pending, overloaded()));
        };
        match self.admit(endpoint, &message, &pending) {
            Ok(Work::Decide(request)) => {
                let Some(share) = self.share_of(&request.caller) else {
                    return Some(at_once(pending, overloaded()));
                };
                let guard = ReplyGuard::new(slot, pending, share);
                let caller = request.caller.name.clone();
                let reply = move |outcome| guard.respond(Response::Outcome(outcome, caller));
                self.engine.submit(request, Box::new(reply));
            }
            Ok(Work::Query(request)) => {
                let Some(share) = self.share_of(&request.viewer.caller) else {
                    return Some(at_once(pending, overloaded()));
                };
                self.queries
                    .ask(request, ReplyGuard::new(slot, pending, share));
            }
            Ok(Work::Respond(body)) => return Some(at_once(pending, Response::Answer(body))),
            Err(refusal) => return Some(at_once(pending, Response::Refused(refusal))),
        }
        None
    }

    /// Takes one more slot for a caller, if it may hold one; this request's slot is already
    /// reserved.
    fn share_of(&self, caller: &Caller) -> Option<Share> {
        let free = self.answers.capacity() + 1;
        self.shares.take((caller.role, caller.name.clone()), free)
    }

    /// Checks the size first, then the caller, then the headers, then the body.
    fn admit(
        &self,
        endpoint: &Endpoint,
        message: &Message,
        pending: &Pending,
    ) -> Result<Work, Refusal> {
        match message.fault {
            Some(Fault::TooLarge) => return Err(Refusal::new(ErrorCode::PayloadTooLarge)),
            Some(Fault::Malformed) => return Err(self.identity.malformed()),
            None => {}
        }
        // The connection has the same bound, but raising it there must not raise it here.
        if message.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Refusal::new(ErrorCode::PayloadTooLarge));
        }
        // Only messages from the broker itself have a status.
        if message.status.is_some() {
            return Err(self.identity.malformed());
        }
        match endpoint.operation {
            Operation::Command(kind) => self.command(endpoint, kind, message, pending),
            Operation::Admin(request) => self.admin(endpoint, request, message, pending),
            Operation::Query(kind) => self.query(endpoint, kind, message, pending),
            Operation::Document(document) => self.document(endpoint, document, message, pending),
        }
    }

    /// Admits an operator's request: the subject is the permission; a reason and an id are
    /// required.
    fn admin(
        &self,
        endpoint: &Endpoint,
        request: AdminRequest,
        message: &Message,
        pending: &Pending,
    ) -> Result<Work, Refusal> {
        let map = message.headers.as_ref();
        let caller = self.caller(endpoint, Role::Operator, message)?;
        let headers = in_time(endpoint, map, pending.received_at)?;
        if headers.command_id.is_none() {
            return Err(Refusal::because(
                ErrorCode::RequestInvalid,
                headers::MSG_ID_REQUIRED,
            ));
        }
        let wanted = Wanted::Operators(operators_request(request, &message.payload)?);
        tracing::info!(caller = caller.name, asked = ?request, "an operator's request");
        Ok(Work::Query(QueryRequest {
            wanted,
            min_position: headers.min_position,
            deadline: headers.deadline,
            viewer: viewer(caller, headers.on_behalf_of, pending),
        }))
    }

    /// Returns the caller of a command or an operator's request.
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
        pending: &Pending,
    ) -> Result<Work, Refusal> {
        let map = message.headers.as_ref();
        let caller = self.caller(endpoint, kind.into(), message)?;
        let headers = in_time(endpoint, map, pending.received_at)?;
        let missing = || Refusal::because(ErrorCode::RequestInvalid, headers::MSG_ID_REQUIRED);
        let command_id = pending
            .reply_headers
            .command_id
            .clone()
            .ok_or_else(missing)?;
        let command = Command::decode(endpoint.name, &message.payload)?;
        let tags =
            self.engine
                .body_tags(&caller.name, &message.subject, &message.payload, &command);
        let mut request = Request::new(command, command_id, caller, tags, pending.received_at);
        request.on_behalf_of = headers.on_behalf_of;
        request.trace_id = pending.reply_headers.trace.as_ref().map(|trace| trace.id);
        request.deadline = headers.deadline;
        Ok(Work::Decide(request))
    }

    fn query(
        &self,
        endpoint: &Endpoint,
        kind: QueryKind,
        message: &Message,
        pending: &Pending,
    ) -> Result<Work, Refusal> {
        let map = message.headers.as_ref();
        let caller = self.identity.caller_of_query(map, endpoint.roles())?;
        let headers = in_time(endpoint, map, pending.received_at)?;
        let id = endpoint.id_in(&message.subject).unwrap_or_default();
        let query = Query::decode(kind, id, &message.payload)?;
        let wanted = Wanted::Query(kind, query);
        Ok(Work::Query(QueryRequest {
            wanted,
            min_position: headers.min_position,
            deadline: headers.deadline,
            viewer: viewer(caller, headers.on_behalf_of, pending),
        }))
    }

    /// Answers a request that needs neither log nor views.
    fn document(
        &self,
        endpoint: &Endpoint,
        document: Document,
        message: &Message,
        pending: &Pending,
    ) -> Result<Work, Refusal> {
        let map = message.headers.as_ref();
        self.identity.caller_of_query(map, endpoint.roles())?;
        in_time(endpoint, map, pending.received_at)?;
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
        Ok(Work::Respond(body))
    }
}

/// Decodes an operator's request.
///
/// # Errors
/// `request.invalid` or `request.malformed`, as the body asks for it.
pub(super) fn operators_request(
    asked: AdminRequest,
    body: &[u8],
) -> Result<OperatorsRequest, Refusal> {
    let nothing = || decode_query::<NoFields>(body);
    Ok(match asked {
        AdminRequest::Backup => OperatorsRequest::Backup(decode::<BackupRequest>(body)?.reason),
        AdminRequest::ViewRebuild => {
            let ViewRebuildRequest { view, reason } = decode(body)?;
            OperatorsRequest::ViewRebuild(view, reason)
        }
        AdminRequest::LogStats => nothing().map(|_| OperatorsRequest::LogStats)?,
        AdminRequest::KeyList => nothing().map(|_| OperatorsRequest::KeyList)?,
        AdminRequest::ViewList => nothing().map(|_| OperatorsRequest::ViewList)?,
    })
}

/// Returns whether the service answers on a reply subject. A request must not make the service
/// publish to a subject that the caller may not use: its events, its requests, or an API of the
/// broker.
pub fn is_answerable(reply_to: &Subject) -> bool {
    let is_literal = |token: &str| !token.is_empty() && token != "*" && token != ">";
    let first = reply_to.split('.').next().unwrap_or_default();
    first != "countersign" && !first.starts_with('$') && reply_to.split('.').all(is_literal)
}

fn viewer(caller: Caller, on_behalf_of: Option<String>, pending: &Pending) -> Viewer {
    Viewer {
        caller,
        on_behalf_of,
        trace_id: pending.reply_headers.trace.as_ref().map(|trace| trace.id),
    }
}

/// Reads the headers of a request whose deadline has not passed.
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
