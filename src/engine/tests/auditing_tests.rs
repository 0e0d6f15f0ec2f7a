//! Given, when, then; the proofs are checked by the crates `signed_note` and `tlog_tiles` alone.

use countersign_schemas::audit::{
    AccountAtQuery, AuditExportQuery, AuditRecordsQuery, ConsistencyQuery, ExportFormat, ProofQuery,
};
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::{AuditEvent, LoginStatus};
use countersign_schemas::time::Micros;
use data_encoding::BASE64;
use serde_json::json;
use signed_note::{Note, StandardVerifier, VerifierList};

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{Reply, SecretReply};
use crate::engine::Engine;

fn ada() -> AccountId {
    AccountId::parse("ada").unwrap()
}

fn at_position(engine: &Engine, position: u64) -> Result<LoginStatus, ErrorCode> {
    let query = AccountAtQuery {
        position: Some(position),
        at: None,
    };
    let status = engine.queries().account_at(&ada(), &query);
    status.map_err(|refusal| refusal.code)
}

fn at_time(engine: &Engine, at: Micros) -> Result<LoginStatus, ErrorCode> {
    let query = AccountAtQuery {
        position: None,
        at: Some(at),
    };
    let status = engine.queries().account_at(&ada(), &query);
    status.map_err(|refusal| refusal.code)
}

/// Returns what a login check sees now; an error if the account does not exist.
fn live(engine: &Engine) -> Result<LoginStatus, ErrorCode> {
    let status = engine.queries().login_status(&ada(), None);
    status.map_err(|refusal| refusal.code)
}

/// The commands of a life of two accounts, one after the other, with time between them.
pub(super) fn commands(
    fixture: &Fixture,
    engine: &Engine,
    mut after_each: impl FnMut(&Fixture, &Engine),
) {
    let mut send = |name: &str, body: serde_json::Value| {
        fixture.pass(7);
        let reply = fixture.send(engine, name, body);
        after_each(fixture, engine);
        reply
    };
    let register = |id: &str| json!({"account_id": id, "username": id, "password": PASSWORD});
    let proof = json!({"password": PASSWORD});
    send("register-account", register("bob")).unwrap();
    send("register-account", register("ada")).unwrap();
    for account in ["ada", "bob", "ada"] {
        let begun = send("enable-2fa", json!({"account_id": account, "proof": proof}));
        let Ok(Reply::Secret(SecretReply::EnrolmentStarted {
            authenticator_id,
            secret,
            ..
        })) = begun
        else {
            panic!("an enrolment starts");
        };
        let confirm = json!({"account_id": account, "authenticator_id": authenticator_id,
            "code": fixture.code(&secret, 0)});
        send("confirm-code", confirm).unwrap();
        for _ in 0..5 {
            let wrong = json!({"account_id": account, "code": "000000"});
            send("verify-login", wrong).unwrap_err();
        }
        let regenerate = json!({"account_id": account, "proof": proof});
        send("regenerate-backup-codes", regenerate.clone()).unwrap();
        if account == "ada" {
            send("disable-2fa", regenerate).unwrap();
        }
    }
    let erase = json!({"account_id": "ada", "reason": "she asked for it"});
    send("erase-account", erase).unwrap();
    send("register-account", register("ada")).unwrap();
}

#[test]
fn an_account_is_shown_exactly_as_a_login_check_saw_it_at_every_position_and_time() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let mut seen = Vec::new();
    commands(&fixture, &engine, |fixture, engine| {
        seen.push((engine.admin.log.head(), fixture.time(), live(engine)));
    });
    assert!(seen.iter().any(|(_, _, status)| status.is_ok()) && seen.len() >= 28);
    let states: std::collections::BTreeSet<String> = seen
        .iter()
        .map(|(_, _, status)| format!("{:?}", status.as_ref().map(|s| (s.second_factor, s.set_no))))
        .collect();
    assert!(states.len() >= 5, "the life has many states: {states:?}");
    drop(engine);
    // Another process, which derives everything from the files.
    let engine = fixture.start();
    for (head, time, expected) in seen {
        assert_eq!(at_position(&engine, head), expected, "after {head}");
        assert_eq!(at_time(&engine, time), expected, "at {time}");
    }
    let before = Err(ErrorCode::AccountNotFound);
    assert_eq!(at_position(&engine, 0), before);
    assert_eq!(at_time(&engine, Micros(0)), before);
    assert_eq!(
        at_time(&engine, Micros(u64::MAX)),
        at_time(&engine, fixture.time())
    );
    let beyond = engine.admin.log.head() + 1;
    assert_eq!(at_position(&engine, beyond), Err(ErrorCode::RequestInvalid));
}

#[test]
fn what_a_moment_waits_for_is_measured_from_that_moment() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    for _ in 0..4 {
        fixture
            .send(&engine, "verify-login", verify("000000"))
            .unwrap_err();
    }
    let (head, then) = (engine.admin.log.head(), fixture.time());
    fixture.pass(3_600);
    assert_eq!(live(&engine).unwrap().throttled_until, None);
    for status in [at_position(&engine, head), at_time(&engine, then)] {
        assert!(
            status
                .unwrap()
                .throttled_until
                .is_some_and(|until| until > then)
        );
    }
}

#[test]
fn outsiders_check_every_proof_with_public_tools_alone() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let queries = engine.queries();
    let mut notes = Vec::new();
    commands(&fixture, &engine, |_, engine| {
        notes.push(engine.queries().checkpoint().unwrap());
    });
    let newest = notes.last().unwrap().clone();
    let opened = |note: &str| {
        let verifier = StandardVerifier::new(&newest.vkey).unwrap();
        let note = Note::from_bytes(note.as_bytes()).unwrap();
        let known = VerifierList::new(vec![Box::new(verifier)]);
        assert_eq!(note.verify(&known).unwrap().0.len(), 1);
        tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap()
    };
    let hash = |text: &str| {
        let bytes = BASE64.decode(text.as_bytes()).unwrap();
        tlog_tiles::Hash(bytes.try_into().unwrap())
    };
    let head = opened(&newest.note);
    assert_eq!(
        (head.size(), head.hash().0),
        (newest.size, hash(&newest.root).0)
    );
    assert_eq!(newest.size, engine.admin.log.head());
    for note in &notes {
        let old = opened(&note.note);
        let query = ConsistencyQuery {
            from: old.size(),
            to: None,
        };
        let proof = queries.consistency(&query).unwrap();
        assert_eq!((proof.from, proof.to), (old.size(), head.size()));
        let hashes: Vec<_> = proof.proof.iter().map(|text| hash(text)).collect();
        tlog_tiles::check_tree(&hashes, head.size(), *head.hash(), old.size(), *old.hash())
            .unwrap();
        for position in [1, old.size().div_ceil(2), old.size()] {
            let size = Some(old.size());
            let proof = queries.proof(&ProofQuery { position, size }).unwrap();
            let record = BASE64.decode(proof.record.as_bytes()).unwrap();
            assert_eq!(
                engine.admin.log.get(position).unwrap(),
                Some(record.clone())
            );
            let leaf = tlog_tiles::record_hash(&record);
            assert_eq!(leaf.0, hash(&proof.leaf_hash).0);
            let hashes: Vec<_> = proof.inclusion.iter().map(|text| hash(text)).collect();
            tlog_tiles::check_record(&hashes, old.size(), *old.hash(), position - 1, leaf).unwrap();
        }
    }
}

#[test]
fn proofs_of_what_the_log_does_not_have_are_refused() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (queries, head) = (engine.queries(), engine.admin.log.head());
    for (position, size) in [
        (0, None),
        (head + 1, None),
        (1, Some(0)),
        (1, Some(head + 1)),
        (2, Some(1)),
    ] {
        let refused = queries.proof(&ProofQuery { position, size });
        assert_eq!(refused.unwrap_err().code, ErrorCode::RequestInvalid);
    }
    for (from, to) in [
        (0, None),
        (head + 1, None),
        (1, Some(head + 1)),
        (2, Some(1)),
    ] {
        let refused = queries.consistency(&ConsistencyQuery { from, to });
        assert_eq!(refused.unwrap_err().code, ErrorCode::RequestInvalid);
    }
}

#[test]
fn raw_records_come_in_order_and_page_by_page() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    commands(&fixture, &engine, |_, _| {});
    let queries = engine.queries();
    let head = engine.admin.log.head();
    let mut after = 0;
    for position in 1..=head {
        let page = queries.audit_records(&AuditRecordsQuery { after: Some(after) });
        let page = page.unwrap();
        let record = engine.admin.log.get(position).unwrap().unwrap();
        assert_eq!(page.records[0], BASE64.encode(&record));
        assert_eq!(page.records.len() as u64, head - after);
        assert_eq!(page.next, None);
        after = position;
    }
    let end = queries.audit_records(&AuditRecordsQuery { after: Some(head) });
    assert_eq!(end.unwrap().records, Vec::<String>::new());
}

fn asked_for(query: &AuditExportQuery, event: &AuditEvent) -> bool {
    let account = query.account_id.as_ref();
    let types = query.types.as_ref();
    account.is_none_or(|id| event.account_id.as_ref() == Some(id))
        && types.is_none_or(|types| types.contains(&event.kind))
        && query.from.is_none_or(|from| event.at >= from)
        && query.to.is_none_or(|to| event.at < to)
}

#[test]
fn an_export_has_the_events_that_its_filter_asks_for_and_no_more() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    commands(&fixture, &engine, |_, _| {});
    let queries = engine.queries();
    let through = engine.admin.log.head() - 2;
    let all = AuditExportQuery {
        format: ExportFormat::Jsonl,
        through,
        after: None,
        types: None,
        account_id: None,
        from: None,
        to: None,
        proofs: true,
    };
    let everything = queries.audit_export(&all).unwrap();
    assert_eq!(everything.next, None);
    let positions: Vec<u64> = everything.events.iter().map(|e| e.event.position).collect();
    assert_eq!(positions, (1..=through).collect::<Vec<_>>());
    assert!(everything.events.iter().all(|e| e.inclusion.is_none()));
    let (third, tenth) = (everything.events[2].event.at, everything.events[9].event.at);
    let types = vec!["totp-rejected".to_owned(), "two-factor-enabled".to_owned()];
    let filtered = [
        AuditExportQuery {
            account_id: Some(ada()),
            ..all.clone()
        },
        AuditExportQuery {
            types: Some(types),
            ..all.clone()
        },
        AuditExportQuery {
            from: Some(third),
            to: Some(tenth),
            ..all.clone()
        },
        AuditExportQuery {
            account_id: Some(ada()),
            from: Some(tenth),
            ..all.clone()
        },
    ];
    for query in filtered {
        let expected: Vec<_> = everything
            .events
            .iter()
            .filter(|e| asked_for(&query, &e.event))
            .map(|e| &e.event)
            .collect();
        assert!(expected.len() > 3 && expected.len() < positions.len());
        let page = queries.audit_export(&query).unwrap();
        let found: Vec<_> = page.events.iter().map(|e| &e.event).collect();
        assert_eq!(found, expected);
        assert!(
            page.events
                .iter()
                .all(|e| e.record.is_some() && e.inclusion.is_some())
        );
    }
}

/// Page after page: no event is left out between two pages, none comes twice, and no page has more
/// than its 512 events.
#[test]
fn an_export_of_many_pages_is_what_its_filter_asks_for() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    for _ in 0..650 {
        fixture.pass(1);
        let body = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
        fixture
            .send(&engine, "regenerate-backup-codes", body)
            .unwrap();
        fixture.pass(1);
        let body = json!({"username": "ada", "password": PASSWORD});
        fixture.send(&engine, "start-login", body).unwrap();
    }
    let queries = engine.queries();
    let through = engine.admin.log.head();
    let pages = |types: &[&str], from: Option<Micros>| {
        let mut query = AuditExportQuery {
            format: ExportFormat::Csv,
            through,
            after: None,
            types: (!types.is_empty()).then(|| types.iter().map(|t| (*t).into()).collect()),
            account_id: None,
            from,
            to: None,
            proofs: false,
        };
        let mut events = Vec::new();
        let mut count = 0;
        loop {
            let page = queries.audit_export(&query).unwrap();
            assert!(page.events.len() <= 512, "{}", page.events.len());
            count += 1;
            events.extend(page.events.into_iter().map(|e| e.event));
            match page.next {
                Some(next) => query.after = Some(next),
                None => return (count, events),
            }
        }
    };
    let (count, everything) = pages(&[], None);
    let positions: Vec<u64> = everything.iter().map(|e| e.position).collect();
    assert_eq!(positions, (1..=through).collect::<Vec<_>>());
    assert!(count >= 3, "{count} pages");
    let at = everything[20].at;
    // Two types that follow each other, so that the event after a page's last is one of them.
    let both = ["backup-codes-issued", "login-started"];
    for types in [&both[..], &both[1..]] {
        for from in [None, Some(at)] {
            let (count, found) = pages(types, from);
            let is_asked_for = |e: &AuditEvent| {
                types.contains(&e.kind.as_str()) && from.is_none_or(|from| e.at >= from)
            };
            let mut expected = everything.clone();
            expected.retain(is_asked_for);
            assert_eq!(found, expected);
            assert!(count >= 2 && found.len() > 600, "{count} pages");
        }
    }
}
