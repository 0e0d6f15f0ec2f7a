//! Verified callers: the broker names them across an account border, and each account has a role.

use std::fs;

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};
use serde_json::{Value, json};

use super::support::bus::Bus;
use super::support::person::PASSWORD;
use super::support::service::Service;
use super::support::site::Site;

/// The service in an account of its own; the others import it with and without their names.
const ACCOUNTS: &str = r#"
accounts {
  COUNTERSIGN {
    users: [ { user: countersign, password: p } ]
    exports: [ { service: "countersign.v1.>" } ]
  }
  PLATFORM {
    users: [ { user: shop, password: p } ]
    imports: [ { service: { account: COUNTERSIGN, subject: "countersign.v1.>" }, share: true } ]
  }
  AUDIT {
    users: [ { user: auditor, password: p } ]
    imports: [ { service: { account: COUNTERSIGN, subject: "countersign.v1.>" }, share: true } ]
  }
  NOBODY { users: [ { nkey: UC5IVTON6CFFSN4UYHR3WUUARL6QTD2DEMGXOGRUOBPKTPIYDRX6KNTT } ] }
  SILENT {
    users: [ { user: nameless, password: p } ]
    imports: [ { service: { account: COUNTERSIGN, subject: "countersign.v1.>" } } ]
  }
}
"#;

/// The service on a broker with these accounts, a shop and an auditor.
async fn serving(site: &Site, accounts: &str) -> (Broker, Service, Bus, Bus) {
    let file = site.path().join("accounts.conf");
    fs::write(&file, accounts).unwrap();
    let server = find_or_fetch(None, &tools_folder(), &mut |_| {}).expect("tests need a broker");
    let options = BrokerOptions {
        config: Some(file),
        ..BrokerOptions::default()
    };
    let broker = Broker::start(&server, &options).unwrap();
    let url = broker.url().replace("nats://", "nats://countersign:p@");
    let service = Service::start(site, &url, &[]);
    let shop = Bus::connect_as(&broker.url(), "shop", "p").await;
    let auditor = Bus::connect_as(&broker.url(), "auditor", "p").await;
    (broker, service, shop, auditor)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_names_the_caller_and_a_role_asks_only_what_it_may() {
    // The default cost of a hash: a service with verified callers refuses a lower one.
    let site = Site::new("");
    let (broker, _service, shop, auditor) = serving(&site, ACCOUNTS).await;
    // A caller's own name for itself does not count, and neither does a forged header of the
    // broker.
    let forged = [
        ("Nats-Request-Info", r#"{"acc":"AUDIT","user":"mallory"}"#),
        ("Nats-Msg-Id", "forged"),
    ];
    let body = json!({"account_id": "ada", "username": "ada", "password": PASSWORD}).to_string();
    let subject = "countersign.v1.command.register-account";
    let last = shop
        .send(subject, &forged, body.as_bytes())
        .await
        .position();
    let page = shop
        .send("countersign.v1.query.audit-page", &forged[..1], b"")
        .await;
    page.refused("actor.forbidden");
    shop.query("audit-timeline.ada", json!({}))
        .await
        .refused("actor.forbidden");
    shop.query("login-status.ada", json!({})).await.ok();
    auditor
        .query("login-status.ada", json!({}))
        .await
        .refused("actor.forbidden");
    let events = auditor.history(last).await;
    let caller = json!({"name": "shop", "role": "platform", "verified": true});
    let hers: Vec<&Value> = events.iter().filter(|e| e["account_id"] == "ada").collect();
    assert_eq!(hers.len(), 2);
    assert!(
        hers.iter().all(|event| event["caller"] == caller),
        "{hers:?}"
    );
    let nameless = Bus::connect_as(&broker.url(), "nameless", "p").await;
    nameless
        .send(subject, &[], body.as_bytes())
        .await
        .refused("actor.unverified");
}

/// docs/reference/contract.md#verified-identity: an installation has its own names for its
/// accounts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_names_the_account_of_each_role() {
    let site = Site::new("[identity]\naccounts = { SHOPS = \"platform\", LEDGER = \"audit\" }\n");
    let accounts = ACCOUNTS
        .replace("PLATFORM", "SHOPS")
        .replace("AUDIT", "LEDGER");
    let (_broker, _service, shop, auditor) = serving(&site, &accounts).await;
    shop.query("jwks", json!({})).await.ok();
    shop.query("audit-page", json!({}))
        .await
        .refused("actor.forbidden");
    auditor.query("audit-page", json!({})).await.ok();
}
