//! The checks over the network: the broker, the service, the stream.

use std::net::SocketAddr;
use std::time::Duration;

use async_nats::{Event, ServerError};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Findings;
use crate::bus::{
    ConnectionError, MAX_PAYLOAD_LEAST, MAX_PAYLOAD_MOST, OLDEST_SERVER, Violation, stream_drift,
};
use crate::cli::client::{Client, ClientArgs};
use crate::cli::config::Config;
use crate::cli::fault::Fault;
use crate::cli::show;
use crate::http::{asked_at, readiness};

/// How long the broker may take for one check.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// Events of the connection that may wait.
const EVENTS_MAX: usize = 64;
/// How long the replies of all instances are collected.
const INSTANCES_WITHIN: Duration = Duration::from_millis(500);
/// The stream of published events.
/// What only a user that may read all replies can listen to.
const ALL_INBOXES: &str = "_INBOX.>";
const STREAM: &str = "COUNTERSIGN_EVENTS";

/// Checks whether the service is ready.
pub async fn http(address: SocketAddr, client: &ClientArgs, findings: &mut Findings) {
    match readiness(asked_at(address), client.timeout).await {
        Ok((true, _)) => findings.ok("readiness", "the service is ready"),
        Ok((false, page)) => findings.wrong("readiness", page.trim_end().replace('\n', "; ")),
        Err(error) => findings.wrong("readiness", error.to_string()),
    }
}

/// Checks the broker, the instances of the service on it, and the stream.
pub async fn look(config: &Config, client: &ClientArgs, findings: &mut Findings) {
    let connection = match config.client(client).connection("countersign-doctor") {
        Ok(connection) => connection,
        Err(error) => return findings.wrong("broker", error.to_string()),
    };
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let nats = match connection.connect(Some(sender)).await {
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
    greeting(&info, findings);
    inboxes(&nats, &mut events, findings).await;
    instances(&nats, findings).await;
    let replicas = config.publication.replicas;
    stream(&nats, client.timeout, replicas, findings).await;
    operated(&config.client(client), findings).await;
}

/// Checks the broker's greeting: the largest message, and whether users are proven.
fn greeting(info: &async_nats::ServerInfo, findings: &mut Findings) {
    let sizes = MAX_PAYLOAD_LEAST..=MAX_PAYLOAD_MOST;
    if !sizes.contains(&info.max_payload) {
        let bytes = info.max_payload;
        let (least, most) = (sizes.start(), sizes.end());
        let what = format!(
            "max_payload of the broker is {bytes} bytes: set it to at least {least} and at most {most}"
        );
        findings.wrong("payload", what);
    }
    if info.nonce.is_empty() {
        findings.note("users", ConnectionError::UnprovenUsers.to_string());
    }
}

/// Checks that one instance replies as the service, because the log belongs to one.
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
        return findings.wrong("service", "not checked: the connection has ended");
    };
    let mut versions = Vec::new();
    let collecting = async {
        while let Some(answer) = answers.next().await {
            let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
            match answer["version"].as_str() {
                Some(version) => versions.push(version.to_owned()),
                // No instance, or another program: the broker reports this at once.
                None => return,
            }
        }
    };
    let _ = tokio::time::timeout(INSTANCES_WITHIN, collecting).await;
    match versions.as_slice() {
        [] => findings.note(
            "service",
            "no instance replies on this broker, or this user may not ask $SRV",
        ),
        [version] => findings.ok("service", format!("one instance, version {version}")),
        more => findings.wrong(
            "service",
            format!(
                "{} instances share the requests, each with its own log: stop all but one",
                more.len()
            ),
        ),
    }
}

async fn stream(
    nats: &async_nats::Client,
    within: Duration,
    replicas: usize,
    findings: &mut Findings,
) {
    let subject = format!("$JS.API.STREAM.INFO.{STREAM}");
    let request = async_nats::Request::new().timeout(Some(within.min(Duration::from_secs(2))));
    let state = match nats.send_request(subject, request).await {
        Ok(message) => serde_json::from_slice(&message.payload).unwrap_or(json!({})),
        Err(_) => {
            return findings.note(
                "stream",
                "not visible: JetStream is off, or this user may not ask; the service's own user may",
            );
        }
    };
    let state: Value = state;
    let drift = stream_drift(STREAM, &state["config"], replicas);
    match (state["error"]["description"].as_str(), drift) {
        (Some(why), _) => findings.note("stream", format!("{STREAM}: {why}")),
        (None, Some(drift)) => findings.wrong(
            "stream",
            format!("{STREAM}: {drift}: set it back with `nats stream edit {STREAM}`"),
        ),
        (None, None) => findings.ok(
            "stream",
            format!(
                "{STREAM}: {} events, {} bytes",
                state["state"]["messages"], state["state"]["bytes"]
            ),
        ),
    }
}

/// Checks that this user cannot listen to the replies of others, which carry secrets.
async fn inboxes(
    nats: &async_nats::Client,
    events: &mut mpsc::Receiver<Event>,
    findings: &mut Findings,
) {
    let Ok(mut all) = nats.subscribe(ALL_INBOXES).await else {
        return findings.wrong("inboxes", "not checked: the connection has ended");
    };
    // Any reply proves that the broker has read the subscription.
    let ping = nats.request("$SRV.PING.countersign", "".into());
    let _ = tokio::time::timeout(LOOK_MAX, ping).await;
    // The broker sent the refusal before this reply, but the client delivers it separately.
    let is_refused = tokio::time::timeout(LOOK_MAX, async {
        while let Some(event) = events.recv().await {
            if let Event::ServerError(ServerError::Other(text)) = event
                && Violation::of(&text) == Some(Violation::Subscription(ALL_INBOXES))
            {
                return true;
            }
        }
        false
    });
    let is_refused = is_refused.await.unwrap_or(false);
    let _ = all.unsubscribe().await;
    if is_refused {
        findings.ok("inboxes", "this user cannot listen to all replies");
    } else {
        findings.wrong(
        "inboxes",
        "this user can listen to all replies, and they carry secrets: allow each user only its own inbox, as docker/nats.conf does",
    );
    }
}

/// The checks that need an operator's rights.
async fn operated(client: &ClientArgs, findings: &mut Findings) {
    let asked = async {
        let mut client = Client::connect(client).await?;
        let stats = client.admin("log-stats", &json!({})).await?;
        let views = client.admin("view-list", &json!({})).await?;
        Ok::<_, Fault>((stats.body, views.body))
    };
    let (stats, views) = match asked.await {
        Ok(answers) => answers,
        Err(fault) => {
            return findings.note("operating", format!("needs an operator's rights: {fault}"));
        }
    };
    match stats.get("publication") {
        None => findings.note(
            "publication",
            "publication is off: other services receive no events",
        ),
        Some(state) => match state["halted"].as_str() {
            Some(why) => findings.wrong("publication", format!("publication has halted: {why}")),
            None => findings.ok("publication", format!("{} behind", state["lag"])),
        },
    }
    for view in views["views"].as_array().into_iter().flatten() {
        let name = show::field(view, "view");
        match view["halted"].as_str() {
            Some(why) => findings.wrong(
                "views",
                format!("{name} has halted ({why}): countersign view rebuild {name} --reason R"),
            ),
            None => findings.ok("views", format!("{name} follows, at {}", view["position"])),
        }
    }
}
