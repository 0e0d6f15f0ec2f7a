//! How the binary connects to a broker that authenticates clients: the flags and variables of
//! `serve` and of the client commands, and the error of each when the broker refuses.

use std::fs;
use std::process::Command;

use nkeys::KeyPair;

use super::credentials::{Vouching, broker_with, certificates, mutual_tls, written};
use super::support::CHEAP;
use super::support::person::PASSWORD;
use super::support::service::Service;
use super::support::site::{Site, binary, ends};

/// The flags to reach a broker, with their values.
type Said = Vec<(&'static str, String)>;

/// The secret that no message repeats.
const SECRET: &str = "hunter2-hunter2";

/// The variable of a flag, as the `nats` command calls it.
fn variable(flag: &str) -> &str {
    match flag {
        "server" => "NATS_URL",
        "user" => "NATS_USER",
        "password" => "NATS_PASSWORD",
        "creds" => "NATS_CREDS",
        "nkey" => "NATS_NKEY",
        "tlsca" => "NATS_CA",
        "tlscert" => "NATS_CERT",
        "tlskey" => "NATS_KEY",
        other => panic!("no variable for --{other}"),
    }
}

fn flags(command: &mut Command, said: &Said) {
    for (flag, value) in said {
        command.arg(format!("--{flag}={value}"));
    }
}

fn variables(command: &mut Command, said: &Said) {
    for (flag, value) in said {
        command.env(variable(flag), value);
    }
}

const FORMS: [fn(&mut Command, &Said); 2] = [flags, variables];

fn serve(site: &Site) -> Command {
    let mut command = binary();
    command.args(["serve", "--init", "--identity", "dev", "--data"]);
    command
        .arg(site.data())
        .arg("--keyring")
        .arg(site.keyring());
    command.arg("--config").arg(site.config());
    command
}

/// A client command that needs the service.
fn register(site: &Site, name: &str) -> Command {
    let file = written(site.path(), "password", PASSWORD);
    let mut command = binary();
    command.args(["account", "register", name]);
    command.stdin(fs::File::open(file).unwrap());
    command
}

/// The broker accepts service and client, by flags and by variables.
fn is_let_in(said: &Said) {
    let site = Site::new(CHEAP);
    for (name, form) in ["ada", "eve"].into_iter().zip(FORMS) {
        let mut command = serve(&site);
        form(&mut command, said);
        let _service = Service::run(&site, command);
        let mut command = register(&site, name);
        form(&mut command, said);
        let output = ends(command);
        assert!(output.status.success(), "{said:?}: {output:?}");
    }
}

/// [`SECRET`], and every line of the named files.
fn secrets(said: &Said) -> Vec<String> {
    let texts = said.iter().map(|(_, path)| fs::read_to_string(path));
    let texts = texts.map(Result::unwrap_or_default).collect::<Vec<_>>();
    let lines = texts.iter().flat_map(|text| text.lines());
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("---"));
    lines.chain([SECRET]).map(Into::into).collect()
}

/// The broker accepts neither: each ends with this exit code and one sentence that has these words
/// and no secret.
fn is_refused(said: &Said, code: i32, words: &[&str]) {
    let site = Site::new(CHEAP);
    for mut command in [register(&site, "ada"), serve(&site)] {
        flags(&mut command, said);
        let output = ends(command);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said:?}: {text}");
        let ours: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("countersign: "))
            .collect();
        assert_eq!(ours.len(), 1, "{text}");
        for word in words {
            assert!(ours[0].contains(word), "no {word} in: {}", ours[0]);
        }
        for secret in secrets(said) {
            assert!(!text.contains(&secret), "{secret} in {text}");
        }
        assert_eq!(output.stdout, b"", "{said:?}");
    }
}

/// The right flags, except one with another value or none.
fn but(right: &Said, flag: &str, value: Option<String>) -> Said {
    let mut said = right.clone();
    let at = said.iter().position(|(name, _)| *name == flag).unwrap();
    match value {
        Some(value) => said[at].1 = value,
        None => drop(said.remove(at)),
    }
    said
}

#[test]
fn certificates_are_accepted_and_a_wrong_one_is_reported() {
    let folder = certificates();
    let file = |name: &str| folder.path().join(name).display().to_string();
    written(folder.path(), "rubbish", SECRET);
    let broker = broker_with(folder.path(), &mutual_tls(folder.path()));
    let right = vec![
        ("server", format!("tls://127.0.0.1:{}", broker.port())),
        ("tlsca", file("ca.pem")),
        ("tlscert", file("client.pem")),
        ("tlskey", file("client.key")),
    ];
    is_let_in(&right);
    is_let_in(&but(&right, "server", Some(broker.url())));
    let unproven = ["no TLS", "invalid peer certificate", "--tlsca (NATS_CA)"];
    let unknown = Some(file("unknown-ca.pem"));
    is_refused(&but(&right, "tlsca", unknown), 4, &unproven);
    is_refused(&but(&right, "tlsca", None), 4, &unproven);
    is_refused(&vec![("server", broker.url())], 4, &unproven);
    let (mut ours, mut strange) = (right.clone(), right.clone());
    ours.truncate(2);
    strange[2].1 = file("unknown.pem");
    strange[3].1 = file("unknown.key");
    let not_taken = ["no TLS", "the client certificate", "--tlscert (NATS_CERT)"];
    is_refused(&ours, 4, &not_taken);
    is_refused(&strange, 4, &not_taken);
    for half in ["tlscert", "tlskey"] {
        let words = ["--tlscert", "--tlskey", "belong together"];
        is_refused(&but(&right, half, None), 2, &words);
    }
    for (flag, what) in [
        ("tlsca", "file of authorities"),
        ("tlscert", "certificate"),
        ("tlskey", "certificate's key"),
    ] {
        let missing = Some(file("nothing.pem"));
        let words = [what, "nothing.pem", "No such file", "check the path"];
        is_refused(&but(&right, flag, missing), 2, &words);
        let rubbish = Some(file("rubbish"));
        let words = [what, "rubbish", "-----BEGIN", "check the path"];
        is_refused(&but(&right, flag, rubbish), 2, &words);
    }
    let not_its_key = Some(file("unknown.key"));
    is_refused(&but(&right, "tlskey", not_its_key), 4, &["--tlskey"]);
}

#[test]
fn a_broker_without_tls_is_refused_where_tls_is_required() {
    let folder = certificates();
    let broker = broker_with(folder.path(), "");
    let said = vec![
        ("server", format!("tls://127.0.0.1:{}", broker.port())),
        ("tlsca", folder.path().join("ca.pem").display().to_string()),
    ];
    is_refused(
        &said,
        4,
        &["it does not use TLS at that address", "nats://"],
    );
}

#[test]
fn an_nkey_is_accepted_and_a_wrong_one_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::new_user();
    let config = format!(
        "authorization {{ users: [ {{ nkey: {} }} ] }}",
        key.public_key()
    );
    let broker = broker_with(folder.path(), &config);
    let with = |seed: &str| {
        let file = written(folder.path(), "nkey", seed).display().to_string();
        vec![("server", broker.url()), ("nkey", file)]
    };
    let seed = key.seed().unwrap();
    is_let_in(&with(&seed));
    let refused = ["refuses the credentials", "--nkey (NATS_NKEY)"];
    is_refused(&with(&KeyPair::new_user().seed().unwrap()), 4, &refused);
    is_refused(&vec![("server", broker.url())], 4, &refused);
    let of_an_account = KeyPair::new_account().seed().unwrap();
    let shortened = &seed[..seed.len() - 2];
    for unusable in [&of_an_account, shortened, SECRET, ""] {
        let words = ["nkey file", "no user seed", "check the path"];
        is_refused(&with(unusable), 2, &words);
    }
    let missing = but(&with(""), "nkey", Some("/nowhere/nkey".into()));
    is_refused(&missing, 2, &["nkey file /nowhere/nkey", "No such file"]);
}

#[test]
fn a_credentials_file_is_accepted_and_a_wrong_one_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Vouching::new();
    let broker = broker_with(folder.path(), &ours.config());
    let with = |text: &str| {
        let file = written(folder.path(), "creds", text).display().to_string();
        vec![("server", broker.url()), ("creds", file)]
    };
    let (text, seed) = ours.user();
    is_let_in(&with(&text));
    let refused = ["refuses the credentials", "--creds (NATS_CREDS)"];
    is_refused(&with(&Vouching::new().user().0), 4, &refused);
    let without_seed = text.replace(&seed, "");
    for unusable in [&without_seed, &seed, SECRET] {
        let words = ["credentials file", "no JWT and seed", "check the path"];
        is_refused(&with(unusable), 2, &words);
    }
    let missing = but(&with(""), "creds", Some("/nowhere/creds".into()));
    is_refused(&missing, 2, &["credentials file /nowhere/creds", "No such"]);
}

#[test]
fn a_password_is_accepted_by_url_flag_and_variable_and_a_wrong_one_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"authorization { user: "a@b", password: "p/s:w" }"#;
    let broker = broker_with(folder.path(), config);
    let at = |who: &str| vec![("server", format!("nats://{who}127.0.0.1:{}", broker.port()))];
    let apart = |password: &str| {
        let mut said = at("");
        said.extend([("user", "a@b".into()), ("password", password.into())]);
        said
    };
    is_let_in(&at("a%40b:p%2Fs%3Aw@"));
    is_let_in(&apart("p/s:w"));
    let refused = ["refuses the credentials", "--password", "NATS_PASSWORD"];
    is_refused(&at(&format!("a%40b:{SECRET}@")), 4, &refused);
    is_refused(&apart(SECRET), 4, &refused);
    is_refused(&at(""), 4, &refused);
    let no_address = vec![("server", format!("http://ada:{SECRET}@127.0.0.1"))];
    is_refused(&no_address, 2, &["not a NATS URL", "nats://HOST:PORT"]);
}
