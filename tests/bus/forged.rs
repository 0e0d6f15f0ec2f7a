//! Header blocks that try to hide the broker's line or to imitate it, written by hand and sent
//! through the shipped broker.
//!
//! nats-server cuts the last two bytes of a publisher's block, whatever they are, and appends its
//! own line. It removes forged copies only if they are between two CRLF.

use countersign::bus::headers::MSG_ID;
use countersign::bus::{BusConfig, Connection, Identity, serve};
use countersign::dev::broker::{Broker, BrokerOptions};
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::credentials::{Vouching, broker_with};
use crate::identity::ACCOUNTS;
use crate::raw::Raw;
use crate::roles::Fixture;
use crate::service::{
    PATIENCE, Service, ask, at, dev, engine, header, refused, registered, server, wall,
};

/// The identity that the sender claims: a support agent, who may see the reset cases.
const FORGED: &str = r#"Nats-Request-Info: {"acc":"SUPPORT","user":"bob"}"#;
/// A query that only support agents may send.
const ASKED: &str = "countersign.v1.query.reset-queue";

const UNVERIFIED: &str = "actor.unverified";
/// The reply to the auditor if the service reads the broker's own line.
const GENUINE: &str = "actor.forbidden";

/// The bytes after `NATS/1.0`, and the expected reply.
fn blocks() -> Vec<(String, &'static str)> {
    let lower = FORGED.to_lowercase().replace("support", "SUPPORT");
    let upper = FORGED.replace("Nats-Request-Info", "NATS-REQUEST-INFO");
    let named = |name: &str| FORGED.replace("Nats-Request-Info", name);
    let open = r#"Nats-Request-Info: {"acc":"SUPPORT","user":"bob","x":""#;
    let rows = [
        // A right block, and a forgery that the broker removes.
        ("\r\nA: b\r\n\r\n".into(), GENUINE),
        (format!("\r\n{FORGED}\r\n\r\n"), GENUINE),
        (format!("\r\n{FORGED}\r\n{FORGED}\r\n\r\n"), GENUINE),
        (format!("\r\n\r\n{FORGED}\r\n\r\n"), GENUINE),
        // Lines that only a careless parser sees.
        (format!("\r\nA: b\n{FORGED}\nX: zz"), UNVERIFIED),
        (format!("\r\nA: b\n{FORGED}\r\n\r\n"), UNVERIFIED),
        (format!("\r\nA: b\r{FORGED}\r\n\r\n"), UNVERIFIED),
        (format!("\r\nA: b\r\r\n{FORGED}\r\n\r\n"), UNVERIFIED),
        (format!("\n{FORGED}\n\n"), UNVERIFIED),
        (format!("\r\nA: b\u{85}{FORGED}\r\n\r\n"), UNVERIFIED),
        (format!("\r\nA: b\u{2028}{FORGED}\r\n\r\n"), UNVERIFIED),
        (format!("\r\nA: b\x0b{FORGED}\r\n\r\n"), UNVERIFIED),
        (format!("\r\nA: b\0{FORGED}\r\n\r\n"), UNVERIFIED),
        (format!("\r\nA: b\r\n\r\n{FORGED}\r\n\r\n"), UNVERIFIED),
        // Blocks without an end, which hide the broker's line.
        (format!("\r\n{FORGED}\r\nX: yzz"), UNVERIFIED),
        (format!("\r\nX: y\r\n{FORGED}zz"), UNVERIFIED),
        (format!("\r\nX: y\r\n{FORGED}\r\n"), UNVERIFIED),
        (format!("\r\nX: y\r\n{open}zz"), UNVERIFIED),
        (format!("\r\n{lower}\r\nX:zz"), UNVERIFIED),
        ("\r\nX: y\r\n".into(), UNVERIFIED),
        ("\r\nX: yz".into(), UNVERIFIED),
        ("\r\n".into(), UNVERIFIED),
        (String::new(), UNVERIFIED),
        // Names that look alike.
        (format!("\r\n{lower}\r\n\r\n"), UNVERIFIED),
        (format!("\r\n{upper}\r\n\r\n"), UNVERIFIED),
        (format!("\r\n {FORGED}\r\n\r\n"), UNVERIFIED),
        (format!("\r\n\t{FORGED}\r\n\r\n"), UNVERIFIED),
        (format!("\r\nA: b\r\n {FORGED}\r\n\r\n"), UNVERIFIED),
        (
            format!("\r\n{}\r\n\r\n", named("Nats-Request-Info ")),
            UNVERIFIED,
        ),
        (
            format!("\r\n{}\r\n\r\n", named("Nats-Request-Info\t")),
            UNVERIFIED,
        ),
        (
            format!("\r\n{}\r\n\r\n", named("\0Nats-Request-Info")),
            UNVERIFIED,
        ),
        (
            format!("\r\n{}\r\n\r\n", named("Nats-Request-Info\0")),
            UNVERIFIED,
        ),
        (
            format!("\r\n{}\r\n\r\n", named("X-Nats-Request-Info")),
            UNVERIFIED,
        ),
        (
            format!("\r\nNats-Request-\r\n{FORGED}\r\nInfo: x\r\n\r\n"),
            UNVERIFIED,
        ),
        (format!("\r\nX: {FORGED}\r\n\r\n"), UNVERIFIED),
        ("\r\nX: nats-request-info\r\n\r\n".into(), UNVERIFIED),
        // Headers that only the broker may write.
        (" 200\r\n\r\n".into(), UNVERIFIED),
        (" 503 x\r\n\r\n".into(), UNVERIFIED),
    ];
    rows.into()
}

/// A-01: no header of the sender counts as the broker's header.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a01_no_block_passes_for_the_brokers_header() {
    let fixture = Fixture::start().await;
    let port = fixture.broker.port();
    let asked = tokio::task::spawn_blocking(move || {
        let mut auditor = Raw::connect(port, "auditor");
        for (rest, expected) in blocks() {
            let block = format!("NATS/1.0{rest}");
            let reply = auditor.ask(ASKED, block.as_bytes(), b"");
            assert_eq!(reply.code(), expected, "{block:?}");
        }
        for (block, expected) in [
            (&b""[..], GENUINE),
            (b"XY", GENUINE),
            (b"NATS/1.0\r\nNats-A: \xff\r\n\r\n", UNVERIFIED),
            // A header that the service does not act on is no reason to refuse.
            (b"NATS/1.0\r\nA: \xff\t\0\r\n\r\n", GENUINE),
            (b"NATS/1.0\r\ntracestate: \xff\r\nX: yzz", UNVERIFIED),
            (
                b"NATS/1.0\r\nA: \0Nats-Request-Info\xff\r\n\r\n",
                UNVERIFIED,
            ),
            (b"nats/1.0\r\n\r\n", UNVERIFIED),
        ] {
            let reply = auditor.ask(ASKED, block, b"");
            assert_eq!(reply.code(), expected, "{block:?}");
        }
    });
    asked.await.unwrap();
    fixture.service.stop().await;
}

/// A-01: if the broker does not name the caller, no other name counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a01_no_block_passes_for_the_brokers_header_if_it_writes_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = ACCOUNTS
        .replace("password: s", "password: secret")
        .replace(".v1.command.>\" } } ] }", ".v1.>\" } } ] }")
        .replace(
            "{ service: \"countersign.v1.query.>\" } ] }",
            "{ service: \"countersign.v1.>\" } ] }",
        );
    let broker = broker_with(folder.path(), &config);
    let port = broker.port();
    let servers = format!("nats://countersign:secret@127.0.0.1:{port}");
    let config = BusConfig {
        connection: Connection {
            servers,
            ..Connection::default()
        },
        publishing: None,
        ..BusConfig::default()
    };
    let service = Service::start(config, wall()).await;
    let asked = tokio::task::spawn_blocking(move || {
        let mut unverified = Raw::connect(port, "stranger");
        for (rest, _) in blocks() {
            let block = format!("NATS/1.0{rest}");
            let reply = unverified.ask(ASKED, block.as_bytes(), b"");
            assert_eq!(reply.code(), UNVERIFIED, "{block:?}");
        }
    });
    asked.await.unwrap();
    service.stop().await;
}

/// A-01: a length that is not the block's moves bytes between headers and body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a01_no_length_of_a_block_passes_for_the_brokers_header() {
    let fixture = Fixture::start().await;
    let port = fixture.broker.port();
    let asked = tokio::task::spawn_blocking(move || {
        let mut auditor = Raw::connect(port, "auditor");
        let block = format!("NATS/1.0\r\nA: b\r\n{FORGED}\r\n\r\n");
        for said in 0..=block.len() {
            auditor.send(ASKED, block.as_bytes(), said, b"");
            let code = auditor.reply().code();
            // No query reads the rest of a block as its body.
            let is_refused = [UNVERIFIED, GENUINE, "request.malformed"].contains(&&*code);
            assert!(is_refused, "{said}: {code:?}");
        }
        let behind = "NATS/1.0\r\nA: b\r\n\r\n";
        for said in behind.len() + 1..behind.len() + 4 {
            auditor.send(ASKED, behind.as_bytes(), said, b"{}\r\n\r\n");
            assert_eq!(auditor.reply().code(), UNVERIFIED, "{said}");
        }
    });
    asked.await.unwrap();
    fixture.service.stop().await;
}

/// A-01: one agent requests a reset and tries to approve it as another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a01_one_agent_is_not_two() {
    let fixture = Fixture::start().await;
    let port = fixture.broker.port();
    registered(&fixture.user("login-gw").await.client, "ada").await;
    let asked = tokio::task::spawn_blocking(move || {
        let mut alice = Raw::connect(port, "alice");
        let request = br#"{"account_id":"ada","reason":"r","ticket":"T-1","lost":"both"}"#;
        let forged = format!("NATS/1.0\r\nNats-Msg-Id: r-1\n{FORGED}\nX: zz");
        for user in ["alice", "bob", "%61lice"] {
            let subject = format!("countersign.v1.support.{user}.request-reset");
            let reply = alice.ask(&subject, forged.as_bytes(), request);
            let is_refused = match user {
                "alice" => reply.code() == UNVERIFIED,
                _ => String::from_utf8_lossy(&reply.body).contains("Permissions Violation"),
            };
            assert!(is_refused, "{user}");
        }
        // Without a forgery the request is decided: 2FA is not on.
        let subject = "countersign.v1.support.alice.request-reset";
        let reply = alice.ask(subject, b"NATS/1.0\r\nNats-Msg-Id: r-2\r\n\r\n", request);
        assert_eq!(reply.code(), "factor.not_on");
    });
    asked.await.unwrap();
    fixture.service.stop().await;
}

/// A-02: nats-server names a client by the nkey that it claims. The shipped configuration makes it
/// ask for the proof, and a service in verified identity starts on no other broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a02_a_client_is_not_the_nkey_that_it_claims_to_be() {
    let fixture = Fixture::start().await;
    let port = fixture.broker.port();
    let asked = tokio::task::spawn_blocking(move || {
        for claimed in [
            "bob",
            "UC5IVTON6CFFSN4UYHR3WUUARL6QTD2DEMGXOGRUOBPKTPIYDRX6KNTT",
        ] {
            let mut alice = Raw::greeted(port, "alice");
            alice.introduce(json!({"user": "alice", "pass": "secret", "nkey": claimed}));
            assert!(alice.line().contains("Authorization Violation"));
        }
    });
    asked.await.unwrap();
    fixture.service.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(&server(), &BrokerOptions::default()).unwrap();
    let config = BusConfig {
        connection: at(&broker),
        identity: Identity::default(),
        ..BusConfig::default()
    };
    let (ready, _) = watch::channel(false);
    let served = serve(
        engine(&folder, wall()),
        config,
        ready,
        std::future::pending(),
    );
    let error = tokio::time::timeout(PATIENCE, served).await.unwrap();
    assert!(error.unwrap_err().to_string().contains("knows no nkey"));
}

/// A-02: in operator mode the broker trusts a client's own name, so there the account is the
/// caller. Once this test fails, `Identity` may trust the user there too.
#[test]
fn a02_in_operator_mode_a_client_names_its_own_user() {
    let folder = tempfile::tempdir().unwrap();
    let vouching = Vouching::new();
    let broker = broker_with(folder.path(), &vouching.config());
    let (text, seed) = vouching.user();
    let jwt = text.lines().nth(1).unwrap();
    let key = nkeys::KeyPair::from_seed(&seed).unwrap();
    for (claim, user) in [
        ("none", key.public_key()),
        ("nkey", "bob".into()),
        ("user", "bob".into()),
    ] {
        let mut client = Raw::greeted(broker.port(), "any");
        let nonce = client.greeting["nonce"].as_str().unwrap();
        let signature = key.sign(nonce.as_bytes()).unwrap();
        let signature = data_encoding::BASE64URL_NOPAD.encode(&signature);
        client.introduce(json!({"jwt": jwt, "sig": signature, claim: "bob"}));
        let reply = client.ask("$SYS.REQ.USER.INFO", b"NATS/1.0\r\n\r\n", b"");
        let info: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(info["data"]["user"], user.as_str(), "{claim}");
    }
}

/// A-03: in dev identity a malformed block is a malformed request, and the connection stays open.
/// It also stays open for subjects that are not UTF-8.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a03_every_message_that_does_not_parse_is_refused_and_ends_no_connection() {
    let broker = crate::service::broker();
    let (mut service, client) = dev(&broker).await;
    service.ready.mark_unchanged();
    let port = broker.port();
    let asked = tokio::task::spawn_blocking(move || {
        let mut raw = Raw::connect(port, "any");
        for block in [
            &b"NATS/1.0\r\nno colon\r\n\r\n"[..],
            b"NATS/1.0\r\nX: a\rb\r\n\r\n",
            b"NATS/1.0\r\nCountersign-X: \xff\r\n\r\n",
            b"NATS/1.0\r\nX Y: a\r\n\r\n",
            b"NATS/1.0\r\nA: b",
            b"NATS/1.0 abc\r\n\r\n",
            b"x",
        ] {
            let reply = raw.ask("countersign.v1.query.errors", block, b"");
            assert_eq!(reply.code(), "request.malformed", "{block:?}");
        }
        let inbox = raw.inbox.clone();
        for (id, reply_to) in [
            (&b"\xff"[..], inbox.as_bytes()),
            ("\u{a0}a\u{3000}".as_bytes(), inbox.as_bytes()),
        ] {
            let mut bytes = b"PUB countersign.v1.query.login-status.".to_vec();
            bytes.extend_from_slice(id);
            bytes.push(b' ');
            bytes.extend_from_slice(reply_to);
            bytes.extend_from_slice(b" 0\r\n\r\n");
            raw.write(&bytes);
            let code = raw.reply().code();
            assert!(
                ["request.malformed", "request.invalid"].contains(&&*code),
                "{id:?} {code}"
            );
        }
        // The service cannot reply to a reply subject that is not UTF-8.
        for verb in ["PUB", "HPUB"] {
            let (head, block) = if verb == "PUB" {
                ("0", "")
            } else {
                ("12 12", "NATS/1.0\r\n\r\n")
            };
            for reply_to in [&b"\xff"[..], "in\u{a0}box".as_bytes(), b"a\x0bb"] {
                let mut bytes = format!("{verb} countersign.v1.query.errors ").into_bytes();
                bytes.extend_from_slice(reply_to);
                bytes.extend_from_slice(format!(" {head}\r\n{block}\r\n").as_bytes());
                raw.write(&bytes);
            }
        }
        raw.flush();
    });
    asked.await.unwrap();
    registered(&client, "ada").await;
    assert!(
        !service.ready.has_changed().unwrap(),
        "the connection ended"
    );
    service.stop().await;
}

/// A-04: a request cannot make the service publish among its own events, nor to an API of the
/// broker.
#[tokio::test]
async fn a04_a_request_with_a_reply_subject_of_the_service_or_the_broker_is_not_executed() {
    let broker = crate::service::broker();
    let (service, client) = dev(&broker).await;
    let wrong = [
        "countersign.v1.event.totp-accepted.ada",
        "countersign.v1.command.register-account",
        "countersign",
        "$JS.API.STREAM.DELETE.COUNTERSIGN_EVENTS",
        "$SRV.PING",
        "$SYS.x",
        "a.*",
        "a.>",
    ];
    let mut all = client.subscribe(">").await.unwrap();
    for (at, reply_to) in wrong.iter().enumerate() {
        let request = crate::service::register(&format!("id-{at}"));
        let mut bytes = Vec::new();
        for (subject, body) in [
            ("countersign.v1.command.register-account", &request[..]),
            ("$SRV.INFO", b""),
        ] {
            bytes.extend_from_slice(
                format!("PUB {subject} {reply_to} {}\r\n", body.len()).as_bytes(),
            );
            bytes.extend_from_slice(body);
            bytes.extend_from_slice(b"\r\n");
        }
        let port = broker.port();
        let sent = tokio::task::spawn_blocking(move || {
            let mut raw = Raw::connect(port, "any");
            raw.write(&bytes);
            raw.flush();
        });
        sent.await.unwrap();
    }
    // Later requests get replies, and none of the earlier ones was executed.
    for at in 0..wrong.len() {
        let reply = ask(&client, &format!("query.login-status.id-{at}"), &[], b"").await;
        assert_eq!(refused(&reply), "404 account.not_found");
    }
    registered(&client, "ada").await;
    let mut answered = Vec::new();
    while let Some(message) = all.next().now_or_never().flatten() {
        let is_answer = header(&message, MSG_ID).is_some()
            || message.payload.starts_with(br#"{"type":"io.nats"#);
        if is_answer && wrong.contains(&message.subject.as_str()) {
            answered.push(message.subject);
        }
    }
    assert_eq!(answered, Vec::new());
    service.stop().await;
}
