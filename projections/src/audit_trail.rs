//! The audit trail: which positions belong to an account, an event type or a caller. The events
//! themselves stay in the log.

use std::sync::Arc;

use countersign_schemas::event::{Cause, Event};
use countersign_schemas::ids::{AccountId, StreamKey, agent_key};
use countersign_schemas::record::StreamKind;
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction,
};
use sha2::{Digest, Sha256};

use crate::checkpoint::stored_position;
use crate::{Cover, Entry, Projection, ViewError};

const NAME: &str = "audit-trail";
const VERSION: u32 = 3;

/// (stream key, position): accounts only, since log-wide events are found by their type. The access
/// records of an account have a key of their own.
pub(crate) const BY_ACCOUNT: TableDefinition<(&[u8; 16], u64), ()> =
    TableDefinition::new("audit-trail@3/by-account");
/// (event type, position).
pub(crate) const BY_TYPE: TableDefinition<(u16, u64), ()> =
    TableDefinition::new("audit-trail@3/by-type");
/// (key of the caller's name in any letter case, position).
pub(crate) const BY_CALLER: TableDefinition<(&[u8; 16], u64), ()> =
    TableDefinition::new("audit-trail@3/by-caller");
/// How many seeks in the indexes one call may spend, some 20 ms; a rare match in a long history is
/// found by asking again from where the call stopped.
const SEEKS_MAX: usize = 16_384;
/// The indexes over the log.
pub struct AuditTrail {
    db: Arc<Database>,
}

/// Which events to find; every filter given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this account's events; if types of access records are given, also the access records of
    /// this account.
    pub account: Option<StreamKey>,
    /// Only events of one of these type numbers; empty for any.
    pub types: Vec<u16>,
    /// Only events that this caller caused; letter case does not matter.
    pub caller: Option<String>,
}

/// Positions found, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The positions.
    pub positions: Vec<u64>,
    /// Where to continue, if there is more or the call had searched far enough; `None` at the end.
    pub next_after: Option<u64>,
}

impl AuditTrail {
    pub(crate) fn new(db: Arc<Database>) -> Self {
        Self { db }
    }

    /// Finds at most `limit` positions after `after` (exclusive) that match every filter.
    ///
    /// The work is bounded: a page may hold fewer than `limit` positions, even none, and still have
    /// a `next_after`. Positions beyond the view's checkpoint are not found. A page may end inside
    /// a group of events.
    ///
    /// # Errors
    /// [`ViewError::Storage`] if the file cannot be read.
    pub fn positions(&self, filter: &Filter, after: u64, limit: usize) -> Result<Page, ViewError> {
        self.search(filter, after, limit, SEEKS_MAX)
    }

    fn search(
        &self,
        filter: &Filter,
        after: u64,
        limit: usize,
        seeks_max: usize,
    ) -> Result<Page, ViewError> {
        let mut lists = lists(&self.db.begin_read()?, filter)?;
        let mut page = Page::default();
        let mut seeks_left = seeks_max;
        let mut from = after.saturating_add(1);
        loop {
            match meet(&mut lists, from, &mut seeks_left)? {
                Meeting::At(_) if page.positions.len() == limit => {
                    page.next_after = Some(page.positions.last().copied().unwrap_or(after));
                    return Ok(page);
                }
                Meeting::At(position) => {
                    page.positions.push(position);
                    from = position.saturating_add(1);
                }
                Meeting::NotBefore(position) => {
                    page.next_after = Some(position - 1);
                    return Ok(page);
                }
                Meeting::End => return Ok(page),
            }
        }
    }
}

impl Projection for AuditTrail {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn apply(
        &self,
        txn: &WriteTransaction,
        entries: &[Entry],
        _: &mut Cover,
    ) -> Result<(), ViewError> {
        let mut accounts = Vec::with_capacity(entries.len());
        let mut types = Vec::with_capacity(entries.len());
        let mut callers = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.record.stream_kind == StreamKind::Account {
                accounts.push((entry.record.stream_key.0, entry.position));
            }
            if let Some(account) = looked_at(&entry.event) {
                accounts.push((looks_key(&StreamKey::of(&account)), entry.position));
            }
            types.push((entry.event.type_code(), entry.position));
            callers.push((agent_key(&entry.record.meta.caller), entry.position));
        }
        // In the order of the keys, so that neighbours share the pages that they touch.
        accounts.sort_unstable();
        types.sort_unstable();
        callers.sort_unstable();
        let mut by_account = txn.open_table(BY_ACCOUNT)?;
        for (key, position) in &accounts {
            by_account.insert((key, *position), ())?;
        }
        let mut by_type = txn.open_table(BY_TYPE)?;
        for key in types {
            by_type.insert(key, ())?;
        }
        let mut by_caller = txn.open_table(BY_CALLER)?;
        for (key, position) in &callers {
            by_caller.insert((key, *position), ())?;
        }
        Ok(())
    }

    #[cfg(test)]
    fn dump(&self, read: &redb::ReadTransaction) -> Vec<String> {
        use crate::testing::rows;
        [
            rows(read, BY_ACCOUNT),
            rows(read, BY_TYPE),
            rows(read, BY_CALLER),
        ]
        .concat()
    }
}

/// Returns the account that an access record names.
fn looked_at(event: &Event) -> Option<AccountId> {
    let account = match event {
        Event::SubjectViewed(e) => e.account_id.as_ref(),
        Event::AuditExported(e) => e.account_id.as_ref(),
        Event::LookUpsCounted(e) => e.account_id.as_ref(),
        _ => None,
    };
    AccountId::parse(account?).ok()
}

/// Returns the key of an account's access records, which are filed beside its own events.
fn looks_key(account: &StreamKey) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(b"looks at")
        .chain_update(account.0)
        .finalize();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

/// Returns whether access records are asked for by their types.
fn asks_for_looks(types: &[u16]) -> bool {
    let mut looks = Event::ALL
        .iter()
        .filter(|(code, _, _)| types.contains(code));
    looks.any(|(_, _, name)| Event::cause_of(name) == Some(Cause::Access))
}

/// The ascending positions that an index gives for one filter.
enum List {
    /// Every position up to the last.
    All { last: u64 },
    /// One caller's events, or one account's and perhaps its access records; each key with its
    /// head.
    Keyed {
        table: ReadOnlyTable<(&'static [u8; 16], u64), ()>,
        heads: Vec<([u8; 16], u64)>,
    },
    /// The events of several types, each with its head.
    Typed {
        table: ReadOnlyTable<(u16, u64), ()>,
        heads: Vec<(u16, u64)>,
    },
}

/// The head of a list that has no more positions.
const EXHAUSTED: u64 = u64::MAX;

impl List {
    /// Returns the list's first position at or after `from`, [`EXHAUSTED`] at its end.
    fn seek(&mut self, from: u64, seeks_left: &mut usize) -> Result<u64, ViewError> {
        match self {
            Self::All { last } if from <= *last => Ok(from),
            Self::All { .. } => Ok(EXHAUSTED),
            Self::Keyed { table, heads } => {
                for (key, head) in heads.iter_mut().filter(|(_, head)| *head < from) {
                    *seeks_left = seeks_left.saturating_sub(1);
                    let range = (&*key, from)..=(&*key, EXHAUSTED);
                    let found = table.range(range)?.next().transpose()?;
                    *head = found.map_or(EXHAUSTED, |(key, _)| key.value().1);
                }
                let lowest = heads.iter().map(|(_, head)| *head).min();
                Ok(lowest.unwrap_or(EXHAUSTED))
            }
            Self::Typed { table, heads } => {
                for (code, head) in heads.iter_mut().filter(|(_, head)| *head < from) {
                    *seeks_left = seeks_left.saturating_sub(1);
                    let range = (*code, from)..=(*code, EXHAUSTED);
                    let found = table.range(range)?.next().transpose()?;
                    *head = found.map_or(EXHAUSTED, |(key, _)| key.value().1);
                }
                let lowest = heads.iter().map(|(_, head)| *head).min();
                Ok(lowest.unwrap_or(EXHAUSTED))
            }
        }
    }
}

/// Returns the lists that a filter intersects; at least one.
fn lists(read: &ReadTransaction, filter: &Filter) -> Result<Vec<List>, ViewError> {
    let mut lists = Vec::new();
    if let Some(account) = filter.account {
        let mut heads = vec![(account.0, 0)];
        if asks_for_looks(&filter.types) {
            heads.push((looks_key(&account), 0));
        }
        let table = read.open_table(BY_ACCOUNT)?;
        lists.push(List::Keyed { table, heads });
    }
    if let Some(caller) = &filter.caller {
        let heads = vec![(agent_key(caller), 0)];
        let table = read.open_table(BY_CALLER)?;
        lists.push(List::Keyed { table, heads });
    }
    if !filter.types.is_empty() {
        // Only existing types, each once, so that the filter's length does not multiply the work.
        let known = Event::ALL.iter().map(|(code, _, _)| *code);
        let asked = known.filter(|code| filter.types.contains(code));
        let heads = asked.map(|code| (code, 0)).collect();
        let table = read.open_table(BY_TYPE)?;
        lists.push(List::Typed { table, heads });
    }
    if lists.is_empty() {
        let last = stored_position((NAME, VERSION), read)?;
        lists.push(List::All { last });
    }
    Ok(lists)
}

enum Meeting {
    /// The first position that is in every list.
    At(u64),
    /// No match was found before this position, and no more seeks are allowed.
    NotBefore(u64),
    /// There is no further match.
    End,
}

/// Advances each list to the furthest head of the others, until all heads are the same position.
fn meet(lists: &mut [List], from: u64, seeks_left: &mut usize) -> Result<Meeting, ViewError> {
    let mut candidate = from;
    loop {
        if *seeks_left == 0 {
            return Ok(Meeting::NotBefore(candidate));
        }
        let before = candidate;
        for list in &mut *lists {
            candidate = list.seek(candidate, seeks_left)?;
            if candidate == EXHAUSTED {
                return Ok(Meeting::End);
            }
        }
        if candidate == before {
            return Ok(Meeting::At(candidate));
        }
    }
}

#[cfg(test)]
#[path = "audit_trail_tests.rs"]
mod tests;
