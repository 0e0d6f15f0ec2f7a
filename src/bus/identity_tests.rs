//! Who the caller is, by the statements of broker and caller.

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, *value);
    }
    headers
}

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> ErrorCode {
    result.unwrap_err().code
}

#[test]
fn the_user_is_the_caller_and_not_the_name_that_a_client_gave_itself() {
    let info = headers(&[(
        REQUEST_INFO,
        r#"{"acc":"SUPPORT","user":"alice","name":"bob"}"#,
    )]);
    let caller = Identity::default()
        .caller_of_command(Some(&info), Role::Platform)
        .unwrap();
    assert_eq!((caller.name.as_str(), caller.verified), ("alice", true));
    let role = |role| Identity::Dev.caller_of_command(None, role).map(|c| c.role);
    assert_eq!(role(Role::Support), Ok(Role::Support));
}

#[test]
fn without_the_brokers_word_no_caller_is_verified() {
    let verified = Identity::default();
    for info in [
        r#"{"acc":"PLATFORM","rtt":1}"#,
        r#"{"user":"a"}"#,
        r#"{"acc":"PLATFORM","user":""}"#,
        "not json",
        r#"{"acc":1}"#,
    ] {
        let info = headers(&[(REQUEST_INFO, info), (CALLER, "eve")]);
        let refused = code(verified.caller_of_command(Some(&info), Role::Platform));
        assert_eq!(refused, ErrorCode::ActorUnverified);
    }
    let twice = r#"{"acc":"PLATFORM","user":"a"}"#;
    let twice = headers(&[(REQUEST_INFO, twice), (REQUEST_INFO, twice)]);
    assert_eq!(
        code(verified.caller_of_command(Some(&twice), Role::Platform)),
        ErrorCode::ActorUnverified
    );
    assert_eq!(
        code(verified.caller_of_command(None, Role::Platform)),
        ErrorCode::ActorUnverified
    );
}

/// A-01: the broker's line counts only if nothing else looks like it.
#[test]
fn the_brokers_header_counts_only_where_its_text_appears_once() {
    let verified = Identity::default();
    let info = r#"{"acc":"PLATFORM","user":"a"}"#;
    for other in [
        ("nats-request-info", "x"),
        ("NATS-REQUEST-INFO", info),
        ("X-Nats-Request-Info", info),
        ("Nats-Request-Info-2", info),
        ("X", "yNats-Request-Info: {}"),
        ("X", "nats-request-info"),
        (REQUEST_INFO, info),
    ] {
        let map = headers(&[other, (REQUEST_INFO, info)]);
        let refused = code(verified.caller_of_command(Some(&map), Role::Platform));
        assert_eq!(refused, ErrorCode::ActorUnverified, "{other:?}");
    }
    let own_name = r#"{"acc":"PLATFORM","user":"a","name":"Nats-Request-Info: b"}"#;
    let map = headers(&[(REQUEST_INFO, own_name)]);
    assert!(
        verified
            .caller_of_command(Some(&map), Role::Platform)
            .is_err()
    );
}

/// A-01: a forged header alone does not turn one agent into another.
#[test]
fn an_agent_is_who_both_subject_and_header_say() {
    let verified = Identity::default();
    let ask = |user: &str, named| {
        let info = format!(r#"{{"acc":"SUPPORT","user":"{user}"}}"#);
        let map = headers(&[(REQUEST_INFO, &info)]);
        let caller = verified.caller_in_subject(Some(&map), Role::Support, named);
        caller
            .map(|caller| caller.name)
            .map_err(|refusal| refusal.code)
    };
    let refused = Err(ErrorCode::ActorUnverified);
    assert_eq!(ask("alice", Some("alice")), Ok("alice".into()));
    assert_eq!(ask("a.b", Some("a%2Eb")), Ok("a.b".into()));
    for named in [
        None,
        Some("bob"),
        Some("Alice"),
        Some("%61lice"),
        Some("*"),
        Some(""),
    ] {
        assert_eq!(ask("alice", named), refused, "{named:?}");
    }
    assert_eq!(ask("a.b", Some("a.b")), refused);
}

/// A-02: in operator mode a client names its own user.
#[test]
fn in_operator_mode_the_account_is_the_caller() {
    let account = nkeys::KeyPair::new_account().public_key();
    let info = format!(r#"{{"acc":"{account}","user":"bob"}}"#);
    let map = headers(&[(REQUEST_INFO, &info)]);
    let accounts = [(account.clone(), Role::Audit)].into();
    let verified = Identity::Verified { accounts };
    let caller = verified.caller_of_command(Some(&map), Role::Platform);
    assert_eq!(caller.unwrap().name, account);
    let caller = verified.caller_of_query(Some(&map), &[Role::Audit]);
    assert_eq!(caller.unwrap().name, account);
    let caller = verified.caller_in_subject(Some(&map), Role::Support, Some("bob"));
    assert_eq!(caller.unwrap().name, "bob");
}

#[test]
fn in_dev_mode_an_agent_may_name_itself_in_the_subject_too() {
    let ask = |pairs: &[(&str, &str)], named| {
        let map = headers(pairs);
        let caller = Identity::Dev.caller_in_subject(Some(&map), Role::Support, named);
        caller
            .map(|caller| caller.name)
            .map_err(|refusal| refusal.code)
    };
    let refused = Err(ErrorCode::RequestInvalid);
    assert_eq!(ask(&[(CALLER, "alice")], None), Ok("alice".into()));
    assert_eq!(ask(&[], Some("alice")), Ok("alice".into()));
    assert_eq!(ask(&[], None), Ok("anonymous".into()));
    assert_eq!(ask(&[(CALLER, "a.b")], Some("a%2Eb")), Ok("a.b".into()));
    assert_eq!(ask(&[(CALLER, "alice")], Some("bob")), refused);
    assert_eq!(ask(&[], Some("%zz")), refused);
    assert_eq!(ask(&[], Some("%C3%AB")), refused);
}

#[test]
fn a_role_asks_only_its_own_queries() {
    let verified = Identity::default();
    let ask = |account: &str, roles: &[Role]| {
        let info = format!(r#"{{"acc":"{account}","user":"u"}}"#);
        verified.caller_of_query(Some(&headers(&[(REQUEST_INFO, &info)])), roles)
    };
    let auditor = ask("AUDIT", &[Role::Support, Role::Audit]).unwrap();
    assert_eq!((auditor.name.as_str(), auditor.role), ("u", Role::Audit));
    assert!(auditor.verified);
    let anybody = Identity::Dev.caller_of_query(None, &[Role::Support, Role::Audit]);
    assert_eq!(anybody.unwrap().role, Role::Audit);
    assert_eq!(
        code(ask("PLATFORM", &[Role::Audit])),
        ErrorCode::ActorForbidden
    );
    assert_eq!(
        code(ask("OTHER", &[Role::Audit])),
        ErrorCode::ActorForbidden
    );
}

#[test]
fn in_dev_mode_the_caller_names_itself() {
    let name = |pairs: &[(&str, &str)]| {
        Identity::Dev.caller_of_command(Some(&headers(pairs)), Role::Platform)
    };
    let ada = name(&[
        (CALLER, "ada"),
        (REQUEST_INFO, r#"{"acc":"A","user":"eve"}"#),
    ])
    .unwrap();
    assert_eq!((ada.name.as_str(), ada.verified), ("ada", false));
    assert_eq!(name(&[]).unwrap().name, "anonymous");
    let long = "x".repeat(65);
    for bad in [
        &[(CALLER, "")][..],
        &[(CALLER, &long)],
        &[(CALLER, "é")],
        &[(CALLER, "a"), (CALLER, "a")],
    ] {
        assert_eq!(code(name(bad)), ErrorCode::RequestInvalid);
    }
}
