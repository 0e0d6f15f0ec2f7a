//! The engine: evidence, the writer, and what follows a commit.
//!
//! ```text
//!  submit ─▶ queue ─▶ writer ─▶ log ─▶ replies
//!            (4096)    │  ▲ gate, decide, seal, one commit
//!                      │  └── slow steps: pool, password service
//!                      └─▶ accounts, directory, views
//! ```

mod accounts;
mod clock;
mod copies;
mod counts;
mod data_folder;
mod deletable;
mod entries;
mod epochs;
mod erased;
mod followers;
mod intake;
mod keys;
mod message;
mod origin;
mod queries;
mod record_seals;
mod request;
mod running;
mod shared;
mod start;
mod writer;

#[cfg(test)]
mod tests;

pub use accounts::snapshots;
pub use clock::{Clock, monotonic_clock, wall_clock};
pub use copies::backup::{BackupFolders, NoBackup, Taken};
pub use copies::needed::{Lacking, lacking_in};
pub use copies::places::{PlaceError, refuse_among_ours};
pub use copies::verify::{BackupToVerify, BadBackup, CheckedBackup, verify_backup};
pub use epochs::Epoch;
pub use followers::feed::{Feed, PublishedEpoch};
pub use intake::pool;
pub use keys::key_list::key_list;
pub use keys::vault::{Random, system_random};
pub use queries::Queries;
pub use queries::access::Access;
pub use queries::admin::Admin;
pub use queries::export::filter_text;
pub use record_seals::RecordSeals;
pub use request::{BodyTags, Caller, Done, Outcome, PasswordsBy, ReplyTo, Request, Viewer};
pub use running::Engine;
pub use running::readings::{Readings, free_bytes};
pub use shared::asked_password::{AskedPassword, PasswordService};
pub use start::epoch::new_epoch;
pub use start::error::{InitError, NewEpochError, StartError};
pub use start::stopped_backup::{NoStoppedBackup, back_up_stopped_service};
pub use start::stopped_views::{list_stopped_views, rebuild_stopped_view};
pub use start::{EngineOptions, init};
