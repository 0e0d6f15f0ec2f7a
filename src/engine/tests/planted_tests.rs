//! Logs with a decision that no rule makes: deciding it again gives a different result.

use countersign_schemas::audit::RerunResult;
use countersign_schemas::command::Command;
use countersign_schemas::ids::{CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, Role, StreamKind};
use serde_json::{Value, json};

use super::explaining_tests::{HOUR_S, Life, explain, strict};
use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{
    Account, Ctx, Decision, ENTROPY_LEN, Evidence, Policy, Reply, ResetReply, SecretReply, decide,
};
use crate::engine::start::foundation::Foundation;
use crate::engine::system_random;
use crate::log::LogOptions;

/// A decision as a faulty build would have recorded it.
struct Wrong<'a> {
    /// The account that it was decided on.
    account: Account,
    /// The caller in the record.
    caller: &'a str,
    role: Role,
    name: &'a str,
    body: &'a Value,
}

impl<'a> Wrong<'a> {
    /// Makes the caller an agent.
    fn by(caller: &'a str, account: Account, name: &'a str, body: &'a Value) -> Self {
        Self {
            account,
            caller,
            role: Role::Support,
            name,
            body,
        }
    }
}

/// Decides with false facts, and appends the result to the log of a stopped service.
fn plant(fixture: &Fixture, wrong: &Wrong, lie: impl FnOnce(&mut Ctx)) -> u64 {
    let policy = Policy::default();
    let mut ctx = Ctx {
        now: fixture.time(),
        gated_at: fixture.time(),
        clock_floor: fixture.time(),
        policy: &policy,
        entropy: &[9; ENTROPY_LEN],
        caller: wrong.caller,
        source_key: [0; 8],
        source_waits_s: None,
        pair_waits_s: None,
        is_elsewhere: false,
        name_taken: false,
        next_key_id: None,
        requested_at: &[],
        is_own_account: false,
    };
    lie(&mut ctx);
    let command = Command::decode(wrong.name, wrong.body.to_string().as_bytes()).unwrap();
    let evidence = Evidence::none(fixture.time());
    let decided = decide(&wrong.account, &command, &evidence, &ctx);
    append(fixture, wrong, decided)
}

/// Appends the one event of a decision as the service would; returns its position.
fn append(fixture: &Fixture, wrong: &Wrong, decided: Decision) -> u64 {
    let Decision::Done { mut events, .. } = decided else {
        panic!("decided without any step");
    };
    let [event] = &mut events[..] else {
        panic!("the lie has one event as its end: {events:?}");
    };
    let mut found = Foundation::open(
        &fixture.data(),
        &fixture.keyring(),
        LogOptions::default(),
        system_random,
        fixture.time(),
    )
    .unwrap();
    let id = wrong.account.id.as_ref().unwrap();
    let stream = StreamKey::of(id);
    let version = found.index.version(&stream).unwrap() + 1;
    found.vault.seal_event(stream, version, event).unwrap();
    let head = found.log.head();
    let command_id = CommandId::parse(&format!("planted-{head}")).unwrap();
    let mut record = Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: StreamKind::Account,
        stream_key: stream,
        version,
        recorded_at: fixture.time(),
        command_key: CommandKey::of(wrong.caller, &command_id),
        group_index: 0,
        group_len: 1,
        meta: Meta {
            account_id: id.as_str().to_owned().into(),
            command_id: command_id.as_str().to_owned().into(),
            caller: wrong.caller.to_owned().into(),
            verified: true,
            role: wrong.role,
            trace_id: None,
            body_tag: [0; 16],
            source_key: [0; 8],
            source: None,
            source_commitment: None,
        },
        payload: event.encode().unwrap().into(),
        seal: None,
    };
    found.vault.commit_keys().unwrap();
    let seals = found.vault.record_seals();
    let before = found.index.last_leaf();
    let bytes = seals.encode(head + 1, &before, &mut record).unwrap();
    found.log.append(head, &[bytes]).unwrap();
    found.log.close().unwrap();
    head + 1
}

/// Explains a planted decision, and returns the difference that the explanation finds.
fn difference(life: Life, wrong: &Wrong, lie: impl FnOnce(&mut Ctx)) -> String {
    let Life {
        fixture, engine, ..
    } = life;
    drop(engine);
    let position = plant(&fixture, wrong, lie);
    let engine = fixture.start_with(strict);
    let explained = explain(&engine, position);
    assert_eq!(explained.rerun, RerunResult::Different, "{explained:?}");
    explained.rerun_detail.unwrap()
}

#[test]
fn an_approval_by_the_requester_gives_a_different_result() {
    let life = Life::new();
    let body = life.requested("agent-1");
    let wrong = Wrong::by("agent-1", life.account("ada"), "approve-reset", &body);
    let expected = "[] comes out (approval.self: the agent who requested the reset cannot approve it), [reset-approved] was recorded";
    assert_eq!(
        difference(life, &wrong, |ctx| ctx.caller = "agent-2"),
        expected
    );
}

#[test]
fn an_approval_that_no_agent_sent_gives_a_different_result() {
    let life = Life::new();
    let body = life.requested("agent-1");
    let wrong = Wrong {
        role: Role::Platform,
        ..Wrong::by("shop", life.account("ada"), "approve-reset", &body)
    };
    let expected = "the caller's role may not send the command of these events";
    assert_eq!(difference(life, &wrong, |_| {}), expected);
}

/// By the username, which the log holds only sealed.
#[test]
fn an_approval_by_the_accounts_own_holder_gives_a_different_result() {
    let life = Life::new();
    let register = json!({"account_id": "u-9", "username": "Grace", "password": PASSWORD});
    life.user("register-account", register).unwrap();
    let begin = json!({"account_id": "u-9", "proof": {"password": PASSWORD}});
    let begun = life.user("enable-2fa", begin).unwrap();
    let Reply::Secret(SecretReply::EnrolmentStarted {
        authenticator_id,
        secret,
        ..
    }) = begun
    else {
        panic!("an enrolment starts");
    };
    let confirm = json!({"account_id": "u-9", "authenticator_id": authenticator_id,
        "code": life.fixture.code(&secret, 2)});
    life.user("confirm-code", confirm).unwrap();
    let request = json!({"account_id": "u-9", "reason": "all is lost", "ticket": "T-1"});
    let Ok(Reply::Reset(ResetReply::Requested { case_id, .. })) =
        life.by("agent-1", "request-reset", request)
    else {
        panic!("a case is opened");
    };
    let body = json!({"case_id": case_id.as_str(), "reason": "as agreed"});
    let wrong = Wrong::by("grace", life.account("u-9"), "approve-reset", &body);
    let found = difference(life, &wrong, |_| {});
    assert!(
        found.contains("approval.self: you cannot take part"),
        "{found}"
    );
}

#[test]
fn an_execution_before_its_time_gives_a_different_result() {
    let life = Life::new();
    let body = life.requested("agent-1");
    life.by("agent-2", "approve-reset", body.clone()).unwrap();
    life.fixture.pass(71 * HOUR_S);
    let wrong = Wrong::by("agent-1", life.account("ada"), "execute-reset", &body);
    let expected =
        "[] comes out (reset.cooling_off, 3600 s too early), [reset-executed] was recorded";
    let found = difference(life, &wrong, |ctx| ctx.now = ctx.now.plus_s(2 * HOUR_S));
    assert_eq!(found, expected);
}

#[test]
fn an_execution_after_the_owners_veto_gives_a_different_result() {
    let life = Life::new();
    let body = life.requested("agent-1");
    life.by("agent-2", "approve-reset", body.clone()).unwrap();
    life.fixture.pass(73 * HOUR_S);
    let before = life.account("ada");
    let veto = json!({"account_id": "ada"});
    life.user("user-cancel-reset", veto).unwrap();
    let wrong = Wrong::by("agent-1", before, "execute-reset", &body);
    let expected = "[] comes out (reset.closed), [reset-executed] was recorded";
    assert_eq!(difference(life, &wrong, |_| {}), expected);
}

#[test]
fn a_sixth_request_in_a_day_gives_a_different_result_and_a_fifth_the_same() {
    let life = Life::new();
    for _ in 0..5 {
        let case = life.requested("agent-1");
        life.by("agent-2", "reject-reset", case).unwrap();
    }
    let fifth = explain(&life.engine, life.head() - 1);
    assert_eq!(fifth.events[0].kind, "reset-requested");
    assert_eq!(fifth.rerun, RerunResult::Same);
    // Another agent has asked for none yet.
    let case = life.requested("agent-3");
    assert_eq!(explain(&life.engine, life.head()).rerun, RerunResult::Same);
    life.by("agent-2", "reject-reset", case).unwrap();
    let body = json!({"account_id": "ada", "reason": "all is lost", "ticket": "T-1"});
    let wrong = Wrong::by("agent-1", life.account("ada"), "request-reset", &body);
    let found = difference(life, &wrong, |_| {});
    assert!(
        found.starts_with("[] comes out (quota.exceeded, 85"),
        "{found}"
    );
}

#[test]
fn a_second_clearing_in_a_week_gives_a_different_result() {
    let life = Life::new();
    let body = json!({"account_id": "ada", "reason": "she called"});
    life.user("verify-login", verify("000000")).unwrap_err();
    life.by("agent-1", "clear-attempts", body.clone()).unwrap();
    life.user("verify-login", verify("000000")).unwrap_err();
    let wrong = Wrong::by("agent-2", life.account("ada"), "clear-attempts", &body);
    let found = difference(life, &wrong, |ctx| {
        ctx.now = ctx.now.plus_s(8 * 24 * HOUR_S);
    });
    let expected =
        "[] comes out (quota.exceeded, 604740 s too early), [attempts-cleared] was recorded";
    assert_eq!(found, expected);
}
