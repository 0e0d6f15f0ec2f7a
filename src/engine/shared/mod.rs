//! The state that all threads of the engine share.

pub(super) mod access_records;
pub(super) mod asked_password;
pub(super) mod gauges;
pub(super) mod openness;
pub(super) mod progress;
pub(super) mod publication;
pub(super) mod standing;
pub(super) mod subject_rates;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use countersign_projections::Views;
use countersign_schemas::audit::SignedCheckpoint;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;
use data_encoding::BASE64;
use tokio::sync::watch;

use super::Clock;
use super::accounts::Accounts;
use super::clock::AcceptedClock;
use super::copies::backup::BackupFolders;
use super::counts::by_text::TextFile;
use super::keys::checkpoints::{sign, signer};
use super::keys::vault::Vault;
use super::message::Subject;
use super::request::{PasswordsBy, unavailable};
use super::shared::access_records::AccessRecords;
use super::shared::asked_password::PasswordService;
use super::shared::gauges::Gauges;
use super::shared::progress::Progress;
use super::shared::publication::Publication;
use super::shared::standing::Standing;
use crate::account::{Account, Policy};
use crate::log::checkpoints::{Archive, CheckpointRefusal};
use crate::log::index::Index;
use crate::log::tree::Hash;

/// The state that all threads of the engine share; only the writer changes it.
pub struct Shared {
    /// The keyring and the data keys.
    pub vault: Vault,
    /// The policy that decides.
    pub policy: Policy,
    /// Who checks passwords.
    pub passwords_by: PasswordsBy,
    /// The password service, once it can be asked.
    pub password_service: OnceLock<PasswordService>,
    /// The callers that may vouch for the first factor; all if `None`.
    pub vouching: Option<BTreeSet<String>>,
    /// The wall clock.
    pub clock: Clock,
    /// The monotonic clock, which cannot be set.
    pub monotonic: Clock,
    /// The wall clock behind the log that an operator accepted as right.
    pub accepted_clock: Option<AcceptedClock>,
    /// Accounts in memory.
    pub accounts: Accounts,
    /// The index: the positions of events.
    pub index: Arc<Index>,
    /// The file of wrong passwords, by the text that names an account.
    pub text_file: TextFile,
    /// The archive of signed checkpoints, and the key that signs the next one.
    pub checkpoints: Mutex<Archive>,
    /// The version of the log's own stream.
    pub log_version: AtomicU32,
    /// When the last durable event was recorded, in microseconds.
    pub recorded_at: AtomicU64,
    /// The access records of the last minutes.
    pub access_records: Mutex<AccessRecords>,
    /// The read models.
    pub views: Views,
    /// How far the log is committed and shown by the views.
    pub progress: Progress,
    /// The operators' counters.
    pub gauges: Gauges,
    /// Whether the files are where the start found them.
    pub standing: Standing,
    /// How far the log is published.
    pub publication: Publication,
    /// The folders for backups, if configured.
    pub backup: Option<BackupFolders>,
    /// Turns true if a commit has failed or the data folder was changed.
    pub failed: watch::Sender<bool>,
}

impl Shared {
    /// Returns the time by the wall clock.
    pub fn now(&self) -> Micros {
        (self.clock)()
    }

    /// Returns log time: the wall clock, or the last recorded time if that is later.
    pub fn log_time(&self) -> Micros {
        let recorded_at = Micros(self.recorded_at.load(Ordering::Acquire));
        self.now().max(recorded_at)
    }

    pub fn access_records(&self) -> MutexGuard<'_, AccessRecords> {
        self.access_records
            .lock()
            .expect("no holder of this lock panics")
    }

    /// Signs a checkpoint if the log has grown; the note is durable beside the keyring.
    ///
    /// # Errors
    /// Those of [`sign`].
    pub fn sign_checkpoint(&self) -> Result<String, CheckpointRefusal> {
        let mut archive = self
            .checkpoints
            .lock()
            .expect("no holder of this lock panics");
        let note = sign(&mut archive, &self.index)?.to_owned();
        self.gauges.signed(self.now());
        Ok(note)
    }

    /// Signs a checkpoint like [`Shared::sign_checkpoint`] and returns it as a reply shows it.
    ///
    /// # Errors
    /// A sentence with the reason.
    pub fn signed_checkpoint(&self) -> Result<SignedCheckpoint, String> {
        let note = self.sign_checkpoint().map_err(|error| error.to_string())?;
        let signer = signer(&self.vault.keyring());
        let checkpoint = signer.public().open_checkpoint(&note);
        let checkpoint = checkpoint.map_err(|error| error.to_string())?;
        Ok(SignedCheckpoint {
            note,
            size: checkpoint.size,
            root: BASE64.encode(&checkpoint.root),
            vkey: signer.public().vkey(),
        })
    }

    /// Returns size and root of the newest signed checkpoint, if there is one.
    pub fn signed_root(&self) -> Option<(u64, Hash)> {
        let archive = self
            .checkpoints
            .lock()
            .expect("no holder of this lock panics");
        let newest = archive.newest()?;
        Some((newest.size, newest.root))
    }

    /// Stops the service if something was found on the disk that it did not write.
    pub fn watch_findings(&self) {
        if let Some(finding) = self.index.finding().filter(|_| !*self.failed.borrow()) {
            tracing::error!(%finding, "ALARM: the data folder was changed, the service stops");
            self.failed.send_replace(true);
        }
    }

    /// Returns the state of a command's account: the writer's newest one if that is not durable
    /// yet, else the state as of the last durable event.
    ///
    /// # Errors
    /// `store.unavailable` if the account cannot be read, or something was found on the disk that
    /// the service did not write.
    pub fn account(
        &self,
        subject: &Subject,
        newest: Option<&Arc<Account>>,
    ) -> Result<Arc<Account>, ErrorCode> {
        if self.index.finding().is_some() {
            return Err(ErrorCode::StoreUnavailable);
        }
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
        // An erased account continues its versions.
        Ok(Arc::new(Account {
            version: account.version,
            ..Account::default()
        }))
    }
}
