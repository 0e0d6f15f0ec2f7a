//! The events of a command, and the reply to its repetition.

use countersign::bus::headers::{
    CALLER, DEADLINE, ERROR, MSG_ID, ON_BEHALF_OF, REPLAYED, TRACEPARENT,
};
use countersign::bus::{BusConfig, Identity};
use countersign::engine::wall_clock;
use serde_json::json;
use totp_rs::Builder;

use crate::service::{
    PARENT, Service, an_hour_in_the_queue, ask, at, body, broker, connect, dev, header, refused,
    register, registered,
};

const STEP_S: u64 = 30;

#[tokio::test]
async fn an_authenticator_app_enrols_and_logs_in_with_what_the_reply_shows() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    let request = br#"{"account_id":"ada","proof":{"password":"correct horse"}}"#;
    let reply = body(&ask(&client, "command.enable-2fa", &[], request).await);
    let uri = reply["otpauth_uri"].as_str().unwrap();
    assert!(uri.contains(reply["secret"].as_str().unwrap()));
    assert!(reply["qr_svg"].as_str().unwrap().ends_with("</svg>"));
    assert!(reply["details"]["position"].is_u64());

    let secret = reply["secret"].as_str().unwrap();
    let secret = data_encoding::BASE32_NOPAD.decode(secret.as_bytes());
    let secret = <[u8; 20]>::try_from(secret.unwrap()).unwrap();
    let app = Builder::new().with_secret(secret).build_noncompliant();
    let now_s = wall_clock().unix_s();
    let code = |at_s: u64| app.generate(at_s).to_string();
    let request = json!({"account_id": "ada", "authenticator_id": reply["authenticator_id"],
        "code": code(now_s)});
    let request = request.to_string();
    let reply = body(&ask(&client, "command.confirm-code", &[], request.as_bytes()).await);
    assert_eq!(
        (&reply["state"], &reply["set_no"]),
        (&json!("on"), &json!(1))
    );
    let backup_codes = reply["backup_codes"].as_array().unwrap();
    assert_eq!(backup_codes.len(), 10);

    // The confirming step is spent; the next one is already in the window.
    for (code, method, left) in [
        (json!(code(now_s + STEP_S)), "totp", 10),
        (backup_codes[0].clone(), "backup-code", 9),
    ] {
        let request = json!({"account_id": "ada", "code": code}).to_string();
        let reply = ask(&client, "command.verify-login", &[], request.as_bytes()).await;
        let reply = body(&reply);
        assert_eq!(
            (&reply["status"], &reply["method"]),
            (&json!("complete"), &json!(method))
        );
        assert_eq!(reply["backup_codes_left"], left);
        let reply = ask(&client, "command.verify-login", &[], request.as_bytes()).await;
        assert_eq!(refused(&reply), "401 code.invalid");
    }
    service.stop().await;
}

#[tokio::test]
async fn caller_source_and_trace_reach_the_history() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    let pairs = [
        (MSG_ID, "id 1"),
        (CALLER, "gw"),
        (ON_BEHALF_OF, "Zoë"),
        (TRACEPARENT, PARENT),
    ];
    let request = json!({"username": "ada", "password": "correct horse",
        "context": {"ip": "203.0.113.7", "agent": "Firefox"}});
    let request = request.to_string();
    let reply = ask(&client, "command.start-login", &pairs, request.as_bytes()).await;
    let position = body(&reply)["details"]["position"].clone();
    let page = body(&ask(&client, "query.audit-timeline.ada", &[], b"").await);
    let events = page["events"].as_array().unwrap();
    let first = &events[0];
    for absent in ["on_behalf_of", "trace_id", "source"] {
        assert!(first.get(absent).is_none(), "{first}");
    }
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["position"]),
        (&json!("login-completed"), &position)
    );
    assert_eq!(last["caller"]["name"], "gw");
    assert_eq!(last["command_id"], "id 1");
    assert_eq!(last["on_behalf_of"], "Zoë");
    assert_eq!(last["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    let source = json!({"ip": "203.0.113.7", "agent": "Firefox"});
    assert_eq!(last["source"], source);
    service.stop().await;
}

#[tokio::test]
async fn a_repeated_command_gets_its_stored_outcome() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    let ask_as = async |id: &str, name: &str, request: &[u8]| {
        let reply = ask(
            &client,
            &format!("command.{name}"),
            &[(MSG_ID, id)],
            request,
        )
        .await;
        assert_eq!(header(&reply, MSG_ID), Some(id));
        (
            header(&reply, REPLAYED).map(String::from),
            body(&reply),
            header(&reply, ERROR).map(String::from),
        )
    };
    let wrong = br#"{"username":"ada","password":"wrong horse"}"#;
    let unknown = br#"{"account_id":"bob","code":"123456"}"#;
    let register = register("ada");
    for (id, name, request, refusal, is_stored) in [
        ("1", "register-account", &register[..], None, true),
        ("2", "start-login", wrong, Some("credentials.invalid"), true),
        // A command that appended nothing is decided again.
        (
            "3",
            "register-account",
            &register,
            Some("account.exists"),
            false,
        ),
        (
            "4",
            "verify-login",
            unknown,
            Some("account.not_found"),
            false,
        ),
    ] {
        let (replayed, first, word) = ask_as(id, name, request).await;
        assert_eq!((replayed, word.as_deref()), (None, refusal), "{id}");
        let (replayed, second, word) = ask_as(id, name, request).await;
        let expected = is_stored.then_some("true");
        assert_eq!(
            (replayed.as_deref(), word.as_deref()),
            (expected, refusal),
            "{id}"
        );
        assert_eq!(first, second, "{id}");
    }
    let query = br#"{"types":["account-registered","password-rejected"]}"#;
    let page = body(&ask(&client, "query.audit-page", &[], query).await);
    assert_eq!(
        page["events"].as_array().unwrap().len(),
        2,
        "nothing was counted again"
    );
    service.stop().await;
}

#[tokio::test]
async fn a_command_id_belongs_to_one_body_on_one_subject_of_one_caller() {
    let broker = broker();
    let (service, client) = dev(&broker).await;
    registered(&client, "ada").await;
    let pairs = [(MSG_ID, "m"), (CALLER, "gw")];
    let request = br#"{"username":"ada","password":"wrong horse"}"#;
    let reply = ask(&client, "command.start-login", &pairs, request).await;
    assert_eq!(refused(&reply), "401 credentials.invalid");

    let other_body = br#"{"username":"ada","password":"correct horse"}"#;
    let reply = ask(&client, "command.start-login", &pairs, other_body).await;
    assert_eq!(refused(&reply), "409 idempotency.mismatch");
    assert_eq!(header(&reply, REPLAYED), None);

    let disable = br#"{"account_id":"ada","proof":{"password":"wrong horse"}}"#;
    let pairs = [(MSG_ID, "n"), (CALLER, "gw")];
    let reply = ask(&client, "command.enable-2fa", &pairs, disable).await;
    assert_eq!(refused(&reply), "401 credentials.invalid");
    let reply = ask(&client, "command.disable-2fa", &pairs, disable).await;
    assert_eq!(refused(&reply), "409 idempotency.mismatch");

    let others = [(MSG_ID, "m"), (CALLER, "other")];
    let reply = ask(&client, "command.start-login", &others, other_body).await;
    assert_eq!(body(&reply)["status"], "complete");
    service.stop().await;
}

#[tokio::test]
async fn a_command_whose_deadline_passes_in_the_queue_appends_nothing() {
    let broker = broker();
    let config = BusConfig {
        connection: at(&broker),
        identity: Identity::Dev,
        ..BusConfig::default()
    };
    let service = Service::start(config, an_hour_in_the_queue()).await;
    let client = connect(&broker).await;
    let in_half_an_hour = wall_clock().plus_s(1_800).to_string();
    let subject = "command.register-account";
    let pairs = [(MSG_ID, "m"), (DEADLINE, in_half_an_hour.as_str())];
    let reply = ask(&client, subject, &pairs, &register("ada")).await;
    assert_eq!(refused(&reply), "504 deadline.exceeded");
    assert_eq!(body(&reply)["retryable"], true);
    let reply = ask(&client, "query.audit-timeline.ada", &[], b"").await;
    assert_eq!(refused(&reply), "404 account.not_found");
    // The same id again, as the contract advises.
    let in_two_hours = wall_clock().plus_s(7_200).to_string();
    let pairs = [(MSG_ID, "m"), (DEADLINE, in_two_hours.as_str())];
    let reply = ask(&client, subject, &pairs, &register("ada")).await;
    assert_eq!(body(&reply)["account_id"], "ada");
    assert_eq!(header(&reply, REPLAYED), None);
    service.stop().await;
}
