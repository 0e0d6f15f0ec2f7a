//! Memory of the real service for each account that it knows and does not have in its cache.

use std::fs;
use std::path::Path;

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};

use crate::service::{Service, memory};
use crate::{Outcome, make};

/// The page caches are still filling, so the difference is an upper estimate.
const ACCOUNTS: [u64; 2] = [200_000, 600_000];
/// Registered, and an enrolment begun.
const EVENTS_PER_ACCOUNT: u64 = 2;

/// Starts the service over a log of many accounts and over one of twice as many.
pub fn measure(folder: &Path) -> Outcome<()> {
    let server = find_or_fetch(None, &tools_folder(), &mut |_| {})?;
    let broker = Broker::start(&server, &BrokerOptions::default())?;
    let mut bytes = [0; 2];
    for (slot, accounts) in ACCOUNTS.into_iter().enumerate() {
        let folder = folder.join(accounts.to_string());
        let (data, keyring) = (folder.join("data"), folder.join("keys/keyring.toml"));
        make(&data, &keyring, accounts * EVENTS_PER_ACCOUNT, accounts)?;
        // The first start makes index and views, which leaves more in memory than a later start.
        drop(Service::start(&data, &keyring, &broker.url(), &[])?);
        let (service, _) = Service::start(&data, &keyring, &broker.url(), &[])?;
        bytes[slot] = memory(service.id(), "RssAnon")?;
        println!("{accounts} accounts known: {} MB", bytes[slot] / 1_000_000);
        drop(service);
        fs::remove_dir_all(&folder)?;
    }
    let more = bytes[1].saturating_sub(bytes[0]);
    println!(
        "memory for each known account: {} bytes (bar 300)",
        more / (ACCOUNTS[1] - ACCOUNTS[0])
    );
    Ok(())
}
