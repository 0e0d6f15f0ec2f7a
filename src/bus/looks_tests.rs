//! Which queries leave an access record: a table over the list of queries, on an engine that writes
//! and on one with a dead writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use countersign_schemas::command::Command;
use countersign_schemas::ids::CommandId;
use countersign_schemas::query::AuditPageQuery;
use countersign_schemas::record::Role;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::AuditEvent;
use serde_json::json;

use super::answering::answer;
use super::endpoints::{Endpoint, Operation, QueryKind, all};
use super::queries::{Query, QueryRequest, Wanted};
use crate::account::Policy;
use crate::engine::{Caller, Engine, EngineOptions, Request, Viewer, init, wall_clock};
use crate::log::LogOptions;

/// An engine with the account `ada`; its writer dies at its next read of the clock after `die` is
/// set.
struct Rig {
    engine: Engine,
    dies: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (data, keyring) = (folder.path().join("data"), folder.path().join("keyring"));
        init(&data, &keyring, wall_clock(), LogOptions::default()).unwrap();
        let dies = Arc::new(AtomicBool::new(false));
        let is_dying = Arc::clone(&dies);
        let clock = move || {
            let is_writer = std::thread::current().name() == Some("writer");
            assert!(
                !(is_writer && is_dying.load(Ordering::SeqCst)),
                "the writer is to die"
            );
            wall_clock()
        };
        let options = EngineOptions {
            policy: Policy {
                kdf_memory_kib: 8,
                ..Policy::default()
            },
            clock: Arc::new(clock),
            ..EngineOptions::new(data, keyring)
        };
        let rig = Self {
            engine: Engine::start(options).unwrap(),
            dies,
            _folder: folder,
        };
        rig.register();
        rig
    }

    fn register(&self) {
        let body = br#"{"account_id":"ada","username":"ada","password":"correct horse battery"}"#;
        let command = Command::decode("register-account", body).unwrap();
        let tags = self.engine.body_tags("gw", "s", body, &command);
        let id = CommandId::parse("1").unwrap();
        let caller = caller("gw", Role::Platform);
        let request = Request::new(command, id, caller, tags, self.engine.now());
        let (sender, replied) = mpsc::channel();
        self.engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
        replied.recv().unwrap().result.unwrap();
    }

    fn ask(&self, asked: &Asking, who: &str, role: Role) -> Result<(), Refusal> {
        let query = Query::decode(asked.kind, asked.id, asked.body.as_bytes()).unwrap();
        let request = QueryRequest {
            wanted: Wanted::Query(asked.kind, query),
            min_position: None,
            deadline: None,
            viewer: Viewer {
                caller: caller(who, role),
                on_behalf_of: None,
                trace_id: None,
            },
        };
        caught_up(|| answer(&self.engine, &request).map(drop))
    }

    fn head(&self) -> u64 {
        self.engine.admin().log_stats().unwrap().position
    }

    /// Returns the access records of a caller.
    fn looks(&self, who: &str) -> Vec<AuditEvent> {
        let query = AuditPageQuery {
            caller: Some(who.into()),
            ..AuditPageQuery::default()
        };
        let page = caught_up(|| self.engine.queries().audit_page(&query, None));
        page.unwrap().events
    }
}

/// Asks until the views have caught up; how long that takes does not matter here.
fn caught_up<T>(ask: impl Fn() -> Result<T, Refusal>) -> Result<T, Refusal> {
    loop {
        match ask() {
            Err(refusal) if refusal.code == ErrorCode::ProjectionBehind => {}
            other => return other,
        }
    }
}

fn caller(name: &str, role: Role) -> Caller {
    Caller {
        name: name.into(),
        verified: true,
        role,
    }
}

/// One way to ask a query.
struct Asking {
    kind: QueryKind,
    name: &'static str,
    id: &'static str,
    body: &'static str,
    /// The account that the access record names.
    subject: Option<&'static str>,
}

/// What a query leaves for callers of a role.
#[derive(PartialEq)]
enum Leaves {
    /// An access record: the id and body to ask with, and the account that the record names.
    Record(&'static [(&'static str, &'static str, Option<&'static str>)]),
    /// Nothing: the answer shows no user's history, or every login asks for it.
    Nothing(&'static str),
}

/// The table; a new query has no line yet.
fn leaves(kind: QueryKind, role: Role) -> Leaves {
    const BY_ID: Leaves = Leaves::Record(&[("ada", "", Some("ada")), ("missing", "", None)]);
    match kind {
        QueryKind::LoginStatus if role == Role::Platform => Leaves::Nothing(""),
        QueryKind::LoginStatus | QueryKind::AccountCard | QueryKind::AuditTimeline => BY_ID,
        QueryKind::FindAccount => Leaves::Record(&[
            ("", r#"{"username":"ada"}"#, Some("ada")),
            ("", r#"{"username":"missing"}"#, None),
        ]),
        QueryKind::ResetQueue => {
            Leaves::Record(&[("", "", None), ("", r#"{"state":"expired"}"#, None)])
        }
        QueryKind::AuditPage => {
            Leaves::Record(&[("", "", None), ("", r#"{"account_id":"ada"}"#, Some("ada"))])
        }
        QueryKind::AccountAt => Leaves::Record(&[
            ("ada", r#"{"at":"2999-01-01T00:00:00Z"}"#, Some("ada")),
            ("missing", r#"{"at":"2999-01-01T00:00:00Z"}"#, None),
        ]),
        QueryKind::Proof => Leaves::Record(&[("", r#"{"position":1}"#, None)]),
        QueryKind::AuditRecords => Leaves::Record(&[("", "", None)]),
        QueryKind::AuditExport => Leaves::Record(&[
            ("", r#"{"format":"csv","through":1}"#, None),
            (
                "",
                r#"{"format":"csv","through":1,"account_id":"ada"}"#,
                Some("ada"),
            ),
        ]),
        QueryKind::AuditExplain => Leaves::Record(&[
            ("", r#"{"position":1}"#, None),
            ("", r#"{"position":4}"#, Some("ada")),
        ]),
        QueryKind::Checkpoint => Leaves::Nothing(""),
        QueryKind::Consistency => Leaves::Nothing(r#"{"from":1}"#),
    }
}

fn queries() -> impl Iterator<Item = (Endpoint, QueryKind, Role)> {
    all().into_iter().flat_map(|endpoint| {
        let kind = match endpoint.operation {
            Operation::Query(kind) => Some(kind),
            _ => None,
        };
        let roles = endpoint.roles().iter();
        kind.into_iter()
            .flat_map(move |kind| roles.clone().map(move |role| (endpoint, kind, *role)))
    })
}

/// Returns every way in the table that leaves an access record, with the role.
fn askings() -> Vec<(Asking, Role)> {
    let mut found = Vec::new();
    for (endpoint, kind, role) in queries() {
        let Leaves::Record(ways) = leaves(kind, role) else {
            continue;
        };
        for (id, body, subject) in ways {
            let (name, subject) = (endpoint.name, *subject);
            found.push((
                Asking {
                    kind,
                    name,
                    id,
                    body,
                    subject,
                },
                role,
            ));
        }
    }
    found
}

#[test]
fn every_access_is_on_record_before_it_is_answered_and_the_second_time_is_counted() {
    let rig = Rig::start();
    for (number, (asking, role)) in askings().iter().enumerate() {
        let who = format!("viewer-{number}");
        let head = rig.head();
        for _ in 0..2 {
            let answered = rig.ask(asking, &who, *role);
            let is_known =
                answered.is_ok() || asking.id == "missing" || asking.body.contains("missing");
            assert!(is_known, "{}: {answered:?}", asking.name);
            let looks = rig.looks(&who);
            let [look] = &looks[..] else {
                panic!("{} {}: {looks:?}", asking.name, asking.body);
            };
            assert_eq!(look.position, head + 1, "it was made for this access");
            assert_eq!(
                look.data["account_id"],
                json!(asking.subject),
                "{}",
                asking.name
            );
            assert_eq!(look.caller.role, role.as_str());
            match look.kind.as_str() {
                "subject-viewed" => assert_eq!(look.data["query"], asking.name),
                kind => assert_eq!(kind, "audit-exported", "{}", asking.name),
            }
        }
    }
    for (endpoint, kind, role) in queries() {
        if let Leaves::Nothing(body) = leaves(kind, role) {
            let name = endpoint.name;
            let asking = Asking {
                kind,
                name,
                id: "ada",
                body,
                subject: None,
            };
            rig.ask(&asking, "unseen", role).unwrap();
            assert!(rig.looks("unseen").is_empty(), "{name}");
        }
    }
}

#[test]
fn a_query_without_its_access_record_is_not_answered_the_first_time_nor_the_second() {
    let rig = Rig::start();
    assert!(
        rig.looks("missing").is_empty(),
        "and the views have caught up"
    );
    let head = rig.head();
    rig.dies.store(true, Ordering::SeqCst);
    for (number, (asking, role)) in askings().iter().enumerate() {
        let who = format!("viewer-{number}");
        for _ in 0..2 {
            let refusal = rig.ask(asking, &who, *role).unwrap_err();
            assert_eq!(
                refusal.code,
                ErrorCode::StoreUnavailable,
                "{} {}",
                asking.name,
                asking.body
            );
        }
    }
    let queries = rig.engine.queries();
    assert!(!queries.has_reached(Some(head + 1)), "nothing was recorded");
}
