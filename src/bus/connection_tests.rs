//! Tests of addresses, credentials and versions.

use super::*;

#[test]
fn user_and_password_of_a_url_are_honoured_and_leave_the_address() {
    let (addresses, found) =
        addresses("nats://ada:p%40ss@a:1234, nats://b, tls://eve:x@c").unwrap();
    let (user, password) = found.unwrap();
    assert_eq!((user.as_str(), password.reveal()), ("ada", "p@ss"));
    let shown = shown(&addresses);
    assert_eq!(addresses.len(), 3);
    assert!(
        !shown.contains("ada") && !shown.contains("eve") && !shown.contains('x'),
        "{shown}"
    );
}

#[test]
fn what_is_no_address_is_refused_without_repeating_it() {
    for servers in ["", "http://ada:hunter2@a", "nats://:::"] {
        let error = addresses(servers).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}

#[test]
fn no_credential_shows_in_debug() {
    let connection = Connection {
        servers: "nats://ada:hunter2@a".into(),
        password: Some(SecretText::new("hunter2".into())),
        ..Connection::default()
    };
    assert!(!format!("{connection:?}").contains("hunter2"));
}

#[test]
fn a_user_has_an_inbox_of_their_own() {
    assert_eq!(inbox_of(Some("login-gw")).unwrap(), "_INBOX.login-gw");
    for odd in [None, Some("a b"), Some(">"), Some("a..b"), Some("*")] {
        assert_eq!(inbox_of(odd), None);
    }
}

/// N-01.
#[test]
fn servers_before_2_12_6_are_too_old() {
    for version in ["2.12.6", "2.12.10", "2.15.1-RC.1", "3.0.0"] {
        assert!(check_version(version).is_ok(), "{version}");
    }
    for version in ["2.12.5", "2.9.10", "", "x"] {
        assert!(check_version(version).is_err(), "{version}");
    }
}
