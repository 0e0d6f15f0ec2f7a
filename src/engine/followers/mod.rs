//! The threads that follow a commit: index, views, published stream, hashing the log again, and
//! rewriting the keys.

pub(super) mod feed;
pub(super) mod indexer;
pub(super) mod key_rewriter;
pub(super) mod projector;
pub(super) mod rehash;
pub(super) mod stream_witness;
