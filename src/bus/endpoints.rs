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

/// Declares the one list of queries: the variant and its name, who may ask it, what the subject
/// ends with (`id` or `whole`), and the lane in which it is answered.
macro_rules! queries {
    ($($(#[$doc:meta])* $variant:ident $name:literal $summary:literal
        [$($role:ident),*] $end:ident $lane:ident;)*) => {
        /// What is asked of log and views.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Queried {
            $($(#[$doc])* $variant,)*
        }

        impl Queried {
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
    /// Whose name it is.
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
        "Records as they are hashed, to derive the tree anew"
        [Audit] whole Audit;
    /// Events to take away.
    AuditExport "audit-export"
        "Events to take away, with their records and proofs"
        [Audit] whole Audit;
    /// Why a decision came out as it did.
    AuditExplain "audit-explain"
        "Why a decision came out as it did, made again from the log"
        [Audit] whole Audit;
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

/// The documents and the operators' requests; the commands are [`Command::ALL`].
const OTHERS: &[(Asked, &str, &str)] = &[
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
    let queries = Queried::ALL
        .iter()
        .map(|(queried, name, summary)| Endpoint {
            name,
            summary,
            asked: Asked::Query(*queried),
        });
    let others = OTHERS.iter().map(|(asked, name, summary)| Endpoint {
        name,
        summary,
        asked: *asked,
    });
    commands.chain(queries).chain(others).collect()
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

#[cfg(test)]
#[path = "endpoints_tests.rs"]
mod tests;
