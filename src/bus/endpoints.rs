//! The endpoints: one list that subscriptions, discovery, schemas and statistics follow.

use countersign_schemas::command::{Command, CommandKind};
use countersign_schemas::record::Role;

use super::headers::{CALLER, DEADLINE, MIN_POSITION, ON_BEHALF_OF};

/// Everything that the service answers stands under this prefix.
pub const PREFIX: &str = "countersign.v1";

/// What an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The command of the endpoint's name.
    Command(CommandKind),
    /// A question that reads log or views.
    Query(Queried),
    /// A document that follows from build and keys.
    Document(Document),
    /// An operator's request.
    Admin(AdminAsked),
}

/// What is asked of log and views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queried {
    /// What a login check may know of an account.
    LoginStatus,
    /// Whose name it is.
    FindAccount,
    /// What an agent may know of an account.
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
    /// That a record is in the log.
    Proof,
    /// That one state of the log is the beginning of another.
    Consistency,
    /// Records as they are hashed.
    AuditRecords,
    /// Events to take away.
    AuditExport,
    /// Why a decision came out as it did.
    AuditExplain,
}

/// A document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// A JSON Schema document.
    Schema,
    /// The catalogue of refusals and faults.
    Errors,
    /// The public keys that verify assertions.
    Jwks,
}

/// What an operator asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminAsked {
    /// A backup into the configured folder.
    Backup,
    /// The numbers of the log.
    LogStats,
    /// The views.
    ViewList,
    /// The keys, without any of them.
    KeyList,
    /// A view folded anew.
    ViewRebuild,
}

/// One subject, or one family of subjects with an id at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The last fixed token of the subject, unique; `user-cancel-reset` for the owner's
    /// `cancel-reset`, since the agents have one too.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// What it answers.
    pub asked: Asked,
}

/// The queries and the operators' requests; the commands are [`Command::ALL`].
const QUERIES: &[(Asked, &str, &str)] = &[
    (
        Asked::Query(Queried::LoginStatus),
        "login-status",
        "What a login check may know of an account",
    ),
    (
        Asked::Query(Queried::FindAccount),
        "find-account",
        "The account that holds a username, by the whole name",
    ),
    (
        Asked::Query(Queried::AccountCard),
        "account-card",
        "What an agent may know of an account: no secret, no code, no full name",
    ),
    (
        Asked::Query(Queried::ResetQueue),
        "reset-queue",
        "The reset cases, the open ones unless a state is named",
    ),
    (
        Asked::Query(Queried::AuditTimeline),
        "audit-timeline",
        "One account's history, page by page",
    ),
    (
        Asked::Query(Queried::AuditPage),
        "audit-page",
        "The whole history, filtered, page by page",
    ),
    (
        Asked::Query(Queried::AccountAt),
        "account-at",
        "One account as it was at a position or a time",
    ),
    (
        Asked::Query(Queried::Checkpoint),
        "checkpoint",
        "The log's newest state, signed",
    ),
    (
        Asked::Query(Queried::Proof),
        "proof",
        "A record and the proof that it is in the log",
    ),
    (
        Asked::Query(Queried::Consistency),
        "consistency",
        "The proof that one state of the log is the beginning of another",
    ),
    (
        Asked::Query(Queried::AuditRecords),
        "audit-records",
        "Records as they are hashed, to derive the tree anew",
    ),
    (
        Asked::Query(Queried::AuditExport),
        "audit-export",
        "Events to take away, with their records and proofs",
    ),
    (
        Asked::Query(Queried::AuditExplain),
        "audit-explain",
        "Why a decision came out as it did, made again from the log",
    ),
    (
        Asked::Document(Document::Schema),
        "schema",
        "The JSON Schema document of a request or a response",
    ),
    (
        Asked::Document(Document::Errors),
        "errors",
        "The catalogue of refusals and faults",
    ),
    (
        Asked::Document(Document::Jwks),
        "jwks",
        "The public keys that verify assertions",
    ),
    (
        Asked::Admin(AdminAsked::Backup),
        "backup",
        "Copy log and data keys into the configured folder while serving",
    ),
    (
        Asked::Admin(AdminAsked::LogStats),
        "log-stats",
        "The numbers of log, index and cache",
    ),
    (
        Asked::Admin(AdminAsked::ViewList),
        "view-list",
        "The views and how far they are",
    ),
    (
        Asked::Admin(AdminAsked::KeyList),
        "key-list",
        "The keys that protect the log: numbers, states, ages and uses",
    ),
    (
        Asked::Admin(AdminAsked::ViewRebuild),
        "view-rebuild",
        "Build a view anew from the log, beside the one that serves",
    ),
];

/// Every endpoint, commands first.
pub fn all() -> Vec<Endpoint> {
    let commands = Command::ALL.iter().map(|(name, summary)| Endpoint {
        name,
        summary,
        asked: Asked::Command(Command::kind_of(name).expect("every name of the list has a kind")),
    });
    let queries = QUERIES.iter().map(|(asked, name, summary)| Endpoint {
        name,
        summary,
        asked: *asked,
    });
    commands.chain(queries).collect()
}

impl Endpoint {
    /// `command`, `support`, `query` or `admin`.
    pub fn kind(&self) -> &'static str {
        match self.asked {
            Asked::Command(CommandKind::Platform) => "command",
            Asked::Command(CommandKind::Support) => "support",
            Asked::Command(CommandKind::Operator) | Asked::Admin(_) => "admin",
            Asked::Query(_) | Asked::Document(_) => "query",
        }
    }

    /// The subject to subscribe to; `*` stands for the user who asks, or for the id at the end.
    pub fn subject(&self) -> String {
        let user = if self.names_user() { "*." } else { "" };
        let id = if self.takes_id() { ".*" } else { "" };
        format!(
            "{PREFIX}.{}.{user}{}{id}",
            self.kind(),
            Command::token_of(self.name)
        )
    }

    /// The subject without the user who asks, where one belongs there: for `dev` identity only.
    pub fn subject_without_user(&self) -> Option<String> {
        let token = Command::token_of(self.name);
        let subject = || format!("{PREFIX}.{}.{token}", self.kind());
        self.names_user().then(subject)
    }

    /// The token of the user in a subject that this endpoint received; none where it has none.
    pub fn user_in<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
        let rest = rest.strip_prefix(self.kind())?.strip_prefix('.')?;
        let user = rest.strip_suffix(Command::token_of(self.name))?;
        user.strip_suffix('.').filter(|_| self.names_user())
    }

    /// How a request may be repeated: `key` by its command id, `natural` because nothing changes.
    pub fn idempotent(&self) -> &'static str {
        match self.asked {
            Asked::Command(_) => "key",
            Asked::Admin(_) | Asked::Query(_) | Asked::Document(_) => "natural",
        }
    }

    /// The headers of ours that it takes: commands and documents wait for no position.
    pub fn headers(&self) -> &'static [&'static str] {
        match self.asked {
            Asked::Query(_) | Asked::Admin(_) => &[CALLER, ON_BEHALF_OF, DEADLINE, MIN_POSITION],
            Asked::Command(_) | Asked::Document(_) => &[CALLER, ON_BEHALF_OF, DEADLINE],
        }
    }

    /// The roles that may ask it; a command's role follows from who can reach its subject.
    pub fn roles(&self) -> &'static [Role] {
        match self.asked {
            Asked::Command(CommandKind::Platform) => &[Role::Platform],
            Asked::Command(CommandKind::Support) => &[Role::Support],
            Asked::Command(CommandKind::Operator) | Asked::Admin(_) => &[Role::Operator],
            Asked::Query(queried) => queried.roles(),
            Asked::Document(_) => &[Role::Platform, Role::Support, Role::Operator, Role::Audit],
        }
    }

    /// The name of the document that describes a request's body.
    pub fn request_schema(&self) -> String {
        format!("{}-request", self.name)
    }

    /// The name of the document that describes a success's body.
    pub fn response_schema(&self) -> String {
        format!("{}-response", self.name)
    }

    /// The id at the end of a subject that this endpoint received.
    pub fn id_in<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
        let rest = rest.strip_prefix(self.kind())?.strip_prefix('.')?;
        rest.strip_prefix(self.name)?.strip_prefix('.')
    }

    /// Whether the subject carries the user: those of support agents and operators do, so that the
    /// broker's permissions say who asks, and not one header alone.
    pub fn names_user(&self) -> bool {
        matches!(self.kind(), "support" | "admin")
    }

    fn takes_id(&self) -> bool {
        match self.asked {
            Asked::Query(queried) => queried.takes_id(),
            Asked::Document(document) => document == Document::Schema,
            Asked::Command(_) | Asked::Admin(_) => false,
        }
    }
}

impl Queried {
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
