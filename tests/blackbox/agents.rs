//! The command line of support agents and operators: their subjects carry the broker's user.

use nkeys::KeyPair;

use super::credentials::{broker_with, written};
use super::operating::shipped;
use super::support::CHEAP;
use super::support::service::Service;
use super::support::site::{Site, binary, ends};

/// Requests a reset of an account that does not exist; returns the exit code and the output.
fn request(said: &[&str]) -> (i32, String) {
    let mut command = binary();
    command.args(["support", "reset", "request", "ada", "--reason", "r"]);
    command.args(["--ticket", "T-1", "--lost", "both", "--yes", "--json"]);
    let output = ends_with(command, said);
    (output.0, output.1)
}

fn ends_with(mut command: std::process::Command, said: &[&str]) -> (i32, String) {
    command.args(said);
    let output = ends(command);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    (output.status.code().unwrap(), text)
}

#[test]
fn the_command_line_asks_as_the_user_that_it_connects_as() {
    let broker = shipped();
    let url = |who: &str| format!("nats://{who}127.0.0.1:{}", broker.port());
    let site = Site::new("");
    let _service = Service::start(&site, &url("countersign:secret@"), &[]);
    let (in_url, apart) = (url("alice:secret@"), url(""));
    for said in [
        &["--server", &in_url][..],
        &[
            "--server",
            &apart,
            "--user",
            "alice",
            "--password",
            "secret",
        ],
    ] {
        let (_, text) = request(said);
        assert!(text.contains("account.not_found"), "{said:?}: {text}");
    }
    let operator = url("operator:secret@");
    let mut command = binary();
    command.args(["log", "stats", "--json"]);
    let (code, text) = ends_with(command, &["--server", &operator]);
    assert_eq!(code, 0, "{text}");
}

/// The broker lets this user publish to the subjects of its own key only.
#[test]
fn a_client_with_an_nkey_is_named_by_its_public_key() {
    let site = Site::new(CHEAP);
    let key = KeyPair::new_user();
    let public = key.public_key();
    let config = format!(
        "authorization {{ users: [ {{ user: countersign, password: p }}, {{ nkey: {public}, \
         permissions: {{ publish: [\"countersign.v1.admin.{public}.*\", \
         \"countersign.v1.support.{public}.*\"] }} }} ] }}"
    );
    let broker = broker_with(site.path(), &config);
    let url = broker.url().replace("nats://", "nats://countersign:p@");
    let _service = Service::start(&site, &url, &["--identity", "dev"]);
    let file = written(site.path(), "nkey", &key.seed().unwrap());
    let server = broker.url();
    let said = ["--server", &server, "--nkey", file.to_str().unwrap()];
    let (_, text) = request(&said);
    assert!(text.contains("account.not_found"), "{text}");
}
