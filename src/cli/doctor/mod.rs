//! `doctor`: checks an installation from outside and reports what is wrong. It opens neither log
//! nor views, so the service may run meanwhile.

mod broker;
mod machine;

use serde::Serialize;
use serde_json::json;

use super::client::ClientArgs;
use super::config::{Config, DirectoryMode, IdentityMode};
use super::fault::Fault;
use super::settings::{SettingsArgs, effective};
use super::show;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Note,
    Wrong,
}

/// The result of one check.
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
        machine::keys(keyring, config.service.data.as_deref(), &mut findings);
        machine::checkpoint(keyring, &mut findings);
    } else {
        findings.note("keyring", "not named, so not checked: use --keyring");
    }
    match &config.service.data {
        Some(data) => machine::data_folder(data, &mut findings),
        None => findings.note("data", "not named, so not checked: use --data"),
    }
    if let Some(address) = config.service.http {
        broker::http(address, client, &mut findings).await;
    }
    Box::pin(broker::look(&config, client, &mut findings)).await;
    report(&findings.0, client.json)
}

fn configuration(config: &Config, findings: &mut Findings) {
    findings.ok("configuration", "valid, and every number is in its range");
    match config.service.identity {
        IdentityMode::Verified => findings.ok("identity", "callers are verified by the broker"),
        IdentityMode::Dev => {
            findings.wrong(
                "identity",
                "dev: every caller is trusted; use verified in production",
            );
        }
    }
    let mode = match config.directory.mode {
        DirectoryMode::Vouched => "callers check the first factor",
        _ => "the service checks the first factor",
    };
    let vouching = match &config.directory.vouching {
        None => {
            "every platform caller may vouch for it: name the callers that may in [directory] vouching"
                .to_owned()
        }
        Some(names) if names.is_empty() => "no caller may vouch for it".to_owned(),
        Some(names) => {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            format!("these callers may vouch for it: {}", names.join(", "))
        }
    };
    let verdict = match config.directory.vouching {
        None => Verdict::Note,
        Some(_) => Verdict::Ok,
    };
    findings.add("vouching", verdict, format!("{mode}; {vouching}"));
}

fn report(findings: &[Finding], as_json: bool) -> Result<(), Fault> {
    let mark = |verdict| match verdict {
        Verdict::Ok => "ok   ",
        Verdict::Note => "note ",
        Verdict::Wrong => "WRONG",
    };
    let line = |f: &Finding| format!("{}  {:<13}  {}\n", mark(f.verdict), f.what, f.said);
    let text = if as_json {
        format!("{:#}", json!({"findings": findings}))
    } else {
        findings.iter().map(line).collect()
    };
    show::line(&text)?;
    let wrong = findings.iter().filter(|f| f.verdict == Verdict::Wrong);
    match wrong.count() {
        0 => Ok(()),
        count => Err(Fault::Negative(format!(
            "checks failed: {count}, see above"
        ))),
    }
}
