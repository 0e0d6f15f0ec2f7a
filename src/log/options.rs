//! How large the log's parts may be.

use std::num::NonZeroU64;

use super::segment::Storage;

/// The longest record, in bytes: C2SP entry bundles carry a 16-bit length.
pub const RECORD_BYTES_MAX: usize = 60 * 1024;
/// The most records in one append: the writer stops at 512, and the group that reaches 512 may end.
pub const BATCH_RECORDS_MAX: usize = 1_024;
/// The most bytes in one append: the writer stops at 1 MiB, and the group that reaches 1 MiB may
/// end.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most records in one page, whatever the reader asks for: about as many as fit into a
/// processor's own cache.
pub const PAGE_RECORDS_MAX: usize = 1_024;
/// The most bytes in one page, whatever the reader asks for (one record always fits).
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The sizes of segments and caches.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// A segment with at least this many records is sealed before the next batch.
    pub segment_records: NonZeroU64,
    /// Memory for pages of the segment that takes writes, in bytes.
    pub active_cache_bytes: usize,
    /// Memory for pages of all sealed segments together, in bytes.
    pub sealed_cache_bytes: usize,
    /// How segments are stored; only the harnesses that break disks change it.
    pub storage: Storage,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            segment_records: NonZeroU64::new(1_000_000).expect("a million is not zero"),
            active_cache_bytes: 64 * 1024 * 1024,
            sealed_cache_bytes: 16 * 1024 * 1024,
            storage: Storage::default(),
        }
    }
}
