//! The log, and every other redb file, on a disk in memory.

use std::num::NonZeroU64;
use std::sync::Arc;

use countersign::log::{LogOptions, Storage};

use crate::disk::Disk;

impl Disk {
    /// Returns options for a log on this disk.
    pub fn options(&self, segment_records: u64) -> LogOptions {
        LogOptions {
            segment_records: NonZeroU64::new(segment_records).unwrap(),
            active_cache_bytes: 1024 * 1024,
            sealed_cache_bytes: 1024 * 1024,
            storage: self.storage(),
        }
    }

    /// Returns the storage of redb's files.
    pub fn storage(&self) -> Storage {
        let (create, open, read) = (self.clone(), self.clone(), self.clone());
        Storage {
            create: Arc::new(move |builder, path| {
                create.create(path)?;
                builder.create_with_backend(create.backend(path))
            }),
            open: Arc::new(move |builder, path| builder.create_with_backend(open.backend(path))),
            open_read_only: Arc::new(move |builder, path| {
                builder.open_read_only_with_backend(read.backend(path))
            }),
        }
    }
}
