//! The audience of a login, over the real engine: it is remembered, and it is checked before any
//! code.

use countersign_schemas::refusal::ErrorCode;
use serde_json::json;

use super::fixture::{Fixture, PASSWORD};
use crate::account::{LoginReply, Reply};

/// a right code gets the same answer as a wrong one, in the same time.
#[test]
fn no_code_is_compared_of_a_login_that_names_another_audience_than_its_start() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    fixture.pass(60);
    let body = json!({"username": "ada", "password": PASSWORD, "audience": "shop"});
    let Ok(Reply::Login(LoginReply::CodeRequired { challenge_id, .. })) =
        fixture.send(&engine, "start-login", body)
    else {
        panic!("a challenge opens");
    };
    let send = |code: &str, audience: &str| {
        let body = json!({
            "challenge_id": challenge_id.reveal(), "code": code, "audience": audience
        });
        let before = engine.readings().comparisons;
        let reply = fixture.send(&engine, "verify-login", body);
        (reply.err(), engine.readings().comparisons - before)
    };
    for code in [fixture.code(&secret, 0), codes[0].clone(), "000000".into()] {
        let refused = Some(ErrorCode::RequestInvalid);
        assert_eq!(send(&code, "mail"), (refused, 0), "{code}");
    }
    assert_eq!(send("000000", "shop"), (Some(ErrorCode::CodeInvalid), 1));
}

/// Otherwise a restart would release the login from its audience.
#[test]
fn the_audience_of_a_start_is_remembered_through_restarts_and_without_the_derived_files() {
    let fixture = Fixture::new();
    let mut engine = fixture.start();
    let (_, codes) = fixture.enrol(&engine, "ada");
    let body = json!({"username": "ada", "password": PASSWORD, "audience": "shop"});
    let Ok(Reply::Login(LoginReply::CodeRequired { challenge_id, .. })) =
        fixture.send(&engine, "start-login", body)
    else {
        panic!("a challenge opens");
    };
    drop(engine);
    for file in ["index.redb", "views.redb", "snapshots.redb"] {
        std::fs::remove_file(fixture.data().join(file)).unwrap();
    }
    engine = fixture.start();
    let ending = |audience: Option<&str>| {
        let mut body = json!({"challenge_id": challenge_id.reveal(), "code": codes[0]});
        if let Some(audience) = audience {
            body["audience"] = audience.into();
        }
        body
    };
    let id = fixture.fresh_id();
    let refused = fixture.send_as(&engine, &id, "verify-login", ending(Some("mail")));
    let refusal = refused.result.unwrap_err();
    assert_eq!(refusal.code.status(), 422);
    assert_eq!(refusal.errors[0].pointer, "/audience");
    let id = fixture.fresh_id();
    let done = fixture.send_as(&engine, &id, "verify-login", ending(None));
    let Reply::Login(LoginReply::Verified { audience, .. }) = done.result.unwrap().reply else {
        panic!("the login completes");
    };
    assert_eq!(audience.map(String::from).as_deref(), Some("shop"));
    // There is no second assertion, for any audience.
    drop(engine);
    engine = fixture.start();
    let late = fixture.send_as(&engine, &id, "verify-login", ending(None));
    assert_eq!(late.result.unwrap_err().code.as_str(), "outcome.unseen");
}
