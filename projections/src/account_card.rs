//! What support may know about an account besides its login status: dates and counts, with the name
//! sealed.

use std::collections::BTreeMap;
use std::sync::Arc;

use countersign_schemas::event::account::v1::Purpose;
use countersign_schemas::event::{Event, Reader};
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::StreamKind;
use countersign_schemas::sealed::Protected;
use countersign_schemas::time::Micros;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::login_status::begins_account;
use crate::{Cover, Entry, Projection, ViewError};

const NAME: &str = "account-card";
const VERSION: u32 = 1;

/// stream key → postcard [`CardRow`].
pub(crate) const CARDS: TableDefinition<&[u8; 16], &[u8]> =
    TableDefinition::new("account-card@1/cards");

/// One account's row, stored as postcard; a change of its shape is a new version of the view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardRow {
    /// Since when the account exists.
    pub registered_at: Micros,
    /// The sealed username and the version of the account that it was sealed at.
    pub username: Option<(u32, Protected)>,
    /// When the password was set.
    pub password_set_at: Option<Micros>,
    /// The last completed login.
    pub last_login_at: Option<Micros>,
    /// How many wrong codes of either kind came since then.
    pub wrong_codes: u32,
    /// When the last wrong code came.
    pub wrong_code_at: Option<Micros>,
    /// When support last cleared the attempts.
    pub cleared_at: Option<Micros>,
}

/// Folds one entry into the row of its account; an erasure ends the row.
fn fold(row: Option<CardRow>, entry: &Entry) -> Option<CardRow> {
    let at = entry.record.recorded_at;
    let mut row = match row {
        Some(row) => row,
        None if begins_account(&entry.event) => CardRow {
            registered_at: at,
            ..CardRow::default()
        },
        None => return None,
    };
    match &entry.event {
        Event::AccountErased(_) => return None,
        Event::AccountRegistered(e) => {
            let version = entry.record.version;
            row.username = e.username.clone().map(|name| (version, name));
        }
        Event::PasswordSet(_) => row.password_set_at = Some(at),
        Event::LoginCompleted(_) => row.logged_in(at),
        Event::TotpAccepted(e) if e.purpose == Purpose::Login => row.logged_in(at),
        Event::BackupCodeAccepted(e) if e.purpose == Purpose::Login => row.logged_in(at),
        Event::TotpRejected(_) | Event::CodeReplayed(_) | Event::BackupCodeRejected(_) => {
            row.wrong_codes = row.wrong_codes.saturating_add(1);
            row.wrong_code_at = Some(at);
        }
        Event::AttemptsCleared(_) => row.cleared_at = Some(at),
        _ => {}
    }
    Some(row)
}

impl CardRow {
    fn logged_in(&mut self, at: Micros) {
        self.last_login_at = Some(at);
        self.wrong_codes = 0;
        self.wrong_code_at = None;
    }
}

/// The cards of all accounts.
pub struct AccountCards {
    db: Arc<Database>,
}

impl AccountCards {
    pub(crate) fn new(db: Arc<Database>) -> Self {
        Self { db }
    }

    /// Returns the row of an account; `None` for an unknown one.
    ///
    /// # Errors
    /// [`ViewError::Damaged`] if the row does not decode, [`ViewError::Storage`] if the file cannot
    /// be read.
    pub fn get(&self, stream: &StreamKey) -> Result<Option<CardRow>, ViewError> {
        read_row(&self.db.begin_read()?.open_table(CARDS)?, stream)
    }
}

impl Projection for AccountCards {
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
        let mut table = txn.open_table(CARDS)?;
        // Each row is read and written once per slice, in the order of the keys.
        let mut rows: BTreeMap<StreamKey, Option<CardRow>> = BTreeMap::new();
        for entry in entries {
            if entry.record.stream_kind == StreamKind::Log || !entry.event.is_read_by(Reader::Card)
            {
                continue;
            }
            let key = entry.record.stream_key;
            let before = match rows.remove(&key) {
                Some(row) => row,
                None => read_row(&table, &key)?,
            };
            rows.insert(key, fold(before, entry));
        }
        for (key, row) in rows {
            match row {
                Some(row) => {
                    let bytes = postcard::to_allocvec(&row).map_err(|_| damaged(&key))?;
                    table.insert(&key.0, bytes.as_slice())?;
                }
                None => {
                    table.remove(&key.0)?;
                }
            }
        }
        Ok(())
    }

    #[cfg(test)]
    fn dump(&self, read: &redb::ReadTransaction) -> Vec<String> {
        use crate::testing::rows;
        [rows(read, CARDS)].concat()
    }
}

fn read_row(
    table: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
    key: &StreamKey,
) -> Result<Option<CardRow>, ViewError> {
    let Some(bytes) = table.get(&key.0)? else {
        return Ok(None);
    };
    match postcard::take_from_bytes(bytes.value()) {
        Ok((row, [])) => Ok(Some(row)),
        Ok(_) | Err(_) => Err(damaged(key)),
    }
}

fn damaged(key: &StreamKey) -> ViewError {
    ViewError::Damaged {
        view: NAME,
        what: "row",
        at: format!("stream {key:?}"),
    }
}

#[cfg(test)]
#[path = "account_card_tests.rs"]
mod tests;
