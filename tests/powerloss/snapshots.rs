//! Shapes of the snapshots: the first one, and one that replaces an older one.
//!
//! A snapshot may be missing, which costs a fold from the first event. A snapshot that exists is
//! the account as it was at its version.

use std::path::Path;

use countersign::account::{Account, Recorded};
use countersign::crypto::derived::FileKey;
use countersign::engine::snapshots::Snapshots;
use countersign::log::index::Place;
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{AccountRegistered, PasswordRejected, Purpose};
use countersign_schemas::ids::{AccountId, StreamKey};
use countersign_schemas::time::Micros;

use crate::disk::Disk;
use crate::explorer::Shape;

const NAME: &str = "snapshots.redb";
const ACCOUNTS: u64 = 6;

fn id(number: u64) -> AccountId {
    AccountId::parse(&format!("account-{number}")).unwrap()
}

/// An account after this many events.
fn account(number: u64, version: u32) -> Account {
    let mut account = Account::default();
    for version in 1..=version {
        let event = match version {
            1 => Event::AccountRegistered(AccountRegistered { username: None }),
            _ => Event::PasswordRejected(PasswordRejected {
                purpose: Purpose::Login,
                credential: 1,
                failures: version,
                wait_until: None,
                day_failures: version,
                all_wait_until: None,
            }),
        };
        account.evolve(&Recorded {
            account_id: id(number).as_str(),
            version,
            at: Micros(1_800_000_000_000_000).plus_s(u64::from(version)),
            caller: "gateway",
            source_key: [u8::try_from(version).unwrap(); 8],
            event: &event,
        });
    }
    account
}

fn save(snapshots: &Snapshots, version: u32) {
    let accounts: Vec<_> = (0..ACCOUNTS)
        .map(|number| {
            let place = Place {
                position: u64::from(version),
                leaf: [7; 16],
            };
            (StreamKey::of(&id(number)), place, account(number, version))
        })
        .collect();
    snapshots.save(&accounts);
}

fn open(disk: &Disk, folder: &Path) -> Snapshots {
    Snapshots::open(&disk.storage(), &folder.join(NAME), FileKey::new(&[1; 32]))
}

fn load(snapshots: &Snapshots, number: u64) -> Option<Account> {
    let found = snapshots.load(StreamKey::of(&id(number)), u32::MAX);
    found.map(|(_, account)| account)
}

/// All accounts have one version, or none if nothing was kept; and the file can be used.
fn check(disk: &Disk, folder: &Path, acknowledged: u64) -> Result<(), String> {
    let snapshots = open(disk, folder);
    let found: Vec<_> = (0..ACCOUNTS)
        .map(|number| load(&snapshots, number))
        .collect();
    let version = found[0].as_ref().map_or(0, |account| account.version);
    if u64::from(version) < acknowledged {
        return Err(format!("version {acknowledged} was kept, {version} found"));
    }
    let right = (0..ACCOUNTS).map(|number| (version > 0).then(|| account(number, version)));
    if !found.into_iter().eq(right) {
        return Err(format!("another account than at version {version}"));
    }
    save(&snapshots, 60);
    if load(&snapshots, 0) == Some(account(0, 60)) {
        Ok(())
    } else {
        Err("it keeps no further snapshot".into())
    }
}

/// Keeps snapshots of `before`, if any, then of `after` while the disk remembers.
fn keeping(name: &'static str, before: u32, after: u32) -> Shape {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let disk = Disk::new(folder);
    if before == 0 {
        disk.record();
    }
    let snapshots = open(&disk, folder);
    if before > 0 {
        save(&snapshots, before);
        disk.acknowledge(u64::from(before));
        disk.record();
    }
    save(&snapshots, after);
    disk.acknowledge(u64::from(after));
    Shape {
        name,
        points: disk.crash_points(),
        check: Box::new(check),
        open: |disk, folder| drop(open(disk, folder)),
    }
}

pub fn shapes() -> Vec<Shape> {
    vec![
        keeping("snapshots made", 0, 30),
        keeping("snapshot", 30, 40),
    ]
}
