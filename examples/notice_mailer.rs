//! A minimal mail service: reads the published events and notifies account owners.
//!
//! ```text
//! cargo run --example notice_mailer -- nats://127.0.0.1:4222
//! ```
//!
//! It prints where a real one would send. A durable consumer remembers the sent notices, and a
//! notice is acknowledged after it was sent: a mailer that dies in between sends one twice, never
//! none.
//!
//! It trusts the stream, which only the service may fill, and subscribes to no subject: on
//! `countersign.v1.event.>` other users of its own account could publish anything.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, AckKind};
use futures_util::StreamExt;
use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const STREAM: &str = "COUNTERSIGN_EVENTS";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or("nats://127.0.0.1:4222".into());
    let events = jetstream::new(async_nats::connect(url).await?);
    let stream = events.get_stream(STREAM).await?;
    let config = pull::Config {
        durable_name: Some("mailer".into()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 100,
        ..pull::Config::default()
    };
    let consumer = stream.get_or_create_consumer("mailer", config).await?;
    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let event: Value = serde_json::from_slice(&message.payload)?;
        if let (Some(account), Some(kind)) = (
            event["account_id"].as_str(),
            event["notice"]["kind"].as_str(),
        ) {
            // The address is the platform's: Countersign knows account ids only.
            println!(
                "to {account}: {kind}: {}",
                event["text"].as_str().unwrap_or_default()
            );
        }
        message.ack_with(AckKind::Ack).await?;
    }
    Ok(())
}
