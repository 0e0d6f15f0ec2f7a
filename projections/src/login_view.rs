//! The login view: rows in views.redb, and above them in memory the entries that the writer has
//! committed and the projector has not yet written.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use countersign_schemas::event::Event;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::record::StreamKind;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use crate::login_status::{Row, begins_account, fold};
use crate::{Cover, Entry, Projection, ViewError};

const NAME: &str = "login-status";
const VERSION: u32 = 4;

/// stream key → postcard [`Row`].
pub(crate) const ROWS: TableDefinition<&[u8; 16], &[u8]> =
    TableDefinition::new("login-status@4/rows");
/// The positions of the epochs that began because events had been lost.
const LOSSES: TableDefinition<u64, ()> = TableDefinition::new("login-status@4/losses");
/// The numbers of the two tables in the cover.
const COVERED: [u8; 2] = [0, 1];
/// How many rows may wait in memory (about 20 MB) before the view stops answering until the
/// projector has caught up.
const OVERLAY_ROWS_MAX: usize = 65_536;
/// The promise of every holder of the lock.
const UNPOISONED: &str = "nothing panics while it holds the overlay";

/// The login view.
///
/// Only the writer thread calls [`apply_committed`](Self::apply_committed); any thread may call
/// [`get`](Self::get).
pub struct LoginStatusView {
    db: Arc<Database>,
    overlay: RwLock<Overlay>,
}

/// Entries that are committed to the log and not in the table yet.
struct Overlay {
    rows: HashMap<StreamKey, Recent>,
    /// Every entry up to this position is in the table.
    persisted: u64,
    /// Every entry up to this position was handed over, by the writer or by the projector.
    seen: u64,
    /// The losses that the table knows; a running service loses nothing.
    losses: Vec<u64>,
    /// Why rows are missing here; `None` once the table has every entry that was handed over.
    lost: Option<String>,
}

/// A row in memory; `None` if the fold removed the account.
#[derive(Clone)]
struct Recent {
    row: Option<Row>,
    position: u64,
}

impl Overlay {
    fn lose(&mut self, reason: &str) {
        self.rows = HashMap::new();
        self.lost = Some(reason.to_owned());
    }
}

impl LoginStatusView {
    pub(crate) fn new(db: Arc<Database>) -> Self {
        let overlay = RwLock::new(Overlay {
            rows: HashMap::new(),
            persisted: 0,
            seen: 0,
            losses: Vec::new(),
            lost: None,
        });
        Self { db, overlay }
    }

    /// Makes entries visible that the log has just committed; called before their replies leave.
    ///
    /// It never fails the writer: after an entry that it cannot fold, [`get`](Self::get) answers
    /// [`ViewError::Behind`] until the projector has written every entry that was handed over.
    pub fn apply_committed(&self, entries: &[Entry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        let folded = self.fold_over_current(entries);
        let mut overlay = self.overlay.write().expect(UNPOISONED);
        let follows = first.position <= overlay.seen + 1;
        overlay.seen = overlay.seen.max(last.position);
        if overlay.lost.is_some() {
            return;
        }
        match folded {
            Ok(_) if !follows => overlay.lose("entries were skipped"),
            Ok(rows) => {
                // The projector may meanwhile have written newer rows than were folded here.
                let persisted = overlay.persisted;
                let recent = rows.into_iter().filter(|(_, r)| r.position > persisted);
                overlay.rows.extend(recent);
                if overlay.rows.len() > OVERLAY_ROWS_MAX {
                    overlay.lose("too many rows wait to be written");
                }
            }
            Err(error) => overlay.lose(&error.to_string()),
        }
    }

    /// Returns the row of an account as of the last committed entry; `None` for an unknown account.
    ///
    /// # Errors
    /// [`ViewError::Behind`] while the newest rows are missing, [`ViewError::Damaged`] if the row
    /// does not decode, [`ViewError::Storage`] if the file cannot be read.
    pub fn get(&self, key: &StreamKey) -> Result<Option<Row>, ViewError> {
        // Held over the read of the table, so that a rebuild cannot empty it in between.
        let overlay = self.overlay.read().expect(UNPOISONED);
        if let Some(reason) = &overlay.lost {
            return Err(ViewError::Behind(reason.clone()));
        }
        let row = match overlay.rows.get(key) {
            Some(recent) => recent.row.clone(),
            None => self.stored(key)?,
        };
        Ok(row.map(|row| row.after_losses(&overlay.losses, u64::MAX)))
    }

    /// Returns the position that the view has reached.
    ///
    /// Call it before [`get`](Self::get), so that it is never ahead of the row.
    pub fn position(&self) -> u64 {
        self.overlay.read().expect(UNPOISONED).seen
    }

    fn fold_over_current(
        &self,
        entries: &[Entry],
    ) -> Result<HashMap<StreamKey, Recent>, ViewError> {
        let mut rows: HashMap<StreamKey, Recent> = HashMap::new();
        let losses = self.overlay.read().expect(UNPOISONED).losses.clone();
        for entry in entries {
            if entry.record.stream_kind == StreamKind::Log {
                continue;
            }
            let key = entry.record.stream_key;
            let before = match rows.remove(&key) {
                Some(recent) => recent.row,
                None => self.current(&key)?,
            };
            let row = step(before, entry, &losses)?;
            let position = entry.position;
            rows.insert(key, Recent { row, position });
        }
        Ok(rows)
    }

    fn current(&self, key: &StreamKey) -> Result<Option<Row>, ViewError> {
        let recent = self
            .overlay
            .read()
            .expect(UNPOISONED)
            .rows
            .get(key)
            .cloned();
        match recent {
            Some(recent) => Ok(recent.row),
            None => self.stored(key),
        }
    }

    fn stored(&self, key: &StreamKey) -> Result<Option<Row>, ViewError> {
        read_row(&self.db.begin_read()?.open_table(ROWS)?, key)
    }
}

impl Projection for LoginStatusView {
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
        cover: &mut Cover,
    ) -> Result<(), ViewError> {
        let [covered_rows, covered_losses] = COVERED;
        let mut table = txn.open_table(ROWS)?;
        let mut losses_table = txn.open_table(LOSSES)?;
        let mut losses = read_losses(&losses_table)?;
        // Each row is read and written once per slice, in the order of the keys.
        let mut rows: BTreeMap<StreamKey, Option<Row>> = BTreeMap::new();
        for entry in entries {
            if entry.record.stream_kind == StreamKind::Log {
                if is_loss(&entry.event) {
                    losses_table.insert(entry.position, ())?;
                    cover.put(covered_losses, &entry.position.to_le_bytes(), &[]);
                    losses.push(entry.position);
                }
                continue;
            }
            let key = entry.record.stream_key;
            let before = match rows.remove(&key) {
                Some(row) => row,
                None => read_row(&table, &key)?,
            };
            rows.insert(key, step(before, entry, &losses)?);
        }
        for (key, row) in rows {
            match row {
                Some(row) => {
                    let bytes = postcard::to_allocvec(&row).map_err(|_| ViewError::Damaged {
                        view: NAME,
                        what: "row",
                        at: format!("{key:?}"),
                    })?;
                    cover.put(covered_rows, &key.0, &bytes);
                    if let Some(old) = table.insert(&key.0, bytes.as_slice())? {
                        cover.take(covered_rows, &key.0, old.value());
                    }
                }
                None => {
                    if let Some(old) = table.remove(&key.0)? {
                        cover.take(covered_rows, &key.0, old.value());
                    }
                }
            }
        }
        Ok(())
    }

    /// The pages of a crafted file can lead a look-up past a row, so each row is looked up.
    fn count(&self, txn: &WriteTransaction, cover: &mut Cover) -> Result<bool, ViewError> {
        let [covered_rows, covered_losses] = COVERED;
        let table = txn.open_table(ROWS)?;
        let mut last: Option<[u8; 16]> = None;
        for row in table.iter()? {
            let (key, value) = row?;
            let (key, value) = (key.value(), value.value());
            let is_found = table.get(key)?.is_some_and(|found| found.value() == value);
            if !is_found || last.is_some_and(|last| last >= *key) {
                return Ok(false);
            }
            cover.put(covered_rows, key, value);
            last = Some(*key);
        }
        for loss in read_losses(&txn.open_table(LOSSES)?)? {
            cover.put(covered_losses, &loss.to_le_bytes(), &[]);
        }
        Ok(true)
    }

    /// Drops the rows that the table now has.
    fn persisted(&self, checkpoint: u64) -> Result<(), ViewError> {
        let losses = read_losses(&self.db.begin_read()?.open_table(LOSSES)?)?;
        let mut overlay = self.overlay.write().expect(UNPOISONED);
        overlay.losses = losses;
        overlay.persisted = checkpoint;
        overlay.seen = overlay.seen.max(checkpoint);
        overlay
            .rows
            .retain(|_, recent| recent.position > checkpoint);
        if checkpoint >= overlay.seen {
            overlay.lost = None;
        }
        Ok(())
    }

    /// Stops answering before the table is emptied.
    fn rebuilding(&self) {
        let mut overlay = self.overlay.write().expect(UNPOISONED);
        overlay.persisted = 0;
        overlay.lose("it is being rebuilt");
    }

    #[cfg(test)]
    fn dump(&self, read: &redb::ReadTransaction) -> Vec<String> {
        use crate::testing::rows;
        [rows(read, ROWS), rows(read, LOSSES)].concat()
    }
}

/// Folds one entry; an account id that cannot be read is an error instead of a missing account.
fn step(row: Option<Row>, entry: &Entry, losses: &[u64]) -> Result<Option<Row>, ViewError> {
    match fold(row, entry, losses) {
        None if begins_account(&entry.event) => Err(ViewError::Damaged {
            view: NAME,
            what: "account id",
            at: format!("position {}", entry.position),
        }),
        row => Ok(row),
    }
}

/// Returns whether the event reports that earlier events were lost.
fn is_loss(event: &Event) -> bool {
    matches!(event, Event::EpochStarted(epoch) if epoch.lost_from.is_some())
}

fn read_losses(table: &impl ReadableTable<u64, ()>) -> Result<Vec<u64>, ViewError> {
    table.iter()?.map(|row| Ok(row?.0.value())).collect()
}

fn read_row(
    table: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
    key: &StreamKey,
) -> Result<Option<Row>, ViewError> {
    let Some(bytes) = table.get(&key.0)? else {
        return Ok(None);
    };
    match postcard::take_from_bytes(bytes.value()) {
        Ok((row, [])) => Ok(Some(row)),
        Ok(_) | Err(_) => Err(ViewError::Damaged {
            view: NAME,
            what: "row",
            at: format!("stream {key:?}"),
        }),
    }
}

#[cfg(test)]
#[path = "login_view_tests.rs"]
mod tests;
