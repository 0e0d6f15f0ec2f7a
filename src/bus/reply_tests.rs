//! Tests of the rendering of replies.

use countersign_schemas::ids::{AccountId, AuthenticatorId, ChallengeId};
use countersign_schemas::refusal::{FieldError, Problem};
use countersign_schemas::reply::Method;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;
use serde_json::{Value, json};

use super::*;
use crate::crypto::otp::TotpSecret;

const DETAILS: Details = Details {
    position: 7,
    version: 3,
    at: Micros(1_795_521_600_000_000),
};

const SPEAKER: Speaker = Speaker {
    issuer: "Countersign",
    log_id: "ab01",
    key: &|_| AssertionKey::new(&[7; 32]),
};

fn body(reply: Reply) -> Value {
    let outcome = Outcome {
        result: Ok(Done {
            reply,
            details: DETAILS,
            decided_at: DETAILS.at,
        }),
        replayed: false,
    };
    let rendered = render(
        Response::Outcome(outcome, "portal".into()),
        &ReplyHeaders::default(),
        &SPEAKER,
    );
    assert_eq!(rendered.refused, None);
    assert!(rendered.headers.is_empty());
    let body: Value = serde_json::from_slice(&rendered.body).unwrap();
    let details = json!({"position": 7, "version": 3, "at": "2026-11-24T12:00:00.000000Z"});
    assert_eq!(body["details"], details);
    body
}

fn account() -> AccountId {
    AccountId::parse("ada").unwrap()
}

fn issued() -> Issued {
    Issued {
        codes: backup_code::new_set(&[7; backup_code::SET_ENTROPY_BYTES]).into(),
        verifiers: Protected::clear(&[]),
        fingerprint: "0a1b2c3d".into(),
    }
}

/// Reads the path that the QR renderer draws back into modules, quiet zone included.
fn modules(svg: &str) -> (usize, Vec<bool>) {
    let number = |text: &str| -> usize {
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    let side = number(svg.split(r#"width=""#).nth(1).unwrap()) / qr::MODULE;
    let mut dark = vec![false; side * side];
    let path = svg
        .split(r#"d=""#)
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    for run in path.split('M').skip(1) {
        let (left, rest) = run.split_once(' ').unwrap();
        let (top, rest) = rest.split_once('h').unwrap();
        let module = qr::MODULE;
        let (left, top, width) = (
            number(left) / module,
            number(top) / module,
            number(rest) / module,
        );
        let height = number(rest.split_once('v').unwrap().1) / module;
        for y in top..top + height {
            dark[y * side + left..y * side + left + width].fill(true);
        }
    }
    (side, dark)
}

#[test]
fn the_qr_code_decodes_to_exactly_the_key_uri() {
    for name in ["ada", &"Zoë Ångström & co ".repeat(8)] {
        let reply = body(Reply::Secret(SecretReply::EnrolmentStarted {
            authenticator_id: AuthenticatorId::parse("auth-1").unwrap(),
            secret: TotpSecret::new(&[7; 20]),
            display_name: name.into(),
            expires_at: DETAILS.at,
        }));
        let uri = reply["otpauth_uri"].as_str().unwrap();
        let secret = reply["secret"].as_str().unwrap();
        assert!(uri.starts_with("otpauth://totp/Countersign:") && uri.contains(secret));
        let (side, dark) = modules(reply["qr_svg"].as_str().unwrap());
        let mut image = rqrr::PreparedImage::prepare_from_bitmap(side * 4, side * 4, |x, y| {
            dark[y / 4 * side + x / 4]
        });
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        assert_eq!(grids[0].decode().unwrap().1, uri);
        for edge in 0..4 {
            assert!(
                dark[edge * side..(edge + 1) * side]
                    .iter()
                    .all(|dark| !dark)
            );
        }
    }
}

#[test]
fn codes_are_shown_in_the_list_and_in_the_dated_file() {
    let confirmed = body(Reply::Secret(SecretReply::CodeConfirmed {
        set_no: 3,
        issued: issued(),
        display_name: "ada".into(),
    }));
    let regenerated = body(Reply::Secret(SecretReply::BackupCodesRegenerated {
        set_no: 3,
        issued: issued(),
        display_name: "ada".into(),
        superseded_unused: 9,
    }));
    assert_eq!(confirmed["state"], "on");
    assert_eq!(regenerated["superseded_unused"], 9);
    for reply in [confirmed, regenerated] {
        let file = reply["backup_codes_file"].as_str().unwrap();
        assert!(
            file.contains("Set 3, fingerprint 0a1b2c3d, issued 2026-11-24"),
            "{file}"
        );
        let codes = reply["backup_codes"].as_array().unwrap();
        assert_eq!(codes.len(), 10);
        assert!(
            codes
                .iter()
                .all(|code| file.contains(code.as_str().unwrap()))
        );
    }
}

#[test]
fn a_success_is_the_body_of_the_contract() {
    let registered = body(Reply::AccountRegistered {
        account_id: account(),
    });
    assert_eq!(registered["account_id"], "ada");
    assert_eq!(body(Reply::PasswordChanged).as_object().unwrap().len(), 1);
    assert_eq!(body(Reply::FactorOff)["state"], "off");
    let required = body(Reply::Login(LoginReply::CodeRequired {
        account_id: account(),
        challenge_id: ChallengeId::from_random([1; 16]),
        methods: vec![Method::Totp, Method::BackupCode],
        expires_at: DETAILS.at,
    }));
    assert_eq!(required["status"], "second-factor-required");
    assert_eq!(required["methods"], json!(["totp", "backup-code"]));
    assert_eq!(required["challenge_id"].as_str().unwrap().len(), 32);
    let by_password = body(Reply::Login(LoginReply::ByPassword {
        account_id: account(),
        vouched: false,
        audience: None,
        after_reset_days: None,
    }));
    assert_eq!(by_password["status"], "complete");
    assert_eq!(by_password["method"], "password");
    let verified = body(Reply::Login(LoginReply::Verified {
        account_id: account(),
        vouched: false,
        method: Method::BackupCode,
        left: 3,
        low: true,
        suspended: true,
        audience: None,
        after_reset_days: Some(1),
    }));
    assert_eq!(verified["status"], "complete");
    assert_eq!(verified["method"], "backup-code");
    assert_eq!(verified["backup_codes_low"], true);
    assert_eq!(verified["authenticator_suspended"], true);
    assert_eq!(by_password.get("after_reset_days"), None);
    assert_eq!(verified["after_reset_days"], 1);
    assert_eq!(verified.get("assertion"), None);
}

/// A wall clock that is an hour behind the log must not make an assertion valid for an hour.
#[test]
fn an_assertion_counts_from_the_wall_clock_and_not_from_a_log_that_is_ahead_of_it() {
    let decided_at = DETAILS.at.minus_s(3_600);
    let outcome = Outcome {
        result: Ok(Done {
            reply: Reply::Login(LoginReply::ByPassword {
                account_id: account(),
                vouched: false,
                audience: Some(Audience::parse("shop").unwrap()),
                after_reset_days: None,
            }),
            details: DETAILS,
            decided_at,
        }),
        replayed: false,
    };
    let response = Response::Outcome(outcome, "portal".into());
    let rendered = render(response, &ReplyHeaders::default(), &SPEAKER);
    let body: Value = serde_json::from_slice(&rendered.body).unwrap();
    assert_eq!(body["details"]["at"], "2026-11-24T12:00:00.000000Z");
    let assertion = body["assertion"].as_str().unwrap();
    let claims = assertion.split('.').nth(1).unwrap();
    let claims = data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes());
    let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    let s = decided_at.unix_s();
    let times = json!([s, s, s + 60]);
    assert_eq!(
        json!([claims["iat"], claims["auth_time"], claims["exp"]]),
        times
    );
    assert_eq!(
        json!([claims["aud"], claims["azp"]]),
        json!(["shop", "portal"])
    );
}

#[test]
fn every_refusal_and_fault_has_its_headers_and_its_document() {
    for code in ErrorCode::ALL {
        let refusal = Refusal {
            errors: vec![FieldError {
                pointer: "/code".into(),
                detail: "a rule".into(),
            }],
            ..Refusal::after(*code, 5)
        };
        let rendered = render(
            Response::Refused(refusal.clone()),
            &ReplyHeaders::default(),
            &SPEAKER,
        );
        assert_eq!(rendered.refused, Some(*code));
        let header = |name| rendered.headers.get(name).unwrap().as_str();
        assert_eq!(header(headers::SERVICE_ERROR), code.title());
        assert_eq!(
            header(headers::SERVICE_ERROR_CODE),
            code.status().to_string()
        );
        assert_eq!(header(headers::ERROR), code.as_str());
        assert_eq!(header(headers::RETRY_AFTER), "5");
        let problem: Problem = serde_json::from_slice(&rendered.body).unwrap();
        assert_eq!(problem, refusal.problem());
    }
}

#[test]
fn a_reply_carries_id_trace_and_replay() {
    let reply_headers = ReplyHeaders {
        command_id: Some(CommandId::parse("id 1").unwrap()),
        trace: Some(Trace {
            id: [1; 16],
            parent: "00-parent".into(),
            state: Some("a=1".into()),
        }),
    };
    let outcome = Outcome {
        result: Err(Refusal::new(ErrorCode::CodeInvalid)),
        replayed: true,
    };
    let rendered = render(
        Response::Outcome(outcome, "portal".into()),
        &reply_headers,
        &SPEAKER,
    );
    let header = |name| rendered.headers.get(name).unwrap().as_str();
    assert_eq!(header(headers::MSG_ID), "id 1");
    assert_eq!(header(headers::TRACEPARENT), "00-parent");
    assert_eq!(header(headers::TRACESTATE), "a=1");
    assert_eq!(header(headers::REPLAYED), "true");
    assert_eq!(header(headers::ERROR), "code.invalid");
}

#[test]
fn a_value_that_no_header_may_have_is_left_out() {
    let mut map = HeaderMap::new();
    put(&mut map, "X", "a\r\nY: b");
    assert!(map.is_empty());
}
