//! The support reset over the real bus: two agents and a platform with the broker's own users, and
//! a clock that the test moves. `roles` tests the broker's own refusals.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::Client;
use countersign::bus::headers::{ERROR, MSG_ID};
use countersign::bus::{BusConfig, Connection, Identity};
use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::engine::wall_clock;
use countersign_schemas::code::Code;
use serde_json::{Value, json};

use countersign::crypto::otp::{TotpSecret, hotp, step_at};

use crate::roles::USERS;
use crate::service::{Service, ask, body, header, refused, registered, server};

const HOUR_S: u64 = 3_600;

/// The shipped broker with the service behind it, and every caller.
struct Desk {
    /// Seconds that the service's clock is ahead.
    ahead_s: Arc<AtomicU64>,
    service: Service,
    gateway: Client,
    alice: Client,
    bob: Client,
    _broker: Broker,
}

impl Desk {
    async fn open() -> Self {
        let options = BrokerOptions {
            config: Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/nats.conf")),
            environment: USERS.map(|(_, name)| (name.into(), "secret".into())).into(),
            ..BrokerOptions::default()
        };
        let broker = Broker::start(&server(), &options).unwrap();
        let connection = |user: &str| Connection {
            servers: format!("nats://{user}:secret@127.0.0.1:{}", broker.port()),
            ..Connection::default()
        };
        let config = BusConfig {
            connection: connection("countersign"),
            identity: Identity::default(),
            ..BusConfig::default()
        };
        let ahead_s = Arc::new(AtomicU64::new(0));
        let clock = {
            let ahead_s = Arc::clone(&ahead_s);
            Arc::new(move || wall_clock().plus_s(ahead_s.load(Ordering::SeqCst)))
        };
        let client = async |user: &str| connection(user).connect(None).await.unwrap();
        Self {
            ahead_s,
            service: Service::start(config, clock).await,
            gateway: client("login-gw").await,
            alice: client("alice").await,
            bob: client("bob").await,
            _broker: broker,
        }
    }

    fn pass(&self, seconds: u64) {
        self.ahead_s.fetch_add(seconds, Ordering::SeqCst);
    }

    fn step(&self) -> u64 {
        let now = wall_clock().plus_s(self.ahead_s.load(Ordering::SeqCst));
        step_at(now.unix_s())
    }

    /// The reply to a platform's command.
    async fn platform(&self, name: &str, request: Value) -> Result<Value, String> {
        reply_of(&self.gateway, &format!("command.{name}"), request).await
    }

    /// Registers and enrols; returns the secret.
    async fn enrol(&self, account: &str) -> TotpSecret {
        registered(&self.gateway, account).await;
        let begun = json!({"account_id": account, "proof": {"password": PASSWORD}});
        let begun = self.platform("enable-2fa", begun).await.unwrap();
        let secret = begun["secret"].as_str().unwrap().as_bytes();
        let secret = data_encoding::BASE32_NOPAD.decode(secret).unwrap();
        let secret = TotpSecret::from_slice(&secret).unwrap();
        let confirm = json!({
            "account_id": account,
            "authenticator_id": begun["authenticator_id"],
            "code": self.code(&secret, 0),
        });
        self.platform("confirm-code", confirm).await.unwrap();
        secret
    }

    fn code(&self, secret: &TotpSecret, steps: u64) -> String {
        Code::Totp(hotp(secret, self.step() + steps)).reveal()
    }

    /// Opens a case as alice; returns its id.
    async fn request(&self, account: &str) -> String {
        let request = json!({"account_id": account, "reason": "lost it all", "ticket": "T-1"});
        let opened = reply_of(&self.alice, "support.alice.request-reset", request).await;
        let opened = opened.unwrap();
        assert_eq!(opened["state"], "waiting-approval");
        opened["case_id"].as_str().unwrap().to_owned()
    }

    async fn queue(&self, request: Value) -> Vec<Value> {
        let queue = reply_of(&self.bob, "query.reset-queue", request).await;
        queue.unwrap()["cases"].as_array().unwrap().clone()
    }
}

const PASSWORD: &str = "correct horse";

/// The body of a success, or the word of a refusal.
async fn reply_of(client: &Client, subject: &str, request: Value) -> Result<Value, String> {
    let id = uuid::Uuid::now_v7().to_string();
    let request = request.to_string();
    let reply = ask(client, subject, &[(MSG_ID, &id)], request.as_bytes()).await;
    match header(&reply, ERROR) {
        None => Ok(body(&reply)),
        Some(_) => Err(refused(&reply)),
    }
}

fn on(case: &str) -> Value {
    json!({"case_id": case, "reason": "as agreed"})
}

/// RS-01, RS-04, R-18: request, approval by another, 72 hours, execution, thirty days.
#[tokio::test]
async fn rs01_two_agents_and_three_days_reset_a_factor() {
    let desk = Desk::open().await;
    let secret = desk.enrol("ada").await;
    let case = desk.request("ada").await;
    let own = reply_of(&desk.alice, "support.alice.approve-reset", on(&case)).await;
    assert_eq!(own.unwrap_err(), "403 approval.self");
    let waiting = desk.queue(json!({})).await;
    assert_eq!(waiting[0]["requested_by"], "alice");
    assert_eq!(waiting[0]["reason"], "lost it all");
    assert_eq!(waiting[0].get("approved_by"), None);
    let approved = reply_of(&desk.bob, "support.bob.approve-reset", on(&case)).await;
    assert_eq!(approved.unwrap()["state"], "cooling-off");
    let early = reply_of(&desk.alice, "support.alice.execute-reset", on(&case)).await;
    assert_eq!(early.unwrap_err(), "425 reset.cooling_off");
    desk.pass(72 * HOUR_S);
    let executed = reply_of(&desk.alice, "support.alice.execute-reset", on(&case)).await;
    assert_eq!(executed.unwrap()["state"], "executed");
    let again = reply_of(&desk.bob, "support.bob.execute-reset", on(&case)).await;
    assert_eq!(again.unwrap_err(), "409 reset.closed");
    let old = json!({"account_id": "ada", "code": desk.code(&secret, 0)});
    let old = desk.platform("verify-login", old).await;
    assert_eq!(old.unwrap_err(), "409 factor.not_on");
    let login = json!({"username": "ada", "password": PASSWORD});
    let login = desk.platform("start-login", login).await.unwrap();
    assert_eq!(
        (&login["status"], &login["after_reset_days"]),
        (&json!("complete"), &json!(1))
    );
    let status = reply_of(&desk.gateway, "query.login-status.ada", json!({})).await;
    let status = status.unwrap();
    assert_eq!(
        (&status["second_factor"], &status["after_reset_days"]),
        (&json!("off"), &json!(1))
    );
    assert!(desk.queue(json!({})).await.is_empty());
    let executed = desk.queue(json!({"state": "executed"})).await;
    assert_eq!(
        (&executed[0]["approved_by"], &executed[0]["closed_by"]),
        (&json!("bob"), &json!("alice"))
    );
    desk.service.stop().await;
}

/// RS-05, RS-07, R-18: the owner objects, once by the platform and once by logging in.
#[tokio::test]
async fn rs05_the_owner_cancels_a_reset_by_objecting_or_by_logging_in() {
    let desk = Desk::open().await;
    let secret = desk.enrol("ada").await;
    for objects in [true, false] {
        let case = desk.request("ada").await;
        let approved = reply_of(&desk.bob, "support.bob.approve-reset", on(&case)).await;
        assert!(approved.is_ok());
        desk.pass(40 * HOUR_S);
        if objects {
            let none = desk
                .platform("cancel-reset", json!({"account_id": "eve"}))
                .await;
            assert_eq!(none.unwrap_err(), "404 account.not_found");
            let objected = desk
                .platform("cancel-reset", json!({"account_id": "ada"}))
                .await;
            assert_eq!(objected.unwrap()["state"], "cancelled");
            let twice = desk
                .platform("cancel-reset", json!({"account_id": "ada"}))
                .await;
            assert_eq!(twice.unwrap_err(), "409 reset.none");
        } else {
            let login = json!({"account_id": "ada", "code": desk.code(&secret, 0)});
            let login = desk.platform("verify-login", login).await.unwrap();
            assert_eq!(login["status"], "complete");
        }
        desk.pass(40 * HOUR_S);
        let late = reply_of(&desk.bob, "support.bob.execute-reset", on(&case)).await;
        assert_eq!(late.unwrap_err(), "409 reset.closed");
    }
    assert_eq!(desk.queue(json!({"state": "cancelled"})).await.len(), 2);
    desk.service.stop().await;
}

/// RS-08, RS-12, P-12: what an agent sees, what no other role may ask, and which commands need a
/// reason.
#[tokio::test]
async fn rs12_support_sees_what_it_needs_and_the_platform_sees_none_of_it() {
    let desk = Desk::open().await;
    desk.enrol("ada").await;
    let case = desk.request("ada").await;
    let second = json!({"account_id": "ada", "reason": "again", "ticket": "T-2"});
    let second = reply_of(&desk.bob, "support.bob.request-reset", second).await;
    assert_eq!(second.unwrap_err(), "409 reset.open");
    let found = reply_of(&desk.bob, "query.find-account", json!({"username": "ADA"})).await;
    assert_eq!(found.unwrap()["account_id"], "ada");
    let unknown = reply_of(&desk.bob, "query.find-account", json!({"username": "ad"})).await;
    assert_eq!(unknown.unwrap_err(), "404 account.not_found");
    let card = reply_of(&desk.bob, "query.account-card.ada", json!({}))
        .await
        .unwrap();
    assert_eq!(card["username"], json!({"first": "a", "length": 3}));
    assert_eq!(
        (&card["second_factor"], &card["reset"]["case_id"]),
        (&json!("on"), &json!(case))
    );
    let suspend = json!({"account_id": "ada", "reason": "stolen", "ticket": "T-3"});
    let suspended = reply_of(&desk.bob, "support.bob.suspend-factor", suspend).await;
    assert_eq!(suspended.unwrap()["state"], "suspended");
    for bare in [
        json!({"case_id": case}),
        json!({"case_id": case, "reason": ""}),
    ] {
        let bare = reply_of(&desk.bob, "support.bob.approve-reset", bare).await;
        assert_eq!(bare.unwrap_err(), "422 request.invalid");
    }
    let approval = on(&case).to_string();
    let without_id = ask(
        &desk.bob,
        "support.bob.approve-reset",
        &[],
        approval.as_bytes(),
    );
    assert_eq!(refused(&without_id.await), "422 request.invalid");
    let foreign = reply_of(&desk.bob, "support.bob.approve-reset", on("another-case")).await;
    assert_eq!(foreign.unwrap_err(), "404 case.not_found");
    let rejected = reply_of(&desk.bob, "support.bob.reject-reset", on(&case)).await;
    assert_eq!(rejected.unwrap()["state"], "rejected");
    let cancelled = reply_of(&desk.alice, "support.alice.cancel-reset", on(&case)).await;
    assert_eq!(cancelled.unwrap_err(), "409 reset.closed");
    desk.service.stop().await;
}
