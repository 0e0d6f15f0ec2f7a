//! The log that a bench reads: histories of many accounts, as the service would record them.

use std::path::Path;

use countersign::crypto::keyring::Keyring;
use countersign::engine::RecordSeals;
use countersign::log::tree::leaf_hash;
use countersign::log::{EventLog, LogOptions};
use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::{AccountRegistered, Purpose};
use countersign_schemas::event::backup_codes::v1::{BackupCodesIssued, IssueCause};
use countersign_schemas::event::enrolment::v1::{EnrolmentStarted, FirstFactor, TwoFactorEnabled};
use countersign_schemas::event::login::v1::TotpAccepted;
use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, Role, StreamKind};
use countersign_schemas::sealed::{Protected, Sealed};
use countersign_schemas::time::Micros;

use crate::{CALLER, Outcome};

/// How the command ids begin.
pub const GENERATED: &str = "0192f3a4-5b6c-7d8e-9f00-";
const BATCH_RECORDS: usize = 512;
/// Every account begins with four events; the rest of its history is logins.
const BEGINNING: u32 = 4;
/// Sealed bytes of an address and an agent of 70 bytes, as in the service's own logins.
const SOURCE_BYTES: usize = 86;

/// Appends the histories of many accounts, one event of each in turn, as the service of this
/// installation would.
pub fn fill(data: &Path, keyring: &Path, events: u64, accounts: u64, began: Micros) -> Outcome<()> {
    let mut log = EventLog::open(&data.join("log"), LogOptions::default())?;
    let seals = RecordSeals::of(&Keyring::load(keyring)?);
    let mut batch = Vec::with_capacity(BATCH_RECORDS);
    let last = log.reader().get(log.head())?;
    let mut before = leaf_hash(&last.ok_or("a log has a first record")?);
    for number in 0..events {
        let account = AccountId::parse(&format!(
            "0192f3a4-5b6c-7d8e-8f00-{:012}",
            number % accounts
        ))?;
        let version = u32::try_from(number / accounts + 1)?;
        let at = Micros(began.0 + number * 1_000);
        let position = log.head() + batch.len() as u64 + 1;
        let mut record = record(&account, version, at, number)?;
        let bytes = seals.encode(position, &before, &mut record)?;
        before = leaf_hash(&bytes);
        batch.push(bytes);
        if batch.len() == BATCH_RECORDS {
            log.append(log.head(), &std::mem::take(&mut batch))?;
        }
    }
    log.append(log.head(), &batch)?;
    Ok(log.close()?)
}

fn sealed(bytes: usize) -> Sealed<'static> {
    Sealed {
        key: 1,
        nonce: [9; 12],
        ciphertext: vec![7; bytes + 16].into(),
    }
}

/// The event with this version in an account's history.
fn event(version: u32, at: Micros) -> Event {
    let authenticator_id = "0192f3a4-5b6c-7d8e-9f00-112233445566".to_owned();
    match version {
        1 => Event::AccountRegistered(AccountRegistered { username: None }),
        2 => Event::EnrolmentStarted(EnrolmentStarted {
            authenticator_id,
            secret: Protected::Sealed(sealed(20)),
            account_name: None,
            label: None,
            expires_at: at.plus_s(600),
            proof: FirstFactor::Vouched,
        }),
        3 => Event::TwoFactorEnabled(TwoFactorEnabled {
            authenticator_id,
            step: 1,
            drift: 0,
        }),
        BEGINNING => Event::BackupCodesIssued(BackupCodesIssued {
            set_no: 1,
            fingerprint: "K7QX".into(),
            cause: IssueCause::Enrolment,
            slots: 10,
            verifiers: Protected::Sealed(sealed(480)),
            superseded_unused: 0,
        }),
        _ => Event::TotpAccepted(TotpAccepted {
            step: 58_000_000 + u64::from(version),
            drift: 0,
            enrolment: 2,
            double_code: false,
            purpose: Purpose::Login,
            first_factor: FirstFactor::Password(1),
            challenge: Some([5; 16]),
        }),
    }
}

fn record(account: &AccountId, version: u32, at: Micros, number: u64) -> Outcome<Record<'static>> {
    let event = event(version, at);
    let command_id = format!("{GENERATED}{number:012}");
    Ok(Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: StreamKind::Account,
        stream_key: StreamKey::of(account),
        version,
        recorded_at: at,
        command_key: CommandKey::of(CALLER, &CommandId::parse(&command_id)?),
        group_index: 0,
        group_len: 1,
        meta: Meta {
            account_id: account.as_str().to_owned().into(),
            command_id: command_id.into(),
            caller: CALLER.into(),
            verified: true,
            role: Role::Platform,
            trace_id: Some([3; 16]),
            body_tag: [4; 16],
            source_key: [5; 8],
            source_commitment: (version > BEGINNING).then_some([6; 16]),
            source: (version > BEGINNING).then(|| sealed(SOURCE_BYTES)),
        },
        payload: event.encode()?.into(),
        seal: None,
    })
}
