//! Opening the file of the views: a damaged or changed view is rebuilt from the log.

use std::fs::{OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::{Database, DatabaseError, WriteTransaction};

use super::building::{drop_tables, resumed};
use super::list::List;
use super::{Opened, Standing, State, Views, durable};
use crate::checkpoint::{Progress, make_tables, read_tables, tables_prefix};
use crate::{Projection, Seal, ViewError};

impl Views {
    /// Opens the file; it is replaced if it is missing, damaged or of another format.
    ///
    /// A view that does not match its `seal` is rebuilt, see [`changed`](Self::changed).
    /// `cache_bytes` bounds the page cache. Queries must wait until [`catch_up`](Self::catch_up)
    /// has reached the log's head.
    ///
    /// # Errors
    /// [`ViewError::Storage`] if another process has the file open, or if it can be neither opened
    /// nor replaced.
    pub fn open(path: &Path, cache_bytes: usize, seal: &Seal) -> Result<(Self, Opened), ViewError> {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        // Opening reads every page's checksum (0.1 s for 270 MB in the page cache): without this
        // redb accepts most altered files, then answers wrongly or panics.
        builder.set_check_integrity_on_open(true);
        Self::open_with(path, seal, |path| {
            make_private(path).map_err(redb::StorageError::Io)?;
            builder.create(path)
        })
    }

    /// Opens the file as [`open`](Self::open) does, with a function of the caller: harnesses that
    /// break disks supply their own.
    ///
    /// # Errors
    /// The same as [`open`](Self::open).
    pub fn open_with(
        path: &Path,
        seal: &Seal,
        open: impl Fn(&Path) -> Result<Database, DatabaseError>,
    ) -> Result<(Self, Opened), ViewError> {
        let found = std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        let open = || Self::of(open(path)?, seal);
        let reason = match open() {
            Ok(views) if found => return Ok((views, Opened::Existing)),
            Ok(views) => return Ok((views, Opened::Created)),
            Err(error) if !found || is_in_use(&error) => return Err(error),
            Err(error) => error.to_string(),
        };
        std::fs::remove_file(path).map_err(redb::StorageError::Io)?;
        Ok((open()?, Opened::Rebuilt { reason }))
    }

    /// Takes an open database, and makes the views that it lacks.
    fn of(db: Database, seal: &Seal) -> Result<Self, ViewError> {
        let db = Arc::new(db);
        let txn = durable(&db)?;
        let list = List::new(&db);
        let (mut views, mut changed) = (Vec::new(), Vec::new());
        for view in list.all() {
            views.push(Standing {
                serving: believed(view, &txn, seal, &mut changed)?,
                building: None,
                given_up: None,
            });
        }
        for (view, standing) in list.all().into_iter().zip(&mut views) {
            standing.building = resumed(view, &txn, seal, &mut changed)?;
        }
        txn.commit()?;
        for (view, standing) in list.all().into_iter().zip(&views) {
            view.persisted(standing.serving.checkpoint.position)?;
        }
        let unflushed = 0;
        Ok(Self {
            list,
            state: Mutex::new(State { views, unflushed }),
            changed,
            seal: Arc::clone(seal),
            db,
        })
    }
}

/// Returns how far a view is; it is before its first entry if its tables do not match their seal.
fn believed(
    projection: &dyn Projection,
    txn: &WriteTransaction,
    seal: &Seal,
    changed: &mut Vec<&'static str>,
) -> Result<Progress, ViewError> {
    if let Some(progress) = read_tables(projection, txn, seal)? {
        return Ok(progress);
    }
    changed.push(projection.name());
    let own = tables_prefix(projection.name(), projection.version());
    drop_tables(txn, |table| table.starts_with(&own))?;
    make_tables(projection, txn, seal)
}

/// Makes an empty file that only its owner may read, unless it exists; redb itself makes files that
/// everybody may read.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        // The mode is set explicitly, whatever the umask is.
        Ok(file) => file.set_permissions(Permissions::from_mode(0o600)),
    }
}

fn is_in_use(error: &ViewError) -> bool {
    matches!(error, ViewError::Storage(e) if matches!(**e, redb::Error::DatabaseAlreadyOpen))
}
