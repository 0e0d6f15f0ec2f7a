//! A flag wins over the environment, the environment over the file, the file over the default; and
//! `config show` names the origin, without a secret.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::support::broker;
use super::support::service::Service;
use super::support::site::{Site, binary, ends};

/// The value of each setting in `config show --json`, and where it comes from.
fn shown(mut command: Command) -> impl Fn(&str) -> (Value, String) {
    let output = ends({
        command.args(["--json", "config", "show"]);
        command
    });
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{:?}", output.stderr);
    assert!(!text.contains("hunter"), "a secret is shown: {text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    move |name| {
        let settings = document["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["name"] == name);
        let setting = setting.unwrap_or_else(|| panic!("no {name} in {text}"));
        let origin = setting["origin"].as_str().unwrap().to_owned();
        (setting["value"].clone(), origin)
    }
}

#[test]
fn each_setting_comes_from_the_flag_the_environment_the_file_or_the_default() {
    let site = Site::new(
        "[service]\nissuer = \"Acme\"\nidentity = \"dev\"\nhttp = \"127.0.0.1:9464\"\n\
         [nats]\nserver = \"nats://filed:hunter1@127.0.0.1:1\"\nuser = \"filed\"\n",
    );
    let file = site.config().display().to_string();
    let plain = shown(binary());
    assert_eq!(
        plain("service.identity"),
        ("verified".into(), "default".into())
    );
    assert_eq!(plain("service.data"), (Value::Null, "default".into()));
    assert_eq!(plain("policy.window_steps"), (1.into(), "default".into()));
    let server = ("nats://127.0.0.1:4222".into(), "default".into());
    assert_eq!(plain("nats.server"), server);
    let with_file = || {
        let mut command = binary();
        command.env("COUNTERSIGN_CONFIG", &file);
        command
    };
    let filed = shown(with_file());
    assert_eq!(filed("service.issuer"), ("Acme".into(), file.clone()));
    assert_eq!(filed("service.identity"), ("dev".into(), file.clone()));
    assert_eq!(
        filed("service.http"),
        ("127.0.0.1:9464".into(), file.clone())
    );
    let address = "nats://filed:***@127.0.0.1:1";
    assert_eq!(filed("nats.server"), (address.into(), file.clone()));
    let mut command = with_file();
    command
        .env("COUNTERSIGN_IDENTITY", "verified")
        .env("COUNTERSIGN_HTTP", "127.0.0.1:2");
    command
        .env("NATS_URL", "nats://hunter2@127.0.0.1:2")
        .env("NATS_PASSWORD", "hunter3");
    let environment = shown(command);
    let identity = ("verified".into(), "COUNTERSIGN_IDENTITY".into());
    assert_eq!(environment("service.identity"), identity);
    let server = ("nats://***@127.0.0.1:2".into(), "NATS_URL".into());
    assert_eq!(environment("nats.server"), server);
    assert_eq!(environment("nats.user"), ("filed".into(), file.clone()));
    assert_eq!(
        environment("nats.password"),
        ("***".into(), "NATS_PASSWORD".into())
    );
    let mut command = with_file();
    command
        .env("COUNTERSIGN_HTTP", "127.0.0.1:2")
        .env("NATS_USER", "b");
    command.args([
        "--user",
        "c",
        "config",
        "show",
        "--json",
        "--http",
        "127.0.0.1:3",
    ]);
    let output = ends(command);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        r#""value": "127.0.0.1:3""#,
        r#""origin": "--http""#,
        r#""origin": "--user""#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_starts_from_its_file_alone() {
    let broker = broker(None);
    let site = Site::new("");
    let (data, keyring) = (site.data(), site.keyring());
    let url = broker.url();
    let config = format!(
        "[service]\ndata = {data:?}\nkeyring = {keyring:?}\nidentity = \"dev\"\n\
         [policy]\nkdf_memory_kib = 8\n[nats]\nserver = {url:?}\n"
    );
    fs::write(site.config(), config).unwrap();
    let mut command = binary();
    command
        .arg("serve")
        .arg("--init")
        .arg("--config")
        .arg(site.config());
    let _service = Service::run(&site, command);
    assert!(data.exists() && keyring.exists());
}

#[test]
fn an_unknown_key_is_reported_with_its_line_and_the_nearest_known_one() {
    for (config, unknown, nearest) in [
        (
            "[policy]\nwindow_stepz = 1\n",
            "`window_stepz`",
            "`window_steps`",
        ),
        ("[polcy]\nwindow_steps = 1\n", "`polcy`", "`policy`"),
        ("[nats]\nservers = \"x\"\n", "`servers`", "`server`"),
    ] {
        let site = Site::new(config);
        let mut command = binary();
        command
            .args(["config", "show", "--config"])
            .arg(site.config());
        let output = ends(command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        for word in ["line ", unknown, nearest, "config.toml"] {
            assert!(said.contains(word), "{word} in {said}");
        }
    }
}

#[test]
fn a_service_without_folders_says_the_three_ways_to_name_them() {
    let mut command = binary();
    command.arg("serve");
    let output = ends(command);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for way in ["--data", "COUNTERSIGN_DATA", "[service]"] {
        assert!(said.contains(way), "{way} in {said}");
    }
}

/// As compose files set them: `NATS_URL: ${NATS_URL:-}`.
#[test]
fn an_empty_variable_counts_as_unset() {
    let mut command = binary();
    for name in [
        "COUNTERSIGN_DATA",
        "COUNTERSIGN_CONFIG",
        "COUNTERSIGN_HTTP",
        "COUNTERSIGN_IDENTITY",
        "NATS_URL",
        "NATS_USER",
        "NATS_CREDS",
        "NATS_CONTEXT",
        "NATS_TIMEOUT",
    ] {
        command.env(name, "");
    }
    let plain = shown(command);
    let server = ("nats://127.0.0.1:4222".into(), "default".into());
    assert_eq!(plain("nats.server"), server);
    assert_eq!(plain("nats.user"), (Value::Null, "default".into()));
    assert_eq!(plain("service.data"), (Value::Null, "default".into()));
    let identity = ("verified".into(), "default".into());
    assert_eq!(plain("service.identity"), identity);
}
