//! The acts of an auditor: verify a running service, a stopped one's folder and an export, export
//! events, and find every change.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::support::person::Person;
use super::support::site::{binary, ends};
use super::support::{CHEAP, Rig};

/// An auditor's command lines against one service.
pub(super) struct Auditor {
    url: String,
    folder: PathBuf,
}

/// Exit code, standard output, standard error.
type Ran = (i32, String, String);

impl Auditor {
    pub(super) fn on(rig: &Rig) -> Self {
        Self {
            url: rig.broker.url(),
            folder: rig.site.path().to_owned(),
        }
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn run(&self, words: &[&str]) -> Ran {
        let mut command = binary();
        command.args(words);
        command.args(["--server", &self.url, "--caller", "auditor"]);
        let output = ends(command);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// Its document, after a success.
    pub(super) fn json(&self, words: &[&str]) -> Value {
        let (code, stdout, stderr) = self.run(&[words, &["--json"]].concat());
        assert_eq!(code, 0, "{words:?}: {stdout} {stderr}");
        serde_json::from_str(&stdout).unwrap()
    }

    /// A check that must fail; returns its reason.
    pub(super) fn negative(&self, words: &[&str]) -> Value {
        let (code, stdout, stderr) = self.run(&[words, &["--json"]].concat());
        assert_eq!(code, 6, "{words:?}: {stdout} {stderr}");
        let said: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(said["verified"], false);
        assert!(stderr.contains(said["reason"].as_str().unwrap()));
        said
    }
}

pub(super) fn stop(rig: &mut Rig) {
    rig.service.terminate();
    assert!(rig.service.ended().success());
}

fn change(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_log_is_verified_over_the_bus_and_against_a_kept_checkpoint() {
    let rig = Rig::start(CHEAP).await;
    let auditor = Auditor::on(&rig);
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    let kept = auditor.json(&["audit", "checkpoint"]);
    fs::write(auditor.path("kept.json"), kept.to_string()).unwrap();
    let (_, note, _) = auditor.run(&["audit", "checkpoint"]);
    assert!(note.contains("\n\n— "), "{note}");
    fs::write(auditor.path("kept"), note).unwrap();
    ada.vouched(&ada.codes[0]).await.ok();
    let found = auditor.json(&["audit", "verify"]);
    assert_eq!(
        (&found["verified"], &found["key_given"]),
        (&json!(true), &json!(false))
    );
    assert!(found["records"].as_u64() > kept["size"].as_u64());
    let vkey = kept["vkey"].as_str().unwrap();
    let (since, plain) = (auditor.path("kept.json"), auditor.path("kept"));
    let words = [
        "audit", "verify", "--key", vkey, "--since", &since, "--since", &plain,
    ];
    let found = auditor.json(&words);
    assert_eq!(found["checkpoints"], 3);
    let (code, text, _) = auditor.run(&words);
    assert!(code == 0 && text.starts_with("verified: "), "{text}");
    // // A checkpoint of another log.
    let text = kept["note"].as_str().unwrap();
    let size = kept["size"].as_u64().unwrap();
    let forged = text.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size - 1), 1);
    fs::write(&plain, forged).unwrap();
    let said = auditor.negative(&words);
    assert!(
        said["reason"]
            .as_str()
            .unwrap()
            .contains("signature is wrong")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_log_is_verified_without_its_keyring_and_every_change_is_found() {
    let mut rig = Rig::start(CHEAP).await;
    let auditor = Auditor::on(&rig);
    Person::with_2fa(&rig.bus, "ada").await;
    let vkey = auditor.json(&["audit", "checkpoint"])["vkey"].clone();
    stop(&mut rig);
    let keyring = rig.site.keyring();
    fs::rename(keyring.parent().unwrap(), auditor.path("elsewhere")).unwrap();
    let data = rig.site.data().to_str().unwrap().to_owned();
    let words = ["audit", "verify", "--data", &data];
    let found = auditor.json(&words);
    assert_eq!((&found["unsigned"], &found["vkey"]), (&json!(0), &vkey));
    let with_key = [
        "audit",
        "verify",
        "--data",
        &data,
        "--key",
        vkey.as_str().unwrap(),
    ];
    assert_eq!(auditor.json(&with_key)["key_given"], true);
    // A byte of a record: the account's id is in clear.
    let segment = rig.site.data().join("log/00000001.redb");
    let bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(3).rposition(|w| w == b"ada").unwrap();
    change(&segment, at);
    let said = auditor.negative(&words);
    assert!(said["position"].as_u64().unwrap() >= 1);
    change(&segment, at);
    auditor.json(&words);
    // The copy of the checkpoint beside the log, also if another one is named.
    let copy = rig.site.data().join("checkpoint.json");
    let good = fs::read_to_string(&copy).unwrap();
    let kept = auditor.path("kept.json");
    fs::write(&kept, &good).unwrap();
    let document: Value = serde_json::from_str(&good).unwrap();
    let size = document["size"].as_u64().unwrap();
    let (signed, forged) = (format!("\\n{size}\\n"), format!("\\n{}\\n", size - 1));
    fs::write(&copy, good.replacen(&signed, &forged, 1)).unwrap();
    for words in [
        &with_key[..],
        &[&with_key[..], &["--since", &kept]].concat(),
    ] {
        let said = auditor.negative(words);
        let reason = said["reason"].as_str().unwrap();
        assert!(reason.contains("signature is wrong"), "{said}");
    }
    fs::write(&copy, good).unwrap();
    // A log without its only segment.
    let away = auditor.path("away");
    fs::rename(&segment, &away).unwrap();
    auditor.negative(&words);
    fs::rename(&away, &segment).unwrap();
    fs::remove_file(&copy).unwrap();
    let (code, _, said) = auditor.run(&with_key);
    assert!(code == 2 && said.contains("--since"), "{said}");
    fs::remove_file(&segment).unwrap();
    let (code, _, said) = auditor.run(&["audit", "verify", "--data", &data]);
    assert_eq!(code, 2, "no key and no checkpoint: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines)]
async fn an_export_is_verified_without_access_to_the_service() {
    let mut rig = Rig::start(CHEAP).await;
    let auditor = Auditor::on(&rig);
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    Person::with_2fa(&rig.bus, "bob").await;
    let mut body = ada.vouching(&ada.codes[0]);
    body["context"] = json!({"ip": "203.0.113.7", "agent": "Firefox"});
    rig.bus.command("verify-login", body).await.ok();
    let vkey = auditor.json(&["audit", "checkpoint"])["vkey"].clone();
    let vkey = vkey.as_str().unwrap();
    let (code, all, _) = auditor.run(&["audit", "export"]);
    assert_eq!(code, 0);
    fs::write(auditor.path("all"), &all).unwrap();
    let hers = auditor.path("hers");
    let words = [
        "audit",
        "export",
        "--account",
        "ada",
        "--type",
        "totp-accepted,backup-code-accepted,two-factor-enabled",
        "-o",
        &hers,
    ];
    let (code, _, said) = auditor.run(&words);
    assert_eq!(code, 0, "{said}");
    let (code, _, said) = auditor.run(&words);
    assert!(code == 2 && said.contains("cannot be made"), "{said}");
    // By time: `--from` is included, `--to` is excluded.
    let lines: Vec<Value> = all
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let time = |line: &Value| line["at"].as_str().unwrap_or_default().to_owned();
    let (from, to) = (time(&lines[4]), time(&lines[lines.len() - 3]));
    let expected: Vec<&Value> = lines
        .iter()
        .filter(|line| time(line) >= from && time(line) < to)
        .map(|line| &line["position"])
        .collect();
    assert!(expected.len() > 3 && expected.len() < lines.len() - 4);
    let words = ["audit", "export", "--from", &from, "--to", &to];
    let (code, some, said) = auditor.run(&words);
    assert_eq!(code, 0, "{said}");
    let found: Vec<Value> = some
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["position"].clone())
        .filter(|position| !position.is_null())
        .collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    let (code, _, said) = auditor.run(&["audit", "export", "--from", "yesterday"]);
    assert!(
        code == 2 && said.contains("--from must be an RFC 3339 time"),
        "{said}"
    );
    stop(&mut rig);
    let sources: Vec<_> = lines.iter().filter(|l| l["source"].is_object()).collect();
    assert!(sources.len() == 1 && sources[0]["source_salt"].is_string());
    for (file, count) in [("all", all.lines().count() - 1), ("hers", 2)] {
        let path = auditor.path(file);
        let words = ["audit", "verify", "--export", &path, "--key", vkey];
        let found = auditor.json(&words);
        assert_eq!(found["count"], json!(count), "{found}");
        assert_eq!(found["not_compared"], json!([]), "{found}");
        let good = fs::read(&path).unwrap();
        for at in [5, good.len() / 2, good.len() - 30] {
            change(path.as_ref(), at);
            auditor.negative(&words);
            fs::write(&path, &good).unwrap();
        }
    }
    let (code, _, _) = auditor.run(&["audit", "verify", "--export", &hers]);
    assert_eq!(code, 2, "a key is needed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_forms_are_complete_and_have_their_manifest_beside_them() {
    let rig = Rig::start(CHEAP).await;
    let auditor = Auditor::on(&rig);
    Person::with_2fa(&rig.bus, "ada").await;
    for format in ["csv", "ocsf"] {
        let path = auditor.path(format);
        let (code, _, said) = auditor.run(&["audit", "export", "--format", format, "-o", &path]);
        assert_eq!(code, 0, "{said}");
        let text = fs::read_to_string(&path).unwrap();
        let manifest = fs::read(format!("{path}.manifest.json")).unwrap();
        let manifest = &serde_json::from_slice::<Value>(&manifest).unwrap()["manifest"];
        let lines = text.lines().count() as u64;
        let head = u64::from(format == "csv");
        assert_eq!(manifest["count"].as_u64(), Some(lines - head));
        let hash = <sha2::Sha256 as sha2::Digest>::digest(text.as_bytes());
        let hash = data_encoding::HEXLOWER.encode(&hash);
        assert_eq!(manifest["sha256"], hash);
        if format == "ocsf" {
            let is_event =
                |line: &str| serde_json::from_str::<Value>(line).unwrap()["class_uid"].is_u64();
            assert!(text.lines().all(is_event));
        }
    }
    let page = json!({"types": ["audit-exported"]});
    let recorded = rig.bus.query("audit-page", page).await;
    let formats: Vec<Value> = recorded.ok()["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["data"]["format"].clone())
        .collect();
    assert_eq!(formats, [json!("csv"), json!("ocsf")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_is_built_again_beside_a_running_service_and_on_a_stopped_ones_files() {
    let mut rig = Rig::start(CHEAP).await;
    let auditor = Auditor::on(&rig);
    Person::with_2fa(&rig.bus, "ada").await;
    let is_whole = |list: &Value| {
        let views = list["views"].as_array().unwrap();
        assert_eq!(views.len(), 4);
        views.iter().all(|view| {
            view["position"] == list["head"]
                && view["halted"].is_null()
                && view["building"].is_null()
        })
    };
    let words = ["view", "rebuild", "audit-trail", "--reason", "a test"];
    assert!(is_whole(&auditor.json(&words)));
    let (code, text, _) = auditor.run(&["view", "list"]);
    assert!(
        code == 0 && text.lines().count() == 4 && text.contains("follows"),
        "{text}"
    );
    let (code, _, said) = auditor.run(&["view", "rebuild", "no-such", "--reason", "a test"]);
    assert_eq!(code, 3, "{said}");
    stop(&mut rig);
    let data = rig.site.data().to_str().unwrap().to_owned();
    let keyring = rig.site.keyring().to_str().unwrap().to_owned();
    let of_stopped = |words: &[&'static str]| {
        let files = ["--data", &data, "--keyring", &keyring].map(str::to_owned);
        let words = words.iter().map(|word| (*word).to_owned());
        words.chain(files).collect::<Vec<_>>()
    };
    let list = of_stopped(&["view", "list"]);
    let list: Vec<_> = list.iter().map(String::as_str).collect();
    fs::remove_file(rig.site.data().join("views.redb")).unwrap();
    assert!(!is_whole(&auditor.json(&list)));
    let rebuild = of_stopped(&["view", "rebuild", "login-status"]);
    let rebuild: Vec<_> = rebuild.iter().map(String::as_str).collect();
    assert!(is_whole(&auditor.json(&rebuild)));
    assert!(is_whole(&auditor.json(&list)));
    let unknown = of_stopped(&["view", "rebuild", "no-such"]);
    let unknown: Vec<_> = unknown.iter().map(String::as_str).collect();
    let (code, _, said) = auditor.run(&unknown);
    assert!(code == 2 && said.contains("view list"), "{said}");
    rig.restart();
    let status = rig.bus.query("login-status.ada", json!({})).await;
    assert_eq!(status.ok()["second_factor"], "on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_learns_why_and_sees_an_account_as_it_was() {
    let rig = Rig::start(CHEAP).await;
    let auditor = Auditor::on(&rig);
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    let done = ada.vouched(&ada.codes[0]).await;
    let position = done.ok()["details"]["position"].as_u64().unwrap();
    let explained = auditor.json(&["audit", "explain", &position.to_string()]);
    assert_eq!(
        (&explained["verdict"], &explained["rerun"]),
        (&json!("allowed"), &json!("same"))
    );
    let (code, text, _) = auditor.run(&["audit", "explain", &position.to_string()]);
    assert!(
        code == 0 && text.contains("because:") && text.contains("gives the same result"),
        "{text}"
    );
    let at = |position: u64| {
        auditor.json(&[
            "audit",
            "account-at",
            "ada",
            "--position",
            &position.to_string(),
        ])
    };
    assert_eq!(at(position)["backup_codes_left"], 9);
    assert_eq!(at(position - 1)["backup_codes_left"], 10);
    let (code, _, said) = auditor.run(&["audit", "account-at", "ada", "--position", "1"]);
    assert_eq!(code, 3, "{said}");
    let (code, text, _) =
        auditor.run(&["audit", "account-at", "ada", "--at", "2099-01-01T00:00:00Z"]);
    assert!(code == 0 && text.contains("second factor: on"), "{text}");
}
