//! `audit verify` against a service that lies: another program listens on its subjects and repeats
//! the replies of a real one, with one change.

use std::fs;
use std::sync::{Arc, Mutex};

use async_nats::Client;
use data_encoding::BASE64;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::auditing::{Auditor, stop};
use super::support::person::Person;
use super::support::{CHEAP, Rig};

/// Records in one reply: few, so that a verification asks for several pages.
const PAGE: usize = 5;

/// The replies about a log.
#[derive(Clone)]
struct Said {
    /// The reply of `query.checkpoint`.
    checkpoint: Value,
    /// The records, in base64.
    records: Vec<String>,
    /// Whether each reply leads back to the beginning.
    goes_round: bool,
}

impl Said {
    fn page(&self, after: usize) -> Value {
        let end = self.records.len().min(after + PAGE);
        let records = self.records.get(after..end).unwrap_or_default();
        let next = if self.goes_round {
            Some(0)
        } else {
            (end < self.records.len()).then_some(end)
        };
        json!({"records": records, "next": next})
    }
}

/// Replies in place of a service, until its runtime ends.
async fn sit_in(client: Client, said: Arc<Mutex<Said>>) {
    let mut asked = client.subscribe("countersign.v1.query.*").await.unwrap();
    client.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            let body: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
            let after = body["after"].as_u64().unwrap_or(0);
            let answer = {
                let said = said.lock().unwrap();
                if message.subject.ends_with("checkpoint") {
                    said.checkpoint.clone()
                } else {
                    said.page(usize::try_from(after).unwrap())
                }
            };
            let reply = message.reply.unwrap();
            let answer = answer.to_string().into();
            client.publish(reply, answer).await.unwrap();
        }
    });
}

struct Liar {
    auditor: Auditor,
    said: Arc<Mutex<Said>>,
    truth: Said,
    /// A kept checkpoint that does not cover the last events.
    earlier: Value,
    rig: Rig,
}

impl Liar {
    async fn new() -> Self {
        let mut rig = Rig::start(CHEAP).await;
        let auditor = Auditor::on(&rig);
        let ada = Person::with_2fa(&rig.bus, "ada").await;
        Person::with_2fa(&rig.bus, "bob").await;
        let earlier = rig.bus.query("checkpoint", json!({})).await.body;
        for code in &ada.codes[..3] {
            ada.vouched(code).await.ok();
        }
        let checkpoint = rig.bus.query("checkpoint", json!({})).await.body;
        let body = json!({"after": 0});
        let whole = rig.bus.query("audit-records", body).await.body;
        let size = usize::try_from(checkpoint["size"].as_u64().unwrap()).unwrap();
        let records = whole["records"].as_array().unwrap()[..size].iter();
        let truth = Said {
            checkpoint,
            records: records.map(|r| r.as_str().unwrap().to_owned()).collect(),
            goes_round: false,
        };
        stop(&mut rig);
        let said = Arc::new(Mutex::new(truth.clone()));
        let client = async_nats::connect(rig.broker.url()).await.unwrap();
        sit_in(client, Arc::clone(&said)).await;
        Self {
            auditor,
            said,
            truth,
            earlier,
            rig,
        }
    }

    fn says(&self, change: impl FnOnce(&mut Said)) {
        let mut said = self.truth.clone();
        change(&mut said);
        *self.said.lock().unwrap() = said;
    }

    /// The position and the reason of a verification that fails.
    fn found_out(&self, change: impl FnOnce(&mut Said)) -> (u64, String) {
        self.says(change);
        let vkey = self.truth.checkpoint["vkey"].as_str().unwrap();
        let found = self.auditor.negative(&["audit", "verify", "--key", vkey]);
        let reason = found["reason"].as_str().unwrap().to_owned();
        (found["position"].as_u64().unwrap_or(0), reason)
    }

    /// The index of the last record but one: a login of Ada's, between two others of hers.
    fn login(&self) -> usize {
        self.truth.records.len() - 2
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_changed_removed_repeated_or_moved_on_the_way_is_found() {
    let liar = Liar::new().await;
    let honest = liar.auditor.json(&["audit", "verify"]);
    assert_eq!(honest["records"], liar.truth.checkpoint["size"]);
    let (at, position) = (liar.login(), liar.login() as u64 + 1);
    let (_, reason) = liar.found_out(|said| {
        let mut record = BASE64.decode(said.records[at].as_bytes()).unwrap();
        // The last byte says that no challenge was spent, the one before it which factor came
        // first.
        let first_factor = record.len() - 2;
        record[first_factor] ^= 1;
        said.records[at] = BASE64.encode(&record);
    });
    assert!(
        reason.contains("are not those that the signed checkpoint covers"),
        "{reason}"
    );
    let follows =
        |what: &str| format!("the record does not follow: its {what} is not the next one");
    let (found, reason) = liar.found_out(|said| drop(said.records.remove(at)));
    assert_eq!(found, position);
    assert!(reason.contains(&follows("version")), "{reason}");
    let (found, _) = liar.found_out(|said| said.records.insert(at, said.records[at].clone()));
    assert_eq!(found, position + 1);
    let (found, _) = liar.found_out(|said| said.records.swap(at, at + 1));
    assert_eq!(found, position);
    let (found, reason) = liar.found_out(|said| drop(said.records.pop()));
    assert_eq!(found, liar.truth.records.len() as u64);
    assert!(reason.contains("its end was cut off"), "{reason}");
    let (found, reason) = liar.found_out(|said| drop(said.records.remove(0)));
    assert_eq!(found, 1);
    assert!(
        reason.contains("does not follow") || reason.contains("its epoch"),
        "{reason}"
    );
    let (found, reason) = liar.found_out(|said| said.records[at] = "no base64".into());
    assert_eq!(found, position);
    assert!(reason.contains("not base64"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_is_forged_foreign_or_older_than_a_kept_one_is_found() {
    let liar = Liar::new().await;
    let note = liar.truth.checkpoint["note"].as_str().unwrap().to_owned();
    let size = liar.truth.checkpoint["size"].as_u64().unwrap();
    // A shorter log, and the checkpoint made to fit.
    let (_, reason) = liar.found_out(|said| {
        let shorter = note.replacen(&format!("\n{size}\n"), &format!("\n{}\n", size - 1), 1);
        said.checkpoint["note"] = shorter.into();
        said.records.pop();
    });
    assert!(reason.contains("signature is wrong"), "{reason}");
    let (_, reason) = liar.found_out(|said| said.checkpoint["note"] = "".into());
    assert!(reason.contains("the checkpoint of the service"), "{reason}");
    // An honest older state, shown as the newest, verifies by itself but not with the kept
    // checkpoint.
    let kept = liar.auditor.path("kept.json");
    fs::write(&kept, liar.truth.checkpoint.to_string()).unwrap();
    let older = liar.earlier["size"].as_u64().unwrap();
    liar.says(|said| {
        said.checkpoint = liar.earlier.clone();
        said.records.truncate(usize::try_from(older).unwrap());
    });
    assert_eq!(liar.auditor.json(&["audit", "verify"])["records"], older);
    let words = ["audit", "verify", "--since", &kept];
    let found = liar.auditor.negative(&words);
    assert_eq!(found["position"], older + 1);
    // Another history under the same kept checkpoint.
    fs::write(&kept, liar.earlier.to_string()).unwrap();
    liar.says(|_| {});
    assert_eq!(liar.auditor.json(&words)["checkpoints"], 2);
    let other = Rig::start(CHEAP).await;
    let foreign = other.bus.query("checkpoint", json!({})).await.body;
    let vkey = foreign["vkey"].as_str().unwrap();
    liar.auditor.negative(&["audit", "verify", "--key", vkey]);
    fs::write(&kept, foreign.to_string()).unwrap();
    liar.auditor.negative(&words);
}

/// Records after the checkpoint are not signed yet, and no reply makes the verifier ask for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_after_the_checkpoint_are_not_counted_and_pages_in_a_circle_end() {
    let liar = Liar::new().await;
    let last = liar.truth.records.last().unwrap().clone();
    liar.says(|said| said.records.push(last));
    let found = liar.auditor.json(&["audit", "verify"]);
    assert_eq!(
        (&found["records"], &found["unsigned"]),
        (&liar.truth.checkpoint["size"], &json!(0))
    );
    let (_, reason) = liar.found_out(|said| said.goes_round = true);
    assert!(reason.contains("cut off"), "{reason}");
    drop(liar.rig);
}
