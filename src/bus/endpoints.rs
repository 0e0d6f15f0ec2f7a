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

/// Declares the one list of queries: the variant and its name, who may ask it, what the subject
/// ends with (`id` or `whole`), and the lane in which it is answered.
macro_rules! queries {
    ($($(#[$doc:meta])* $variant:ident $name:literal $summary:literal
        [$($role:ident),*] $end:ident $lane:ident;)*) => {
        /// What is asked of log and views.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum QueryKind {
            $($(#[$doc])* $variant,)*
        }

        impl QueryKind {
            const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$variant, $name, $summary),)*];

            fn roles(self) -> &'static [Role] {
                match self { $(Self::$variant => &[$(Role::$role),*],)* }
            }

            fn takes_id(self) -> bool {
                match self { $(Self::$variant => End::$end == End::id,)* }
            }

            /// The lane in which it is answered to a caller of this role. An agent's leaves a
            /// record, as what else agents ask.
            pub(super) fn lane(self, role: Role) -> LaneName {
                match self {
                    _ if role == Role::Support => LaneName::Support,
                    $(Self::$variant => LaneName::$lane,)*
                }
            }
        }
    };
}

/// What a query's subject ends with, in the list's words.
#[expect(non_camel_case_types, reason = "they are the words of the list")]
#[derive(PartialEq)]
enum End {
    id,
    whole,
}

/// Where a query is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneName {
    /// Login checks of platforms.
    LoginChecks,
    /// What agents ask.
    Support,
    /// What auditors ask.
    Audit,
}

queries! {
    /// What a login check may know of an account.
    LoginStatus "login-status"
        "What a login check may know of an account"
        [Support, Platform] id LoginChecks;
    /// The account that holds a username.
    FindAccount "find-account"
        "The account that holds a username, by the whole name"
        [Support] whole Support;
    /// What an agent may know of an account.
    AccountCard "account-card"
        "What an agent may know of an account: no secret, no code, no full name"
        [Support] id Support;
    /// The reset cases.
    ResetQueue "reset-queue"
        "The reset cases, the open ones unless a state is named"
        [Support] whole Support;
    /// One account's history.
    AuditTimeline "audit-timeline"
        "One account's history, page by page"
        [Support, Audit] id Audit;
    /// A page of the whole history.
    AuditPage "audit-page"
        "The whole history, filtered, page by page"
        [Audit] whole Audit;
    /// One account as it was.
    AccountAt "account-at"
        "One account as it was at a position or a time"
        [Audit] id Audit;
    /// The log's newest state, signed.
    Checkpoint "checkpoint"
        "The log's newest state, signed"
        [Operator, Audit] whole Audit;
    /// That a record is in the log.
    Proof "proof"
        "A record and the proof that it is in the log"
        [Audit] whole Audit;
    /// That one state of the log is the beginning of another.
    Consistency "consistency"
        "The proof that one state of the log is the beginning of another"
        [Audit] whole Audit;
    /// Records as they are hashed.
    AuditRecords "audit-records"
        "Records as they are hashed, to compute the tree again"
        [Audit] whole Audit;
    /// Events to take away.
    AuditExport "audit-export"
        "An export of events, with their records and proofs"
        [Audit] whole Audit;
    /// Why a decision came out as it did.
    AuditExplain "audit-explain"
        "Why a decision came out as it did, decided again from the log"
        [Audit] whole Audit;
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

/// The documents and the operators' requests; the commands are [`Command::ALL`].
const OTHERS: &[(Operation, &str, &str)] = &[
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
    let queries = QueryKind::ALL.iter().map(|(kind, name, summary)| Endpoint {
        name,
        summary,
        operation: Operation::Query(*kind),
    });
    let others = OTHERS.iter().map(|(operation, name, summary)| Endpoint {
        name,
        summary,
        operation: *operation,
    });
    commands.chain(queries).chain(others).collect()
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

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
