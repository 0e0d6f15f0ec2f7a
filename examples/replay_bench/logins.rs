//! The real service over the log: its starts, and the logins that it records itself.

use std::path::Path;

use countersign::crypto::otp::{TotpSecret, hotp, step_at};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use countersign::engine::wall_clock;
use countersign::log::{EventLog, LogOptions, PAGE_BYTES_MAX};
use countersign_schemas::code::Code;
use countersign_schemas::event::Event;
use countersign_schemas::record::{HEADER_LEN, Record};
use serde_json::{Value, json};

use crate::history::GENERATED;
use crate::service::Service;
use crate::{CALLER, Outcome};

/// Starts it until the views are there, logs in, kills it −9 after an append, and starts it again.
pub async fn measure_starts(data: &Path, keyring: &Path) -> Outcome<()> {
    let server = find_or_fetch(None, &tools_folder(), &mut |_| {})?;
    let broker = Broker::start(&server, &BrokerOptions::default())?;
    let (service, first) = Service::start(data, keyring, &broker.url(), &[])?;
    println!("first start, the views are made: {first:.2?}");
    let client = async_nats::connect(broker.url()).await?;
    log_in(&client).await?;
    drop(service);
    for _ in 0..3 {
        let (service, again) = Service::start(data, keyring, &broker.url(), &[])?;
        println!("start after kill -9: {again:.2?} (bar 1 s at 3 M events)");
        // An append right before the kill, so that the segment needs its repair.
        let name = format!("unclean-{}", wall_clock().0);
        let body = json!({"account_id": name, "username": name, "password": "correct horse"});
        send(&client, "register-account", &body).await?;
        drop(service);
    }
    Ok(())
}

async fn send(client: &async_nats::Client, name: &str, body: &Value) -> Outcome<Value> {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Countersign-Caller", CALLER);
    headers.insert("Nats-Msg-Id", uuid::Uuid::now_v7().to_string());
    headers.insert(
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    );
    let subject = format!("countersign.v1.command.{name}");
    let body = serde_json::to_vec(body)?.into();
    let message = client.request_with_headers(subject, headers, body).await?;
    let reply: Value = serde_json::from_slice(&message.payload)?;
    match reply["code"].as_str() {
        Some(code) => Err(format!("{name}: {code}").into()),
        None => Ok(reply),
    }
}

/// Enrols a user with a UUID and logs in: by a challenge, and without; each with a source.
async fn log_in(client: &async_nats::Client) -> Outcome<()> {
    let id = uuid::Uuid::now_v7().to_string();
    let password = "correct horse battery staple";
    let context = json!({"ip": "203.0.113.7", "agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"});
    let body = json!({"account_id": id, "username": "ada", "password": password});
    send(client, "register-account", &body).await?;
    let body = json!({"account_id": id, "proof": {"password": password}});
    let begun = send(client, "enable-2fa", &body).await?;
    let text = begun["secret"].as_str().ok_or("no secret")?;
    let secret = data_encoding::BASE32_NOPAD.decode(text.as_bytes())?;
    let secret = TotpSecret::from_slice(&secret).ok_or("no secret")?;
    let step = step_at(wall_clock().unix_s());
    let code = |step| Code::Totp(hotp(&secret, step)).reveal();
    let authenticator_id = &begun["authenticator_id"];
    let body =
        json!({"account_id": id, "authenticator_id": authenticator_id, "code": code(step - 1)});
    send(client, "confirm-code", &body).await?;
    let body = json!({"username": "ada", "password": password, "context": context});
    let challenge = &send(client, "start-login", &body).await?["challenge_id"];
    let body = json!({"challenge_id": challenge, "code": code(step), "context": context});
    send(client, "verify-login", &body).await?;
    let body = json!({"account_id": id, "code": code(step + 1)});
    send(client, "verify-login", &body).await?;
    Ok(())
}

/// Prints how the bytes of every app-code login that the service itself recorded are used.
pub fn measure_logins(folder: &Path) -> Outcome<()> {
    let log = EventLog::open(folder, LogOptions::default())?;
    let page = log
        .reader()
        .read(log.head().saturating_sub(20), usize::MAX, PAGE_BYTES_MAX)?;
    for (_, bytes) in page.iter() {
        let record = Record::decode(bytes)?;
        let Event::TotpAccepted(event) = record.event()? else {
            continue;
        };
        if !record.meta.command_id.starts_with(GENERATED) {
            let meta = &record.meta;
            let (sealed, agent) = meta.source.as_ref().map_or((0, 0), |source| {
                let len = source.ciphertext.len();
                (len + 14, len.saturating_sub(16 + 15))
            });
            println!(
                "a login's record: {} bytes (bar 300): header {HEADER_LEN}, account id {}, command id {}, caller {}, \
                 sealed source {sealed} (agent {agent}), payload {} ({} challenge)",
                bytes.len(),
                meta.account_id.len(),
                meta.command_id.len(),
                meta.caller.len(),
                record.payload.len(),
                if event.challenge.is_some() {
                    "with"
                } else {
                    "no"
                },
            );
        }
    }
    println!(
        "a generated one: {} bytes",
        log.reader().get(log.head() / 2)?.map_or(0, |b| b.len())
    );
    Ok(())
}
