//! What is shipped for containers, held against what the service really has. No container engine
//! is needed: the files are parsed.

use std::collections::BTreeSet;
use std::fs;

use yaml_rust2::{Yaml, YamlLoader};

fn text(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/");
    fs::read_to_string(format!("{folder}{name}")).unwrap()
}

fn parsed(name: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&text(name)).unwrap();
    assert_eq!(documents.len(), 1, "{name}");
    documents.remove(0)
}

/// The words of a text that begin so.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c))
        .filter(|word| word.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_password_of_the_broker_is_asked_for_and_no_other() {
    let wanted = words(&text("nats.conf"), "CS_");
    assert_eq!(wanted.len(), 7);
    assert_eq!(words(&text("env.example"), "CS_"), wanted);
    let compose = parsed("compose.yaml");
    let given = compose["services"]["broker"]["environment"]
        .as_hash()
        .unwrap();
    let given: BTreeSet<_> = given
        .keys()
        .map(|key| key.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(given, wanted);
    assert!(
        text("env.example")
            .lines()
            .all(|line| line.starts_with('#') || line.ends_with('='))
    );
}

#[test]
fn the_service_runs_without_rights_and_keeps_keys_and_log_apart() {
    let compose = parsed("compose.yaml");
    for name in ["broker", "countersign"] {
        let service = &compose["services"][name];
        assert_eq!(service["read_only"].as_bool(), Some(true), "{name}");
        assert_eq!(service["cap_drop"][0].as_str(), Some("ALL"), "{name}");
        assert!(service["healthcheck"]["test"].is_array(), "{name}");
    }
    let volumes = compose["services"]["countersign"]["volumes"]
        .as_vec()
        .unwrap();
    let sources: BTreeSet<_> = volumes
        .iter()
        .map(|volume| volume.as_str().unwrap().split(':').next().unwrap())
        .collect();
    assert_eq!(sources, BTreeSet::from(["data", "keys"]));
    let dockerfile = text("Dockerfile");
    assert!(dockerfile.contains("USER 65532:65532") && dockerfile.contains("HEALTHCHECK"));
}

#[test]
fn alert_rules_watch_numbers_that_the_service_has() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bus/metrics.rs");
    let source = fs::read_to_string(source).unwrap();
    let alerts = parsed("alerts.yml");
    let rules = alerts["groups"][0]["rules"].as_vec().unwrap();
    assert!(rules.len() >= 5);
    for rule in rules {
        for metric in words(rule["expr"].as_str().unwrap(), "countersign_") {
            let gauge = metric.replace("countersign_", "\"");
            let is_told = source.contains(&metric) || source.contains(&format!("{gauge}\""));
            assert!(is_told, "{metric} is no number of the service");
        }
    }
    assert_eq!(
        parsed("prometheus.yml")["rule_files"][0].as_str(),
        Some("alerts.yml")
    );
}
