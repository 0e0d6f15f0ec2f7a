//! Opening everything: what must hold before the first command is taken.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, RwLock};

use countersign_projections::{Opened, Views};
use countersign_schemas::event::Event;
use countersign_schemas::event::log::v1::{EpochStarted, PolicyInForce};
use countersign_schemas::ids::{CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Record, StreamKind};
use countersign_schemas::time::Micros;
use tokio::sync::watch;

use super::accounts::Accounts;
use super::batch::service_meta;
use super::directory::fact;
use super::erasing::{self, CompletionError};
use super::indexer::record;
use super::progress::Progress;
use super::projector::decode;
use super::rotating;
use super::snapshots::Snapshots;
use super::vault::{Vault, VaultError, fill_random};
use super::{Clock, Shared, clock};
use crate::account::Policy;
use crate::crypto::data_keys::{DataKeys, DataKeysError};
use crate::crypto::keyring::{self, KEYRING_ENTROPY_BYTES, Keyring, LoadError};
use crate::crypto::tombstones::TombstoneError;
use crate::log::index::{Fact, Index, IndexError, LAYER_ENTRIES_MAX};
use crate::log::{AppendError, EventLog, LogOptions, LogReader, OpenLogError};

/// Page cache of `views.redb`.
const VIEWS_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Page cache of `index.redb`.
const INDEX_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Where everything is and how it decides.
pub struct EngineOptions {
    /// The data folder: `log/`, `keys.redb`, `views.redb`.
    pub data: PathBuf,
    /// The keyring file, outside the data folder.
    pub keyring: PathBuf,
    /// The numbers to decide by.
    pub policy: Policy,
    /// Whether callers answer for the first factor (`[directory] mode = "vouched"`).
    pub vouched: bool,
    /// The callers that may answer for the first factor (`[directory] vouching`); all when none.
    pub vouching: Option<BTreeSet<String>>,
    /// The wall clock.
    pub clock: Clock,
    /// A clock that nobody sets, from any beginning.
    pub monotonic: Clock,
    /// The operator's reason to take a wall clock for right that lies behind the log.
    pub accept_clock_back: Option<String>,
    /// Sizes of the log.
    pub log: LogOptions,
    /// Where `admin.backup` copies to, if anywhere.
    pub backup_folder: Option<PathBuf>,
}

/// Why the engine did not start; one sentence each, with a cure.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The keyring is missing, unsafe or damaged.
    #[error(transparent)]
    Keyring(#[from] LoadError),
    /// The log is missing although the keyring says that there was one.
    #[error(
        "the keyring {keyring} belongs to a log, but there is none at {log}: restore the data folder from its backup; an empty log would mean that nobody has 2FA"
    )]
    LogMissing {
        /// The keyring.
        keyring: PathBuf,
        /// Where the log should be.
        log: PathBuf,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// The log is another installation's.
    #[error(
        "the log at {log} is not the one that the keyring {keyring} belongs to: name the keyring and the data folder of the same installation"
    )]
    Foreign {
        /// The log.
        log: PathBuf,
        /// The keyring.
        keyring: PathBuf,
    },
    /// A record cannot be read or does not follow.
    #[error("the log was not opened: {0}")]
    Record(String),
    /// The index cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The key store is missing, damaged or another's.
    #[error(transparent)]
    DataKeys(#[from] DataKeysError),
    /// The tombstones of erased accounts cannot be read.
    #[error(transparent)]
    Tombstones(#[from] TombstoneError),
    /// The keys of erased accounts could not be destroyed.
    #[error("the keys of erased accounts are not destroyed yet, so nothing was started: {0}")]
    Erasure(#[from] VaultError),
    /// An erasure could not be recorded.
    #[error("an erasure that was cut short is not recorded, so nothing was started: {0}")]
    Completion(#[from] CompletionError),
    /// The policy is out of range.
    #[error(transparent)]
    Policy(#[from] crate::account::policy::PolicyError),
    /// The policy could not be recorded.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The views cannot be brought up to date.
    #[error(
        "the views cannot be brought up to date ({0}): delete views.redb from the data folder, it is rebuilt"
    )]
    Views(String),
}

/// Why nothing was initialised.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The keyring exists or cannot be written.
    #[error(transparent)]
    Keyring(#[from] keyring::InitError),
    /// The data folder cannot be made.
    #[error("the data folder {folder} cannot be made ({source}): choose another, or free this one")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something is in the data folder already.
    #[error(
        "the data folder {0} is not empty, so nothing was initialised: choose a folder that does not exist yet"
    )]
    NotEmpty(PathBuf),
    /// The log cannot be made.
    #[error(transparent)]
    Log(#[from] OpenLogError),
    /// The key store cannot be made.
    #[error(transparent)]
    DataKeys(#[from] DataKeysError),
    /// The operating system's generator failed.
    #[error("the operating system's random generator failed, so nothing was initialised")]
    Entropy,
}

fn log_folder(data: &Path) -> PathBuf {
    data.join("log")
}

fn keys_file(data: &Path) -> PathBuf {
    data.join("keys.redb")
}

/// Creates keyring, key store and log; both places must be free.
///
/// # Errors
/// [`InitError`]; where the keyring was made and the rest was not, the sentence says so.
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
    if data.exists() && std::fs::read_dir(data).map_err(folder)?.next().is_some() {
        return Err(InitError::NotEmpty(data.into()));
    }
    let mut entropy = zeroize::Zeroizing::new([0; KEYRING_ENTROPY_BYTES]);
    fill_random(&mut *entropy).map_err(|_| InitError::Entropy)?;
    let keyring = Keyring::create(keyring_file, &entropy, now.0)?;
    private_folder(data).map_err(folder)?;
    let log_id = *keyring.log_id();
    DataKeys::open(&keys_file(data), Arc::new(keyring), true)?;
    let begun = Event::EpochStarted(EpochStarted {
        epoch: 1,
        log_id,
        lost_from: None,
        reason: "initialised".into(),
    });
    let record = service_record(&begun, 1, now);
    let bytes = record
        .encode()
        .expect("the first record is small and holds nothing sealed");
    EventLog::create(&log_folder(data), options, &[bytes])?;
    Ok(())
}

fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

/// Opens everything, checks that it belongs together, and folds what is kept in memory.
pub(super) fn open(options: EngineOptions) -> Result<(Arc<Shared>, EventLog), StartError> {
    options.policy.check()?;
    let keyring = Arc::new(Keyring::load(&options.keyring)?);
    let folder = log_folder(&options.data);
    let mut log = EventLog::open(&folder, options.log).map_err(|error| match error {
        OpenLogError::Missing(log) => StartError::LogMissing {
            keyring: options.keyring.clone(),
            log,
        },
        other => StartError::Log(other),
    })?;
    let foreign = || StartError::Foreign {
        log: folder.clone(),
        keyring: options.keyring.clone(),
    };
    check_owner(&log, &keyring).ok_or_else(foreign)?;
    let keys = DataKeys::open(&keys_file(&options.data), Arc::clone(&keyring), false)?;
    let vault = Vault::new(keyring, options.keyring.clone(), keys);
    let buried = vault.tombstones()?;
    erasing::destroy_keys(&vault, &buried)?;
    let reader = log.reader();
    let index = Index::open(
        &options.data.join("index.redb"),
        INDEX_CACHE_BYTES,
        |position| record(&reader, position),
    )?;
    let now = (options.clock)();
    catch_up(&index, &reader, &vault, now)?;
    let index = Arc::new(index);
    let snapshots = Snapshots::open(&options.data.join("snapshots.redb"));
    let accounts = Accounts::new(log.reader(), Arc::clone(&index), snapshots);
    erasing::complete(&mut log, &index, &accounts, &vault, &buried, now)?;
    rotating::complete(&mut log, &index, &vault, now)?;
    put_policy_in_force(&mut log, &index, &options.policy, now)?;
    if let Some(reason) = &options.accept_clock_back {
        clock::accept_back(&mut log, &index, &options.policy, reason, now)?;
    }
    let accepted_clock = clock::accepted(&log, &index)?;
    let (views, opened) = Views::open(&options.data.join("views.redb"), VIEWS_CACHE_BYTES)
        .map_err(|error| StartError::Views(error.to_string()))?;
    match opened {
        Opened::Existing | Opened::Created => {}
        Opened::Rebuilt { reason } => tracing::warn!(%reason, "views.redb is rebuilt from the log"),
    }
    rebuild_strange_views(&views, &log)?;
    let log_version = index.version(&StreamKey::LOG)?;
    let recorded_at = AtomicU64::new(index.tail().at.0);
    let progress = Progress::default();
    progress.commit(log.head());
    let shared = Shared {
        vault,
        policy: options.policy,
        vouched: options.vouched,
        vouching: options.vouching,
        clock: options.clock,
        monotonic: options.monotonic,
        accepted_clock,
        accounts,
        index,
        log_version: AtomicU32::new(log_version),
        recorded_at,
        strangers: RwLock::default(),
        views,
        progress,
        failed: watch::Sender::new(false),
    };
    Ok((Arc::new(shared), log))
}

/// Empties the views that were folded from another log than this one: a restored, a forked.
fn rebuild_strange_views(views: &Views, log: &EventLog) -> Result<(), StartError> {
    let reader = log.reader();
    let strange = views
        .rebuild_forked(|position| record(&reader, position))
        .map_err(|error| StartError::Views(error.to_string()))?;
    for view in strange {
        tracing::warn!(view, "a view was not of this log; it is rebuilt");
    }
    Ok(())
}

/// Whether the log's first record names the keyring's log id.
fn check_owner(log: &EventLog, keyring: &Keyring) -> Option<()> {
    let bytes = log.reader().get(1).ok().flatten()?;
    match Record::decode(&bytes).ok()?.event().ok()? {
        Event::EpochStarted(begun) if begun.log_id == *keyring.log_id() => Some(()),
        _ => None,
    }
}

/// Brings the index up to the log's head: every record since must decode and follow from the one
/// before.
fn catch_up(
    index: &Index,
    reader: &LogReader,
    vault: &Vault,
    now: Micros,
) -> Result<(), StartError> {
    let wrong = |why: String| StartError::Record(why);
    loop {
        let from = index.tail().position + 1;
        let page = reader
            .read(from, usize::MAX, usize::MAX)
            .map_err(|error| wrong(error.to_string()))?;
        if page.is_empty() {
            break;
        }
        let bytes: Vec<_> = page.iter().map(|(_, bytes)| bytes.clone()).collect();
        for (entry, bytes) in decode(page).map_err(wrong)?.iter().zip(&bytes) {
            let fact = fact(vault, entry).map_err(|error| {
                wrong(format!("the event at position {}: {error}", entry.position))
            })?;
            index
                .check_version(entry.position, &entry.record)
                .map_err(|error| wrong(error.to_string()))?;
            index
                .push(entry.position, &entry.record, bytes, fact, now)
                .map_err(|error| wrong(error.to_string()))?;
        }
        if index.waiting() >= LAYER_ENTRIES_MAX {
            index.flush(false, now, |position| record(reader, position))?;
        }
    }
    match index.is_whole() {
        true => Ok(()),
        false => Err(wrong(
            "its last command is recorded in part: restore the log from a backup".into(),
        )),
    }
}

/// Records the policy when it is not the one that was last in force.
fn put_policy_in_force(
    log: &mut EventLog,
    index: &Index,
    policy: &Policy,
    now: Micros,
) -> Result<(), StartError> {
    let policy = serde_json::to_string(policy).expect("a policy is plain numbers");
    let last = index
        .policy()?
        .and_then(|position| record(&log.reader(), position));
    match last.map(|record| record.event()) {
        Some(Ok(Event::PolicyInForce(last))) if last.policy == policy => return Ok(()),
        _ => {}
    }
    let event = Event::PolicyInForce(PolicyInForce { policy });
    append_own(log, index, &event, Some(Fact::Policy), now)
}

/// Appends an event of the service's own to the log's own stream, before the first command.
///
/// # Errors
/// [`StartError`] when the log does not take it.
pub(super) fn append_own(
    log: &mut EventLog,
    index: &Index,
    event: &Event,
    fact: Option<Fact>,
    now: Micros,
) -> Result<(), StartError> {
    let at = now.max(index.tail().at);
    let version = index.version(&StreamKey::LOG)? + 1;
    let record = service_record(event, version, at);
    let bytes = record
        .encode()
        .map_err(|error| StartError::Record(error.to_string()))?;
    let position = log.append(log.head(), std::slice::from_ref(&bytes))?;
    index
        .push(position, &record, &bytes, fact, now)
        .map_err(|error| StartError::Record(error.to_string()))
}

/// A record of the service's own, in the log's own stream.
fn service_record(event: &Event, version: u32, at: Micros) -> Record {
    let id = format!("{}-{version}", event.name());
    let command_id = CommandId::parse(&id).expect("an event name and a number are printable");
    Record {
        event_type: event.type_code(),
        schema_version: event.schema_version(),
        stream_kind: StreamKind::Log,
        stream_key: StreamKey::LOG,
        version,
        recorded_at: at,
        // No caller has an empty name, so none can ask for this outcome.
        command_key: CommandKey::of("", &command_id),
        group_index: 0,
        group_len: 1,
        meta: service_meta(&command_id),
        payload: event
            .encode()
            .expect("the service's own events hold nothing sealed"),
    }
}
