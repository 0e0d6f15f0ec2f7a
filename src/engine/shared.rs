//! What all threads of the engine share.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use countersign_projections::Views;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;
use tokio::sync::watch;

use super::Clock;
use super::accounts::Accounts;
use super::directory::Strangers;
use super::projector::Progress;
use super::subject::{Subject, unavailable};
use super::vault::Vault;
use crate::account::{Account, Policy};
use crate::log::index::Index;

/// What all threads of the engine share; only the writer changes it.
pub struct Shared {
    /// Keyring and data keys.
    pub vault: Vault,
    /// The numbers to decide by.
    pub policy: Policy,
    /// Whether callers answer for the first factor.
    pub vouched: bool,
    /// The wall clock.
    pub clock: Clock,
    /// Accounts in memory.
    pub accounts: Accounts,
    /// Where events stand.
    pub index: Arc<Index>,
    /// Number of the log's own events.
    pub log_version: AtomicU32,
    /// Wrong passwords of unknown names.
    pub strangers: RwLock<Strangers>,
    /// The read models.
    pub views: Views,
    /// The last durable position.
    pub committed: Progress,
    /// The position that every view has reached.
    pub shown: Progress,
    /// Turns true when a commit has failed.
    pub failed: watch::Sender<bool>,
}

impl Shared {
    /// The wall clock.
    pub fn now(&self) -> Micros {
        (self.clock)()
    }

    pub fn strangers(&self) -> RwLockReadGuard<'_, Strangers> {
        self.strangers
            .read()
            .expect("no holder of this lock panics")
    }

    pub fn strangers_mut(&self) -> RwLockWriteGuard<'_, Strangers> {
        self.strangers
            .write()
            .expect("no holder of this lock panics")
    }

    /// The state of a command's account: the newest where the writer has one that is not durable
    /// yet, else as of its last durable event. A stranger has only its wrong passwords.
    pub fn account(
        &self,
        subject: &Subject,
        newest: Option<&Arc<Account>>,
    ) -> Result<Arc<Account>, ErrorCode> {
        let account = match (newest, subject.stream) {
            (Some(newest), _) => Arc::clone(newest),
            (None, None) => Arc::default(),
            (None, Some(stream)) => self
                .accounts
                .load(stream)
                .map_err(|error| unavailable(&error))?,
        };
        if account.exists() {
            return Ok(account);
        }
        let passwords = self.strangers().of(&subject.stranger);
        Ok(Arc::new(Account {
            passwords,
            ..Account::default()
        }))
    }
}
