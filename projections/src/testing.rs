//! Records and histories for the tests of this crate.

use std::sync::Arc;

use countersign_schemas::event::Event;
use countersign_schemas::event::account::v1::*;
use countersign_schemas::event::attempts::v1::*;
use countersign_schemas::event::audit::v1::*;
use countersign_schemas::event::backup_codes::v1::*;
use countersign_schemas::event::enrolment::v1::*;
use countersign_schemas::event::log::v1::*;
use countersign_schemas::event::login::v1::{
    CodeReplayed, LoginCompleted, LoginPairRejected, TotpAccepted, TotpReason, TotpRejected,
};
use countersign_schemas::event::login::v2::LoginStarted;
use countersign_schemas::event::reset::v1::*;
use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, Role, StreamKind};
use countersign_schemas::sealed::{Protected, Sealed};
use countersign_schemas::time::Micros;
use sha2::{Digest, Sha256};

use crate::{Entry, Seal};

/// A seal under some key.
pub fn seal() -> Seal {
    Arc::new(|parts| {
        let mut sha = Sha256::new_with_prefix(b"a key");
        for part in parts {
            sha.update((part.len() as u64).to_le_bytes());
            sha.update(part);
        }
        let digest = sha.finalize();
        std::array::from_fn(|at| digest[at])
    })
}

/// Returns a sealed field with nothing in it.
pub fn sealed() -> Protected {
    Protected::Sealed(Sealed {
        key: 1,
        nonce: [0; 12],
        ciphertext: vec![0xc5; 16].into(),
    })
}

/// The stream of an account.
pub fn key(account: &str) -> StreamKey {
    StreamKey::of(&AccountId::parse(account).expect("a valid id"))
}

/// Returns one entry that is its command's only event; an empty account means the log's own stream.
pub fn entry(position: u64, account: &str, event: Event) -> Entry<'static> {
    group(position, account, "login-gw", vec![event]).remove(0)
}

/// Returns one command's events at consecutive positions, recorded at a second per position.
pub fn group(first: u64, account: &str, caller: &str, events: Vec<Event>) -> Vec<Entry<'static>> {
    let command_id = format!("c-{first}");
    let (stream_kind, stream_key) = match account {
        "" => (StreamKind::Log, StreamKey::LOG),
        account => (StreamKind::Account, key(account)),
    };
    let group_len = events.len() as u16;
    let meta = Meta {
        account_id: account.to_owned().into(),
        command_id: command_id.clone().into(),
        caller: caller.to_owned().into(),
        verified: true,
        role: Role::Platform,
        trace_id: None,
        body_tag: [0; 16],
        source_key: [0; 8],
        source: None,
        source_commitment: None,
    };
    let command = CommandId::parse(&command_id).expect("a valid id");
    let numbered = events.into_iter().zip(0..);
    let record = |(event, group_index): (Event, u16)| Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind,
        stream_key,
        version: 1,
        recorded_at: at(first),
        command_key: CommandKey::of(caller, &command),
        group_index,
        group_len,
        meta: meta.clone(),
        payload: event.encode().expect("nothing is clear").into(),
        seal: None,
    };
    numbered
        .map(|e| Entry::decode(first + u64::from(e.1), record(e)).expect("it was just encoded"))
        .collect()
}

/// The instant at which [`group`] records a position.
pub fn at(position: u64) -> Micros {
    Micros(1_771_837_200_000_000).plus_s(position)
}

/// Returns one event of every type, in the order of [`Event::ALL`], with values that show in a
/// sentence.
// One event a line, so that a missing one shows.
#[rustfmt::skip]
pub fn one_of_each() -> Vec<Event> {
    let until = Micros(1_771_837_200_000_000);
    let id = || "a1".to_owned();
    let first_factor = FirstFactor::Password(2);
    vec![
        Event::EpochStarted(EpochStarted { epoch: 1, log_id: [1; 16], lost_from: None, spent_through: 0, reason: "first".into() }),
        Event::PolicyInForce(PolicyInForce { policy: "{}".into() }),
        Event::UnknownNameRefused(UnknownNameRefused { count: 2 }),
        Event::ClockJumped(ClockJumped { by_us: 90_000_000 }),
        Event::ClockBackAccepted(ClockBackAccepted { wall: until, behind_us: 90_000_000, reason: "a wrong clock".into() }),
        Event::SchemasInForce(SchemasInForce { forms: vec![Form { name: "clock-jumped".into(), version: 1, fingerprint: [1; 16] }] }),
        Event::AccountRegistered(AccountRegistered { username: Some(sealed()) }),
        Event::PasswordSet(PasswordSet { verifier: sealed(), cause: PasswordCause::Changed }),
        Event::PasswordRejected(PasswordRejected { purpose: Purpose::Login, credential: 2, failures: 11, wait_until: Some(until), day_failures: 101, all_wait_until: None }),
        enrolment_started(until),
        Event::EnrolmentCodeRejected(EnrolmentCodeRejected { authenticator_id: id(), reason: Mismatch::ClockOff(-4), tries_left: 0 }),
        Event::EnrolmentCancelled(EnrolmentCancelled { authenticator_id: id() }),
        Event::EnrolmentExpired(EnrolmentExpired { authenticator_id: id() }),
        two_factor_enabled(),
        Event::TwoFactorDisabled(TwoFactorDisabled { by: DisabledBy::User(first_factor) }),
        backup_codes_issued(1),
        backup_code_accepted(9),
        Event::BackupCodeRejected(BackupCodeRejected { set_no: 1, ordinal: 4, reason: BackupCodeReason::Used, purpose: Purpose::Login, first_factor }),
        reset_requested("c-1", until),
        reset_approved("c-1", until),
        Event::ResetRejected(ResetRejected { case_id: "c-1".into(), reason: sealed() }),
        reset_cancelled("c-1", CancelledBy::User),
        Event::ResetExpired(ResetExpired { case_id: "c-1".into() }),
        reset_executed("c-1", until),
        Event::ResetRequestsRefused(ResetRequestsRefused { by: "agent-1".into(), cause: RequestRefused::Quota, count: 3 }),
        Event::LoginStarted(LoginStarted { challenge: [7; 16], expires_at: until, credential: 2, audience: None }),
        Event::LoginCompleted(LoginCompleted { credential: 2 }),
        totp_accepted(),
        Event::TotpRejected(TotpRejected { reason: TotpReason::Wrong, enrolment: 3, failures: 1, consecutive: 1, day_failures: 1, purpose: Purpose::Login, first_factor }),
        Event::CodeReplayed(CodeReplayed { step: 59_061_240, enrolment: 3, failures: 2, consecutive: 2, day_failures: 2, purpose: Purpose::Login, first_factor }),
        Event::LoginPairRejected(LoginPairRejected { credential: 2 }),
        Event::AttemptsThrottled(AttemptsThrottled { until }),
        Event::DoubleCodeRequired(DoubleCodeRequired { until }),
        Event::FactorSuspended(FactorSuspended { cause: SuspendedCause::Failures, reason: None, ticket: None }),
        Event::AttemptsCleared(AttemptsCleared { by: "agent-1".into(), reason: sealed() }),
        Event::AttemptsSuppressed(AttemptsSuppressed { count: 12_000 }),
        Event::AccountErased(AccountErased { reason: Some(sealed()) }),
        Event::PasswordRehashed(PasswordRehashed { verifier: sealed() }),
        Event::KeysRotated(KeysRotated { key_id: 2, reason: Some(sealed()) }),
        Event::DataKeysRewrapped(DataKeysRewrapped { key_id: 2, count: 12_000 }),
        Event::SubjectViewed(SubjectViewed { account_id: Some("ada".into()), query: "audit-timeline".into() }),
        Event::AuditExported(AuditExported { account_id: None, format: "jsonl".into(), filter: "{}".into() }),
        Event::LookUpsCounted(LookUpsCounted { account_id: Some("ada".into()), query: "audit-timeline".into(), count: 12 }),
        Event::AgentActsRefused(AgentActsRefused { by: "agent-1".into(), act: AgentAct::SuspendFactor, count: 3 }),
        operator_acted(OperatorAct::ViewRebuild, Some("audit-trail")),
    ]
}

/// An operator asked for this act.
pub fn operator_acted(act: OperatorAct, view: Option<&str>) -> Event {
    Event::OperatorActed(OperatorActed {
        act,
        view: view.map(Into::into),
        reason: sealed(),
    })
}

/// An account was registered with a username.
pub fn registered() -> Event {
    Event::AccountRegistered(AccountRegistered {
        username: Some(sealed()),
    })
}

/// An enrolment began that expires at this time.
pub fn enrolment_started(expires_at: Micros) -> Event {
    Event::EnrolmentStarted(EnrolmentStarted {
        authenticator_id: "a1".into(),
        secret: sealed(),
        account_name: None,
        label: None,
        expires_at,
        proof: FirstFactor::Vouched,
    })
}

/// The confirming code was right.
pub fn two_factor_enabled() -> Event {
    Event::TwoFactorEnabled(TwoFactorEnabled {
        authenticator_id: "a1".into(),
        step: 59_061_239,
        drift: 0,
    })
}

/// A set of ten codes was issued.
pub fn backup_codes_issued(set_no: u32) -> Event {
    Event::BackupCodesIssued(BackupCodesIssued {
        set_no,
        fingerprint: "K7QX".into(),
        cause: IssueCause::Enrolment,
        slots: 10,
        verifiers: sealed(),
        superseded_unused: 0,
    })
}

/// A backup code was right.
pub fn backup_code_accepted(remaining: u8) -> Event {
    Event::BackupCodeAccepted(BackupCodeAccepted {
        set_no: 1,
        ordinal: 4,
        remaining,
        purpose: Purpose::Login,
        first_factor: FirstFactor::Vouched,
        challenge: None,
    })
}

/// An app code was right.
pub fn totp_accepted() -> Event {
    Event::TotpAccepted(TotpAccepted {
        step: 59_061_240,
        drift: 0,
        enrolment: 3,
        double_code: false,
        purpose: Purpose::Login,
        first_factor: FirstFactor::Vouched,
        challenge: None,
    })
}

/// A case was opened.
pub fn reset_requested(case: &str, expires_at: Micros) -> Event {
    Event::ResetRequested(ResetRequested {
        case_id: case.into(),
        expires_at,
        lost: Some(Lost::Both),
        reason: sealed(),
        ticket: sealed(),
    })
}

/// A case was approved.
pub fn reset_approved(case: &str, execute_after: Micros) -> Event {
    Event::ResetApproved(ResetApproved {
        case_id: case.into(),
        execute_after,
        reason: sealed(),
    })
}

/// A case was cancelled.
pub fn reset_cancelled(case: &str, by: CancelledBy) -> Event {
    Event::ResetCancelled(ResetCancelled {
        case_id: case.into(),
        by,
        reason: (by == CancelledBy::Agent).then(sealed),
    })
}

/// A case was executed.
pub fn reset_executed(case: &str, told_until: Micros) -> Event {
    Event::ResetExecuted(ResetExecuted {
        case_id: case.into(),
        told_until,
        reason: sealed(),
    })
}

/// SplitMix64: the same numbers for a seed on every machine.
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Returns random events of any types on 23 accounts by 3 callers, in groups of 1 to 3; a fold must
/// accept every order.
pub fn history(seed: u64, groups: u64) -> Vec<Vec<Entry<'static>>> {
    let mut random = Random(seed);
    let events = one_of_each();
    let (log_wide, of_accounts) = events.split_at(3);
    let mut next = 1;
    let mut history = Vec::new();
    for _ in 0..groups {
        let account = match random.below(24) {
            0 => String::new(),
            n => format!("account-{n}"),
        };
        let pool = if account.is_empty() {
            log_wide
        } else {
            of_accounts
        };
        let len = 1 + random.below(3);
        let any = |_| pool[random.below(pool.len() as u64) as usize].clone();
        let events: Vec<Event> = (0..len).map(any).collect();
        let caller = ["login-gw", "desk-ada", "desk-bob"][(next % 3) as usize];
        history.push(group(next, &account, caller, events));
        next += len;
    }
    history
}

thread_local! {
    /// The view that is to panic in this thread, and the position.
    static PANIC_AT: std::cell::Cell<Option<(&'static str, u64)>> = const { std::cell::Cell::new(None) };
}

/// Makes the fold of a view panic at a position, in this thread.
pub fn panic_at(at: Option<(&'static str, u64)>) {
    PANIC_AT.set(at);
}

/// Panics if a test asked for it; called once a fold has written.
pub fn panics(view: &str, entries: &[Entry]) {
    if let Some((name, position)) = PANIC_AT.get()
        && name == view
    {
        let meets = entries.iter().any(|entry| entry.position == position);
        assert!(!meets, "the fold of {view} panics at {position}");
    }
}

/// Returns the table's name, and every row of it as text.
pub fn rows<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &redb::ReadTransaction,
    table: redb::TableDefinition<K, V>,
) -> Vec<String> {
    let name = redb::TableHandle::name(&table).to_owned();
    let found = read.open_table(table).unwrap();
    let row = |row: Result<_, _>| {
        let (key, value): (redb::AccessGuard<K>, redb::AccessGuard<V>) = row.unwrap();
        format!("{name} {:?} {:?}", key.value(), value.value())
    };
    let rows = redb::ReadableTable::iter(&found).unwrap().map(row);
    [name.clone()].into_iter().chain(rows).collect()
}
