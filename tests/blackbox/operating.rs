//! `doctor`, `config show` and `health` at the shell.

use std::path::Path;
use std::process::Output;

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};

use super::support::service::{Service, lines};
use super::support::site::{Site, binary, ends, eventually};
use super::support::{CHEAP, Rig};

fn run(words: &[&str]) -> Output {
    let mut command = binary();
    command.args(words);
    ends(command)
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The broker that is shipped, each password `secret`.
fn shipped() -> Broker {
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}")).unwrap();
    let names = [
        "SERVICE", "PLATFORM", "ALICE", "BOB", "OPERATOR", "AUDIT", "SYS",
    ];
    let options = BrokerOptions {
        config: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/nats.conf")),
        environment: names
            .map(|name| (format!("CS_{name}_PASSWORD"), "secret".into()))
            .into(),
        ..BrokerOptions::default()
    };
    Broker::start(&server, &options).unwrap()
}

#[test]
fn the_doctor_finds_a_shipped_installation_well() {
    let broker = shipped();
    let url = |user: &str| format!("nats://{user}:secret@127.0.0.1:{}", broker.port());
    let site = Site::new("[directory]\nvouching = [\"login-gw\"]\n");
    let _service = Service::start(&site, &url("countersign"), &[]);
    let (keyring, config) = (site.keyring(), site.config());
    let (keyring, config) = (keyring.to_str().unwrap(), config.to_str().unwrap());
    let (operator, gateway) = (url("operator"), url("login-gw"));
    let words = [
        "doctor",
        "--server",
        &operator,
        "--keyring",
        keyring,
        "--config",
        config,
    ];
    eventually("everything is published", || {
        said(&run(&words)).contains(", 0 behind")
    });
    let well = run(&words);
    assert_eq!(well.status.code(), Some(0), "{well:?}");
    for part in [
        "keyring is whole",
        "signed checkpoint",
        "nobody may listen",
        "audit-trail follows",
    ] {
        assert!(said(&well).contains(part), "{}", said(&well));
    }
    assert!(!said(&well).contains("WRONG") && !said(&well).contains("note"));
    let gateway = run(&["doctor", "--server", &gateway, "--timeout", "1s"]);
    assert_eq!(gateway.status.code(), Some(0), "{gateway:?}");
    assert!(said(&gateway).contains("operator's rights"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_names_what_is_wrong_and_ends_with_6() {
    let mut rig = Rig::start(CHEAP).await;
    let url = rig.broker.url();
    let open = run(&["doctor", "--server", &url]);
    assert_eq!(open.status.code(), Some(6), "{open:?}");
    assert!(said(&open).contains("WRONG  this user may listen to everybody's replies"));
    rig.service.terminate();
    assert!(rig.service.ended().success());
    let absent = run(&["doctor", "--server", &url, "--keyring", "/nowhere/keyring"]);
    assert_eq!(absent.status.code(), Some(6));
    for part in ["WRONG  no service answers", "WRONG  the keyring"] {
        assert!(said(&absent).contains(part), "{}", said(&absent));
    }
    rig.broker.kill();
    let away = run(&["doctor", "--server", &url, "--json"]);
    assert_eq!(away.status.code(), Some(6));
    let found: serde_json::Value = serde_json::from_str(&said(&away)).unwrap();
    assert_eq!(found[0]["finding"], "wrong");
}

#[test]
fn the_configuration_is_shown_with_where_each_setting_comes_from() {
    let site = Site::new("[service]\nissuer = \"Acme\"\n");
    let config = site.config();
    let shown = run(&["config", "show", "--config", config.to_str().unwrap()]);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let shown = said(&shown);
    let origin = |setting: &str| {
        let line = shown.lines().find(|line| line.starts_with(setting));
        line.unwrap_or_else(|| panic!("{setting} is not in {shown}"))
            .rsplit(' ')
            .next()
            .map(str::to_owned)
    };
    assert_eq!(origin("service.issuer = \"Acme\"").as_deref(), Some("file"));
    assert_eq!(
        origin("directory.mode = \"builtin\"").as_deref(),
        Some("default")
    );
    assert_eq!(
        origin("policy.kdf_memory_kib = 19456").as_deref(),
        Some("default")
    );
    let unset = run(&["config", "show", "--json"]);
    let unset: serde_json::Value = serde_json::from_str(&said(&unset)).unwrap();
    let is_default = |setting: &serde_json::Value| setting["origin"] == "default";
    assert!(unset.as_array().unwrap().iter().all(is_default));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_ends_with_0_while_requests_are_taken_and_with_5_otherwise() {
    let mut rig = Rig::start(CHEAP).await;
    let site = Site::new(CHEAP);
    let more = ["--identity", "dev", "--http", "127.0.0.1:0"];
    let _service = Service::start(&site, &rig.broker.url(), &more);
    let line = lines(&site)
        .into_iter()
        .find(|line| line.contains("/livez"));
    let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
    let address = line["fields"]["address"].as_str().unwrap().to_owned();
    let health = || run(&["health", "--http", &address]);
    let well = health();
    assert_eq!(well.status.code(), Some(0), "{well:?}");
    assert!(said(&well).ends_with("ready\n"));
    rig.broker.kill();
    eventually("it is not healthy", || health().status.code() == Some(5));
    let nobody = run(&["health", "--http", "127.0.0.1:9"]);
    assert_eq!(nobody.status.code(), Some(5));
}
