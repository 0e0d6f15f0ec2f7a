//! Shapes of the views: their first checkpoint, and one after commits that were not durable.
//!
//! Rows and checkpoints return together to a flush. The views then equal views folded from the
//! first event, at the checkpoint and after the rest of the log.

use std::path::Path;
use std::sync::Arc;

use countersign::crypto::derived::FileKey;
use countersign_projections::{Entry, Filter, Seal, Views};
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{AccountRegistered, Purpose};
use countersign_schemas::event::enrolment::v1::{FirstFactor, TwoFactorEnabled};
use countersign_schemas::event::login::v1::TotpAccepted;
use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, Role, StreamKind};
use countersign_schemas::time::Micros;
use redb::Database;

use crate::disk::Disk;
use crate::explorer::Shape;

const NAME: &str = "views.redb";
const CACHE_BYTES: usize = 1024 * 1024;
const ACCOUNTS: u64 = 5;
/// Every shape's log ends here.
const HEAD: u64 = 200;

fn account(position: u64) -> AccountId {
    AccountId::parse(&format!("account-{}", position % ACCOUNTS)).unwrap()
}

fn entry(position: u64) -> Entry<'static> {
    let version = u32::try_from(position.div_ceil(ACCOUNTS)).unwrap();
    let event = match version {
        1 => Event::AccountRegistered(AccountRegistered { username: None }),
        2 => Event::TwoFactorEnabled(TwoFactorEnabled {
            authenticator_id: "0192f3a4-5b6c-7d8e-9f00-112233445566".to_owned(),
            step: 1,
            drift: 0,
        }),
        _ => Event::TotpAccepted(TotpAccepted {
            step: 58_000_000 + u64::from(version),
            drift: 0,
            enrolment: 2,
            double_code: false,
            purpose: Purpose::Login,
            first_factor: FirstFactor::Password(1),
            challenge: None,
        }),
    };
    let account = account(position);
    let command_id = format!("c-{position}");
    let record = Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: StreamKind::Account,
        stream_key: StreamKey::of(&account),
        version,
        recorded_at: Micros(1_800_000_000_000_000).plus_s(position),
        command_key: CommandKey::of("gateway", &CommandId::parse(&command_id).unwrap()),
        group_index: 0,
        group_len: 1,
        meta: Meta {
            account_id: account.as_str().to_owned().into(),
            command_id: command_id.into(),
            caller: format!("gateway-{}", position % 3).into(),
            verified: true,
            role: Role::Platform,
            trace_id: None,
            body_tag: [0; 16],
            source_key: [0; 8],
            source: None,
            source_commitment: None,
        },
        payload: event.encode().unwrap().into(),
        seal: None,
    };
    Entry::decode(position, record).unwrap()
}

fn catch_up(views: &Views, through: u64) -> Result<(), String> {
    let entries: Vec<_> = (views.checkpoint() + 1..=through).map(entry).collect();
    let caught_up = views.catch_up(&entries);
    caught_up.map_err(|error| error.to_string())
}

fn seal() -> Seal {
    let key = FileKey::new(&[1; 32]);
    Arc::new(move |parts| key.tag(parts))
}

fn open(disk: &Disk, folder: &Path) -> Result<Views, String> {
    let opened = Views::open_with(&folder.join(NAME), &seal(), |path| {
        if !path.exists() {
            disk.create(path).unwrap();
        }
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        builder.set_check_integrity_on_open(true);
        builder.create_with_backend(disk.backend(path))
    });
    let (views, _) = opened.map_err(|error| error.to_string())?;
    Ok(views)
}

/// Everything that the views can show, as text.
fn shown(views: &Views) -> Result<String, String> {
    let mut shown = format!("{:?}\n", views.list());
    let mut filters: Vec<_> = (0..3)
        .map(|number| Filter {
            caller: Some(format!("gateway-{number}")),
            ..Filter::default()
        })
        .collect();
    for number in 0..ACCOUNTS {
        let key = StreamKey::of(&account(number));
        let row = views.login_status().get(&key);
        shown += &format!("{:?}\n", row.map_err(|error| error.to_string())?);
        filters.push(Filter {
            account: Some(key),
            ..Filter::default()
        });
    }
    filters.extend([1, 2, ACCOUNTS, HEAD].map(|position| Filter {
        types: vec![entry(position).record.event_type],
        ..Filter::default()
    }));
    for filter in filters {
        let page = views.audit_trail().positions(&filter, 0, 1_000);
        shown += &format!("{:?}\n", page.map_err(|error| error.to_string())?);
    }
    Ok(shown)
}

/// The text of views that were folded from the first event, without any crash.
fn folded(through: u64) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let views = open(&Disk::new(folder.path()), folder.path())?;
    catch_up(&views, through)?;
    shown(&views)
}

/// Flushes after the last of these positions, with a commit at each, while the disk remembers.
fn flushing(name: &'static str, before: u64, commits: &'static [u64]) -> Shape {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let disk = Disk::new(folder);
    if before == 0 {
        disk.record();
    }
    let views = open(&disk, folder).unwrap();
    if before > 0 {
        catch_up(&views, before).unwrap();
        views.flush().unwrap();
        disk.acknowledge(before);
        disk.record();
    }
    for through in commits {
        catch_up(&views, *through).unwrap();
    }
    views.flush().unwrap();
    disk.acknowledge(*commits.last().unwrap());
    let mut borders = vec![0, before];
    borders.extend(commits);
    let right: Vec<_> = borders
        .iter()
        .map(|at| (*at, folded(*at).unwrap()))
        .collect();
    let whole = folded(HEAD).unwrap();
    Shape {
        name,
        points: disk.crash_points(),
        check: Box::new(move |disk, folder, acknowledged| {
            let views = open(disk, folder)?;
            let found = views.checkpoint();
            let right = right.iter().find(|(border, _)| *border == found);
            let right = right.filter(|_| found >= acknowledged);
            let (_, right) = right.ok_or(format!("{acknowledged} flushed, {found} found"))?;
            if shown(&views)? != *right {
                return Err(format!("it shows something else at {found}"));
            }
            catch_up(&views, HEAD)?;
            if shown(&views)? == whole {
                Ok(())
            } else {
                Err(format!("it shows something else, going on from {found}"))
            }
        }),
        open: |disk, folder| drop(open(disk, folder)),
    }
}

pub fn shapes() -> Vec<Shape> {
    vec![
        flushing("views made", 0, &[30]),
        flushing("checkpoint", 100, &[120, 140]),
    ]
}
