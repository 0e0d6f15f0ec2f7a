//! A minimal login gateway: `cargo run --example gateway -- nats://USER:PASSWORD@HOST:4222`.
#![allow(clippy::disallowed_methods)]
use std::{error::Error, io::stdin};

use async_nats::{Client, ConnectOptions, HeaderMap, Request, ServerAddr};
use serde_json::{Value, json};

type Answered = Result<Value, Box<dyn Error>>;

/// Sends a command; without a reply or after a fault, sends it again under the same id.
async fn command(nats: &Client, name: &str, body: Value) -> Answered {
    let subject = format!("countersign.v1.command.{name}");
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", uuid::Uuid::now_v7().to_string());
    for _ in 0..3 {
        let payload = body.to_string().into();
        let request = Request::new().headers(headers.clone()).payload(payload);
        if let Ok(reply) = nats.send_request(subject.clone(), request).await {
            let answer: Value = serde_json::from_slice(&reply.payload)?;
            match reply.headers.unwrap_or_default().get("Countersign-Error") {
                None => return Ok(answer),
                Some(word) if answer["status"].as_u64() < Some(500) => {
                    return Err(format!("refused: {word}").into());
                }
                Some(_) => {}
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    Err("no answer".into())
}

async fn log_in(nats: &Client) -> Answered {
    let first = json!({"username": ask("name")?, "password": ask("password")?});
    let answer = command(nats, "start-login", first).await?;
    if answer["status"] != "complete" {
        let second = json!({"challenge_id": answer["challenge_id"], "code": ask("code")?});
        return command(nats, "verify-login", second).await;
    }
    Ok(answer)
}

fn ask(what: &str) -> std::io::Result<String> {
    eprint!("{what}: ");
    Ok(stdin().lines().next().transpose()?.unwrap_or_default())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url: ServerAddr = std::env::args().nth(1).ok_or("which server?")?.parse()?;
    let mut options = ConnectOptions::new();
    // Replies carry secrets, so every user has an inbox that no other user may read.
    if let Some(user) = url.username() {
        options = options.custom_inbox_prefix(format!("_INBOX.{user}"));
    }
    let login = log_in(&options.connect(url).await?).await?;
    let (account, method) = (&login["account_id"], &login["method"]);
    println!("{account} is signed in by {method}");
    Ok(())
}
