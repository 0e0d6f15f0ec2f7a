//! The engine end to end, in process: a real log in a temporary folder, an argument for a clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use countersign_schemas::code::Code;
use countersign_schemas::command::Command;
use countersign_schemas::ids::{AccountId, CommandId};
use countersign_schemas::query::{AuditPageQuery, AuditTimelineQuery};
use countersign_schemas::record::Role;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::reply::FactorState;
use countersign_schemas::time::Micros;
use serde_json::{Value, json};

use super::{Caller, Done, Engine, EngineOptions, Outcome, Request, StartError, init};
use crate::account::{Policy, Reply};
use crate::crypto::otp::{TotpSecret, hotp, step_at};
use crate::log::LogOptions;

/// An installation whose clock the test moves.
pub(super) struct House {
    folder: tempfile::TempDir,
    now: Arc<AtomicU64>,
    monotonic: Arc<AtomicU64>,
    next_id: AtomicU64,
}

impl House {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(1_800_000_000_000_000));
        let house = Self {
            folder,
            now,
            monotonic: Arc::default(),
            next_id: AtomicU64::new(1),
        };
        init(
            &house.data(),
            &house.keyring(),
            house.time(),
            LogOptions::default(),
        )
        .unwrap();
        house
    }

    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(super) fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn keyring(&self) -> std::path::PathBuf {
        self.folder.path().join("keys").join("keyring.toml")
    }

    pub(super) fn time(&self) -> Micros {
        Micros(self.now.load(Ordering::SeqCst))
    }

    /// Lets time pass, by both clocks.
    pub(super) fn pass(&self, seconds: u64) {
        let micros = seconds * Micros::SECOND;
        self.monotonic.fetch_add(micros, Ordering::SeqCst);
        self.now.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the wall clock forward or back.
    pub(super) fn set_wall(&self, by_s: i64) {
        let by = by_s * Micros::SECOND.cast_signed();
        self.now.fetch_add(by.cast_unsigned(), Ordering::SeqCst);
    }

    pub(super) fn try_start(&self) -> Result<Engine, StartError> {
        self.try_start_with(|_| {})
    }

    pub(super) fn start_on(&self, storage: crate::log::Storage) -> Engine {
        self.try_start_with(|options| options.log.storage = storage)
            .unwrap()
    }

    pub(super) fn try_start_with(
        &self,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Result<Engine, StartError> {
        let (now, monotonic) = (Arc::clone(&self.now), Arc::clone(&self.monotonic));
        let mut options = EngineOptions {
            data: self.data(),
            keyring: self.keyring(),
            policy: Policy {
                kdf_memory_kib: 8,
                ..Policy::default()
            },
            vouched: false,
            vouching: None,
            clock: Arc::new(move || Micros(now.load(Ordering::SeqCst))),
            monotonic: Arc::new(move || Micros(monotonic.load(Ordering::SeqCst))),
            accept_clock_back: None,
            log: LogOptions::default(),
            backup_folder: Some(self.folder.path().join("backup")),
        };
        change(&mut options);
        Engine::start(options)
    }

    pub(super) fn start_with(&self, change: impl FnOnce(&mut EngineOptions)) -> Engine {
        self.try_start_with(change).unwrap()
    }

    pub(super) fn start(&self) -> Engine {
        self.try_start().unwrap()
    }

    pub(super) fn request(&self, name: &str, body: &Value, id: &str, engine: &Engine) -> Request {
        let payload = serde_json::to_vec(body).unwrap();
        Request {
            command: Command::decode(name, &payload).unwrap(),
            command_id: CommandId::parse(id).unwrap(),
            caller: Caller {
                name: "test".into(),
                verified: true,
                role: Role::Platform,
            },
            on_behalf_of: None,
            trace_id: None,
            body_tag: engine.body_tag("test", name, &payload),
            received_at: self.time(),
            deadline: None,
        }
    }

    pub(super) fn send_as(&self, engine: &Engine, id: &str, name: &str, body: Value) -> Outcome {
        let (sender, receiver) = mpsc::channel();
        let request = self.request(name, &body, id, engine);
        engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
        receiver.recv().unwrap()
    }

    pub(super) fn send(
        &self,
        engine: &Engine,
        name: &str,
        body: Value,
    ) -> Result<Reply, ErrorCode> {
        let id = format!("c-{}", self.next_id.fetch_add(1, Ordering::SeqCst));
        let outcome = self.send_as(engine, &id, name, body);
        outcome
            .result
            .map(|done| done.reply)
            .map_err(|refusal| refusal.code)
    }

    /// Registers and enrols an account; gives its secret and its backup codes.
    pub(super) fn enrol(&self, engine: &Engine, account: &str) -> (TotpSecret, Vec<String>) {
        let body = json!({"account_id": account, "username": account, "password": PASSWORD});
        self.send(engine, "register-account", body).unwrap();
        let body = json!({"account_id": account, "proof": {"password": PASSWORD}});
        let Ok(Reply::EnrolmentStarted {
            authenticator_id,
            secret,
            ..
        }) = self.send(engine, "enable-2fa", body)
        else {
            panic!("enrolment starts");
        };
        let code = self.code(&secret, 0);
        let body =
            json!({"account_id": account, "authenticator_id": authenticator_id, "code": code});
        let Ok(Reply::CodeConfirmed { issued, .. }) = self.send(engine, "confirm-code", body)
        else {
            panic!("the first code confirms");
        };
        let codes = issued.codes.iter().map(|code| code.reveal()).collect();
        (secret, codes)
    }

    pub(super) fn code(&self, secret: &TotpSecret, steps: i64) -> String {
        let step = step_at(self.time().unix_s()).strict_add_signed(steps);
        Code::Totp(hotp(secret, step)).reveal()
    }
}

pub(super) const PASSWORD: &str = "correct horse battery staple";

pub(super) fn verify(code: &str) -> Value {
    json!({"account_id": "ada", "code": code})
}

#[test]
fn the_whole_life_survives_a_restart_between_any_two_steps() {
    let house = House::new();
    let engine = house.start();
    let (secret, codes) = house.enrol(&engine, "ada");
    drop(engine);
    let engine = house.start();
    let confirming = house.code(&secret, 0);
    assert_eq!(
        house
            .send(&engine, "verify-login", verify(&confirming))
            .unwrap_err(),
        ErrorCode::CodeInvalid
    );
    house.pass(30);
    let code = house.code(&secret, 0);
    assert!(house.send(&engine, "verify-login", verify(&code)).is_ok());
    drop(engine);
    let engine = house.start();
    assert_eq!(
        house
            .send(&engine, "verify-login", verify(&code))
            .unwrap_err(),
        ErrorCode::CodeInvalid
    );
    assert!(
        house
            .send(&engine, "verify-login", verify(&codes[3]))
            .is_ok()
    );
    drop(engine);
    let engine = house.start();
    assert_eq!(
        house
            .send(&engine, "verify-login", verify(&codes[3]))
            .unwrap_err(),
        ErrorCode::CodeInvalid
    );
    let proof = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
    let Ok(Reply::BackupCodesRegenerated {
        set_no: 2,
        superseded_unused: 9,
        ..
    }) = house.send(&engine, "regenerate-backup-codes", proof.clone())
    else {
        panic!("a second set, nine old codes void");
    };
    assert_eq!(
        house
            .send(&engine, "verify-login", verify(&codes[4]))
            .unwrap_err(),
        ErrorCode::CodeInvalid
    );
    assert!(house.send(&engine, "disable-2fa", proof).is_ok());
    drop(engine);
    let engine = house.start();
    let login = json!({"username": "ADA", "password": PASSWORD});
    assert!(matches!(
        house.send(&engine, "start-login", login),
        Ok(Reply::LoginByPassword { .. })
    ));
    let ada = AccountId::parse("ada").unwrap();
    let status = engine.queries().login_status(&ada, None).unwrap();
    assert_eq!(status.second_factor, FactorState::Off);
}

#[test]
fn a_challenge_survives_a_restart_and_is_spent_by_a_success() {
    let house = House::new();
    let engine = house.start();
    let (secret, _) = house.enrol(&engine, "ada");
    house.pass(30);
    let login = json!({"username": "ada", "password": PASSWORD});
    let Ok(Reply::CodeRequired { challenge_id, .. }) = house.send(&engine, "start-login", login)
    else {
        panic!("2FA is on");
    };
    drop(engine);
    let engine = house.start();
    let body = |code: String| json!({"challenge_id": challenge_id.reveal(), "code": code});
    let wrong = house.send(&engine, "verify-login", body("000000".into()));
    assert_eq!(wrong.unwrap_err(), ErrorCode::CodeInvalid);
    assert!(
        house
            .send(&engine, "verify-login", body(house.code(&secret, 0)))
            .is_ok()
    );
    house.pass(30);
    let again = house.send(&engine, "verify-login", body(house.code(&secret, 0)));
    assert_eq!(again.unwrap_err(), ErrorCode::ChallengeExpired);
}

#[test]
fn the_same_command_id_has_one_effect_and_one_outcome() {
    let house = House::new();
    let engine = house.start();
    let (secret, _) = house.enrol(&engine, "ada");
    house.pass(30);
    let body = verify(&house.code(&secret, 0));
    let told = |outcome: &Outcome| match &outcome.result {
        Ok(Done { details, .. }) => (details.position, outcome.replayed),
        Err(refusal) => panic!("{refusal:?}"),
    };
    let first = house.send_as(&engine, "one", "verify-login", body.clone());
    let (position, _) = told(&first);
    assert_eq!(
        told(&house.send_as(&engine, "one", "verify-login", body.clone())),
        (position, true)
    );
    let other = house.send_as(&engine, "one", "verify-login", verify("000000"));
    assert_eq!(
        other.result.unwrap_err().code,
        ErrorCode::IdempotencyMismatch
    );
    drop(engine);
    let engine = house.start();
    let after_restart = house.send_as(&engine, "one", "verify-login", body.clone());
    assert_eq!(told(&after_restart), (position, true));
    house.pass(86_401);
    let a_day_later = house.send_as(&engine, "one", "verify-login", body);
    assert_eq!(a_day_later.result.unwrap_err().code, ErrorCode::CodeInvalid);
}

#[test]
fn a_secret_reply_is_repeated_for_two_minutes_and_unseen_afterwards() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    let body = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
    let first = house.send_as(&engine, "new", "regenerate-backup-codes", body.clone());
    let again = house.send_as(&engine, "new", "regenerate-backup-codes", body.clone());
    assert!(again.replayed && first.result.is_ok() && again.result.is_ok());
    house.pass(121);
    let late = house.send_as(&engine, "new", "regenerate-backup-codes", body);
    assert_eq!(late.result.unwrap_err().code, ErrorCode::OutcomeUnseen);
    assert!(!late.replayed);
}

#[test]
fn two_equal_names_at_once_have_one_winner() {
    let house = House::new();
    let engine = house.start();
    let (sender, receiver) = mpsc::channel();
    for n in 0..8 {
        let body = json!({"account_id": format!("a{n}"), "username": "Ada", "password": PASSWORD});
        let request = house.request("register-account", &body, &format!("r{n}"), &engine);
        let sender = sender.clone();
        engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
    }
    let outcomes: Vec<_> = receiver
        .iter()
        .take(8)
        .map(|o| o.result.map_err(|r| r.code))
        .collect();
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    let taken = outcomes
        .iter()
        .filter(|o| matches!(o, Err(ErrorCode::AccountExists)))
        .count();
    assert_eq!(taken, 7);
}

#[test]
fn one_code_sent_thirty_two_times_at_once_is_accepted_once() {
    let house = House::new();
    let engine = house.start();
    let (secret, codes) = house.enrol(&engine, "ada");
    house.pass(30);
    for code in [house.code(&secret, 0), codes[0].clone()] {
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|threads| {
            for n in 0..32 {
                let (house, engine, sender, code) = (&house, &engine, sender.clone(), code.clone());
                threads.spawn(move || {
                    let id = format!("{}-{n}", code.len());
                    let outcome = house.send_as(engine, &id, "verify-login", verify(&code));
                    sender.send(outcome.result.is_ok()).unwrap();
                });
            }
        });
        drop(sender);
        assert_eq!(
            receiver.iter().filter(|accepted| *accepted).count(),
            1,
            "{}",
            code.len()
        );
    }
}

#[test]
fn an_unknown_user_and_a_wrong_password_answer_alike_and_both_wait() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    for name in ["ada", "nobody"] {
        let body = json!({"username": name, "password": "wrong password"});
        for n in 1..=11 {
            let answer = house.send(&engine, "start-login", body.clone());
            assert_eq!(
                answer.unwrap_err(),
                ErrorCode::CredentialsInvalid,
                "{name} {n}"
            );
        }
        let right = json!({"username": name, "password": PASSWORD});
        let waiting = house.send(&engine, "start-login", right);
        assert_eq!(waiting.unwrap_err(), ErrorCode::AccountThrottled, "{name}");
    }
}

#[test]
fn the_history_tells_the_life_in_order_without_a_secret() {
    let house = House::new();
    let engine = house.start();
    let (secret, codes) = house.enrol(&engine, "ada");
    house.pass(30);
    house
        .send(&engine, "verify-login", verify(&house.code(&secret, 0)))
        .unwrap();
    let ada = AccountId::parse("ada").unwrap();
    let page = engine
        .queries()
        .audit_timeline(&ada, &AuditTimelineQuery::default(), None)
        .unwrap();
    let kinds: Vec<_> = page
        .events
        .iter()
        .map(|event| event.kind.as_str())
        .collect();
    let expected = [
        "account-registered",
        "password-set",
        "enrolment-started",
        "two-factor-enabled",
        "backup-codes-issued",
        "totp-accepted",
    ];
    assert_eq!(kinds, expected);
    let text = serde_json::to_string(&page).unwrap();
    for hidden in [secret.base32().as_str(), codes[0].as_str(), PASSWORD] {
        assert!(!text.contains(hidden));
    }
    let query = AuditPageQuery {
        types: Some(vec!["totp-accepted".into()]),
        ..AuditPageQuery::default()
    };
    let filtered = engine.queries().audit_page(&query, None).unwrap();
    assert_eq!(filtered.events, page.events[5..]);
}

#[test]
fn pages_of_any_size_give_the_whole_history_and_split_no_command() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    let all = engine
        .queries()
        .audit_page(&AuditPageQuery::default(), None)
        .unwrap();
    assert_eq!((all.events.len(), all.next), (7, None));
    for limit in 1..=7 {
        let (mut events, mut after) = (Vec::new(), None);
        loop {
            let query = AuditPageQuery {
                after,
                limit: Some(limit),
                ..AuditPageQuery::default()
            };
            let page = engine.queries().audit_page(&query, None).unwrap();
            if let (Some(last), Some(first)) = (events.last(), page.events.first()) {
                let last: &countersign_schemas::reply::AuditEvent = last;
                assert_ne!(last.command_id, first.command_id, "limit {limit}");
            }
            events.extend(page.events);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(events, all.events, "limit {limit}");
    }
}

#[test]
fn a_second_process_a_foreign_keyring_and_a_missing_log_are_refused_with_a_cure() {
    let house = House::new();
    let engine = house.start();
    assert!(house.try_start().is_err(), "a second process");
    drop(engine);
    let other = House::new();
    std::fs::rename(house.data().join("log"), house.folder.path().join("aside")).unwrap();
    let missing = house.try_start().err().unwrap().to_string();
    assert!(missing.contains("restore"), "{missing}");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::create_dir(to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    };
    copy(&other.data().join("log"), &house.data().join("log"));
    let foreign = house.try_start().err().unwrap().to_string();
    assert!(foreign.contains("is not the one"), "{foreign}");
}

#[test]
fn views_that_are_deleted_are_rebuilt_from_the_log() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    let ada = AccountId::parse("ada").unwrap();
    let before = engine.queries().login_status(&ada, None).unwrap();
    drop(engine);
    std::fs::remove_file(house.data().join("views.redb")).unwrap();
    let engine = house.start();
    assert_eq!(engine.queries().login_status(&ada, None).unwrap(), before);
}

#[test]
fn a_directory_elsewhere_needs_no_registration_and_no_password() {
    let house = House::new();
    let engine = house.start_with(|options| options.vouched = true);
    let eve = AccountId::parse("eve").unwrap();
    let status = engine.queries().login_status(&eve, None).unwrap();
    assert_eq!(status.second_factor, FactorState::Off);
    let Ok(Reply::EnrolmentStarted {
        authenticator_id,
        secret,
        ..
    }) = house.send(&engine, "enable-2fa", json!({"account_id": "eve"}))
    else {
        panic!("the caller answers for the first factor");
    };
    let code = house.code(&secret, 0);
    let body = json!({"account_id": "eve", "authenticator_id": authenticator_id, "code": code});
    assert!(house.send(&engine, "confirm-code", body).is_ok());
    let login = house.send(&engine, "start-login", json!({"account_id": "eve"}));
    assert!(matches!(login, Ok(Reply::CodeRequired { .. })), "{login:?}");
    assert!(
        house
            .send(&engine, "disable-2fa", json!({"account_id": "eve"}))
            .is_ok()
    );
}

#[test]
fn a_login_without_a_password_is_invalid_where_this_service_holds_them() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    let login = house.send(&engine, "start-login", json!({"username": "ada"}));
    assert_eq!(login.unwrap_err(), ErrorCode::RequestInvalid);
    let disable = house.send(&engine, "disable-2fa", json!({"account_id": "ada"}));
    assert_eq!(disable.unwrap_err(), ErrorCode::CredentialsInvalid);
}

#[test]
fn only_a_listed_caller_answers_for_the_first_factor() {
    let house = House::new();
    let forbidden = |engine: &Engine, name: &str, body: Value| {
        matches!(
            house.send(engine, name, body),
            Err(ErrorCode::ActorForbidden)
        )
    };
    let listed = |name: &str| Some([name.to_owned()].into());
    let engine = house.start_with(|options| options.vouching = listed("another"));
    let (_, codes) = house.enrol(&engine, "ada");
    assert!(forbidden(&engine, "verify-login", verify(&codes[0])));
    let proof = json!({"account_id": "ada", "proof": {"password": PASSWORD}});
    assert!(!forbidden(&engine, "regenerate-backup-codes", proof));
    let login = json!({"username": "ada", "password": PASSWORD});
    assert!(!forbidden(&engine, "start-login", login.clone()));
    drop(engine);
    for (name, is_listed) in [("another", false), ("test", true)] {
        let engine = house.start_with(|options| {
            options.vouched = true;
            options.vouching = listed(name);
        });
        for (name, body) in [
            ("start-login", json!({"account_id": "ada"})),
            ("enable-2fa", json!({"account_id": "eve"})),
            ("regenerate-backup-codes", json!({"account_id": "ada"})),
            ("verify-login", verify("000000")),
            (
                "disable-2fa",
                json!({"account_id": "ada", "proof": {"code": "000000"}}),
            ),
        ] {
            assert_eq!(forbidden(&engine, name, body), !is_listed, "{name}");
        }
        assert!(!forbidden(&engine, "start-login", login.clone()));
    }
}

#[test]
fn an_operator_sees_the_numbers_rebuilds_a_view_and_takes_a_backup_that_opens() {
    let house = House::new();
    let engine = house.start();
    let (_, codes) = house.enrol(&engine, "ada");
    let stats = engine.admin().log_stats().unwrap();
    assert_eq!((stats.position, stats.segments.len()), (7, 1));
    assert_eq!(stats.events.iter().map(|event| event.count).sum::<u64>(), 7);
    let before = engine
        .queries()
        .audit_page(&AuditPageQuery::default(), None)
        .unwrap();
    assert!(engine.admin().view_rebuild("no-such-view").is_err());
    engine.admin().view_rebuild("audit-trail").unwrap();
    let after = loop {
        match engine
            .queries()
            .audit_page(&AuditPageQuery::default(), None)
        {
            Ok(page) => break page,
            Err(refusal) => assert_eq!(refusal.code, ErrorCode::ProjectionBehind),
        }
    };
    assert_eq!(after, before);
    let backup = engine.admin().backup().unwrap();
    assert_eq!((backup.position, backup.files.len()), (7, 2));
    assert!(
        house
            .send(&engine, "verify-login", verify(&codes[0]))
            .is_ok()
    );
    drop(engine);
    // Restored, the log is as it was at the backup: one event shorter.
    for name in [
        "log",
        "keys.redb",
        "index.redb",
        "views.redb",
        "snapshots.redb",
    ] {
        let path = house.data().join(name);
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
    }
    let copy = house.folder().join("backup");
    std::fs::rename(copy.join("log"), house.data().join("log")).unwrap();
    std::fs::rename(
        copy.join("keys").join("keys.redb"),
        house.data().join("keys.redb"),
    )
    .unwrap();
    let engine = house.start();
    assert_eq!(engine.admin().log_stats().unwrap().position, 7);
}

#[test]
fn a_restart_shows_the_history_at_once() {
    let house = House::new();
    let engine = house.start();
    house.enrol(&engine, "ada");
    drop(engine);
    let engine = house.start();
    let page = engine
        .queries()
        .audit_page(&AuditPageQuery::default(), None)
        .unwrap();
    assert_eq!(page.events.len(), 7);
}
