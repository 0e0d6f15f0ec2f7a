//! What all threads of the engine share.

pub(super) mod asked_password;
pub(super) mod gauges;
pub(super) mod look_rates;
pub(super) mod progress;
pub(super) mod publication;
pub(super) mod recorded_looks;
pub(super) mod standing;

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
use super::request::unavailable;
use super::shared::asked_password::PasswordService;
use super::shared::gauges::Gauges;
use super::shared::progress::Progress;
use super::shared::publication::Publication;
use super::shared::recorded_looks::RecordedLooks;
use super::shared::standing::Standing;
use crate::account::{Account, Policy};
use crate::log::checkpoints::{Archive, CheckpointRefusal};
use crate::log::index::Index;
use crate::log::tree::Hash;

/// What all threads of the engine share; only the writer changes it.
pub struct Shared {
    /// Keyring and data keys.
    pub vault: Vault,
    /// The numbers to decide by.
    pub policy: Policy,
    /// Whether callers answer for the first factor.
    pub vouched: bool,
    /// Whether another service checks passwords.
    pub elsewhere: bool,
    /// That service, once it can be asked.
    pub password_service: OnceLock<PasswordService>,
    /// The callers that may answer for the first factor; all when none.
    pub vouching: Option<BTreeSet<String>>,
    /// The wall clock.
    pub clock: Clock,
    /// A clock that nobody sets.
    pub monotonic: Clock,
    /// The wall clock behind the log that an operator took for right.
    pub accepted_clock: Option<AcceptedClock>,
    /// Accounts in memory.
    pub accounts: Accounts,
    /// Where events stand.
    pub index: Arc<Index>,
    /// What is kept of wrong passwords by the text that names an account.
    pub text_file: TextFile,
    /// The archive of signed checkpoints, and the key that signs the next one.
    pub checkpoints: Mutex<Archive>,
    /// Number of the log's own events.
    pub log_version: AtomicU32,
    /// When the last durable event was recorded, in microseconds.
    pub recorded_at: AtomicU64,
    /// Which looks at histories were recorded lately.
    pub look_ups: Mutex<RecordedLooks>,
    /// The read models.
    pub views: Views,
    /// How far the log is committed and shown.
    pub progress: Progress,
    /// What operators watch.
    pub gauges: Gauges,
    /// Whether the files are where a start found them.
    pub standing: Standing,
    /// How far it is published.
    pub publication: Publication,
    /// Where backups go, if anywhere.
    pub backup: Option<BackupFolders>,
    /// Turns true when a commit has failed, or the data folder was changed.
    pub failed: watch::Sender<bool>,
}

impl Shared {
    /// The wall clock.
    pub fn now(&self) -> Micros {
        (self.clock)()
    }

    /// Log time: the wall clock, or the last recorded time where that lies ahead.
    pub fn log_time(&self) -> Micros {
        let recorded_at = Micros(self.recorded_at.load(Ordering::Acquire));
        self.now().max(recorded_at)
    }

    pub fn look_ups(&self) -> MutexGuard<'_, RecordedLooks> {
        self.look_ups.lock().expect("no holder of this lock panics")
    }

    /// Signs what the log is now, where it has grown; the note is durable beside the keyring.
    ///
    /// # Errors
    /// As [`sign`].
    pub fn sign_checkpoint(&self) -> Result<String, CheckpointRefusal> {
        let mut archive = self
            .checkpoints
            .lock()
            .expect("no holder of this lock panics");
        let note = sign(&mut archive, &self.index)?.to_owned();
        self.gauges.signed(self.now());
        Ok(note)
    }

    /// The same, as it is told.
    ///
    /// # Errors
    /// A sentence, as [`Shared::sign_checkpoint`].
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

    /// Size and root of the newest checkpoint that was signed, if any was.
    pub fn signed_root(&self) -> Option<(u64, Hash)> {
        let archive = self
            .checkpoints
            .lock()
            .expect("no holder of this lock panics");
        let newest = archive.newest()?;
        Some((newest.size, newest.root))
    }

    /// Stops the service where something on the disk was met that it did not leave so.
    pub fn watch_findings(&self) {
        if let Some(finding) = self.index.finding().filter(|_| !*self.failed.borrow()) {
            tracing::error!(%finding, "ALARM: the data folder was changed, the service stops");
            self.failed.send_replace(true);
        }
    }

    /// The state of a command's account: the newest where the writer has one that is not durable
    /// yet, else as of its last durable event. There is none once something was met that the service
    /// did not leave so.
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
        // An erased account goes on counting versions.
        Ok(Arc::new(Account {
            version: account.version,
            ..Account::default()
        }))
    }
}
