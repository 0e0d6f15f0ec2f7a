//! Brokers that authenticate clients: TLS, user and password in the URL, nkeys, credentials files.

use countersign::bus::{BusConfig, Connection, ConnectionError, Identity};
use countersign_schemas::secret::SecretText;
use futures_util::StreamExt;
use nkeys::KeyPair;

use crate::credentials::{Vouching, broker_with, certificates, mutual_tls, written};
use crate::service::{PATIENCE, Service, ask, body, register, wall};

/// Whether the broker accepts us and delivers to our inbox.
async fn round_trip(connection: &Connection) -> Result<(), ConnectionError> {
    let client = connection.connect(None).await?;
    let inbox = client.new_inbox();
    let mut own = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "hello".into()).await.unwrap();
    let message = tokio::time::timeout(PATIENCE, own.next()).await.unwrap();
    assert_eq!(message.unwrap().payload, "hello");
    Ok(())
}

#[tokio::test]
async fn a_broker_that_asks_for_certificates_is_served_over_tls() {
    let certificates = certificates();
    let file = |name: &str| certificates.path().join(name);
    let broker = broker_with(certificates.path(), &mutual_tls(certificates.path()));
    let connection = Connection {
        servers: format!("tls://127.0.0.1:{}", broker.port()),
        tls_ca: Some(file("ca.pem")),
        tls_cert: Some(file("client.pem")),
        tls_key: Some(file("client.key")),
        ..Connection::default()
    };
    let config = BusConfig {
        connection: connection.clone(),
        identity: Identity::Dev,
        ..BusConfig::default()
    };
    let service = Service::start(config, wall()).await;
    let client = connection.connect(None).await.unwrap();
    let reply = ask(&client, "command.register-account", &[], &register("ada")).await;
    assert_eq!(body(&reply)["account_id"], "ada");
    service.stop().await;

    let stranger = Connection {
        tls_ca: None,
        ..connection.clone()
    };
    let refused = stranger.connect(None).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::Tls { .. }), "{refused}");
    let without_ours = Connection {
        tls_cert: None,
        tls_key: None,
        ..connection.clone()
    };
    let refused = without_ours.connect(None).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::Tls { .. }), "{refused}");
    let missing = Connection {
        tls_ca: Some(file("nothing.pem")),
        ..connection
    };
    let refused = missing.connect(None).await.unwrap_err();
    assert!(refused.is_permanent(), "{refused}");
}

/// P-08: no client connects in clear, to another host's certificate, or to an expired one.
#[tokio::test]
async fn p08_an_unproven_broker_is_refused() {
    let certificates = certificates();
    let file = |name: &str| certificates.path().join(name);
    let secured = |name: &str| {
        let (cert, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        let config = format!("tls {{ cert_file: {cert:?}, key_file: {key:?} }}");
        broker_with(certificates.path(), &config)
    };
    for (name, is_right) in [("server", true), ("elsewhere", false), ("expired", false)] {
        let broker = secured(name);
        let connection = Connection {
            servers: format!("tls://127.0.0.1:{}", broker.port()),
            tls_ca: Some(file("ca.pem")),
            ..Connection::default()
        };
        match round_trip(&connection).await {
            Ok(()) => assert!(is_right, "{name}"),
            Err(ConnectionError::Tls { reason }) => assert!(!is_right, "{name}: {reason}"),
            Err(other) => panic!("{name}: {other}"),
        }
    }
    let broker = broker_with(certificates.path(), "");
    let demanding = Connection {
        servers: format!("tls://127.0.0.1:{}", broker.port()),
        tls_ca: Some(file("ca.pem")),
        ..Connection::default()
    };
    let refused = demanding.connect(None).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::Tls { .. }), "{refused}");
}

/// A server that greets after the handshake, and one that greets before it, which a client that
/// begins with the handshake cannot read.
#[tokio::test]
async fn the_handshake_comes_first_if_the_option_is_set() {
    let certificates = certificates();
    let file = |name: &str| certificates.path().join(name);
    for (handshake_first, is_right) in [("auto", true), ("false", false)] {
        let (cert, key) = (file("server.pem"), file("server.key"));
        let config = format!(
            "tls {{ cert_file: {cert:?}, key_file: {key:?}, handshake_first: {handshake_first} }}"
        );
        let broker = broker_with(certificates.path(), &config);
        let connection = Connection {
            servers: format!("tls://127.0.0.1:{}", broker.port()),
            tls_ca: Some(file("ca.pem")),
            tls_first: true,
            ..Connection::default()
        };
        let met = round_trip(&connection).await;
        assert_eq!(met.is_ok(), is_right, "{handshake_first}: {met:?}");
    }
}

/// A server that waits for the handshake sends nothing, like a server that is away.
#[test]
fn the_error_without_a_greeting_over_tls_names_the_handshake() {
    let away = |servers: &str| ConnectionError::Away {
        servers: servers.into(),
        reason: "expected INFO, got nothing".into(),
    };
    assert!(away("tls://h:4222").to_string().contains("--tlsfirst"));
    assert!(!away("nats://h:4222").to_string().contains("--tlsfirst"));
}

#[tokio::test]
async fn user_and_password_in_the_url_are_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"authorization { users: [ { user: "a@b", password: "p/s:w", permissions: {
        publish: ["_INBOX.a@b.>"], subscribe: ["_INBOX.a@b.>"] } } ] }"#;
    let broker = broker_with(folder.path(), config);
    let at = |credentials: &str| Connection {
        servers: format!("nats://{credentials}127.0.0.1:{}", broker.port()),
        ..Connection::default()
    };
    round_trip(&at("a%40b:p%2Fs%3Aw@")).await.unwrap();
    let apart = Connection {
        user: Some("a@b".into()),
        password: Some(SecretText::new("p/s:w".into())),
        ..at("another:user@")
    };
    round_trip(&apart).await.unwrap();
    for wrong in ["a%40b:wrong@", "a%40b@", ""] {
        let refused = round_trip(&at(wrong)).await.unwrap_err();
        assert!(matches!(refused, ConnectionError::Credentials), "{refused}");
        assert!(!refused.to_string().contains("wrong"));
    }
}

#[tokio::test]
async fn an_nkey_works_like_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (KeyPair::new_user(), KeyPair::new_user());
    let config = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        ours.public_key()
    );
    let broker = broker_with(folder.path(), &config);
    let with = |name: &str, key: &KeyPair| Connection {
        servers: broker.url(),
        nkey: Some(written(
            folder.path(),
            name,
            &format!("\n{}\n", key.seed().unwrap()),
        )),
        ..Connection::default()
    };
    round_trip(&with("ours", &ours)).await.unwrap();
    let refused = round_trip(&with("other", &other)).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::Credentials), "{refused}");
}

#[tokio::test]
async fn a_credentials_file_works_like_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Vouching::new();
    let broker = broker_with(folder.path(), &ours.config());
    let with = |name: &str, vouching: &Vouching| Connection {
        servers: broker.url(),
        creds: Some(written(folder.path(), name, &vouching.user().0)),
        ..Connection::default()
    };
    round_trip(&with("ours", &ours)).await.unwrap();
    let refused = round_trip(&with("other", &Vouching::new()))
        .await
        .unwrap_err();
    assert!(matches!(refused, ConnectionError::Credentials), "{refused}");
    let mut damaged = with("ours", &ours);
    damaged.creds = Some(written(folder.path(), "damaged", "no credentials"));
    let refused = round_trip(&damaged).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::File { .. }), "{refused}");
}
