//! Requests that are refused before any rule is applied.

use super::*;

#[test]
fn a_login_names_its_account_in_exactly_one_way() {
    for body in [
        r#"{"password":"p"}"#,
        r#"{"username":"a","account_id":"a","password":"p"}"#,
    ] {
        assert!(
            Command::decode("start-login", body.as_bytes()).is_err(),
            "{body}"
        );
    }
    assert!(Command::decode("start-login", br#"{"username":"a","password":"p"}"#).is_ok());
    assert!(Command::decode("verify-login", br#"{"code":"123456"}"#).is_err());
}

#[test]
fn an_enrolment_takes_no_code_since_there_is_no_app_yet() {
    let with = |proof: &str| {
        let body = format!(r#"{{"account_id":"a","proof":{{"password":"p"{proof}}}}}"#);
        ["enable-2fa", "disable-2fa"].map(|name| Command::decode(name, body.as_bytes()).is_ok())
    };
    assert_eq!(with(""), [true, true]);
    assert_eq!(with(r#","code":"123456""#), [false, true]);
    assert_eq!(
        with(r#","code":"123456","next_code":"123457""#),
        [false, true]
    );
    assert_eq!(with(r#","next_code":"123457""#), [false, false]);
}

#[test]
fn a_caller_cannot_bring_time_step_or_secret() {
    for field in ["now", "step", "secret", "digits", "algorithm", "enabled"] {
        let body = format!(r#"{{"account_id":"a","proof":{{"password":"p"}},"{field}":"1"}}"#);
        assert!(
            Command::decode("enable-2fa", body.as_bytes()).is_err(),
            "{field}"
        );
    }
}

#[test]
fn a_proof_proves_something() {
    for name in ["enable-2fa", "disable-2fa", "regenerate-backup-codes"] {
        for proof in ["{}", r#"{"password":null}"#] {
            let body = format!(r#"{{"account_id":"a","proof":{proof}}}"#);
            assert!(
                Command::decode(name, body.as_bytes()).is_err(),
                "{name} {proof}"
            );
        }
        for none in ["", r#","proof":null"#] {
            let body = format!(r#"{{"account_id":"a"{none}}}"#);
            assert!(
                Command::decode(name, body.as_bytes()).is_ok(),
                "{name} {none}"
            );
        }
    }
}

#[test]
fn null_is_as_good_as_nothing_where_one_of_two_names_is_due() {
    let login = |body: &str| Command::decode("start-login", body.as_bytes()).is_ok();
    assert!(login(
        r#"{"username":"a","account_id":null,"password":"p"}"#
    ));
    assert!(!login(
        r#"{"username":null,"account_id":null,"password":"p"}"#
    ));
}

#[test]
fn one_of_several_words_is_a_string() {
    let ask = |lost: &str| {
        let body = format!(r#"{{"account_id":"a","reason":"r","ticket":"t","lost":{lost}}}"#);
        Command::decode("request-reset", body.as_bytes()).is_ok()
    };
    assert!(ask("\"app\"") && ask("null"));
    assert!(!ask(r#"{"app":null}"#) && !ask("\"App\"") && !ask("[\"app\"]"));
}

#[test]
fn a_command_says_whom_it_concerns_and_what_proves_it() {
    let read = |name: &str, body: &str| Command::decode(name, body.as_bytes()).expect(name);
    let login = read("start-login", r#"{"username":"Ada","code":"123456"}"#);
    assert!(matches!(login.target(), Target::Name(name) if name.as_str() == "ada"));
    assert_eq!(login.proof().first, FirstFactor::Password(None));
    assert!(login.proof().code.is_some() && login.proof().next_code.is_none());

    let by_id = read("verify-login", r#"{"account_id":"a","code":"123456"}"#);
    assert!(matches!(by_id.target(), Target::Account(id) if id.as_str() == "a"));
    assert_eq!(by_id.proof().first, FirstFactor::Vouched);

    let body = r#"{"account_id":"a","password":"old","new_password":"new-new-new"}"#;
    let change = read("change-password", body);
    let FirstFactor::Own(password) = change.proof().first else {
        panic!("the old password proves its owner");
    };
    assert_eq!(password.reveal(), "old");

    let bare = read("disable-2fa", r#"{"account_id":"a"}"#);
    assert_eq!(bare.proof().first.may_bring(), Some(None));
    let case = read("approve-reset", r#"{"case_id":"c","reason":"r"}"#);
    assert!(matches!(case.target(), Target::Case(_)));
    assert_eq!(case.proof(), Given::NOTHING);
    let keys = read("rotate-keys", r#"{"reason":"r"}"#);
    assert_eq!(keys.target(), Target::Log);
}
