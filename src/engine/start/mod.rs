//! Starting: what must hold before the first command is accepted; and initialising an installation.

pub(super) mod accepted_clock;
pub(super) mod completing;
pub(super) mod epoch;
pub(super) mod erasures;
pub(super) mod error;
pub(super) mod forms;
pub(super) mod foundation;
pub(super) mod in_force;
pub(super) mod private;
pub(super) mod stopped_backup;
pub(super) mod stopped_views;
pub(super) mod unsigned;

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};

use countersign_projections::{Opened, Seal, Views};
use countersign_schemas::ids::StreamKey;
use countersign_schemas::time::Micros;
use tokio::sync::watch;

use super::Clock;
use super::accounts::Accounts;
use super::accounts::snapshots::Snapshots;
use super::clock::{monotonic_clock, wall_clock};
use super::copies::backup::{BackupFolders, check_places};
use super::copies::places::{
    BESIDE_THE_KEYRING, Ours, refuse_below_ours, refuse_in_copies, refuse_keyring,
};
use super::counts::by_text;
use super::counts::by_text::TextFile;
use super::entries::record;
use super::keys::checkpoints::sign;
use super::keys::vault::{Random, system_random};
use super::record_seals::RecordSeals;
use super::shared::Shared;
use super::shared::gauges::Gauges;
use super::shared::progress::Progress;
use super::shared::publication::Publication;
use super::shared::standing::Standing;
use super::writer::erasing;
use crate::account::{Policy, service};
use crate::crypto::data_keys::DataKeys;
use crate::crypto::keyring::{KEYRING_ENTROPY_BYTES, Keyring};
use crate::engine::copies::places::KeyringPlaceError;
use crate::engine::data_folder::{keys_file, log_folder, snapshots_file, views_file};
use crate::engine::keys::checkpoints::signer;
use crate::engine::request::PasswordsBy;
use crate::log::checkpoints::Archive;
use crate::log::tree::{NOTHING_BEFORE, leaf_hash};
use crate::log::{EventLog, LogOptions, LogReader, Storage, private_folder};
use accepted_clock::accepted;
use error::{InitError, StartError};
use foundation::{Foundation, SNAPSHOTS_LABEL, VIEWS_LABEL, service_record};
use in_force::put_in_force;
use private::make_private;

/// Page cache of `views.redb`.
const VIEWS_CACHE_BYTES: usize = 32 * 1024 * 1024;

/// The files, the sizes and the policy of an engine.
pub struct EngineOptions {
    /// The data folder: `log/`, `keys.redb`, `views.redb`.
    pub data: PathBuf,
    /// The keyring file, outside the data folder.
    pub keyring: PathBuf,
    /// The policy that decides.
    pub policy: Policy,
    /// Who checks passwords.
    pub passwords_by: PasswordsBy,
    /// The callers that may vouch for the first factor (`[directory] vouching`); all if `None`.
    pub vouching: Option<BTreeSet<String>>,
    /// The wall clock.
    pub clock: Clock,
    /// A monotonic clock, which cannot be set and may begin at any value.
    pub monotonic: Clock,
    /// The operator's reason to accept a wall clock behind the log as right.
    pub accept_clock_back: Option<String>,
    /// The source of secrets, salts and nonces.
    pub random: Random,
    /// Sizes of the log.
    pub log: LogOptions,
    /// The folders for `admin.backup`, if configured.
    pub backup: Option<BackupFolders>,
}

impl EngineOptions {
    /// Sets the default policy, passwords checked here, this machine's clocks and randomness, and
    /// no folders for backups.
    pub fn new(data: impl Into<PathBuf>, keyring: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            keyring: keyring.into(),
            policy: Policy::default(),
            passwords_by: PasswordsBy::default(),
            vouching: None,
            clock: Arc::new(wall_clock),
            monotonic: Arc::new(monotonic_clock),
            accept_clock_back: None,
            random: system_random,
            log: LogOptions::default(),
            backup: None,
        }
    }
}

/// Creates keyring, key store, log and first checkpoint; neither place may be in use.
///
/// # Errors
/// [`InitError`]; if the keyring was made and the rest was not, the sentence says so.
pub fn init(
    data: &Path,
    keyring_file: &Path,
    now: Micros,
    options: LogOptions,
) -> Result<(), InitError> {
    let folder = |source| InitError::Folder {
        folder: data.into(),
        source,
    };
    refuse_keyring(keyring_file, data)?;
    for path in [keyring_file, data] {
        refuse_below_ours(path).map_err(KeyringPlaceError::from)?;
        refuse_in_copies(path).map_err(KeyringPlaceError::from)?;
    }
    let beside = BESIDE_THE_KEYRING.map(|name| keyring_file.with_file_name(name));
    if let Some(taken) = beside.into_iter().find(|file| file.exists()) {
        return Err(InitError::KeyringFolder(taken));
    }
    if data.exists() && std::fs::read_dir(data).map_err(folder)?.next().is_some() {
        return Err(InitError::NotEmpty(data.into()));
    }
    let mut entropy = zeroize::Zeroizing::new([0; KEYRING_ENTROPY_BYTES]);
    if !system_random(&mut *entropy) {
        return Err(InitError::Entropy);
    }
    let keyring = Arc::new(Keyring::create(keyring_file, &entropy, now.0)?);
    private_folder(data).map_err(folder)?;
    let keys = DataKeys::open(&keys_file(data), Arc::clone(&keyring), true)?;
    // The log's own key is in the first store, so a restored older one never lacks it.
    keys.stage_new(&StreamKey::LOG.0, fresh()?, fresh()?)?;
    keys.commit()?;
    drop(keys);
    let begun = service::log_begun(*keyring.log_id());
    let bytes = RecordSeals::of(&keyring)
        .encode(1, &NOTHING_BEFORE, &mut service_record(&begun, 1, now))
        .expect("the first record is small and holds nothing sealed");
    // First, so that no log ever exists without a checkpoint that says what it must hold.
    let root = leaf_hash(&bytes);
    let mut archive = Archive::open(keyring_file, signer(&keyring))?;
    archive.sign(1, &root, |_| Ok(root))?;
    EventLog::create(&log_folder(data), options, std::slice::from_ref(&bytes))?;
    archive.keep_copy_in(data);
    Ok(())
}

fn fresh<const N: usize>() -> Result<[u8; N], InitError> {
    let mut bytes = [0; N];
    if system_random(&mut bytes) {
        Ok(bytes)
    } else {
        Err(InitError::Entropy)
    }
}

/// Refuses numbers outside their ranges, and folders that overlap.
fn check_options(options: &EngineOptions) -> Result<(), StartError> {
    options.policy.check()?;
    refuse_keyring(&options.keyring, &options.data)?;
    if let Some(folders) = &options.backup {
        check_places(&Ours::of(&options.data, Some(&options.keyring))?, folders)?;
    }
    Ok(())
}

// BUG: refused-start-costs-index: a start that is refused costs the next one a new index.
/// Opens everything, checks that it belongs together, and folds what is kept in memory.
///
/// Nothing is appended before the log was compared with the signed checkpoints. A log that was
/// never signed is signed first: a log that lost its archive must not look like a new one.
pub(super) fn open(options: EngineOptions) -> Result<(Arc<Shared>, EventLog), StartError> {
    check_options(&options)?;
    let now = (options.clock)();
    let (data, keyring) = (&options.data, &options.keyring);
    let seal = views_seal(&Keyring::load(keyring)?);
    make_private(data);
    let (found, views) = std::thread::scope(|threads| {
        let views = threads.spawn(|| existing_views(data, &seal));
        let found = Foundation::open(data, keyring, options.log, options.random, now);
        let views = views.join().unwrap_or_else(|panic| resume_unwind(panic));
        (found, views)
    });
    let mut found = found?;
    let archive = found
        .index
        .distrust_with(signed_for(&found, data, keyring))?;
    erasures::destroy_keys(&found.vault, &found.reader())?;
    let accept_back = options.accept_clock_back.as_deref();
    put_in_force(&mut found, &options.policy, accept_back, now)?;
    let accepted_clock = accepted(&found)?;
    let views = match views {
        Some(views) => views?,
        None => open_views(data, &seal)?,
    };
    let reader = found.reader();
    rebuild_strange_views(&views, &reader)?;
    let Foundation {
        mut log,
        vault,
        index,
        end: _,
        epochs,
    } = found;
    let key = vault.keyring().file_key(SNAPSHOTS_LABEL);
    let snapshots = Snapshots::open(&Storage::default(), &snapshots_file(&options.data), key);
    let key = vault.keyring().file_key(by_text::FILE);
    let text_file = TextFile::open(&Storage::default(), &options.data.join(by_text::FILE), key);
    let accounts = Accounts::new(reader, Arc::clone(&index), snapshots, epochs);
    erasing::complete(&mut log, &index, &accounts, &vault, now)?;
    let log_version = index.version(&StreamKey::LOG)?;
    let recorded_at = AtomicU64::new(index.tail().at.0);
    let progress = Progress::default();
    progress.commit(log.head());
    let gauges = Gauges::new(&options.data, &options.keyring, now);
    let standing = Standing::of(&options.data, &options.keyring);
    let shared = Shared {
        vault,
        policy: options.policy,
        passwords_by: options.passwords_by,
        password_service: OnceLock::new(),
        vouching: options.vouching,
        clock: options.clock,
        monotonic: options.monotonic,
        accepted_clock,
        accounts,
        index,
        text_file,
        checkpoints: Mutex::new(archive),
        log_version: AtomicU32::new(log_version),
        recorded_at,
        access_records: Mutex::default(),
        views,
        progress,
        gauges,
        standing,
        publication: Publication::default(),
        backup: options.backup,
        failed: watch::Sender::new(false),
    };
    Ok((Arc::new(shared), log))
}

/// Compares the log with the signed checkpoints, and signs its present state.
fn signed_for(found: &Foundation, data: &Path, keyring: &Path) -> Result<Archive, StartError> {
    let mut archive = epoch::archive(found, data, keyring)?;
    archive.keep_copy_in(data);
    sign(&mut archive, &found.index)?;
    Ok(archive)
}

/// Opens the views, if they exist, while the rest is opened: every page of either is read. If there
/// are none, there may be no log either, and then nothing is made.
fn existing_views(data: &Path, seal: &Seal) -> Option<Result<Views, StartError>> {
    views_file(data).exists().then(|| open_views(data, seal))
}

/// Returns the tags over the views, under a key of their own.
pub(super) fn views_seal(keyring: &Keyring) -> Seal {
    let key = keyring.file_key(VIEWS_LABEL);
    Arc::new(move |parts| key.tag(parts))
}

pub(super) fn open_views(data: &Path, seal: &Seal) -> Result<Views, StartError> {
    let (views, opened) = Views::open(&views_file(data), VIEWS_CACHE_BYTES, seal)
        .map_err(|error| StartError::Views(error.to_string()))?;
    match opened {
        Opened::Existing | Opened::Created => {}
        Opened::Rebuilt { reason } => tracing::warn!(%reason, "views.redb is rebuilt from the log"),
    }
    for view in views.changed() {
        tracing::warn!(
            view,
            "a view was changed by something other than this service; it is rebuilt from the log"
        );
    }
    Ok(views)
}

/// Empties the views that were folded from another log: a restored or a forked one.
pub(super) fn rebuild_strange_views(views: &Views, log: &LogReader) -> Result<(), StartError> {
    let strange = views
        .rebuild_forked(|position| record(log, position))
        .map_err(|error| StartError::Views(error.to_string()))?;
    for view in strange {
        tracing::warn!(view, "a view was not of this log; it is rebuilt");
    }
    Ok(())
}
