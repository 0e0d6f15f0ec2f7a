//! `doctor`: looks at everything that an installation rests on, and names the cure of what is wrong.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Event, ServerError};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::client::{Client, ClientArgs};
use super::config::Config;
use super::fault::Fault;
use super::show;
use crate::crypto::keyring::Keyring;

/// How long the broker may take for one look.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// Events of the connection that may wait.
const EVENTS_MAX: usize = 64;

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// The keyring file, if it is on this machine
    #[arg(long, env = "COUNTERSIGN_KEYRING")]
    keyring: Option<PathBuf>,
    /// The configuration file, if it is on this machine
    #[arg(long, env = "COUNTERSIGN_CONFIG")]
    config: Option<PathBuf>,
}

/// What was found: well, worth knowing, or wrong with its cure.
enum Finding {
    Well(String),
    Note(String),
    Wrong(String),
}

pub async fn run(args: DoctorArgs, client: &ClientArgs) -> Result<(), Fault> {
    let mut found = Vec::new();
    files(&args, &mut found);
    match broker(client, &mut found).await {
        Ok(()) => service(client, &mut found).await,
        Err(fault) => found.push(Finding::Wrong(fault.to_string())),
    }
    let wrong = found
        .iter()
        .filter(|f| matches!(f, Finding::Wrong(_)))
        .count();
    let lines: Vec<_> = found.iter().map(Finding::line).collect();
    match client.json {
        true => {
            let found: Vec<Value> = found.iter().map(Finding::json).collect();
            show::line(&serde_json::to_string_pretty(&found).map_err(Fault::failed)?)?;
        }
        false => show::line(&lines.join("\n"))?,
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Fault::Negative("1 thing is wrong, see above".into())),
        many => Err(Fault::Negative(format!(
            "{many} things are wrong, see above"
        ))),
    }
}

impl Finding {
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Well(text) => ("ok", text),
            Self::Note(text) => ("note", text),
            Self::Wrong(text) => ("WRONG", text),
        }
    }

    fn line(&self) -> String {
        let (word, text) = self.parts();
        format!("{word:<6} {text}")
    }

    fn json(&self) -> Value {
        let (word, text) = self.parts();
        json!({"finding": word.to_lowercase(), "text": text})
    }
}

/// What stands on this machine.
fn files(args: &DoctorArgs, found: &mut Vec<Finding>) {
    if let Some(path) = &args.keyring {
        found.push(match Keyring::load(path) {
            Ok(_) => Finding::Well("the keyring is whole and private".into()),
            Err(error) => Finding::Wrong(error.to_string()),
        });
        found.push(match path.with_file_name("checkpoint").exists() {
            true => Finding::Well("there is a signed checkpoint beside the keyring".into()),
            false => Finding::Wrong(
                "there is no signed checkpoint beside the keyring: its folder must be writable for the service".into(),
            ),
        });
    }
    if let Some(path) = &args.config {
        match Config::read(Some(path)) {
            Ok(config) if config.directory.vouching.is_none() => found.push(Finding::Note(
                "every caller may answer for the first factor: name those that do in [directory] vouching".into(),
            )),
            Ok(_) => found.push(Finding::Well("the configuration is taken".into())),
            Err(fault) => found.push(Finding::Wrong(fault.to_string())),
        }
    }
}

/// Whether there is a broker that will do, and whether it keeps replies private.
async fn broker(args: &ClientArgs, found: &mut Vec<Finding>) -> Result<(), Fault> {
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let client = args
        .connection("countersign-doctor")?
        .connect(Some(sender))
        .await?;
    let info = client.server_info();
    found.push(Finding::Well(format!(
        "nats-server {} answers",
        info.version
    )));
    let mut all = client.subscribe("_INBOX.>").await.map_err(Fault::failed)?;
    // Its answer proves that the broker has read the subscription, whatever it says.
    let ping = client.request("$SRV.PING.countersign", "".into());
    let ping = timeout(LOOK_MAX, ping).await;
    let is_refused = std::iter::from_fn(|| events.try_recv().ok()).any(|event| {
        matches!(event, Event::ServerError(ServerError::Other(text)) if text.contains("_INBOX"))
    });
    found.push(match is_refused {
        true => Finding::Well("nobody may listen to all replies".into()),
        false => Finding::Wrong(
            "this user may listen to everybody's replies, and they carry secrets: allow each user its own inbox only, as docker/nats.conf does".into(),
        ),
    });
    let _ = timeout(LOOK_MAX, all.unsubscribe()).await;
    found.push(match ping {
        Ok(Ok(answer)) => {
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
            Finding::Well(format!(
                "the service answers, version {}",
                show::field(&answer, "version")
            ))
        }
        Ok(Err(_)) | Err(_) => Finding::Wrong(
            "no service answers $SRV.PING.countersign: start it, or let this user ask it".into(),
        ),
    });
    Ok(())
}

/// What only an operator may ask.
async fn service(args: &ClientArgs, found: &mut Vec<Finding>) {
    let asked = async {
        let mut client = Client::connect(args).await?;
        let stats = client.admin("log-stats", &json!({})).await?;
        let views = client.admin("view-list", &json!({})).await?;
        Ok::<_, Fault>((stats.body, views.body))
    };
    let (stats, views) = match asked.await {
        Ok(answers) => answers,
        Err(fault) => {
            let text = format!("the rest needs an operator's rights: {fault}");
            return found.push(Finding::Note(text));
        }
    };
    let publication = &stats["publication"];
    found.push(match publication["halted"].as_str() {
        Some(why) => Finding::Wrong(format!("nothing is published: {why}")),
        None => Finding::Well(format!(
            "events are published, {} behind",
            publication["lag"]
        )),
    });
    for view in views["views"].as_array().into_iter().flatten() {
        let name = show::field(view, "view");
        found.push(match view["halted"].as_str() {
            Some(why) => Finding::Wrong(format!(
                "the view {name} has halted ({why}): countersign view rebuild {name} --reason R"
            )),
            None => Finding::Well(format!("the view {name} follows, at {}", view["position"])),
        });
    }
}
