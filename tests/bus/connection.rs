//! Brokers that ask who we are: TLS, user and password in the URL, nkeys, credentials files.

use std::fs;
use std::path::{Path, PathBuf};

use countersign::bus::{BusConfig, Connection, ConnectionError, Identity};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign_schemas::secret::SecretText;
use futures_util::StreamExt;
use nkeys::KeyPair;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as CertificateKey,
    date_time_ymd,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::service::{PATIENCE, Service, ask, body, register, server, wall};

/// Starts a broker with this configuration.
fn broker_with(folder: &Path, config: &str) -> Broker {
    let file = folder.join("nats.conf");
    fs::write(&file, config).unwrap();
    let options = BrokerOptions {
        config: Some(file),
        ..BrokerOptions::default()
    };
    Broker::start(&server(), &options).unwrap()
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    file
}

/// Whether the broker lets us in and delivers to our inbox.
async fn round_trip(connection: &Connection) -> Result<(), ConnectionError> {
    let client = connection.connect(None).await?;
    let inbox = client.new_inbox();
    let mut own = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "hello".into()).await.unwrap();
    let message = tokio::time::timeout(PATIENCE, own.next()).await.unwrap();
    assert_eq!(message.unwrap().payload, "hello");
    Ok(())
}

/// A folder with an authority, and what it signed for a server and for a client.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = CertificateKey::generate().unwrap();
    let authority = CertifiedIssuer::self_signed(params, key).unwrap();
    written(folder.path(), "ca.pem", &authority.pem());
    for (name, subject) in [
        ("server", "127.0.0.1"),
        ("client", "countersign"),
        ("elsewhere", "broker.example"),
        ("expired", "127.0.0.1"),
    ] {
        let key = CertificateKey::generate().unwrap();
        let mut params = CertificateParams::new([subject.to_owned()]).unwrap();
        if name == "expired" {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let signed = params.signed_by(&key, &authority).unwrap();
        written(folder.path(), &format!("{name}.pem"), &signed.pem());
        written(folder.path(), &format!("{name}.key"), &key.serialize_pem());
    }
    folder
}

#[tokio::test]
async fn a_broker_that_asks_for_certificates_is_served_over_tls() {
    let certificates = certificates();
    let file = |name: &str| certificates.path().join(name);
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem"),
    );
    let broker = broker_with(certificates.path(), &config);
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

/// P-08: in clear, to another host's certificate, to an expired one: nobody connects.
#[tokio::test]
async fn p08_a_broker_that_is_not_proven_is_not_spoken_to() {
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
        ..at("somebody:else@")
    };
    round_trip(&apart).await.unwrap();
    for wrong in ["a%40b:wrong@", "a%40b@", ""] {
        let refused = round_trip(&at(wrong)).await.unwrap_err();
        assert!(matches!(refused, ConnectionError::Credentials), "{refused}");
        assert!(!refused.to_string().contains("wrong"));
    }
}

#[tokio::test]
async fn an_nkey_is_as_good_as_a_password() {
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

/// A NATS JWT (version 2): `subject` is vouched for by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, kind: &str) -> String {
    let encoded =
        |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({"jti": "test", "iat": 1, "iss": issuer.public_key(),
        "sub": subject.public_key(), "name": "test", "nats": nats_claims(kind)});
    let signed = format!("{}.{}", encoded(&header), encoded(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!(
        "{signed}.{}",
        data_encoding::BASE64URL_NOPAD.encode(&signature)
    )
}

/// Limits of -1 are none; left out they would be 0.
fn nats_claims(kind: &str) -> Value {
    let mut claims = json!({"type": kind, "version": 2});
    if kind == "account" {
        claims["limits"] = json!({"subs": -1, "data": -1, "payload": -1, "imports": -1,
            "exports": -1, "wildcards": true, "conn": -1, "leaf": -1});
    }
    if kind == "user" {
        for limit in ["subs", "data", "payload"] {
            claims[limit] = json!(-1);
        }
    }
    claims
}

#[tokio::test]
async fn a_credentials_file_is_as_good_as_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let operator = KeyPair::new_operator();
    let (system, account) = (KeyPair::new_account(), KeyPair::new_account());
    let preloaded = |key: &KeyPair| {
        let vouched = jwt(&operator, key, "account");
        format!("{}: {vouched}", key.public_key())
    };
    let config = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}, {} }}",
        jwt(&operator, &operator, "operator"),
        system.public_key(),
        preloaded(&system),
        preloaded(&account),
    );
    let broker = broker_with(folder.path(), &config);
    let with = |name: &str, issuer: &KeyPair| {
        let user = KeyPair::new_user();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            jwt(issuer, &user, "user"),
            user.seed().unwrap(),
        );
        Connection {
            servers: broker.url(),
            creds: Some(written(folder.path(), name, &text)),
            ..Connection::default()
        }
    };
    round_trip(&with("ours", &account)).await.unwrap();
    let refused = round_trip(&with("other", &KeyPair::new_account()))
        .await
        .unwrap_err();
    assert!(matches!(refused, ConnectionError::Credentials), "{refused}");
    let mut damaged = with("ours", &account);
    damaged.creds = Some(written(folder.path(), "damaged", "no credentials"));
    let refused = round_trip(&damaged).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::File { .. }), "{refused}");
}
