//! The credentials that prove a client's identity to a broker (certificates, nkeys and credentials
//! files), and brokers that require them.

use std::fs;
use std::path::{Path, PathBuf};

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use nkeys::KeyPair;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair as CertificateKey,
    date_time_ymd,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An open broker that asks for the proof of an nkey, as verified identity demands.
pub const OPEN: &str = "no_auth_user: any\nauthorization { users: [ { user: any, password: any }, \
    { nkey: UC5IVTON6CFFSN4UYHR3WUUARL6QTD2DEMGXOGRUOBPKTPIYDRX6KNTT } ] }";

/// Starts a broker with this configuration, which is left in the folder.
pub fn broker_with(folder: &Path, config: &str) -> Broker {
    let file = folder.join("nats.conf");
    fs::write(&file, config).unwrap();
    let options = BrokerOptions {
        config: Some(file),
        ..BrokerOptions::default()
    };
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}"))
        .expect("tests need a broker");
    Broker::start(&server, &options).unwrap()
}

/// Writes a file.
pub fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    file
}

type Authority = CertifiedIssuer<'static, CertificateKey>;

fn authority() -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = CertificateKey::generate().unwrap();
    CertifiedIssuer::self_signed(params, key).unwrap()
}

/// A folder with an authority, its certificates for servers and for a client, and a client of an
/// unknown authority.
pub fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (ours, unknown) = (authority(), authority());
    written(folder.path(), "ca.pem", &ours.pem());
    written(folder.path(), "unknown-ca.pem", &unknown.pem());
    for (name, subject, authority) in [
        ("server", "127.0.0.1", &ours),
        ("client", "countersign", &ours),
        ("elsewhere", "broker.example", &ours),
        ("expired", "127.0.0.1", &ours),
        ("unknown", "countersign", &unknown),
    ] {
        let key = CertificateKey::generate().unwrap();
        let mut params = CertificateParams::new([subject.to_owned()]).unwrap();
        if name == "expired" {
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let signed = params.signed_by(&key, authority).unwrap();
        written(folder.path(), &format!("{name}.pem"), &signed.pem());
        written(folder.path(), &format!("{name}.key"), &key.serialize_pem());
    }
    folder
}

/// The configuration of a broker that asks every client for a certificate.
pub fn mutual_tls(folder: &Path) -> String {
    let file = |name: &str| folder.join(name);
    format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem"),
    )
}

/// Who vouches for the users of a broker: an operator for an account, that for its users.
pub struct Vouching {
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
}

impl Vouching {
    pub fn new() -> Self {
        Self {
            operator: KeyPair::new_operator(),
            system: KeyPair::new_account(),
            account: KeyPair::new_account(),
        }
    }

    /// The configuration of a broker that believes this operator.
    pub fn config(&self) -> String {
        let preloaded = |key: &KeyPair| {
            let vouched = jwt(&self.operator, key, "account");
            format!("{}: {vouched}", key.public_key())
        };
        format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}, {} }}",
            jwt(&self.operator, &self.operator, "operator"),
            self.system.public_key(),
            preloaded(&self.system),
            preloaded(&self.account),
        )
    }

    /// A user's credentials file, and the seed in it.
    pub fn user(&self) -> (String, String) {
        let user = KeyPair::new_user();
        let seed = user.seed().unwrap();
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n",
            jwt(&self.account, &user, "user"),
        );
        (text, seed)
    }
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
