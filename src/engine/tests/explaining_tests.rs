//! Every kind of decision explained from the log alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_schemas::audit::{AuditExplainQuery, ExplainedVerdict, Explanation, RerunResult};
use countersign_schemas::event::{Cause, Event};
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;
use serde_json::{Value, json};

use super::auditing_tests::commands;
use super::fixture::{Fixture, PASSWORD, verify};
use crate::account::{Account, LoginReply, Reply, ResetReply, SecretReply};
use crate::crypto::otp::TotpSecret;
use crate::engine::Engine;

pub(super) const HOUR_S: u64 = 3_600;

pub(super) fn explain(engine: &Engine, position: u64) -> Explanation {
    let query = AuditExplainQuery { position };
    engine.queries().audit_explain(&query).unwrap()
}

/// An installation with one account, and what its owner and the agents do.
pub(super) struct Life {
    pub(super) fixture: Fixture,
    pub(super) engine: Engine,
    secret: Option<TotpSecret>,
    codes: Vec<String>,
}

impl Life {
    pub(super) fn new() -> Self {
        Self::under(strict)
    }

    fn under(change: fn(&mut crate::engine::EngineOptions)) -> Self {
        let fixture = Fixture::new();
        let engine = fixture.start_with(change);
        let (secret, codes) = fixture.enrol(&engine, "ada");
        let secret = Some(secret);
        Self {
            fixture,
            engine,
            secret,
            codes,
        }
    }

    /// Sends a command a minute later, so that every code is a new one.
    pub(super) fn by(&self, caller: &str, name: &str, body: Value) -> Result<Reply, ErrorCode> {
        self.fixture.pass(60);
        let id = self.fixture.fresh_id();
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut request = self.fixture.request(name, &body, &id, &self.engine);
        request.caller.name = caller.into();
        let reply = Box::new(move |outcome: crate::engine::Outcome| sender.send(outcome).unwrap());
        self.engine.submit(request, reply);
        let outcome = receiver.recv().unwrap();
        let done = outcome.result.map_err(|refusal| refusal.code)?;
        Ok(done.reply)
    }

    pub(super) fn user(&self, name: &str, body: Value) -> Result<Reply, ErrorCode> {
        self.by("test", name, body)
    }

    fn with_proof(&self, name: &str) -> Result<Reply, ErrorCode> {
        let body = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
        self.user(name, body)
    }

    fn code(&self) -> String {
        // The command is sent a minute later.
        self.fixture.code(self.secret.as_ref().unwrap(), 2)
    }

    /// Begins an enrolment, and returns its authenticator.
    fn begun(&mut self) -> Value {
        let Ok(Reply::Secret(SecretReply::EnrolmentStarted {
            authenticator_id,
            secret,
            ..
        })) = self.with_proof("enable-2fa")
        else {
            panic!("an enrolment starts");
        };
        self.secret = Some(secret);
        json!({"account_id": "ada", "authenticator_id": authenticator_id})
    }

    fn enrol(&mut self) {
        let mut body = self.begun();
        body["code"] = self.code().into();
        let Ok(Reply::Secret(SecretReply::CodeConfirmed { issued, .. })) =
            self.user("confirm-code", body)
        else {
            panic!("the first code confirms");
        };
        self.codes = issued.codes.iter().map(|code| code.reveal()).collect();
    }

    pub(super) fn requested(&self, agent: &str) -> Value {
        let body = json!({"account_id": "ada", "reason": "all is lost", "ticket": "T-1",
            "lost": "both"});
        match self.by(agent, "request-reset", body) {
            Ok(Reply::Reset(ResetReply::Requested { case_id, .. })) => {
                json!({"case_id": case_id.as_str(), "reason": "as agreed"})
            }
            other => panic!("a case is opened: {other:?}"),
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.engine.admin.log.head()
    }

    pub(super) fn account(&self, id: &str) -> Account {
        let stream = StreamKey::of(&AccountId::parse(id).unwrap());
        let account = self.engine.shared.accounts.load(stream).unwrap();
        (*account).clone()
    }

    /// Sends wrong codes until no more are compared.
    fn guess(&self) {
        loop {
            let single = self.user("verify-login", verify("000000"));
            match single.unwrap_err() {
                ErrorCode::CodeInvalid => {}
                ErrorCode::AccountThrottled => self.fixture.pass(HOUR_S),
                ErrorCode::CodeSecondRequired => {
                    let mut pair = verify("000000");
                    pair["next_code"] = "000000".into();
                    let refused = self.user("verify-login", pair).unwrap_err();
                    if refused == ErrorCode::AccountThrottled {
                        self.fixture.pass(HOUR_S);
                    }
                }
                ErrorCode::FactorSuspended => return,
                other => panic!("a wrong code is {other:?}"),
            }
        }
    }

    fn enrolments(&mut self) {
        let body = self.begun();
        self.user("cancel-enrolment", body).unwrap();
        let mut body = self.begun();
        body["code"] = "000000".into();
        self.user("confirm-code", body.clone()).unwrap_err();
        self.fixture.pass(HOUR_S);
        self.user("confirm-code", body).unwrap_err();
        self.enrol();
    }

    fn logins(&self) {
        let with = |password: &str| json!({"username": "ada", "password": password});
        self.user("start-login", with("no password of hers"))
            .unwrap_err();
        for _ in 0..11 {
            self.user("start-login", with("no password of hers"))
                .unwrap_err();
        }
        let both = |password: &str, code: &str| {
            let mut body = with(password);
            body["code"] = code.into();
            self.fixture.send(&self.engine, "start-login", body)
        };
        both("no password of hers", "000000").unwrap_err();
        both(PASSWORD, "000000").unwrap_err();
        both(PASSWORD, &self.codes[2]).unwrap();
        let opened = self.user("start-login", with(PASSWORD)).unwrap();
        let Reply::Login(LoginReply::CodeRequired { challenge_id, .. }) = opened else {
            panic!("a code is asked for");
        };
        let code = self.code();
        let answer = json!({"challenge_id": challenge_id.reveal(), "code": code});
        self.user("verify-login", answer).unwrap();
        let code = self.code();
        self.user("verify-login", verify(&code)).unwrap();
        self.fixture
            .send(&self.engine, "verify-login", verify(&code))
            .unwrap_err();
        self.user("verify-login", verify(&self.codes[0])).unwrap();
        self.user("verify-login", verify(&self.codes[0]))
            .unwrap_err();
        self.guess();
        self.user("verify-login", verify(&self.codes[1])).unwrap();
        let clear = json!({"account_id": "ada", "reason": "she called"});
        self.by("agent-1", "clear-attempts", clear).unwrap();
    }

    fn resets(&mut self) {
        let case = self.requested("agent-1");
        self.by("agent-2", "reject-reset", case).unwrap();
        let case = self.requested("agent-1");
        self.by("agent-1", "cancel-reset", case).unwrap();
        let case = self.requested("agent-2");
        self.by("agent-1", "approve-reset", case).unwrap();
        let veto = json!({"account_id": "ada"});
        self.user("user-cancel-reset", veto).unwrap();
        self.requested("agent-1");
        let code = self.code();
        self.user("verify-login", verify(&code)).unwrap();
        let case = self.requested("agent-2");
        self.fixture.pass(8 * 24 * HOUR_S);
        self.by("agent-1", "approve-reset", case).unwrap_err();
        self.requested("agent-1");
        self.fixture.pass(8 * 24 * HOUR_S);
        let case = self.requested("agent-2");
        self.by("agent-3", "approve-reset", case.clone()).unwrap();
        let stop = json!({"account_id": "ada", "reason": "stolen", "ticket": "T-2"});
        self.by("agent-2", "suspend-factor", stop).unwrap();
        self.fixture.pass(72 * HOUR_S);
        self.by("agent-2", "execute-reset", case).unwrap();
        self.enrol();
        self.requested("agent-1");
        self.with_proof("disable-2fa").unwrap();
    }

    fn keys_and_the_end(&mut self) {
        let log_in = json!({"username": "ada", "password": PASSWORD});
        let rotate = json!({"reason": "a yearly custom"});
        for _ in 0..2 {
            self.by("op", "rotate-keys", rotate.clone()).unwrap();
            while crate::engine::keys::rotations::is_under_way(&self.engine.shared.index).unwrap() {
                std::thread::yield_now();
            }
        }
        self.user("start-login", log_in).unwrap();
        self.enrol();
        self.with_proof("regenerate-backup-codes").unwrap();
        let change = json!({"account_id": "ada", "password": PASSWORD,
            "new_password": "another good password"});
        self.user("change-password", change).unwrap();
        let unknown = json!({"username": "unknown", "password": PASSWORD});
        self.user("start-login", unknown).unwrap_err();
        let erase = json!({"account_id": "ada", "reason": "she asked for it"});
        self.by("op", "erase-account", erase).unwrap();
    }
}

/// A policy with a low limit for a row of wrong codes.
pub(super) fn strict(options: &mut crate::engine::EngineOptions) {
    options.policy.code_failures_budget = 5;
    options.policy.suspend_after = 10;
}

/// The same policy with a clock that moves between any two readings, as a real one does.
fn ticking(options: &mut crate::engine::EngineOptions) {
    strict(options);
    let (clock, readings) = (Arc::clone(&options.clock), AtomicU64::new(0));
    options.clock = Arc::new(move || {
        let past = readings.fetch_add(1, Ordering::SeqCst);
        Micros(clock().0 + past)
    });
}

/// For every event type of the commands: each decision is explained, by the policy then in force
/// and although the account is erased, and deciding it again gives the same result.
#[test]
fn every_kind_of_decision_has_the_same_result_from_the_log_alone() {
    let mut life = Life::under(ticking);
    life.with_proof("disable-2fa").unwrap();
    life.enrolments();
    life.logins();
    life.resets();
    life.keys_and_the_end();
    let Life {
        fixture, engine, ..
    } = life;
    drop(engine);
    let engine = fixture.start_with(|options| {
        options.policy.code_failures_free = 0;
        options.policy.reset_cooling_off_s = 100 * HOUR_S;
        options.policy.reset_requests_max = 1;
    });
    let mut same = BTreeSet::new();
    for position in 1..=engine.admin.log.head() {
        let explained = explain(&engine, position);
        let kinds = explained.events.iter().map(|event| event.kind.clone());
        match explained.rerun {
            RerunResult::Same => {
                assert!(!explained.because.is_empty(), "{kinds:?}");
                assert_ne!(explained.verdict, ExplainedVerdict::Recorded);
                same.extend(kinds);
            }
            RerunResult::Different => panic!("{explained:?}"),
            RerunResult::NotMade => {
                let is_own = explained.verdict == ExplainedVerdict::Recorded;
                assert!(is_own || explained.events[0].kind == "unknown-name-refused");
            }
        }
    }
    // An unknown name leads to no account that could be decided on.
    let is_decided = |name: &&str| {
        let by_command = [Some(Cause::Done), Some(Cause::Refused)];
        by_command.contains(&Event::cause_of(name)) && *name != "unknown-name-refused"
    };
    let names = Event::ALL.iter().map(|(_, _, name)| *name);
    let expected: BTreeSet<String> = names.filter(is_decided).map(Into::into).collect();
    assert_eq!(same, expected);
}

/// Facts that only the keyring and the key store hold are named as such, not claimed.
#[test]
fn what_the_log_cannot_show_of_an_erasure_and_a_rotation_is_said_in_words() {
    let mut life = Life::new();
    let case = life.requested("agent-1");
    life.by("agent-2", "approve-reset", case).unwrap();
    let approved = life.head();
    let shown = explain(&life.engine, approved);
    assert_eq!(shown.taken_as_recorded, [""; 0]);
    let why = shown.because.join(" ");
    assert!(
        why.contains("agent-1 had asked for it and not this agent"),
        "{why}"
    );
    life.with_proof("disable-2fa").unwrap();
    life.keys_and_the_end();
    let erased = explain(&life.engine, life.head());
    assert_eq!(erased.events[0].kind, "account-erased");
    assert_eq!(erased.rerun, RerunResult::Same);
    assert!(erased.taken_as_recorded[0].contains("keys.redb"));
    let shown = explain(&life.engine, approved);
    assert_eq!(shown.rerun, RerunResult::Same);
    assert!(shown.taken_as_recorded[0].contains("the name was erased"));
    let of_rotation = (1..=life.head())
        .map(|position| explain(&life.engine, position))
        .find(|shown| shown.events[0].kind == "keys-rotated");
    let rotated = of_rotation.unwrap();
    assert_eq!(rotated.rerun, RerunResult::Same);
    assert!(rotated.taken_as_recorded[0].contains("the keyring file"));
    // Until the data keys are wrapped again, no rotation had a number to take.
    let position = rotated.events[0].position;
    let next = |before| life.engine.queries().next_key_id_before(before).unwrap();
    assert_eq!((next(position), next(position + 1)), (Some(2), None));
}

/// Deciding each command of a life again from the log alone gives the same result, in another
/// process too, and under the policy then in force.
#[test]
fn every_decision_is_explained_and_has_the_same_result_again() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    commands(&fixture, &engine, |_, _| {});
    drop(engine);
    // The policy has changed since, and would give a different result.
    let engine = fixture.start_with(|options| options.policy.code_failures_free = 0);
    let head = engine.admin.log.head();
    let mut results = std::collections::BTreeMap::<String, u32>::new();
    for position in 1..=head {
        let explained = explain(&engine, position);
        assert!(
            explained
                .events
                .iter()
                .any(|event| event.position == position)
        );
        let kind = &explained.events[0].kind;
        let detail = &explained.rerun_detail;
        assert_ne!(
            explained.rerun,
            RerunResult::Different,
            "{kind}: {detail:?}"
        );
        if explained.rerun == RerunResult::Same {
            assert!(!explained.because.is_empty(), "{kind} says why");
            assert_ne!(explained.verdict, ExplainedVerdict::Recorded);
            *results.entry(kind.clone()).or_default() += 1;
        }
    }
    let made = [
        "account-registered",
        "enrolment-started",
        "two-factor-enabled",
        "totp-rejected",
        "backup-codes-issued",
        "two-factor-disabled",
    ];
    assert!(
        made.iter().all(|kind| results.contains_key(*kind)),
        "{results:?}"
    );
    let beyond = engine
        .queries()
        .audit_explain(&AuditExplainQuery { position: head + 1 });
    assert_eq!(beyond.unwrap_err().code, ErrorCode::RequestInvalid);
}

#[test]
fn an_explanation_says_what_the_account_was_and_why() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, _) = fixture.enrol(&engine, "ada");
    fixture.pass(60);
    let code = fixture.code(&secret, 0);
    fixture
        .send(&engine, "verify-login", verify(&code))
        .unwrap();
    fixture
        .send(&engine, "verify-login", verify(&code))
        .unwrap_err();
    let position = engine.admin.log.head();
    let refused = explain(&engine, position);
    assert_eq!(refused.verdict, ExplainedVerdict::Refused);
    assert_eq!(refused.rerun, RerunResult::Same);
    let why = refused.because.join(" ");
    assert!(
        why.contains("was spent.") && why.contains("failure 1 of the 10"),
        "{why}"
    );
    let allowed = explain(&engine, position - 1);
    assert_eq!(allowed.verdict, ExplainedVerdict::Allowed);
    assert!(allowed.because.join(" ").contains("had not been used"));
    assert_eq!(allowed.before.unwrap().backup_codes_left, 10);
}
