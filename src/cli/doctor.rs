//! `doctor`: looks at an installation from outside and says what is wrong; beside a running service
//! too, since it opens neither log nor views.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};

use super::client::ClientArgs;
use super::config::{Config, DirectoryMode, IdentityMode};
use super::fault::Fault;
use super::settings::{SettingsArgs, effective};
use super::show;
use crate::bus::{OLDEST_SERVER, PAYLOAD_BYTES_MAX};
use crate::crypto::keyring::Keyring;
use crate::engine::{free_bytes, key_list, wall_clock};
use crate::http::{asked_at, readiness};

/// Less free space than this is a finding, in bytes.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// The newest checkpoint of a running service may be so old, in seconds: it signs every 10 s while
/// the log grows, so an older one is only worth a word.
const CHECKPOINT_OLD_S: u64 = 86_400;
/// How long answers to a call for all instances are collected.
const INSTANCES_WITHIN: Duration = Duration::from_millis(500);
/// The stream of published events.
const STREAM: &str = "COUNTERSIGN_EVENTS";

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Note,
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    said: String,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, what: &'static str, verdict: Verdict, said: impl Into<String>) {
        let said = said.into();
        self.0.push(Finding {
            what,
            verdict,
            said,
        });
    }

    fn ok(&mut self, what: &'static str, said: impl Into<String>) {
        self.add(what, Verdict::Ok, said);
    }

    fn note(&mut self, what: &'static str, said: impl Into<String>) {
        self.add(what, Verdict::Note, said);
    }

    fn wrong(&mut self, what: &'static str, said: impl Into<String>) {
        self.add(what, Verdict::Wrong, said);
    }
}

pub async fn run(args: SettingsArgs, client: &ClientArgs) -> Result<(), Fault> {
    let mut findings = Findings::default();
    let config = effective(&args, client)?;
    configuration(&config, &mut findings);
    if let Some(keyring) = &config.service.keyring {
        keys(keyring, config.service.data.as_deref(), &mut findings);
        checkpoint(keyring, &mut findings);
    } else {
        findings.note("keyring", "not named, so not looked at: use --keyring");
    }
    match &config.service.data {
        Some(data) => data_folder(data, &mut findings),
        None => findings.note("data", "not named, so not looked at: use --data"),
    }
    if let Some(address) = config.service.http {
        http(address, client, &mut findings).await;
    }
    Box::pin(broker(&config, client, &mut findings)).await;
    tell(&findings.0, client.json)
}

fn configuration(config: &Config, findings: &mut Findings) {
    findings.ok("configuration", "read, and every number in its range");
    match config.service.identity {
        IdentityMode::Verified => findings.ok("identity", "callers are verified by the broker"),
        IdentityMode::Dev => {
            findings.wrong(
                "identity",
                "dev: every caller is believed; use verified in production",
            );
        }
    }
    let mode = match config.directory.mode {
        DirectoryMode::Vouched => "callers check the first factor themselves",
        _ => "the first factor is checked here",
    };
    let vouching = match &config.directory.vouching {
        None => {
            "every platform caller may vouch for it: name those who may in [directory] vouching"
                .to_owned()
        }
        Some(names) if names.is_empty() => "nobody may vouch for it".to_owned(),
        Some(names) => {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            format!("these may vouch for it: {}", names.join(", "))
        }
    };
    let verdict = match config.directory.vouching {
        None => Verdict::Note,
        Some(_) => Verdict::Ok,
    };
    findings.add("vouching", verdict, format!("{mode}; {vouching}"));
}

fn keys(file: &Path, data: Option<&Path>, findings: &mut Findings) {
    match Keyring::load(file) {
        Ok(ring) => {
            let mode = std::fs::metadata(file).map_or(0, |file| file.permissions().mode() & 0o7777);
            let list = key_list(&ring, None);
            let said = format!(
                "mode {mode:04o}, {} keys, log {}",
                list.keys.len(),
                list.log_id
            );
            findings.ok("keyring", said);
        }
        Err(error) => findings.wrong("keyring", error.to_string()),
    }
    let folder = parent(file);
    match tempfile::Builder::new()
        .prefix(".doctor-")
        .tempfile_in(&folder)
    {
        Ok(_) => findings.ok("keys folder", "writable, for checkpoints and tombstones"),
        Err(error) => findings.wrong(
            "keys folder",
            format!(
                "{} is not writable ({error}): checkpoints and tombstones go there",
                folder.display()
            ),
        ),
    }
    let is_inside = data.is_some_and(|data| {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        real(&folder).starts_with(real(data))
    });
    if is_inside {
        findings.wrong(
            "keys folder",
            "inside the data folder: one copy would hold keys and log",
        );
    }
    disk("keys disk", &folder, findings);
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => ".".into(),
    }
}

/// The age of the newest checkpoint, and whether the wall clock lies before it.
fn checkpoint(keyring: &Path, findings: &mut Findings) {
    let path = keyring.with_file_name("checkpoint");
    let (Ok(note), Ok(about)) = (std::fs::read_to_string(&path), std::fs::metadata(&path)) else {
        return findings.wrong(
            "checkpoint",
            format!("{} cannot be read: the service writes it at its start; restore it from the backup of the keyring's folder", path.display()),
        );
    };
    let size = note.lines().nth(1).unwrap_or("?");
    let signed_s = u64::try_from(about.mtime()).unwrap_or(0);
    let now_s = wall_clock().unix_s();
    match now_s.checked_sub(signed_s) {
        None => findings.wrong(
            "clock",
            format!(
                "the wall clock is {} s before the newest checkpoint: set it right",
                signed_s - now_s
            ),
        ),
        Some(age_s) => {
            let old = match age_s > CHECKPOINT_OLD_S {
                true => Verdict::Note,
                false => Verdict::Ok,
            };
            findings.add(
                "checkpoint",
                old,
                format!("{age_s} s old, covers {size} events"),
            );
            findings.ok(
                "clock",
                "not before the newest checkpoint; NTP is for the machine to watch",
            );
        }
    }
}

fn data_folder(data: &Path, findings: &mut Findings) {
    let log = data.join("log");
    match std::fs::read_dir(&log) {
        Ok(files) => {
            let bytes: u64 = files
                .filter_map(|file| Some(file.ok()?.metadata().ok()?.len()))
                .sum();
            findings.ok("log", format!("{bytes} bytes in {}", log.display()));
        }
        Err(error) => findings.wrong("log", format!("{}: {error}", log.display())),
    }
    disk("data disk", data, findings);
}

fn disk(what: &'static str, folder: &Path, findings: &mut Findings) {
    match free_bytes(folder) {
        Some(free) if free >= FREE_BYTES_MIN => {
            findings.ok(what, format!("{} MiB free", free >> 20));
        }
        Some(free) => findings.wrong(
            what,
            format!(
                "only {} MiB free: make room, a full disk stops the service",
                free >> 20
            ),
        ),
        None => findings.note(what, "the system does not say how much is free"),
    }
}

async fn http(address: SocketAddr, client: &ClientArgs, findings: &mut Findings) {
    match readiness(asked_at(address), client.timeout).await {
        Ok((true, _)) => findings.ok("readiness", "the service is ready"),
        Ok((false, page)) => findings.wrong("readiness", page.trim_end().replace('\n', "; ")),
        Err(error) => findings.wrong("readiness", error.to_string()),
    }
}

async fn broker(config: &Config, client: &ClientArgs, findings: &mut Findings) {
    let connection = match config.client(client).connection("countersign-doctor") {
        Ok(connection) => connection,
        Err(error) => return findings.wrong("broker", error.to_string()),
    };
    let nats = match connection.connect(None).await {
        Ok(nats) => nats,
        Err(error) => return findings.wrong("broker", error.to_string()),
    };
    let info = nats.server_info();
    let (major, minor, patch) = OLDEST_SERVER;
    findings.ok(
        "broker",
        format!(
            "nats-server {}, at least {major}.{minor}.{patch}",
            info.version
        ),
    );
    if info.max_payload < PAYLOAD_BYTES_MAX {
        findings.wrong(
            "payload",
            format!(
                "the broker takes {} bytes: set max_payload to at least {PAYLOAD_BYTES_MAX}",
                info.max_payload
            ),
        );
    }
    instances(&nats, findings).await;
    stream(&nats, client.timeout, findings).await;
}

/// Who answers as the service: one instance holds the log.
async fn instances(nats: &async_nats::Client, findings: &mut Findings) {
    let inbox = nats.new_inbox();
    let asked = async {
        let answers = nats.subscribe(inbox.clone()).await.ok()?;
        nats.publish_with_reply("$SRV.PING.countersign", inbox, "".into())
            .await
            .ok()?;
        Some(answers)
    };
    let Some(mut answers) = asked.await else {
        return findings.wrong("service", "nobody can be asked: the connection has ended");
    };
    let mut versions = Vec::new();
    let collecting = async {
        while let Some(answer) = answers.next().await {
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
            match answer["version"].as_str() {
                Some(version) => versions.push(version.to_owned()),
                // Nobody is there, or something else: the broker says so at once.
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(INSTANCES_WITHIN, collecting).await;
    match versions.as_slice() {
        [] => findings.note(
            "service",
            "none answers on this broker, or this user may not ask $SRV",
        ),
        [version] => findings.ok("service", format!("one instance, version {version}")),
        more => findings.wrong(
            "service",
            format!(
                "{} instances share the requests, each with a log of its own: stop all but one",
                more.len()
            ),
        ),
    }
}

async fn stream(nats: &async_nats::Client, within: Duration, findings: &mut Findings) {
    let subject = format!("$JS.API.STREAM.INFO.{STREAM}");
    let request = async_nats::Request::new().timeout(Some(within.min(Duration::from_secs(2))));
    let told = match nats.send_request(subject, request).await {
        Ok(message) => serde_json::from_slice(&message.payload).unwrap_or(json!({})),
        Err(_) => {
            return findings.note(
                "stream",
                "not to be seen: JetStream is off, or this user may not ask; the service's own user may",
            );
        }
    };
    let told: Value = told;
    match told["error"]["description"].as_str() {
        Some(why) => findings.note("stream", format!("{STREAM}: {why}")),
        None => findings.ok(
            "stream",
            format!(
                "{STREAM}: {} events, {} bytes",
                told["state"]["messages"], told["state"]["bytes"]
            ),
        ),
    }
}

fn tell(findings: &[Finding], as_json: bool) -> Result<(), Fault> {
    let mark = |verdict| match verdict {
        Verdict::Ok => "ok   ",
        Verdict::Note => "note ",
        Verdict::Wrong => "WRONG",
    };
    let line = |f: &Finding| format!("{}  {:<13}  {}\n", mark(f.verdict), f.what, f.said);
    let text = match as_json {
        true => format!("{:#}", json!({"findings": findings})),
        false => findings.iter().map(line).collect(),
    };
    show::line(&text)?;
    let wrong = findings.iter().filter(|f| f.verdict == Verdict::Wrong);
    match wrong.count() {
        0 => Ok(()),
        count => Err(Fault::Negative(format!("{count} found wrong, see above"))),
    }
}
