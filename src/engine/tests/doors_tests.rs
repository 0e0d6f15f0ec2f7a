//! One answer per account through every door: in every mode and state, and after a restart.

use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::FactorState;
use serde_json::{Value, json};

use super::fixture::{Fixture, PASSWORD};
use crate::account::{LoginReply, Reply, ResetReply, SecretReply};
use crate::engine::{Engine, EngineOptions, PasswordsBy};

/// The holder of the passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Here,
    Vouched,
    Elsewhere,
}

/// The state of an account before the doors are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unseen,
    LoggedIn,
    Pending,
    On,
    Suspended,
    OffAgain,
}

const MODES: [Mode; 3] = [Mode::Here, Mode::Vouched, Mode::Elsewhere];
const STATES: [State; 6] = [
    State::Unseen,
    State::LoggedIn,
    State::Pending,
    State::On,
    State::Suspended,
    State::OffAgain,
];

impl Mode {
    fn start(self, fixture: &Fixture) -> Engine {
        let engine = fixture.start_with(|options: &mut EngineOptions| match self {
            Self::Here => {}
            Self::Vouched => options.passwords_by = PasswordsBy::Caller,
            Self::Elsewhere => options.passwords_by = PasswordsBy::PasswordService,
        });
        if self == Self::Elsewhere {
            engine.ask_about_passwords(Box::new(|asked| {
                let right = asked.password.reveal() == PASSWORD;
                asked.answer(Ok(right));
            }));
        }
        engine
    }

    /// The body of a command that its first factor proves.
    fn proven(self, mut body: Value) -> Value {
        if self != Self::Vouched {
            body["proof"] = json!({"password": PASSWORD});
        }
        body
    }

    fn login(self, account: &str) -> Value {
        match self {
            Self::Vouched => json!({"account_id": account}),
            Self::Here | Self::Elsewhere => json!({"account_id": account, "password": PASSWORD}),
        }
    }
}

/// Brings an account into a state.
fn bring(fixture: &Fixture, engine: &Engine, mode: Mode, state: State, account: &str) {
    let send = |name: &str, body| fixture.send(engine, name, body).unwrap();
    let of = json!({"account_id": account});
    if state == State::Unseen {
        return;
    }
    if mode == Mode::Here {
        let body = json!({"account_id": account, "username": account, "password": PASSWORD});
        send("register-account", body);
    }
    if state == State::LoggedIn {
        send("start-login", mode.login(account));
        return;
    }
    let Reply::Secret(SecretReply::EnrolmentStarted {
        authenticator_id,
        secret,
        ..
    }) = send("enable-2fa", mode.proven(of.clone()))
    else {
        panic!("an enrolment begins");
    };
    if state == State::Pending {
        return;
    }
    let code = fixture.code(&secret, 0);
    let body = json!({"account_id": account, "authenticator_id": authenticator_id, "code": code});
    send("confirm-code", body);
    match state {
        State::Suspended => {
            let body = json!({"account_id": account, "reason": "stolen", "ticket": "T-1"});
            send("suspend-factor", body);
        }
        State::OffAgain => {
            send("disable-2fa", mode.proven(of));
        }
        _ => {}
    }
}

/// Returns the answer due at each door for a status; `None` means success.
fn expected(
    mode: Mode,
    state: State,
    status: &Result<FactorState, ErrorCode>,
) -> [Option<ErrorCode>; 11] {
    let doors = |login, code, proof, enrolment, reset, support, clear| {
        [
            login, code, code, proof, proof, enrolment, enrolment, reset, support, support, clear,
        ]
    };
    match status {
        Err(ErrorCode::AccountNotFound) => {
            assert_eq!((mode, state), (Mode::Here, State::Unseen));
            let not_found = Some(ErrorCode::AccountNotFound);
            let wrong = Some(ErrorCode::CredentialsInvalid);
            let mut answers = doors(
                wrong, not_found, wrong, not_found, not_found, not_found, not_found,
            );
            // The code came with a password, which is judged first.
            answers[2] = wrong;
            answers
        }
        Ok(FactorState::Off | FactorState::Pending) => {
            let off = Some(ErrorCode::FactorNotOn);
            let enrolment = Some(ErrorCode::FactorNotPending);
            doors(
                None,
                off,
                off,
                enrolment,
                Some(ErrorCode::ResetNone),
                off,
                off,
            )
        }
        Ok(FactorState::On) => {
            let enrolment = Some(ErrorCode::FactorNotPending);
            let reset = Some(ErrorCode::ResetNone);
            let (code, proof, clear) = match state {
                State::Suspended => {
                    let suspended = Some(ErrorCode::FactorSuspended);
                    (suspended, suspended, suspended)
                }
                _ => (
                    Some(ErrorCode::CodeInvalid),
                    Some(ErrorCode::CodeInvalid),
                    None,
                ),
            };
            doors(None, code, proof, enrolment, reset, None, clear)
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn in_every_mode_and_state_each_door_answers_as_the_login_status_says() {
    for mode in MODES {
        let fixture = Fixture::new();
        let engine = mode.start(&fixture);
        for (nth, state) in STATES.into_iter().enumerate() {
            let account = format!("a-{nth}");
            bring(&fixture, &engine, mode, state, &account);
            fixture.pass(60);
            let id = AccountId::parse(&account).unwrap();
            let status = || {
                let status = engine.queries().login_status(&id, None);
                let status = status.map(|status| status.second_factor);
                status.map_err(|refusal| refusal.code)
            };
            let seen = status();
            let of = json!({"account_id": account});
            let with_code = |mut body: Value| {
                body["code"] = "000000".into();
                body
            };
            let mut wrong_proof = mode.proven(of.clone());
            wrong_proof["proof"]["code"] = "000000".into();
            let mut other_app = of.clone();
            other_app["authenticator_id"] = "another".into();
            let support = json!({"account_id": account, "reason": "r", "ticket": "T-2"});
            let reason = json!({"account_id": account, "reason": "r"});
            let doors = [
                ("verify-login", with_code(of.clone())),
                ("start-login", with_code(mode.login(&account))),
                ("disable-2fa", wrong_proof.clone()),
                ("regenerate-backup-codes", wrong_proof),
                ("confirm-code", with_code(other_app.clone())),
                ("cancel-enrolment", other_app),
                ("user-cancel-reset", of.clone()),
                ("clear-attempts", reason),
                ("request-reset", support.clone()),
                ("suspend-factor", support),
                ("start-login", mode.login(&account)),
            ];
            let [
                login,
                verify,
                pair,
                disable,
                regenerate,
                confirm,
                cancel,
                reset,
                request,
                suspend,
                clear,
            ] = expected(mode, state, &seen);
            let expected = [
                verify, pair, disable, regenerate, confirm, cancel, reset, clear, request, suspend,
                login,
            ];
            for ((door, body), expected) in doors.into_iter().zip(expected) {
                let answer = fixture.send(&engine, door, body);
                let context = format!("{mode:?} {state:?} {door}: {answer:?}");
                // A second suspension of a stolen phone finds nothing to stop.
                let expected = match (state, door) {
                    (State::Suspended, "suspend-factor") => Some(ErrorCode::FactorSuspended),
                    _ => expected,
                };
                assert_eq!(answer.err(), expected, "{context}");
            }
            assert_eq!(status(), seen, "{mode:?} {state:?}");
        }
    }
}

/// Returns the answer of a door, with its wait in seconds.
fn answer(
    fixture: &Fixture,
    engine: &Engine,
    door: &str,
    body: &Value,
) -> (ErrorCode, Option<u64>) {
    let outcome = fixture.send_as(engine, &fixture.fresh_id(), door, body.clone());
    let Refusal {
        code,
        retry_after_s,
        ..
    } = outcome.result.unwrap_err();
    (code, retry_after_s)
}

/// Wrong passwords at one name, by one door.
fn wrong(door: &str, name: &str) -> Value {
    let password = "no password of hers";
    match door {
        "by-name" => json!({"username": name, "password": password}),
        "start-login" => json!({"account_id": name, "password": password}),
        "change-password" => {
            json!({"account_id": name, "password": password, "new_password": "another good one"})
        }
        _ => json!({"account_id": name, "proof": {"password": password}}),
    }
}

/// C-7: otherwise a restart shows which names exist.
#[test]
fn a_restart_changes_no_answer_of_a_name_or_an_id_known_or_unknown() {
    const DOORS: [&str; 6] = [
        "by-name",
        "start-login",
        "change-password",
        "enable-2fa",
        "disable-2fa",
        "regenerate-backup-codes",
    ];
    let fixture = Fixture::new();
    let engine = fixture.start();
    let names = |nth: usize| [format!("known-{nth}"), format!("unknown-{nth}")];
    let command = |door: &'static str| match door {
        "by-name" => "start-login",
        door => door,
    };
    let mut before = Vec::new();
    for (nth, door) in DOORS.into_iter().enumerate() {
        fixture.enrol(&engine, &names(nth)[0]);
        let answers = names(nth).map(|name| {
            let body = wrong(door, &name);
            let tries = (0..13).map(|_| answer(&fixture, &engine, command(door), &body));
            tries.collect::<Vec<_>>()
        });
        assert_eq!(answers[0], answers[1], "{door}");
        assert_eq!(answers[0][12], (ErrorCode::AccountThrottled, Some(5)));
        before.push(answers[0][12]);
    }
    drop(engine);
    let engine = fixture.start();
    let answers_after = |pass_s: u64| {
        fixture.pass(pass_s);
        let of = |(nth, door): (usize, &'static str)| {
            names(nth).map(|name| answer(&fixture, &engine, command(door), &wrong(door, &name)))
        };
        DOORS.into_iter().enumerate().map(of).collect::<Vec<_>>()
    };
    for (known, unknown) in answers_after(0).into_iter().map(|[a, b]| (a, b)) {
        assert_eq!((known, unknown), (before[0], before[0]));
    }
    // The next attempts continue these counts.
    let invalid = (ErrorCode::CredentialsInvalid, None);
    assert!(
        answers_after(5)
            .iter()
            .flatten()
            .all(|answer| *answer == invalid)
    );
    let waits = (ErrorCode::AccountThrottled, Some(10));
    assert!(
        answers_after(0)
            .iter()
            .flatten()
            .all(|answer| *answer == waits)
    );
}

#[test]
fn a_restart_changes_no_answer_of_a_challenge_or_a_case_known_or_unknown() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    fixture.enrol(&engine, "ada");
    fixture.enrol(&engine, "eve");
    let login = json!({"account_id": "ada", "password": PASSWORD});
    let Ok(Reply::Login(LoginReply::CodeRequired { challenge_id, .. })) =
        fixture.send(&engine, "start-login", login)
    else {
        panic!("a code is asked for");
    };
    let request = |account: &str| json!({"account_id": account, "reason": "r", "ticket": "T"});
    let case = |account: &str| {
        let opened = fixture.send(&engine, "request-reset", request(account));
        let Ok(Reply::Reset(ResetReply::Requested { case_id, .. })) = opened else {
            panic!("a case is opened");
        };
        case_id.as_str().to_owned()
    };
    let (closed, lapsed) = (case("ada"), case("eve"));
    let on = |case: &str| json!({"case_id": case, "reason": "r"});
    fixture.send(&engine, "reject-reset", on(&closed)).unwrap();
    fixture.pass(8 * 86_400);
    let no_code = |challenge: &str| json!({"challenge_id": challenge, "code": "000000"});
    let asks: Vec<_> = [challenge_id.reveal().to_owned(), "0".repeat(32)]
        .map(|challenge| ("verify-login", no_code(&challenge)))
        .into_iter()
        .chain(
            [
                "approve-reset",
                "reject-reset",
                "cancel-reset",
                "execute-reset",
            ]
            .into_iter()
            .flat_map(|step| [&closed, &lapsed, "no-case"].map(|case| (step, on(case)))),
        )
        .collect();
    let answers_of = |engine: &Engine| {
        let answers = asks
            .iter()
            .map(|(door, body)| answer(&fixture, engine, door, body));
        answers.collect::<Vec<_>>()
    };
    let before = answers_of(&engine);
    assert_eq!(before[0], before[1], "a challenge that lapsed and none");
    drop(engine);
    assert_eq!(answers_of(&fixture.start()), before);
}
