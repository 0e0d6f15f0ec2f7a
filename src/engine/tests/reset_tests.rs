//! The support reset over the real engine: across accounts, batches, restarts and losses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc;

use countersign_schemas::ids::{AccountId, Username};
use countersign_schemas::query::{AuditPageQuery, FindAccountQuery, ResetQueueQuery};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;
use countersign_schemas::support::CaseState;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{LoginReply, Reply, ResetReply, SecretReply};
use crate::engine::intake::pool::Pool;
use crate::engine::message::Job;
use crate::engine::message::{Submission, ToWriter};
use crate::engine::writer::Writer;
use crate::engine::{Engine, Outcome, start};

const HOUR_S: u64 = 3_600;

fn send_by(fixture: &Fixture, engine: &Engine, caller: &str, name: &str, body: &Value) -> Outcome {
    let id = fixture.fresh_id();
    send_again(fixture, engine, (caller, &id), name, body)
}

fn send_again(
    fixture: &Fixture,
    engine: &Engine,
    (caller, id): (&str, &str),
    name: &str,
    body: &Value,
) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    let mut request = fixture.request(name, body, id, engine);
    request.caller.name = caller.into();
    engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
    receiver.recv().unwrap()
}

fn reply_of(outcome: Outcome) -> Result<Reply, ErrorCode> {
    let done = outcome.result.map_err(|refusal| refusal.code)?;
    Ok(done.reply)
}

fn word(outcome: Outcome) -> Option<ErrorCode> {
    reply_of(outcome).err()
}

fn request_of(account: &str) -> Value {
    json!({"account_id": account, "reason": "lost everything", "ticket": "T-77"})
}

fn on_case(case: &str) -> Value {
    json!({"case_id": case, "reason": "as agreed"})
}

fn requested(fixture: &Fixture, engine: &Engine, agent: &str, account: &str) -> String {
    let outcome = send_by(
        fixture,
        engine,
        agent,
        "request-reset",
        &request_of(account),
    );
    match reply_of(outcome) {
        Ok(Reply::Reset(ResetReply::Requested { case_id, .. })) => case_id.as_str().to_owned(),
        other => panic!("a case is opened: {other:?}"),
    }
}

fn approved(fixture: &Fixture, engine: &Engine, account: &str) -> String {
    let case = requested(fixture, engine, "alice", account);
    let outcome = send_by(fixture, engine, "bob", "approve-reset", &on_case(&case));
    assert!(matches!(
        reply_of(outcome),
        Ok(Reply::Reset(ResetReply::Approved { .. }))
    ));
    case
}

/// RS-04, R-18: the whole life, with a restart and a deleted index between each step.
#[test]
fn rs04_a_reset_lives_through_restarts_and_is_executed_once() {
    let fixture = Fixture::new();
    let mut engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    let again = |engine: Engine| {
        drop(engine);
        std::fs::remove_file(fixture.data().join("index.redb")).unwrap();
        std::fs::remove_file(fixture.data().join("views.redb")).unwrap();
        fixture.start()
    };
    let case = requested(&fixture, &engine, "alice", "ada");
    engine = again(engine);
    for own in ["alice", "Alice"] {
        let refused = send_by(&fixture, &engine, own, "approve-reset", &on_case(&case));
        assert_eq!(word(refused), Some(ErrorCode::ApprovalSelf), "{own}");
    }
    let other = send_by(&fixture, &engine, "bob", "approve-reset", &on_case(&case));
    assert!(matches!(
        reply_of(other),
        Ok(Reply::Reset(ResetReply::Approved { .. }))
    ));
    engine = again(engine);
    fixture.pass(72 * HOUR_S - 1);
    let early = send_by(&fixture, &engine, "alice", "execute-reset", &on_case(&case));
    let refusal = early.result.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::ResetCoolingOff);
    assert_eq!(refusal.retry_after_s, Some(1));
    fixture.pass(1);
    let executing = |engine: &Engine| {
        let key = ("alice", "execute-once");
        send_again(&fixture, engine, key, "execute-reset", &on_case(&case))
    };
    assert!(matches!(
        reply_of(executing(&engine)),
        Ok(Reply::Reset(ResetReply::Executed))
    ));
    engine = again(engine);
    let repeated = executing(&engine);
    assert!(
        repeated.replayed && matches!(reply_of(repeated), Ok(Reply::Reset(ResetReply::Executed)))
    );
    let closed = send_by(&fixture, &engine, "bob", "execute-reset", &on_case(&case));
    assert_eq!(word(closed), Some(ErrorCode::ResetClosed));
    let old = fixture.send(&engine, "verify-login", verify(&codes[0]));
    assert_eq!(old.unwrap_err(), ErrorCode::FactorNotOn);
    let ada = AccountId::parse("ada").unwrap();
    let status = engine.queries().login_status(&ada, None).unwrap();
    assert_eq!(status.second_factor, FactorState::Off);
    assert_eq!(status.after_reset_days, Some(1));
    let login = fixture.send_as(
        &engine,
        "l-1",
        "start-login",
        json!({"username": "ada", "password": PASSWORD}),
    );
    engine = again(engine);
    fixture.pass(40 * 24 * HOUR_S);
    let days = |outcome: Outcome| match reply_of(outcome) {
        Ok(Reply::Login(LoginReply::ByPassword {
            after_reset_days, ..
        })) => after_reset_days,
        other => panic!("{other:?}"),
    };
    assert_eq!(days(login), Some(1));
    let later = fixture.send_as(
        &engine,
        "l-2",
        "start-login",
        json!({"username": "ada", "password": PASSWORD}),
    );
    assert_eq!(days(later), None);
}

/// The stored outcome of a login after a reset has the day of the login, not that of the repeat.
#[test]
fn a_repeated_login_after_a_reset_answers_as_it_did() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let case = approved(&fixture, &engine, "ada");
    fixture.pass(73 * HOUR_S);
    send_by(&fixture, &engine, "bob", "execute-reset", &on_case(&case));
    fixture.pass(23 * HOUR_S);
    let body = json!({"username": "ada", "password": PASSWORD});
    let first = fixture.send_as(&engine, "l-1", "start-login", body.clone());
    drop(engine);
    let engine = fixture.start();
    fixture.pass(2 * HOUR_S);
    let again = fixture.send_as(&engine, "l-1", "start-login", body);
    assert!(again.replayed);
    let days = |outcome| match reply_of(outcome) {
        Ok(Reply::Login(LoginReply::ByPassword {
            after_reset_days, ..
        })) => after_reset_days,
        other => panic!("{other:?}"),
    };
    assert_eq!((days(first), days(again)), (Some(1), Some(1)));
}

/// RS-02: by the account's id and by its username, in whatever case.
#[test]
fn rs02_an_agent_is_distinguished_from_the_owner_by_id_and_by_username() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let body = json!({"account_id": "u-1", "username": "alice", "password": PASSWORD});
    fixture.send(&engine, "register-account", body).unwrap();
    let body = json!({"account_id": "u-1", "proof": {"password": PASSWORD}});
    let Ok(Reply::Secret(SecretReply::EnrolmentStarted {
        authenticator_id,
        secret,
        ..
    })) = fixture.send(&engine, "enable-2fa", body)
    else {
        panic!("enrolment starts");
    };
    let code = fixture.code(&secret, 0);
    let body = json!({"account_id": "u-1", "authenticator_id": authenticator_id, "code": code});
    fixture.send(&engine, "confirm-code", body).unwrap();
    let case = requested(&fixture, &engine, "bob", "u-1");
    for own in ["u-1", "U-1", "alice", "Alice"] {
        let refused = send_by(&fixture, &engine, own, "approve-reset", &on_case(&case));
        assert_eq!(word(refused), Some(ErrorCode::ApprovalSelf), "{own}");
    }
    let other = send_by(&fixture, &engine, "carol", "approve-reset", &on_case(&case));
    assert_eq!(word(other), None);
}

/// RS-06.
#[test]
fn rs06_of_many_approvals_at_once_one_has_an_effect() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let case = requested(&fixture, &engine, "alice", "ada");
    let (sender, receiver) = mpsc::channel();
    for n in 0..64 {
        let sender = sender.clone();
        let id = fixture.fresh_id();
        let mut request = fixture.request("approve-reset", &on_case(&case), &id, &engine);
        request.caller.name = format!("agent-{n}");
        engine.submit(request, Box::new(move |o| sender.send(o).unwrap()));
    }
    drop(sender);
    let words: Vec<_> = receiver.iter().map(word).collect();
    let won = words.iter().filter(|word| word.is_none()).count();
    let closed = Some(ErrorCode::ResetClosed);
    let lost = words.iter().filter(|word| **word == closed).count();
    assert_eq!((won, lost), (1, 63));
    assert_eq!(events(&engine, "reset-approved").len(), 1);
}

fn events(engine: &Engine, kind: &str) -> Vec<(String, Value)> {
    let query = AuditPageQuery {
        types: Some(vec![kind.into()]),
        ..AuditPageQuery::default()
    };
    let page = engine.queries().audit_page(&query, None).unwrap();
    let events = page.events.into_iter();
    events.map(|e| (e.caller.name, e.data)).collect()
}

/// RS-09: across accounts, through a restart and a deleted index, and again after a day.
#[test]
fn rs09_the_sixth_request_of_an_agent_in_a_day_is_refused_whatever_the_account() {
    let fixture = Fixture::new();
    let mut engine = fixture.start();
    for n in 0..7 {
        fixture.enrol(&engine, &format!("a-{n}"));
    }
    for n in 0..5 {
        fixture.pass(HOUR_S);
        let spelled = ["alice", "Alice", "ALICE"][n % 3];
        requested(&fixture, &engine, spelled, &format!("a-{n}"));
        drop(engine);
        std::fs::remove_file(fixture.data().join("index.redb")).unwrap();
        engine = fixture.start();
    }
    let sixth = send_by(
        &fixture,
        &engine,
        "alice",
        "request-reset",
        &request_of("a-5"),
    );
    let refusal = sixth.result.unwrap_err();
    assert_eq!(refusal.code, ErrorCode::QuotaExceeded);
    assert_eq!(refusal.retry_after_s, Some(20 * HOUR_S));
    // The requests of another agent count for that agent.
    requested(&fixture, &engine, "bob", "a-5");
    fixture.pass(20 * HOUR_S);
    requested(&fixture, &engine, "alice", "a-6");
    let seventh = send_by(
        &fixture,
        &engine,
        "alice",
        "request-reset",
        &request_of("a-1"),
    );
    assert_eq!(word(seventh), Some(ErrorCode::ResetOpen));
}

/// RS-09: decisions of one batch are visible to the later ones of the same batch.
#[test]
fn rs09_of_two_sixth_requests_in_one_batch_neither_and_of_two_fifth_one_wins() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    for n in 0..6 {
        fixture.enrol(&engine, &format!("a-{n}"));
    }
    for n in 0..4 {
        requested(&fixture, &engine, "alice", &format!("a-{n}"));
    }
    let requests = [4, 5].map(|n| {
        let body = request_of(&format!("a-{n}"));
        let mut request = fixture.request("request-reset", &body, &fixture.fresh_id(), &engine);
        request.caller.name = "alice".into();
        request
    });
    drop(engine);
    let (shared, log) = start::open(fixture.options()).unwrap();
    let pool = Arc::new(Pool::start(|_: Job| {}));
    let (queue, inbox) = ToWriter::open();
    let mut writer = Writer::new(Arc::clone(&shared), pool, queue.clone(), log);
    for request in requests {
        queue.submit(Submission::new(request, Box::new(|_| ())));
    }
    let mut batch = writer.empty_batch();
    writer.drain(&mut batch, &inbox);
    let words: Vec<_> = batch.replies.into_iter().map(|(_, o)| word(o)).collect();
    assert_eq!(words, [None, Some(ErrorCode::QuotaExceeded)]);
    assert_eq!(batch.records.len(), 1);
}

/// RS-08, RS-09: refused requests are counted for the auditors, with the agent and the reason.
#[test]
fn rs08_refused_requests_are_reported_to_the_auditors_within_a_minute() {
    let fixture = Fixture::new();
    let engine = fixture.start_with(|options| options.policy.reset_requests_max = 1);
    fixture.enrol(&engine, "ada");
    fixture.enrol(&engine, "bob");
    requested(&fixture, &engine, "alice", "ada");
    for _ in 0..3 {
        let again = send_by(
            &fixture,
            &engine,
            "carol",
            "request-reset",
            &request_of("ada"),
        );
        assert_eq!(word(again), Some(ErrorCode::ResetOpen));
    }
    let over = send_by(
        &fixture,
        &engine,
        "alice",
        "request-reset",
        &request_of("bob"),
    );
    assert_eq!(word(over), Some(ErrorCode::QuotaExceeded));
    fixture.pass(61);
    // The next command records what is due.
    fixture
        .send(&engine, "verify-login", verify("000000"))
        .unwrap_err();
    let reported: BTreeSet<String> = events(&engine, "reset-requests-refused")
        .into_iter()
        .map(|(by, data)| format!("{by}: {data}"))
        .collect();
    let expected = [
        r#"countersign: {"by":"alice","cause":"quota","count":1}"#,
        r#"countersign: {"by":"carol","cause":"open","count":3}"#,
    ];
    assert_eq!(reported, expected.map(str::to_owned).into());
}

/// RS-12: no answer, event or view of a reset holds a secret, a code or the whole username.
#[test]
fn rs12_an_agent_reads_no_secret_no_code_and_no_username() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "adalovelace");
    let case = approved(&fixture, &engine, "adalovelace");
    let queries = engine.queries();
    let account = AccountId::parse("adalovelace").unwrap();
    let card = queries.account_card(&account, None).unwrap();
    let username = card.username.clone().unwrap();
    assert_eq!((username.first.as_str(), username.length), ("a", 11));
    let queue = queries
        .reset_queue(&ResetQueueQuery::default(), None)
        .unwrap();
    let open = &queue.cases[0];
    assert_eq!(
        (open.reason.as_str(), open.ticket.as_str()),
        ("lost everything", "T-77")
    );
    assert_eq!(card.reset.as_ref(), Some(open));
    assert_eq!(
        (open.case_id.as_str(), open.state),
        (case.as_str(), CaseState::CoolingOff)
    );
    assert_eq!(open.approved_by.as_deref(), Some("bob"));
    let found = FindAccountQuery {
        username: Username::parse("AdaLovelace").unwrap(),
    };
    assert_eq!(queries.find_account(&found).unwrap().account_id, account);
    let shown = format!(
        "{}{}",
        serde_json::to_string(&card).unwrap(),
        serde_json::to_string(&queue).unwrap()
    );
    let secrets = codes.iter().map(String::as_str).map(str::to_owned);
    for hidden in secrets.chain([secret.base32(), PASSWORD.to_owned()]) {
        assert!(!shown.contains(&hidden));
    }
}

#[test]
fn an_untouched_case_shows_that_it_has_lapsed() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    requested(&fixture, &engine, "alice", "ada");
    let count = |state| {
        let query = ResetQueueQuery { state, after: None };
        let queue = engine.queries().reset_queue(&query, None).unwrap();
        queue.cases.len()
    };
    assert_eq!((count(None), count(Some(CaseState::Expired))), (1, 0));
    fixture.pass(7 * 24 * HOUR_S);
    assert_eq!((count(None), count(Some(CaseState::Expired))), (0, 1));
    let account = AccountId::parse("ada").unwrap();
    let card = engine.queries().account_card(&account, None).unwrap();
    assert_eq!(card.reset, None);
    assert!(events(&engine, "reset-expired").is_empty());
    requested(&fixture, &engine, "alice", "ada");
    assert_eq!(events(&engine, "reset-expired").len(), 1);
    assert_eq!((count(None), count(Some(CaseState::Expired))), (1, 1));
}

#[test]
fn unknown_cases_and_accounts_are_not_found() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let unknown = send_by(&fixture, &engine, "alice", "approve-reset", &on_case("c-1"));
    assert_eq!(word(unknown), Some(ErrorCode::CaseNotFound));
    let unknown = send_by(
        &fixture,
        &engine,
        "alice",
        "request-reset",
        &request_of("ada"),
    );
    assert_eq!(word(unknown), Some(ErrorCode::AccountNotFound));
    let account = AccountId::parse("ada").unwrap();
    let card = engine.queries().account_card(&account, None);
    assert_eq!(card.unwrap_err().code, ErrorCode::AccountNotFound);
    let found = FindAccountQuery {
        username: Username::parse("ada").unwrap(),
    };
    let found = engine.queries().find_account(&found);
    assert_eq!(found.unwrap_err().code, ErrorCode::AccountNotFound);
}

/// The case ends with the account, whichever account has the id next.
#[test]
fn an_erasure_ends_the_case_and_the_next_account_of_that_id_is_not_concerned() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    let case = approved(&fixture, &engine, "ada");
    let erase = json!({"account_id": "ada", "reason": "the owner asked for it"});
    fixture.send(&engine, "erase-account", erase).unwrap();
    let gone = send_by(&fixture, &engine, "alice", "execute-reset", &on_case(&case));
    assert_eq!(word(gone), Some(ErrorCode::CaseNotFound));
    let queue = engine
        .queries()
        .reset_queue(&ResetQueueQuery::default(), None);
    assert_eq!(queue.unwrap().cases, []);
    let (_, codes) = fixture.enrol(&engine, "ada");
    fixture.pass(80 * HOUR_S);
    let closed = send_by(&fixture, &engine, "alice", "execute-reset", &on_case(&case));
    assert_eq!(word(closed), Some(ErrorCode::ResetClosed));
    let login = fixture.send(&engine, "verify-login", verify(&codes[0]));
    assert!(
        matches!(
            login,
            Ok(Reply::Login(LoginReply::Verified {
                after_reset_days: None,
                ..
            }))
        ),
        "{login:?}"
    );
}
