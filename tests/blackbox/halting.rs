//! A view with a fold that fails: the alarm, health, metrics and the view list.

use redb::{Database, ReadableTable, TableDefinition};
use serde_json::{Value, json};

use super::support::bus::Bus;
use super::support::person::Person;
use super::support::service::{Service, lines};
use super::support::site::{Site, eventually};
use super::support::{CHEAP, broker};
use super::watching::{ANYWHERE, address, get, sample};

const CARDS: TableDefinition<'static, &'static [u8; 16], &'static [u8]> =
    TableDefinition::new("account-card@1/cards");

/// Damages every card in the file of a stopped service, so that the fold fails at the next event.
fn spoil_cards(site: &Site) {
    let db = Database::open(site.data().join("views.redb")).unwrap();
    let txn = db.begin_write().unwrap();
    let mut cards = txn.open_table(CARDS).unwrap();
    let keys: Vec<_> = cards
        .iter()
        .unwrap()
        .map(|row| *row.unwrap().0.value())
        .collect();
    assert!(!keys.is_empty());
    for key in &keys {
        cards.insert(key, &[0xff; 3][..]).unwrap();
    }
    drop(cards);
    txn.commit().unwrap();
}

/// The alarms about halted views, with the view and the reason.
fn alarms(site: &Site) -> Vec<(String, String)> {
    let raised = lines(site).into_iter().filter_map(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        let fields = &line["fields"];
        let message = fields["message"].as_str()?;
        message.starts_with("ALARM: a view has halted").then(|| {
            assert_eq!(line["level"], "ERROR");
            let text = |name: &str| fields[name].as_str().unwrap().to_owned();
            (text("view"), text("why"))
        })
    });
    raised.collect()
}

/// J-01, as an operator sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn j01_a_view_that_halts_raises_one_alarm_and_commands_go_on() {
    let broker = broker(None);
    let site = Site::new(CHEAP);
    let service = Service::start(&site, &broker.url(), &ANYWHERE);
    let bus = Bus::connect(&broker.url()).await;
    let ada = Person::with_2fa(&bus, "ada").await;
    let head = ada.vouched(&ada.codes[0]).await.position();
    bus.history(head).await;
    service.terminate();
    let mut service = service;
    assert!(service.ended().success());
    spoil_cards(&site);
    let before = lines(&site).len();
    let _service = Service::start(&site, &broker.url(), &ANYWHERE);
    eventually("it answers HTTP again", || {
        let news = lines(&site).split_off(before);
        news.iter().any(|line| line.contains("\"address\""))
    });
    let address = address(&site);
    let name = "countersign_projection_halted{projection=\"account-card\"}";
    assert_eq!(alarms(&site), []);
    assert_eq!(sample(&get(address, "/metrics").1, name), 0.0);
    for code in &ada.codes[1..4] {
        ada.vouched(code).await.ok();
    }
    eventually("the alarm is raised", || !alarms(&site).is_empty());
    ada.vouched(&ada.codes[4]).await.ok();
    // The other views have followed every durable event, so the halted one was tried again too.
    bus.history(ada.vouched(&ada.codes[5]).await.position())
        .await;
    let raised = alarms(&site);
    assert_eq!((raised.len(), raised[0].0.as_str()), (1, "account-card"));
    assert!(raised[0].1.contains("damaged row"), "{raised:?}");
    assert_eq!(sample(&get(address, "/metrics").1, name), 1.0);
    let (status, page) = get(address, "/readyz");
    assert_eq!(status, 503);
    assert!(
        page.contains("[-]views failed: account-card has halted: "),
        "{page}"
    );
    assert_eq!(get(address, "/livez").0, 200, "no reason to be restarted");
    let card = "countersign.v1.query.account-card.ada";
    let card = bus.send(card, &[], b"").await;
    card.refused("projection.behind");
    let body = json!({"view": "account-card", "reason": "a test"});
    let subject = "countersign.v1.admin.view-rebuild";
    let id = [("Nats-Msg-Id", "rebuild-1")];
    bus.send(subject, &id, body.to_string().as_bytes())
        .await
        .ok();
    eventually("it is built again", || {
        sample(&get(address, "/metrics").1, name) == 0.0
    });
    assert_eq!(get(address, "/readyz").0, 200);
    assert_eq!(alarms(&site).len(), 1);
}
