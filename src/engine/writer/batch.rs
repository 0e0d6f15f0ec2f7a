//! One batch of the writer: here decisions get their position, their seal and their bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use countersign_projections::Entry;
use countersign_schemas::command::Command;
use countersign_schemas::concerns::Target;
use countersign_schemas::event::{Event, EventError};
use countersign_schemas::ids::{AccountId, CommandId, CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, RecordError, SourceFacts, StreamKind};
use countersign_schemas::reply::Details;
use countersign_schemas::time::Micros;

use super::facts::fact;
use crate::account::{Account, Recorded};
use crate::engine::counts::source::Source;
use crate::engine::counts::source::SourceKey;
use crate::engine::keys::vault::VaultError;
use crate::engine::message::Submission;
use crate::engine::origin::service_meta;
use crate::engine::request::Viewer;
use crate::engine::shared::Shared;
use crate::engine::{Outcome, ReplyTo, Request};
use crate::log::index::Fact;
use crate::log::tree::{Hash, leaf_hash};

/// Events in one batch; the group that reaches the limit is completed.
pub const BATCH_EVENTS_MAX: usize = 512;
/// Bytes in one batch; the group that reaches the limit is completed.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Commands in one batch, whether they record anything or not: a flood of refusals must not delay
/// the decisions before it.
pub const BATCH_COMMANDS_MAX: usize = 1_024;

/// Commands of one batch that get a batch of their own after it: each costs several commits, and
/// the queued logins wait for all of them.
pub const BATCH_ALONE_MAX: usize = 8;

/// The decisions that wait for their commit.
#[derive(Default)]
pub struct Batch {
    /// Position of the last record before the batch.
    pub head: u64,
    /// The leaf of the last record before the batch or in it.
    pub last_leaf: Hash,
    /// The records' bytes, in order.
    pub records: Vec<Vec<u8>>,
    /// The sum of their sizes.
    pub bytes: usize,
    /// The same records, decoded, for the index and the views.
    pub entries: Vec<Entry<'static>>,
    /// The facts across accounts in the records.
    pub facts: Vec<Option<Fact>>,
    /// The accounts after this batch.
    pub accounts: HashMap<StreamKey, Arc<Account>>,
    /// The replies to send once the batch is durable, with their outcomes.
    pub replies: Vec<(ReplyTo, Outcome)>,
    /// How many of the records are in the log's own stream.
    pub log_events: u32,
    /// Whether its replies need a commit although nothing is recorded.
    pub commits_nothing: bool,
    /// Commands that each get a batch of their own, after this one.
    pub alone: Vec<Submission>,
    /// The queries that wait for their access record.
    pub accesses: Vec<SyncSender<()>>,
}

/// A decision that is to be recorded.
pub struct Group {
    /// Its events; at least one.
    pub events: Vec<Event>,
    /// The caller and the command.
    pub origin: Origin,
    /// The account that it creates, if it creates one.
    pub made: Option<AccountId>,
    /// The account that it was decided on.
    pub account: Arc<Account>,
    /// Log time.
    pub now: Micros,
    /// The command's key.
    pub key: CommandKey,
}

/// The caller and the command of a group; the same in all its records.
pub struct Origin {
    /// As in the record, except for account, source and source key, which depend on the stream.
    meta: Meta<'static>,
    /// The source of the request, to be sealed.
    source: SourceFacts,
    /// The source under which its failures are counted; `None` if no command caused the group.
    counted: Option<Source>,
}

impl Origin {
    /// Returns the origin of a caller's command.
    pub fn of(shared: &Shared, request: &Request) -> Self {
        let meta = Meta {
            account_id: "".into(),
            command_id: request.command_id.as_str().to_owned().into(),
            caller: request.caller.name.clone().into(),
            verified: request.caller.verified,
            role: request.caller.role,
            trace_id: request.trace_id,
            body_tag: shared.vault.body_tag(&request.tags.asked),
            source_key: [0; 8],
            source: None,
            source_commitment: None,
        };
        Self {
            meta,
            source: source_facts(request),
            counted: Some(request.source().clone()),
        }
    }

    /// Returns the origin of an access record, under an id made by the service.
    pub fn viewer(id: &CommandId, viewer: &Viewer) -> Self {
        let meta = Meta {
            caller: viewer.caller.name.clone().into(),
            verified: viewer.caller.verified,
            role: viewer.caller.role,
            trace_id: viewer.trace_id,
            ..service_meta(id)
        };
        let source = SourceFacts {
            on_behalf_of: viewer.on_behalf_of.clone(),
            ..SourceFacts::default()
        };
        Self {
            meta,
            source,
            counted: None,
        }
    }

    /// Returns the origin of the service's own event, under an id made by the service.
    pub fn service(id: &CommandId) -> Self {
        Self {
            meta: service_meta(id),
            source: SourceFacts::default(),
            counted: None,
        }
    }
}

/// Why a decision could not be turned into records; the command is dropped.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// Sealing failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The event could not be encoded.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The record is over its bound.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The stream that a group goes to.
struct Stream {
    kind: StreamKind,
    key: StreamKey,
    account_id: String,
    /// The stream's version before the group.
    version: u32,
    /// Keyed hash of the request's source; zeros in the log's own stream, which has no account
    /// whose failures are counted and no key that an erasure destroys.
    source_key: SourceKey,
}

impl Batch {
    /// Returns every reply that waits for this batch.
    pub fn waiting(self) -> Vec<ReplyTo> {
        let decided = self.replies.into_iter().map(|(reply, _)| reply);
        let alone = self.alone.into_iter().map(|submission| submission.reply);
        decided.chain(alone).collect()
    }

    /// Whether another command fits into the batch.
    pub fn has_room(&self) -> bool {
        self.records.len() < BATCH_EVENTS_MAX
            && self.bytes < BATCH_BYTES_MAX
            && self.alone.len() < BATCH_ALONE_MAX
            && self.replies.len() + self.alone.len() < BATCH_COMMANDS_MAX
    }

    /// Answers a command once the batch is durable.
    pub fn answer(&mut self, submission: Submission, outcome: Outcome) {
        self.replies.push((submission.reply, outcome));
    }

    /// Returns an empty batch after the record at position `head`, which has that leaf.
    pub fn after(head: u64, last_leaf: Hash) -> Self {
        Self {
            head,
            last_leaf,
            ..Self::default()
        }
    }

    /// Adds a decision: its events are sealed, encoded and folded, all of them or none.
    ///
    /// # Errors
    /// [`RecordingError`] with the reason; nothing was added.
    pub fn record(&mut self, shared: &Shared, group: &Group) -> Result<Details, RecordingError> {
        expect_key(shared, group)?;
        let stream = self.stream_of(shared, group)?;
        let mut group_entries = Vec::with_capacity(group.events.len());
        let mut last_leaf = self.last_leaf;
        for index in 0..group.events.len() {
            let (entry, bytes) = self.entry(shared, group, &stream, index, &last_leaf)?;
            last_leaf = leaf_hash(&bytes);
            group_entries.push((fact(&shared.vault, &entry)?, entry, bytes));
        }
        self.last_leaf = last_leaf;
        let mut account = (*group.account).clone();
        for (fact, entry, bytes) in group_entries {
            fold(&mut account, &entry);
            self.facts.push(fact);
            self.bytes += bytes.len();
            self.records.push(bytes);
            self.entries.push(entry);
        }
        let count = group.events.len() as u32;
        match stream.kind {
            StreamKind::Account => {
                self.accounts.insert(stream.key, Arc::new(account));
            }
            StreamKind::Log => self.log_events += count,
        }
        Ok(Details {
            position: self.head + self.records.len() as u64,
            version: stream.version + count,
            at: group.now,
        })
    }

    /// Seals and encodes one event of a group, behind the record with the leaf `before`.
    fn entry(
        &self,
        shared: &Shared,
        group: &Group,
        stream: &Stream,
        index: usize,
        before: &Hash,
    ) -> Result<(Entry<'static>, Vec<u8>), RecordingError> {
        let mut event = group.events[index].clone();
        let version = stream.version + 1 + index as u32;
        shared.vault.seal_event(stream.key, version, &mut event)?;
        let event_type = event.type_code();
        // The log's own stream has no data key that an erasure could destroy, so it keeps no user's
        // source. An access record names the person that an agent acted for, who is not a user.
        let keeps_source = stream.kind == StreamKind::Account || event.is_look_up();
        let source = match keeps_source {
            true => {
                let facts = &group.origin.source;
                shared
                    .vault
                    .seal_source(stream.key, version, event_type, facts)?
            }
            false => None,
        };
        let mut record = Record {
            event_type,
            schema_version: event.schema_version(),
            stream_kind: stream.kind,
            stream_key: stream.key,
            version,
            recorded_at: group.now,
            command_key: group.key,
            group_index: index as u16,
            group_len: group.events.len() as u16,
            meta: Meta {
                account_id: stream.account_id.clone().into(),
                source_key: stream.source_key,
                source_commitment: source.as_ref().map(|source| source.commitment),
                source: source.map(|source| source.sealed),
                ..group.origin.meta.clone()
            },
            payload: event.encode()?.into(),
            seal: None,
        };
        let position = self.head + self.records.len() as u64 + 1 + index as u64;
        let seals = shared.vault.record_seals();
        let bytes = seals.encode(position, before, &mut record)?;
        Ok((
            Entry {
                position,
                record,
                event,
            },
            bytes,
        ))
    }

    /// Returns the stream of a group: an account's own, or the log's if there is no account.
    fn stream_of(&self, shared: &Shared, group: &Group) -> Result<Stream, VaultError> {
        let Some(id) = group.account.id.as_ref().or(group.made.as_ref()) else {
            return Ok(Stream {
                kind: StreamKind::Log,
                key: StreamKey::LOG,
                account_id: String::new(),
                version: shared.log_version.load(Ordering::Acquire) + self.log_events,
                source_key: [0; 8],
            });
        };
        let key = StreamKey::of(id);
        let source_key = match &group.origin.counted {
            Some(source) => shared.vault.recorded_source_key(key, source)?,
            None => [0; 8],
        };
        Ok(Stream {
            kind: StreamKind::Account,
            key,
            account_id: id.as_str().into(),
            version: group.account.version,
            source_key,
        })
    }

    /// Whether an account of this batch has taken a name.
    pub fn has_name(&self, name: &[u8; 16]) -> bool {
        self.facts.contains(&Some(Fact::Name(*name)))
    }

    /// Returns the command id of an event that the service records unasked. It contains the
    /// position, so no two of these events have the same id.
    pub fn own_command_id(&self, event: &Event) -> CommandId {
        let position = self.head + self.records.len() as u64 + 1;
        CommandId::parse(&format!("{}-{position}", event.name()))
            .expect("an event name and a number are printable")
    }
}

/// Checks that an account that exists still has the data key that its first event was given.
///
/// A restored `keys.redb` may be older than the account. A new key would get the number of the
/// missing one, and then the true file could not be brought back. Only an erasure goes on, because
/// it destroys the missing key too.
///
/// # Errors
/// [`VaultError::NoKey`] without the key, [`VaultError::Keys`] if the store cannot be read.
fn expect_key(shared: &Shared, group: &Group) -> Result<(), VaultError> {
    match (group.account.stream_key(), group.events.first()) {
        (None, _) | (_, Some(Event::AccountErased(_))) => Ok(()),
        (Some(stream), _) => shared.vault.expect_key(stream),
    }
}

/// Folds a sealed event into the account, if it belongs to one.
fn fold(account: &mut Account, entry: &Entry) {
    let record = &entry.record;
    if record.stream_kind == StreamKind::Account {
        account.evolve(&Recorded {
            account_id: &record.meta.account_id,
            version: record.version,
            at: record.recorded_at,
            caller: &record.meta.caller,
            source_key: record.meta.source_key,
            event: &entry.event,
        });
    }
}

/// Returns the account that a command creates by its events.
pub fn made(command: &Command, events: &[Event]) -> Option<AccountId> {
    let Some(Event::AccountRegistered(_)) = events.first() else {
        return None;
    };
    match command.target() {
        Target::Account(id) => Some(id.clone()),
        Target::NewAccount(id, _) => id.cloned(),
        Target::Name(_) | Target::Challenge(_) | Target::Case(_) | Target::Log => None,
    }
}

fn source_facts(request: &Request) -> SourceFacts {
    let context = request.command.context();
    SourceFacts {
        ip: context
            .and_then(|c| c.ip.as_ref())
            .map(|ip| ip.as_str().into()),
        agent: context
            .and_then(|c| c.agent.as_ref())
            .map(|agent| agent.as_str().into()),
        on_behalf_of: request.on_behalf_of.clone(),
    }
}
