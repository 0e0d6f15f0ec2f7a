//! The success reply of each command and query: exact fields, exact forms.

use serde_json::{Value, json};

use super::support::person::{PASSWORD, Person};
use super::support::qr;
use super::support::{CHEAP, Rig};

/// Checks that an object has exactly these fields.
fn has_exactly(body: &Value, fields: &[&str]) {
    let mut found: Vec<_> = body
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let mut wanted = fields.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_returns_the_named_id_or_a_new_uuid_of_version_7() {
    let rig = Rig::start(CHEAP).await;
    let named = json!({"account_id": "ada", "username": "ada", "password": PASSWORD});
    let named = rig.bus.command("register-account", named).await;
    has_exactly(named.ok(), &["account_id", "details"]);
    assert_eq!(named.body["account_id"], "ada");
    assert_eq!(
        named.body["details"]["version"], 2,
        "registered, password set"
    );
    let body = json!({"username": "grace", "password": PASSWORD, "context": {"ip": "203.0.113.7"}});
    let id = rig
        .bus
        .command("register-account", body)
        .await
        .field("account_id");
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrolment_shows_one_secret_as_text_uri_and_picture() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::register(&rig.bus, "ada").await;
    for name in [
        None,
        Some("Zoë & co: 50 % off? #1/2"),
        Some("ada@example.org"),
    ] {
        let mut body = ada.proven();
        if let Some(name) = name {
            body["account_name"] = json!(name);
            body["label"] = json!("blue phone");
        }
        let reply = rig.bus.command("enable-2fa", body).await;
        let fields = [
            "authenticator_id",
            "secret",
            "otpauth_uri",
            "qr_svg",
            "expires_at",
            "details",
        ];
        has_exactly(reply.ok(), &fields);
        let (secret, uri) = (reply.field("secret"), reply.field("otpauth_uri"));
        assert_eq!(secret.len(), 32, "160 bits in base32");
        let query =
            format!("?secret={secret}&issuer=Countersign&algorithm=SHA1&digits=6&period=30");
        let label = uri.strip_prefix("otpauth://totp/Countersign:").unwrap();
        let label = label.strip_suffix(&query).unwrap();
        assert_eq!(percent_decoded(label), name.unwrap_or("ada"));
        assert_eq!(qr::read(&reply.field("qr_svg")), uri);
        assert!(reply.field("expires_at").ends_with('Z'));
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            assert!(
                byte.is_ascii_alphanumeric() || b"-._~@:".contains(&byte),
                "{text}"
            );
            bytes.push(byte);
            continue;
        }
        let hex = [rest.next().unwrap(), rest.next().unwrap()];
        let hex = std::str::from_utf8(&hex).unwrap().to_owned();
        bytes.push(u8::from_str_radix(&hex, 16).unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_codes_comes_as_a_list_and_as_a_file_to_download() {
    let rig = Rig::start(CHEAP).await;
    let mut ada = Person::register(&rig.bus, "ada").await;
    ada.enable().await;
    let confirmed = ada.confirm().await;
    let fields = [
        "state",
        "set_no",
        "backup_codes",
        "backup_codes_file",
        "details",
    ];
    has_exactly(confirmed.ok(), &fields);
    assert_eq!(
        (&confirmed.body["state"], &confirmed.body["set_no"]),
        (&json!("on"), &json!(1))
    );
    check_sheet(&confirmed.body, 1);
    let first = ada.codes.clone();
    let regenerated = ada.regenerate().await;
    let fields = [
        "set_no",
        "backup_codes",
        "backup_codes_file",
        "superseded_unused",
        "details",
    ];
    has_exactly(regenerated.ok(), &fields);
    assert_eq!(regenerated.body["set_no"], 2);
    assert_eq!(regenerated.body["superseded_unused"], 10);
    check_sheet(&regenerated.body, 2);
    assert!(ada.codes.iter().all(|code| !first.contains(code)));
}

/// The file is the text of the ten codes: service, account, set, fingerprint, date, numbered.
fn check_sheet(body: &Value, set_no: u32) {
    let codes = body["backup_codes"].as_array().unwrap();
    assert_eq!(codes.len(), 10);
    let file = body["backup_codes_file"].as_str().unwrap();
    for (ordinal, code) in (1..).zip(codes) {
        let code = code.as_str().unwrap();
        let groups: Vec<_> = code.split('-').map(str::len).collect();
        assert_eq!(groups, [4, 4, 4, 4], "{code}");
        let line = file.lines().find(|line| line.contains(code)).unwrap();
        assert!(
            line.trim_start().starts_with(&format!("{ordinal}.")),
            "{line}"
        );
    }
    let mut lines = file.lines();
    let head = lines.next().unwrap();
    assert!(
        head.contains("Countersign") && head.contains("ada"),
        "{head}"
    );
    let second = lines.next().unwrap();
    let date = &body["details"]["at"].as_str().unwrap()[..10];
    assert!(
        second.contains(&format!("Set {set_no},")) && second.contains(date),
        "{second}"
    );
    let fingerprint = second.split("fingerprint ").nth(1).unwrap();
    assert!(
        fingerprint[..8].bytes().all(|b| b.is_ascii_hexdigit()),
        "{second}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_and_changes_return_exactly_their_fields() {
    let rig = Rig::start(CHEAP).await;
    let mut ada = Person::register(&rig.bus, "ada").await;
    let alone = ada.start_login().await;
    has_exactly(alone.ok(), &["account_id", "status", "method", "details"]);
    assert_eq!(
        (&alone.body["status"], &alone.body["method"]),
        (&json!("complete"), &json!("password"))
    );
    let body = json!({"account_id": "ada", "password": PASSWORD, "new_password": PASSWORD});
    has_exactly(
        rig.bus.command("change-password", body).await.ok(),
        &["details"],
    );
    ada.enable().await;
    let body = json!({"account_id": "ada", "authenticator_id": ada.authenticator});
    let cancelled = rig.bus.command("cancel-enrolment", body).await;
    has_exactly(cancelled.ok(), &["state", "details"]);
    assert_eq!(cancelled.body["state"], "off");
    ada.enable().await;
    ada.confirm().await;
    let started = ada.start_login().await;
    let fields = [
        "account_id",
        "status",
        "challenge_id",
        "methods",
        "expires_at",
        "details",
    ];
    has_exactly(started.ok(), &fields);
    assert_eq!(started.body["status"], "second-factor-required");
    assert_eq!(started.body["methods"], json!(["totp", "backup-code"]));
    let code = ada.phone().next();
    let verified = ada.verify(&started.field("challenge_id"), &code).await;
    let fields = [
        "account_id",
        "status",
        "method",
        "backup_codes_left",
        "backup_codes_low",
        "details",
    ];
    has_exactly(verified.ok(), &fields);
    assert_eq!(verified.body["backup_codes_left"], 10);
    let off = rig.bus.command("disable-2fa", ada.proven()).await;
    has_exactly(off.ok(), &["state", "details"]);
    assert_eq!(off.body["state"], "off");
}

/// B-02; OpenBao CVE-2025-55003: another spelling is not another code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_code_is_taken_in_any_spelling_and_the_last_three_are_low() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    let spelled = [
        ada.codes[0].to_lowercase(),
        ada.codes[1].replace('-', ""),
        ada.codes[2].replace('-', " "),
        ada.codes[3].replace('0', "O").replace('1', "l"),
    ];
    for (used, code) in (1..).zip(spelled.iter().chain(&ada.codes[4..])) {
        let done = ada.vouched(code).await;
        assert_eq!(done.ok()["backup_codes_left"], 10 - used);
        assert_eq!(done.body["backup_codes_low"], used >= 7);
        let respelled = code.to_lowercase().replace([' ', '-'], "");
        ada.vouched(&respelled).await.refused("code.invalid");
    }
    assert_eq!(ada.status().await["backup_codes_left"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_login_status_follows_every_step_before_its_reply_leaves() {
    let rig = Rig::start(CHEAP).await;
    let mut ada = Person::register(&rig.bus, "ada").await;
    let status = ada.status().await;
    let fields = [
        "account_id",
        "second_factor",
        "methods",
        "throttled_until",
        "double_code",
        "backup_codes_left",
        "backup_codes_low",
        "set_no",
        "enabled_at",
        "position",
    ];
    has_exactly(&status, &fields);
    assert_eq!(status["second_factor"], "off");
    assert_eq!(status["methods"], json!([]));
    assert_eq!(status["throttled_until"], Value::Null);
    let enabled = ada.enable().await;
    let status = ada.status().await;
    assert_eq!(status["second_factor"], "pending");
    assert!(status["position"].as_u64().unwrap() >= enabled.position());
    let confirmed = ada.confirm().await;
    let status = ada.status().await;
    assert_eq!(status["second_factor"], "on");
    assert_eq!(
        (&status["backup_codes_left"], &status["set_no"]),
        (&json!(10), &json!(1))
    );
    assert_eq!(status["enabled_at"], confirmed.body["details"]["at"]);
    assert_eq!(status["methods"], json!(["totp", "backup-code"]));
    rig.bus.command("disable-2fa", ada.proven()).await.ok();
    assert_eq!(ada.status().await["second_factor"], "off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_page_filters_and_shows_callers_and_sources() {
    let rig = Rig::start(CHEAP).await;
    let ada = Person::register(&rig.bus, "ada").await;
    let headers = [
        ("Nats-Msg-Id", "the id"),
        ("Countersign-On-Behalf-Of", "Grace of support"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ];
    let body = json!({"account_id": "ada", "password": PASSWORD,
        "context": {"ip": "203.0.113.7", "agent": "Firefox"}});
    let desk = rig.bus.named("desk");
    let subject = "countersign.v1.command.start-login";
    let done = desk
        .send(subject, &headers, body.to_string().as_bytes())
        .await;
    assert_eq!(done.header("traceparent"), Some(headers[2].1));
    let last = done.position();
    ada.start_login().await.ok();
    let filter = json!({"account_id": "ada", "caller": "desk", "types": ["login-completed"],
        "from": "2020-01-01T00:00:00Z"});
    let min = last.to_string();
    let page = rig
        .bus
        .send(
            "countersign.v1.query.audit-page",
            &[("Countersign-Min-Position", &min)],
            filter.to_string().as_bytes(),
        )
        .await;
    has_exactly(page.ok(), &["events"]);
    let event = &page.body["events"][0];
    let fields = [
        "position",
        "type",
        "account_id",
        "version",
        "at",
        "caller",
        "on_behalf_of",
        "command_id",
        "trace_id",
        "source",
        "data",
        "text",
    ];
    has_exactly(event, &fields);
    assert_eq!(event["position"], last);
    assert_eq!(event["command_id"], "the id");
    assert_eq!(event["on_behalf_of"], "Grace of support");
    assert_eq!(event["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(
        event["source"],
        json!({"ip": "203.0.113.7", "agent": "Firefox"})
    );
    assert!(event["text"].as_str().unwrap().len() > 10);
    let none = json!({"to": "2020-01-01T00:00:00Z"});
    assert_eq!(
        rig.bus.query("audit-page", none).await.ok()["events"],
        json!([])
    );
}
