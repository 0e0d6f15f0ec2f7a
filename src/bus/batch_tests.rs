//! How a real JetStream server treats the publisher's batches.

use async_nats::Client;
use countersign_schemas::published::PublishedEvent;
use serde_json::{Value, json};

use super::super::jetstream::Stream;
use super::super::stream::{End, settings};
use super::super::stream_error::StreamError;
use super::publish;
use crate::dev::broker::{Broker, BrokerOptions};
use crate::dev::find::{find_or_fetch, tools_folder};

const NAME: &str = "COUNTERSIGN_EVENTS";

async fn stream() -> (Broker, Client, Stream) {
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}")).unwrap();
    let broker = Broker::start(&server, &BrokerOptions::default()).unwrap();
    let client = async_nats::connect(broker.url()).await.unwrap();
    let stream = Stream::new(client.clone(), NAME.into());
    stream.create(&settings(NAME, 1)).await.unwrap();
    (broker, client, stream)
}

fn end(sequence: u64) -> End {
    End {
        stream: NAME.into(),
        log_id: "ab01".into(),
        sequence,
        position: sequence,
    }
}

fn events(positions: impl Iterator<Item = u64>) -> Vec<PublishedEvent> {
    let event = |position: u64| -> Value {
        json!({
            "position": position, "type": "totp-accepted", "account_id": "ada", "version": position,
            "at": "2027-01-15T08:00:00Z", "command_id": "c-1", "data": {}, "text": "It happened.",
            "caller": {"name": "shop", "role": "platform", "verified": true},
            "group": {"index": 0, "size": 1},
        })
    };
    positions
        .map(|position| serde_json::from_value(event(position)).unwrap())
        .collect()
}

async fn last(stream: &Stream) -> u64 {
    stream.info().await.unwrap().unwrap().last
}

#[tokio::test]
async fn a_batch_is_taken_as_a_whole_after_the_end_that_it_names_and_nowhere_else() {
    let (_broker, client, stream) = stream().await;
    let next = publish(&client, &end(0), "b-1", &events(1..=3))
        .await
        .unwrap();
    assert_eq!(next, 3);
    let next = publish(&client, &end(3), "b-2", &events(4..=4))
        .await
        .unwrap();
    assert_eq!((next, last(&stream).await), (4, 4));
    let stored = stream.event(3).await.unwrap();
    assert_eq!(
        (stored.event.position, stored.source.as_str()),
        (3, "urn:countersign:ab01")
    );
    // Messages of another publisher, which the server does not know yet.
    for (at, many) in [(3, 1), (3, 2), (5, 1), (5, 2), (0, 3)] {
        let late = publish(&client, &end(at), "b-3", &events(100..100 + many)).await;
        assert!(
            matches!(late, Err(StreamError::NotTaken(_))),
            "{at} {many}: {late:?}"
        );
        assert_eq!(last(&stream).await, 4, "{at} {many}");
    }
    let elsewhere = End {
        stream: "COUNTERSIGN_EVENTS_2".into(),
        ..end(4)
    };
    for many in [1, 2] {
        let late = publish(&client, &elsewhere, "b-4", &events(100..100 + many)).await;
        assert!(matches!(late, Err(StreamError::NotTaken(_))), "{late:?}");
    }
    assert_eq!(last(&stream).await, 4);
}

#[tokio::test]
async fn a_repeat_is_an_error_and_a_thousand_are_one_batch() {
    let (_broker, client, stream) = stream().await;
    assert_eq!(
        publish(&client, &end(0), "b-1", &events(1..=1))
            .await
            .unwrap(),
        1
    );
    for again in [events(1..=1), events(1..=2)] {
        let repeat = publish(&client, &end(1), "b-2", &again).await;
        assert!(
            matches!(repeat, Err(StreamError::NotTaken(_))),
            "{repeat:?}"
        );
    }
    let many = events(2..=1_001);
    assert_eq!(
        publish(&client, &end(1), "b-3", &many).await.unwrap(),
        1_001
    );
    assert_eq!(last(&stream).await, 1_001);
}
