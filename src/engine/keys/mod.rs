//! Keys: sealing what the log keeps, the list of keys, and rewriting `keys.redb`.

pub(super) mod assertions;
pub(super) mod key_list;
pub(super) mod rewriter;
pub(super) mod vault;
