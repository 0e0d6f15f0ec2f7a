//! The endpoints: one list that subscriptions, discovery, schemas and statistics follow.

use countersign_schemas::command::{Command, CommandKind};
use countersign_schemas::record::Role;

use super::headers::{CALLER, DEADLINE, MIN_POSITION, ON_BEHALF_OF};

/// The prefix of every subject that the service answers on.
pub const PREFIX: &str = "countersign.v1";

/// The operation behind an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The command with the endpoint's name.
    Command(CommandKind),
    /// A query that reads the log or the views.
    Query(QueryKind),
    /// A document that depends only on the build and the keys.
    Document(Document),
    /// An operator's request.
    Admin(AdminRequest),
}

/// The kinds of query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKind {
    /// What a login check may know about an account.
    LoginStatus,
    /// The account of a username.
    FindAccount,
    /// What an agent may know about an account.
    AccountCard,
    /// The reset cases.
    ResetQueue,
    /// One account's history.
    AuditTimeline,
    /// A page of the whole history.
    AuditPage,
    /// One account as it was.
    AccountAt,
    /// The log's newest state, signed.
    Checkpoint,
    /// The proof that a record is in the log.
    Proof,
    /// The proof that one state of the log is the beginning of another.
    Consistency,
    /// Records as they are hashed.
    AuditRecords,
    /// An export of events.
    AuditExport,
    /// The reasons for a decision.
    AuditExplain,
}

/// The kinds of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// A JSON Schema document.
    Schema,
    /// The catalogue of refusals and faults.
    Errors,
    /// The public keys that verify assertions.
    Jwks,
}

/// The kinds of operator's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRequest {
    /// A backup into the configured folder.
    Backup,
    /// The numbers of the log.
    LogStats,
    /// The list of the views.
    ViewList,
    /// The list of the keys, without their key material.
    KeyList,
    /// The rebuild of a view.
    ViewRebuild,
}

/// One subject, or one family of subjects with an id at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The last fixed token of the subject, unique. The owner's `cancel-reset` is called
    /// `user-cancel-reset`, since the agents have one too.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// The operation behind it.
    pub operation: Operation,
}

/// The queries and the operators' requests; the commands are [`Command::ALL`].
const QUERIES: &[(Operation, &str, &str)] = &[
    (
        Operation::Query(QueryKind::LoginStatus),
        "login-status",
        "What a login check may know of an account",
    ),
    (
        Operation::Query(QueryKind::FindAccount),
        "find-account",
        "The account that holds a username, by the whole name",
    ),
    (
        Operation::Query(QueryKind::AccountCard),
        "account-card",
        "What an agent may know of an account: no secret, no code, no full name",
    ),
    (
        Operation::Query(QueryKind::ResetQueue),
        "reset-queue",
        "The reset cases, the open ones unless a state is named",
    ),
    (
        Operation::Query(QueryKind::AuditTimeline),
        "audit-timeline",
        "One account's history, page by page",
    ),
    (
        Operation::Query(QueryKind::AuditPage),
        "audit-page",
        "The whole history, filtered, page by page",
    ),
    (
        Operation::Query(QueryKind::AccountAt),
        "account-at",
        "One account as it was at a position or a time",
    ),
    (
        Operation::Query(QueryKind::Checkpoint),
        "checkpoint",
        "The log's newest state, signed",
    ),
    (
        Operation::Query(QueryKind::Proof),
        "proof",
        "A record and the proof that it is in the log",
    ),
    (
        Operation::Query(QueryKind::Consistency),
        "consistency",
        "The proof that one state of the log is the beginning of another",
    ),
    (
        Operation::Query(QueryKind::AuditRecords),
        "audit-records",
        "Records as they are hashed, to compute the tree again",
    ),
    (
        Operation::Query(QueryKind::AuditExport),
        "audit-export",
        "An export of events, with their records and proofs",
    ),
    (
        Operation::Query(QueryKind::AuditExplain),
        "audit-explain",
        "Why a decision came out as it did, made again from the log",
    ),
    (
        Operation::Document(Document::Schema),
        "schema",
        "The JSON Schema document of a request or a response",
    ),
    (
        Operation::Document(Document::Errors),
        "errors",
        "The catalogue of refusals and faults",
    ),
    (
        Operation::Document(Document::Jwks),
        "jwks",
        "The public keys that verify assertions",
    ),
    (
        Operation::Admin(AdminRequest::Backup),
        "backup",
        "Copy log and data keys into the configured folder while serving",
    ),
    (
        Operation::Admin(AdminRequest::LogStats),
        "log-stats",
        "The numbers of log, index and cache",
    ),
    (
        Operation::Admin(AdminRequest::ViewList),
        "view-list",
        "The views and how far they are",
    ),
    (
        Operation::Admin(AdminRequest::KeyList),
        "key-list",
        "The keys that protect the log: numbers, states, ages and uses",
    ),
    (
        Operation::Admin(AdminRequest::ViewRebuild),
        "view-rebuild",
        "Rebuild a view from the log, beside the copy that serves",
    ),
];

/// Returns every endpoint, commands first.
pub fn all() -> Vec<Endpoint> {
    let commands = Command::ALL.iter().map(|(name, summary)| Endpoint {
        name,
        summary,
        operation: Operation::Command(
            Command::kind_of(name).expect("every name of the list has a kind"),
        ),
    });
    let queries = QUERIES.iter().map(|(operation, name, summary)| Endpoint {
        name,
        summary,
        operation: *operation,
    });
    commands.chain(queries).collect()
}

impl Endpoint {
    /// Returns `command`, `support`, `query` or `admin`.
    pub fn kind(&self) -> &'static str {
        match self.operation {
            Operation::Command(CommandKind::Platform) => "command",
            Operation::Command(CommandKind::Support) => "support",
            Operation::Command(CommandKind::Operator) | Operation::Admin(_) => "admin",
            Operation::Query(_) | Operation::Document(_) => "query",
        }
    }

    /// Returns the subject to subscribe to; a `*` is the user who asks, or the id at the end.
    pub fn subject(&self) -> String {
        let user = if self.names_user() { "*." } else { "" };
        let id = if self.takes_id() { ".*" } else { "" };
        format!(
            "{PREFIX}.{}.{user}{}{id}",
            self.kind(),
            Command::token_of(self.name)
        )
    }

    /// Returns the subject without the user, if the subject carries one: for `dev` identity only.
    pub fn subject_without_user(&self) -> Option<String> {
        let token = Command::token_of(self.name);
        let subject = || format!("{PREFIX}.{}.{token}", self.kind());
        self.names_user().then(subject)
    }

    /// Returns the token of the user in a subject that this endpoint received; `None` if it has
    /// none.
    pub fn user_in<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
        let rest = rest.strip_prefix(self.kind())?.strip_prefix('.')?;
        let user = rest.strip_suffix(Command::token_of(self.name))?;
        user.strip_suffix('.').filter(|_| self.names_user())
    }

    /// Returns how a request may be repeated: `key` by its command id, `natural` because nothing
    /// changes.
    pub fn idempotent(&self) -> &'static str {
        match self.operation {
            Operation::Command(_) => "key",
            Operation::Admin(_) | Operation::Query(_) | Operation::Document(_) => "natural",
        }
    }

    /// Returns the service's own headers that the endpoint takes: commands and documents wait for
    /// no position.
    pub fn headers(&self) -> &'static [&'static str] {
        match self.operation {
            Operation::Query(_) | Operation::Admin(_) => {
                &[CALLER, ON_BEHALF_OF, DEADLINE, MIN_POSITION]
            }
            Operation::Command(_) | Operation::Document(_) => &[CALLER, ON_BEHALF_OF, DEADLINE],
        }
    }

    /// Returns the roles that may use it; a command's role follows from who can reach its subject.
    pub fn roles(&self) -> &'static [Role] {
        match self.operation {
            Operation::Command(CommandKind::Platform) => &[Role::Platform],
            Operation::Command(CommandKind::Support) => &[Role::Support],
            Operation::Command(CommandKind::Operator) | Operation::Admin(_) => &[Role::Operator],
            Operation::Query(kind) => kind.roles(),
            Operation::Document(_) => &[Role::Platform, Role::Support, Role::Operator, Role::Audit],
        }
    }

    /// Returns the name of the document that describes a request's body.
    pub fn request_schema(&self) -> String {
        format!("{}-request", self.name)
    }

    /// Returns the name of the document that describes a success's body.
    pub fn response_schema(&self) -> String {
        format!("{}-response", self.name)
    }

    /// Returns the id at the end of a subject that this endpoint received.
    pub fn id_in<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
        let rest = rest.strip_prefix(self.kind())?.strip_prefix('.')?;
        rest.strip_prefix(self.name)?.strip_prefix('.')
    }

    /// Returns whether the subject carries the user. The subjects of support agents and operators
    /// do, so that the broker's permissions vouch for the user, and not one header alone.
    pub fn names_user(&self) -> bool {
        matches!(self.kind(), "support" | "admin")
    }

    fn takes_id(&self) -> bool {
        match self.operation {
            Operation::Query(kind) => kind.takes_id(),
            Operation::Document(document) => document == Document::Schema,
            Operation::Command(_) | Operation::Admin(_) => false,
        }
    }
}

impl QueryKind {
    fn roles(self) -> &'static [Role] {
        match self {
            Self::LoginStatus => &[Role::Support, Role::Platform],
            Self::FindAccount | Self::AccountCard | Self::ResetQueue => &[Role::Support],
            Self::AuditTimeline => &[Role::Support, Role::Audit],
            Self::Checkpoint => &[Role::Operator, Role::Audit],
            Self::AuditPage
            | Self::AccountAt
            | Self::Proof
            | Self::Consistency
            | Self::AuditRecords
            | Self::AuditExport
            | Self::AuditExplain => &[Role::Audit],
        }
    }

    fn takes_id(self) -> bool {
        matches!(
            self,
            Self::LoginStatus | Self::AccountCard | Self::AuditTimeline | Self::AccountAt
        )
    }
}

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
