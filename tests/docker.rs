//! What can be held against `docker/` where there is no container engine: every file parses, names
//! what the binary really has, and nats-server accepts every configuration.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::dev::find::{find_or_fetch, tools_folder};
use yaml_rust2::{Yaml, YamlLoader};

fn docker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker")
}

/// Every file under a folder with this ending.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path, ending)),
            false if path.extension().is_some_and(|e| e == ending) => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

fn text(name: &str) -> String {
    fs::read_to_string(docker().join(name)).unwrap()
}

fn yaml(name: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&text(name)).unwrap();
    assert_eq!(documents.len(), 1, "{name}");
    documents.remove(0)
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("NATS_") || name.starts_with("COUNTERSIGN_") {
            command.env_remove(name);
        }
    }
    command
}

fn stdout(args: &[&str]) -> String {
    let output = binary().args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The words that begin with `start` and go on in capitals.
fn variables(text: &str, start: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit();
    text.match_indices(start)
        .map(|(at, _)| text[at..].chars().take_while(|c| is_name(*c)).collect())
        .collect()
}

#[test]
fn every_yaml_file_is_one_document_of_its_kind() {
    let names = files(&docker(), "yaml");
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let text = fs::read_to_string(&name).unwrap();
        let documents = YamlLoader::load_from_str(&text).unwrap();
        assert!(documents[0].as_hash().is_some(), "{}", name.display());
        if name.parent().unwrap().ends_with("k8s") {
            assert!(
                documents[0]["apiVersion"].as_str().is_some(),
                "{}",
                name.display()
            );
            assert!(
                documents[0]["kind"].as_str().is_some(),
                "{}",
                name.display()
            );
        }
    }
}

#[test]
fn the_dockerfile_ends_in_a_stage_without_a_shell_or_a_root_user_that_asks_its_own_health() {
    let text = text("Dockerfile");
    let joined = text.replace("\\\n", " ");
    let lines: Vec<_> = joined.lines().map(str::trim).collect();
    let known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "ENV",
        "VOLUME",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ];
    for line in lines
        .iter()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let instruction = line.split(' ').next().unwrap();
        assert!(known.contains(&instruction), "{line}");
    }
    let stages: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("FROM "))
        .collect();
    assert_eq!(stages.len(), 2);
    assert!(
        stages[1].contains("distroless") && stages[1].ends_with(":nonroot"),
        "{stages:?}"
    );
    let begin = lines
        .iter()
        .rposition(|line| line.starts_with("FROM "))
        .unwrap();
    let last: Vec<_> = lines[begin + 1..]
        .iter()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let users: Vec<_> = last
        .iter()
        .filter(|line| line.starts_with("USER "))
        .collect();
    assert_eq!(users, [&&"USER 65532:65532"], "the last stage's own");
    assert!(
        !last.iter().any(|line| line.starts_with("RUN ")),
        "it would need a shell"
    );
    // Only the form of a list does without one.
    let exec = |instruction: &str| {
        let line = last
            .iter()
            .find(|line| line.starts_with(instruction))
            .unwrap();
        let list = &line[line.find('[').unwrap()..];
        serde_json::from_str::<Vec<String>>(list).unwrap()
    };
    let program = "/usr/local/bin/countersign";
    assert_eq!(exec("ENTRYPOINT "), [program]);
    assert_eq!(exec("CMD "), ["serve"]);
    assert_eq!(exec("HEALTHCHECK "), [program, "health"]);
    assert!(stdout(&["serve", "--help"]).contains("--data"));
    // Every variable and every word is one that the binary has.
    let help = stdout(&["serve", "--help"]);
    let set = variables(&text, "COUNTERSIGN_");
    assert!(set.len() >= 3, "{set:?}");
    for name in set {
        assert!(help.contains(&name), "{name}");
    }
    assert!(stdout(&["health", "--help"]).contains("COUNTERSIGN_HTTP"));
}

#[test]
fn compose_has_its_profiles_two_volumes_and_a_read_only_root() {
    let compose = yaml("compose.yaml");
    let service = &compose["services"]["countersign"];
    assert_eq!(service["read_only"].as_bool(), Some(true));
    assert_eq!(service["user"].as_str(), Some("65532:65532"));
    assert_eq!(service["cap_drop"][0].as_str(), Some("ALL"));
    assert_eq!(service["volumes"].as_vec().unwrap().len(), 2);
    let waits = &service["depends_on"]["broker"]["condition"];
    assert_eq!(waits.as_str(), Some("service_healthy"));
    for (name, profile) in [
        ("demo", "demo"),
        ("prometheus", "observability"),
        ("exporter", "observability"),
    ] {
        assert_eq!(
            compose["services"][name]["profiles"][0].as_str(),
            Some(profile)
        );
    }
    let broker = &compose["services"]["broker"]["environment"];
    let given: BTreeSet<_> = broker
        .as_hash()
        .unwrap()
        .keys()
        .map(|k| k.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(given, variables(&text("nats.conf"), "CS_"));
    let variables = variables(&text("compose.yaml"), "COUNTERSIGN_");
    let help = stdout(&["serve", "--help"]);
    assert!(
        variables.iter().all(|name| help.contains(name)),
        "{variables:?}"
    );
}

#[test]
fn kubernetes_runs_one_nonroot_replica_with_probes_and_copies_the_keyring_in() {
    let set = yaml("k8s/statefulset.yaml");
    assert_eq!(set["spec"]["replicas"].as_i64(), Some(1));
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["terminationGracePeriodSeconds"].as_i64(), Some(30));
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    let container = &pod["containers"][0];
    assert_eq!(
        container["securityContext"]["readOnlyRootFilesystem"].as_bool(),
        Some(true)
    );
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        assert_eq!(
            container[probe]["httpGet"]["path"].as_str(),
            Some(path),
            "{probe}"
        );
    }
    assert_eq!(
        set["spec"]["volumeClaimTemplates"].as_vec().unwrap().len(),
        2
    );
    let pdb = yaml("k8s/pdb.yaml");
    let policy = yaml("k8s/networkpolicy.yaml");
    let labels = &set["spec"]["selector"]["matchLabels"];
    assert_eq!(&pdb["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    assert_eq!(&set["spec"]["template"]["metadata"]["labels"], labels);
    for name in yaml("k8s/kustomization.yaml")["resources"]
        .as_vec()
        .unwrap()
    {
        assert!(docker().join("k8s").join(name.as_str().unwrap()).exists());
    }
}

/// Runs the init step itself, on folders of this machine.
#[test]
fn the_init_step_copies_the_secret_once_and_private_and_never_over_what_is_there() {
    use std::os::unix::fs::PermissionsExt;
    let set = yaml("k8s/statefulset.yaml");
    let command = &set["spec"]["template"]["spec"]["initContainers"][0]["command"];
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("keys")).unwrap();
    fs::create_dir_all(at("secret")).unwrap();
    let script = command[2].as_str().unwrap();
    let script = script
        .replace("/keys/", &format!("{}/", at("keys").display()))
        .replace("/secret/", &format!("{}/", at("secret").display()));
    let run = || {
        let status = Command::new("/bin/sh")
            .args(["-ec", &script])
            .status()
            .unwrap();
        assert!(status.success());
    };
    run();
    assert!(
        !at("keys/ring").exists(),
        "without a Secret, `serve --init` makes the keyring"
    );
    fs::write(at("secret/keyring.toml"), "first").unwrap();
    fs::write(at("secret/checkpoint"), "note").unwrap();
    fs::set_permissions(at("secret/keyring.toml"), PermissionsExt::from_mode(0o444)).unwrap();
    run();
    let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode("keys/ring"), mode("keys/ring/keyring.toml")),
        (0o700, 0o600)
    );
    assert_eq!(
        fs::read_to_string(at("keys/ring/checkpoint")).unwrap(),
        "note"
    );
    fs::write(at("keys/ring/keyring.toml"), "rotated").unwrap();
    run();
    assert_eq!(
        fs::read_to_string(at("keys/ring/keyring.toml")).unwrap(),
        "rotated"
    );
}

#[test]
fn the_example_of_the_environment_is_what_dev_env_prints_and_the_broker_takes_it() {
    let printed = stdout(&["dev", "env"]);
    let again = stdout(&["dev", "env"]);
    let blank = |text: &str| -> Vec<String> {
        let line = |line: &str| {
            line.split_once('=')
                .map_or(line, |(name, _)| name)
                .to_owned()
        };
        text.lines().map(line).collect()
    };
    assert_eq!(blank(&printed), blank(&text("env.example")));
    assert_eq!(
        variables(&printed, "CS_"),
        variables(&text("nats.conf"), "CS_")
    );
    let pairs = |text: &str| -> Vec<(String, String)> {
        let pair = |line: &str| {
            line.split_once('=')
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
        };
        text.lines().filter_map(pair).collect()
    };
    let (pairs, others) = (pairs(&printed), pairs(&again));
    let all: BTreeSet<_> = pairs
        .iter()
        .chain(&others)
        .map(|(_, value)| value)
        .collect();
    assert_eq!(all.len(), 14, "no password comes twice");
    assert!(
        all.iter()
            .all(|p| p.len() >= 25 && p.chars().all(|c| c.is_ascii_alphanumeric()))
    );
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}")).unwrap();
    let configurations = files(&docker(), "conf");
    assert!(!configurations.is_empty());
    for configuration in configurations {
        let output = Command::new(&server.path)
            .arg("-t")
            .arg("-c")
            .arg(&configuration)
            .envs(pairs.clone())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

#[test]
fn every_context_is_a_user_of_the_broker_with_its_own_inbox() {
    let conf = text("nats.conf");
    let contexts = files(&docker().join("contexts"), "json");
    assert!(contexts.len() >= 4);
    for context in contexts {
        let text = fs::read_to_string(&context).unwrap();
        let context: serde_json::Value = serde_json::from_str(&text).unwrap();
        let user = context["user"].as_str().unwrap();
        assert!(conf.contains(&format!("user: {user},")), "{user}");
        assert_eq!(context["inbox_prefix"], format!("_INBOX.{user}"));
        assert!(
            context.get("password").is_none(),
            "a password belongs into the environment"
        );
    }
}

/// The names of metrics in the rules are ones that the service has.
#[test]
fn the_alerts_watch_stream_publication_disk_checkpoint_and_clock() {
    let rules = yaml("alerts.yaml");
    let rules = rules["groups"][0]["rules"].as_vec().unwrap();
    let expressions: Vec<_> = rules
        .iter()
        .map(|rule| rule["expr"].as_str().unwrap())
        .collect();
    let all = expressions.join("\n");
    for metric in [
        "jetstream_stream_total_bytes",
        "countersign_publication_lag_events",
        "countersign_disk_free_bytes",
        "countersign_checkpoint_age_seconds",
        "countersign_backup_age_seconds",
        "countersign_clock_jumps_total",
        "countersign_clock_behind_seconds",
    ] {
        assert!(all.contains(metric), "{metric}");
    }
    let source = fs::read_to_string(docker().join("../src/http/metrics.rs")).unwrap();
    for word in all.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if let Some(name) = word.strip_prefix("countersign_") {
            let name = name.strip_suffix("_total").unwrap_or(name);
            assert!(
                source.contains(&format!("\"{name}\"")),
                "{name} is no metric"
            );
        }
    }
}
