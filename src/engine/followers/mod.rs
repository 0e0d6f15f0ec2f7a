//! What follows a commit: the index, the views, the published stream, the log hashed again, the
//! keys rewritten.

pub(super) mod feed;
pub(super) mod indexer;
pub(super) mod key_rewriter;
pub(super) mod projector;
pub(super) mod rehash;
pub(super) mod stream_witness;
