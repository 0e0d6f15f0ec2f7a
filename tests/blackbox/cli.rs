//! The client commands: what people type and what scripts rely on (docs/reference/command-line.md).

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use super::credentials::{OPEN, broker_with};
use super::support::answer::STATUS;
use super::support::person::{PASSWORD, Person};
use super::support::phone::Phone;
use super::support::site::{binary, ends, eventually};
use super::support::{CHEAP, Rig};

/// The output of a command line and its exit code.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Its output as JSON, after a success.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// Refused with this exit code; the problem document is on standard output.
    pub fn refused(&self, code: i32, word: &str) {
        assert_eq!(self.code, code, "{} {}", self.stdout, self.stderr);
        let problem: Value = serde_json::from_str(&self.stdout).unwrap();
        assert_eq!(problem["code"], word);
        let (_, status) = STATUS.iter().find(|(known, _)| *known == word).unwrap();
        assert_eq!(problem["status"], *status);
        assert!(self.stderr.contains(word), "{}", self.stderr);
    }
}

/// Runs the binary with these words and this standard input.
fn run(words: &[&str], stdin: &str) -> Ran {
    let mut command = binary();
    let mut child = command
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A client of one service, as one caller.
pub struct Shell {
    url: String,
    caller: String,
    folder: PathBuf,
}

impl Shell {
    fn on(rig: &Rig) -> Self {
        Self::of(rig, "shop")
    }

    pub fn of(rig: &Rig, caller: &str) -> Self {
        Self {
            url: rig.broker.url(),
            caller: caller.into(),
            folder: rig.site.path().to_owned(),
        }
    }

    pub fn plain(&self, words: &[&str], stdin: &str) -> Ran {
        let mut all = words.to_vec();
        all.extend(["--server", &self.url, "--caller", &self.caller]);
        run(&all, stdin)
    }

    pub fn json(&self, words: &[&str], stdin: &str) -> Ran {
        self.plain(&[words, &["--json"]].concat(), stdin)
    }

    /// A file that holds a secret on its first line.
    fn secret(&self, name: &str, secret: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, format!("{secret}\nnot this line\n")).unwrap();
        path.to_str().unwrap().into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_command_prints_the_reply_document_with_secrets_from_file_or_stdin() {
    let rig = Rig::start(CHEAP).await;
    let shell = Shell::on(&rig);
    let file = shell.secret("password", PASSWORD);
    let password = format!("{PASSWORD}\n");
    let answer = |line: &str, stdin: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        shell.json(&words, stdin).json()
    };
    let text = |body: &Value, name: &str| body[name].as_str().unwrap().to_owned();
    let body = answer("account register ada --account-id ada", &password);
    assert_eq!(
        (&body["account_id"], &body["details"]["version"]),
        (&json!("ada"), &json!(2))
    );
    let body = answer("account change-password ada", &password.repeat(2));
    assert_eq!(body.as_object().unwrap().len(), 1);
    let body = answer(
        &format!("factor enable ada --password-from {file} --label phone"),
        "",
    );
    let authenticator = text(&body, "authenticator_id");
    let body = answer(&format!("factor cancel ada {authenticator}"), "");
    assert_eq!(body["state"], "off");
    let body = answer("factor enable ada --password-from -", &password);
    let mut phone = Phone::scan(&text(&body, "secret"));
    let authenticator = text(&body, "authenticator_id");
    let code = shell.secret("code", &phone.next());
    let body = answer(
        &format!("factor confirm ada {authenticator} --code-from {code}"),
        "",
    );
    let spare = body["backup_codes"][0].as_str().unwrap().to_owned();
    let challenge = text(&answer("login start ada", &password), "challenge_id");
    let body = answer("login verify", &format!("{challenge}\n{}\n", phone.next()));
    assert_eq!(body["method"], "totp");
    let body = answer("login verify --account ada", &format!("{spare}\n"));
    assert_eq!(body["method"], "backup-code");
    assert_eq!(
        answer("backup-codes regenerate ada", &password)["superseded_unused"],
        9
    );
    assert_eq!(answer("login status ada", "")["second_factor"], "on");
    let body = answer(&format!("factor disable ada --password-from {file}"), "");
    assert_eq!(body["state"], "off");
    let body = answer(
        &format!("login start --account ada --password-from {file}"),
        "",
    );
    assert_eq!(body["status"], "complete");
    let count = |body: Value| body["events"].as_array().unwrap().len();
    assert!(count(answer("audit timeline ada --limit 500", "")) > 12);
    let types = "totp-accepted,backup-code-accepted";
    let page = format!("audit page --account ada --by shop --types {types}");
    assert_eq!(count(answer(&page, "")), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_sent_with_the_password_and_a_next_one_where_two_are_required() {
    let hardened = "require_code_too = true\ncode_failures_free = 4\ncode_failures_budget = 5\n\
        wait_first_s = 1\nwait_max_s = 1\n";
    let rig = Rig::start(&format!("{CHEAP}{hardened}")).await;
    let shell = Shell::on(&rig);
    let mut ada = Person::with_2fa(&rig.bus, "ada").await;
    let password = shell.secret("password", PASSWORD);
    let ask = |line: &str, stdin: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        shell.json(&words, stdin)
    };
    let typed = |code: &str| format!("{PASSWORD}\n{code}\n");
    for bare in ["factor disable ada", "backup-codes regenerate ada"] {
        ask(bare, &typed(&ada.codes[0])).refused(3, "credentials.invalid");
    }
    let renewed = ask(
        "backup-codes regenerate ada --with-code",
        &typed(&ada.codes[0]),
    )
    .json();
    assert_eq!(renewed["superseded_unused"], 9);
    let spare = |n: usize| renewed["backup_codes"][n].as_str().unwrap().to_owned();
    let code = shell.secret("code", &spare(0));
    let change =
        format!("account change-password ada --password-from {password} --code-from {code}");
    ask(&change, &format!("{PASSWORD}\n")).json();
    let wrong = typed(&ada.phone().wrong());
    for _ in 0..5 {
        ask("factor disable ada --with-code", &wrong).refused(6, "code.invalid");
    }
    let is_throttled = |line: &str, stdin: &str| {
        let said = ask(line, stdin).stdout;
        said.contains("\"account.throttled\"")
    };
    eventually("the wait of the fifth is over", || {
        !is_throttled("login verify --account ada", "000000\n")
    });
    let (first, next) = (ada.phone().next(), ada.phone().next());
    ask("factor disable ada --with-code", &typed(&first)).refused(3, "code.second_required");
    let pair = format!("{first}\n{next}\n");
    let verified = ask("login verify --account ada --with-next-code", &pair).json();
    assert_eq!(verified["method"], "totp");
    let next = shell.secret("next", &next);
    let spent = format!("factor disable ada --with-code --next-code-from {next}");
    ask(&spent, &typed(&first)).refused(6, "code.invalid");
    let disabled = ask("factor disable ada --with-code", &typed(&spare(1))).json();
    assert_eq!(disabled["state"], "off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_json_the_output_is_text_for_people() {
    let rig = Rig::start(CHEAP).await;
    let shell = Shell::on(&rig);
    let password = format!("{PASSWORD}\n");
    let said = shell.plain(
        &["account", "register", "ada", "--account-id", "ada"],
        &password,
    );
    assert!(
        said.code == 0 && said.stdout.contains("ada"),
        "{}",
        said.stderr
    );
    let said = shell.plain(&["factor", "enable", "ada"], &password).stdout;
    assert!(
        said.contains("otpauth://totp/") && said.contains('█'),
        "{said}"
    );
    let uri = said
        .split_whitespace()
        .find(|word| word.starts_with("otpauth://"))
        .unwrap();
    let secret = uri
        .split("secret=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap();
    let authenticator = shell.json(&["audit", "timeline", "ada"], "").json()["events"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()["data"]["authenticator_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let code = Phone::scan(secret).lasting();
    let said = shell.plain(
        &["factor", "confirm", "ada", &authenticator],
        &format!("{code}\n"),
    );
    assert!(said.stdout.contains("10."), "{}", said.stderr);
    let said = shell.plain(&["audit", "timeline", "ada"], "").stdout;
    assert!(
        said.lines().count() >= 5 && said.contains("[shop]"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_end_with_3_4_or_6_and_the_problem_document() {
    let rig = Rig::start(CHEAP).await;
    let shell = Shell::on(&rig);
    let mut ada = Person::with_2fa(&rig.bus, "ada").await;
    let password = format!("{PASSWORD}\n");
    shell
        .json(&["login", "start", "ada"], "wrong password\n")
        .refused(3, "credentials.invalid");
    shell
        .json(&["factor", "enable", "ada"], &password)
        .refused(3, "factor.already_on");
    shell
        .json(&["login", "status", "unknown"], "")
        .refused(3, "account.not_found");
    shell
        .json(&["account", "register", "ada"], &password)
        .refused(3, "account.exists");
    shell
        .json(&["account", "register", "a b"], &password)
        .refused(3, "request.invalid");
    let wrong = format!("{}\n", ada.phone().wrong());
    let verify = ["login", "verify", "--account", "ada"];
    shell.json(&verify, &wrong).refused(6, "code.invalid");
    let plain = shell.plain(&verify, &wrong);
    assert_eq!((plain.code, plain.stdout.as_str()), (6, ""));
    assert!(
        plain.stderr.starts_with("countersign: "),
        "{}",
        plain.stderr
    );
    // The same id again: the stored outcome, and nothing is counted.
    let repeat = [&verify[..], &["--command-id", "one id"]].concat();
    shell.json(&repeat, &wrong).refused(6, "code.invalid");
    shell.json(&repeat, &wrong).refused(6, "code.invalid");
    let spare = format!("{}\n", ada.codes[0]);
    shell
        .json(&repeat, &spare)
        .refused(3, "idempotency.mismatch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unverified_caller_ends_with_4() {
    let mut rig = Rig::start(CHEAP).await;
    rig.service.kill();
    fs::write(rig.site.config(), "").unwrap();
    rig.broker = broker_with(rig.site.path(), OPEN);
    rig.service = super::support::service::Service::start(&rig.site, &rig.broker.url(), &[]);
    let shell = Shell::on(&rig);
    shell
        .json(&["login", "status", "ada"], "")
        .refused(4, "actor.unverified");
}

/// N-03.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_service_ends_with_5_and_a_mistyped_line_with_2() {
    let mut rig = Rig::start(CHEAP).await;
    let shell = Shell::on(&rig);
    rig.service.kill();
    for (words, id) in [(["audit", "timeline"], "a.b"), (["login", "status"], "a b")] {
        let odd = shell.plain(&[words[0], words[1], id], "");
        assert_eq!(odd.code, 2, "{}", odd.stderr);
        assert!(odd.stderr.contains("an account id is"), "{}", odd.stderr);
    }
    let alone = shell.plain(&["login", "status", "ada"], "");
    assert_eq!(alone.code, 5, "{}", alone.stderr);
    assert!(
        alone.stderr.contains("is it running on this broker"),
        "{}",
        alone.stderr
    );
    rig.broker.kill();
    let away = shell.plain(&["login", "status", "ada", "--timeout", "1"], "");
    assert_eq!(away.code, 5, "{}", away.stderr);
    for words in [
        &["login", "fly"][..],
        &["login", "start"],
        &["login", "status", "ada", "--no-such-flag"],
        &["account", "register", "ada", "--user-password", "x"],
        &["login", "status", "ada", "--timeout", "soon"],
    ] {
        assert_eq!(shell.plain(words, "").code, 2, "{words:?}");
    }
    assert_eq!(
        shell.plain(&["login", "start", "ada"], "").code,
        2,
        "no password came"
    );
    let missing = ["login", "start", "ada", "--password-from", "/no/such/file"];
    assert_eq!(shell.plain(&missing, "").code, 2);
    assert_eq!(run(&[], "").code, 2);
}

#[test]
fn completions_the_man_page_and_the_version_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let said = run(&["completions", shell], "");
        assert!(
            said.code == 0 && said.stdout.contains("countersign"),
            "{}",
            said.stderr
        );
    }
    let schemas = run(&["schema", "ls"], "");
    assert!(
        schemas
            .stdout
            .lines()
            .any(|name| name == "verify-login-request")
    );
    let man = run(&["man"], "");
    assert!(
        man.code == 0 && man.stdout.contains(".TH"),
        "{}",
        man.stderr
    );
    assert!(run(&["--version"], "").stdout.starts_with("countersign "));
    assert!(run(&["--help"], "").stdout.contains("Exit codes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schemas_of_all_endpoints_are_served() {
    let rig = Rig::start(CHEAP).await;
    let errors = rig.bus.query("errors", json!({})).await;
    let errors = errors.ok()["errors"].as_array().unwrap();
    for (word, status) in STATUS {
        let entry = errors.iter().find(|entry| entry["code"] == *word).unwrap();
        assert_eq!(entry["status"], *status);
    }
    let info = rig.bus.raw("$SRV.INFO.countersign").await;
    assert_eq!(info["name"], "countersign");
    let endpoints = info["endpoints"].as_array().unwrap();
    assert!(endpoints.len() >= 14, "{info}");
    for endpoint in endpoints {
        let subject = endpoint["subject"].as_str().unwrap();
        let name = endpoint["name"].as_str().unwrap();
        // docs/reference/contract.md#discovery: two roles share one command name, and an endpoint's
        // name is unique.
        let token = match name {
            "user-cancel-reset" => "cancel-reset",
            name => name,
        };
        assert!(subject.split('.').any(|word| word == token), "{endpoint}");
        assert_eq!(endpoint["queue_group"], "countersign");
        let metadata = &endpoint["metadata"];
        assert!(metadata["summary"].is_string() && metadata["idempotent"].is_string());
        for schema in ["request_schema", "response_schema"] {
            let schema = metadata[schema].as_str().unwrap();
            let document = rig.bus.query(&format!("schema.{schema}"), json!({})).await;
            assert_eq!(
                document.ok()["$schema"],
                "https://json-schema.org/draft/2020-12/schema"
            );
        }
    }
    let ping = rig.bus.raw("$SRV.PING").await;
    assert_eq!(ping["type"], "io.nats.micro.v1.ping_response");
    let stats = rig.bus.raw("$SRV.STATS.countersign").await;
    assert_eq!(
        stats["endpoints"].as_array().unwrap().len(),
        endpoints.len()
    );
}

#[test]
fn the_tour_of_dev_once_succeeds_at_the_default_cost() {
    let mut command = binary();
    command.args(["dev", "--once"]);
    let output = ends(command);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{said} {:?}",
        String::from_utf8(output.stderr)
    );
    for word in [
        "register-account",
        "confirm-code",
        "otpauth://",
        "█",
        "audit",
        "deciding it again from the log gives the same result",
        "audit export",
        "position 1: ",
        "Every step held",
    ] {
        assert!(said.contains(word), "no {word} in {said}");
    }
}
