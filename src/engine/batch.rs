//! One batch of the writer: decisions get their place, their seal and their bytes here.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use countersign_projections::Entry;
use countersign_schemas::command::Command;
use countersign_schemas::event::{Event, EventError};
use countersign_schemas::ids::{AccountId, CommandKey, StreamKey};
use countersign_schemas::record::{Meta, Record, RecordError, SourceFacts, StreamKind};
use countersign_schemas::reply::Details;
use countersign_schemas::time::Micros;

use super::directory::fact;
use super::subject::{Subject, source_key};
use super::vault::VaultError;
use super::{Outcome, ReplyTo, Request, Shared, Submission};
use crate::account::{Account, Recorded};
use crate::log::index::Fact;

/// What has been decided and waits for its commit.
#[derive(Default)]
pub struct Batch {
    /// Position of the last record before the batch.
    pub head: u64,
    /// The records' bytes, in order.
    pub records: Vec<Vec<u8>>,
    /// Their sum.
    pub bytes: usize,
    /// The same records, decoded, for the index and the views.
    pub entries: Vec<Entry>,
    /// The facts across accounts that they hold.
    pub facts: Vec<Option<Fact>>,
    /// The accounts as the batch leaves them.
    pub accounts: HashMap<StreamKey, Arc<Account>>,
    /// Who is to be told what once the batch is durable.
    pub replies: Vec<(ReplyTo, Outcome)>,
    /// How many of the records are the log's own.
    pub log_events: u32,
    /// Commands whose evidence the batch has made stale; gathered anew once it is published.
    pub stale: Vec<Submission>,
}

/// A decision that is to be recorded.
pub struct Group {
    /// Its events; at least one.
    pub events: Vec<Event>,
    /// Whose history it belongs to.
    pub subject: Subject,
    /// The account that it was decided on.
    pub account: Arc<Account>,
    /// Log time.
    pub now: Micros,
    /// The command's key.
    pub key: CommandKey,
}

/// A decision could not be turned into records; the command is dropped.
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

/// Whose stream a group goes to.
struct Stream {
    kind: StreamKind,
    key: StreamKey,
    account_id: String,
    /// The stream's version before the group.
    version: u32,
}

impl Batch {
    /// Everybody who waits for an answer of this batch.
    pub fn waiting(self) -> Vec<ReplyTo> {
        let decided = self.replies.into_iter().map(|(reply, _)| reply);
        let stale = self.stale.into_iter().map(|submission| submission.reply);
        decided.chain(stale).collect()
    }

    /// An empty batch after this position.
    pub fn after(head: u64) -> Self {
        Self {
            head,
            ..Self::default()
        }
    }

    /// Takes a decision in: its events are sealed, encoded and folded, all of them or none.
    ///
    /// # Errors
    /// [`RecordingError`]: nothing was taken.
    pub fn record(
        &mut self,
        shared: &Shared,
        request: &Request,
        group: &Group,
    ) -> Result<Details, RecordingError> {
        let stream = self.stream_of(shared, request, group);
        let mut group_entries = Vec::with_capacity(group.events.len());
        for index in 0..group.events.len() {
            let (entry, bytes) = self.entry(shared, request, group, &stream, index)?;
            group_entries.push((fact(&shared.vault, &entry)?, entry, bytes));
        }
        let mut account = (*group.account).clone();
        for (fact, entry, bytes) in group_entries {
            fold(shared, &mut account, &group.subject, &entry);
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

    /// Seals and encodes one event of a group.
    fn entry(
        &self,
        shared: &Shared,
        request: &Request,
        group: &Group,
        stream: &Stream,
        index: usize,
    ) -> Result<(Entry, Vec<u8>), RecordingError> {
        let mut event = group.events[index].clone();
        let version = stream.version + 1 + index as u32;
        shared.vault.seal_event(stream.key, version, &mut event)?;
        let event_type = event.type_code();
        let source = match stream.kind {
            StreamKind::Account => {
                let facts = source_facts(request);
                shared
                    .vault
                    .seal_source(stream.key, version, event_type, &facts)?
            }
            // The log's own stream has no data key that an erasure could destroy.
            StreamKind::Log => None,
        };
        let record = Record {
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
                account_id: stream.account_id.clone(),
                command_id: request.command_id.as_str().into(),
                caller: request.caller.name.clone(),
                verified: request.caller.verified,
                role: request.caller.role,
                trace_id: request.trace_id,
                body_tag: request.body_tag,
                source_key: source_key(&shared.vault, request),
                source,
            },
            payload: event.encode()?,
        };
        let bytes = record.encode()?;
        let position = self.head + self.records.len() as u64 + 1 + index as u64;
        Ok((
            Entry {
                position,
                record,
                event,
            },
            bytes,
        ))
    }

    /// Whose stream a group goes to: an account's own, or the log's where there is no account.
    fn stream_of(&self, shared: &Shared, request: &Request, group: &Group) -> Stream {
        let created = match (&request.command, group.events.first()) {
            (Command::RegisterAccount(c), Some(Event::AccountRegistered(_))) => {
                c.account_id.as_ref()
            }
            (Command::Enable2fa(c), Some(Event::AccountRegistered(_))) => Some(&c.account_id),
            _ => None,
        };
        match group.account.id.as_ref().or(created) {
            Some(id) => Stream {
                kind: StreamKind::Account,
                key: StreamKey::of(id),
                account_id: id.as_str().into(),
                version: group.account.version,
            },
            None => Stream {
                kind: StreamKind::Log,
                key: StreamKey::LOG,
                account_id: String::new(),
                version: shared.log_version.load(Ordering::Acquire) + self.log_events,
            },
        }
    }

    /// Whether an account of this batch has taken a name.
    pub fn has_name(&self, name: &[u8; 16]) -> bool {
        self.facts.contains(&Some(Fact::Name(*name)))
    }
}

/// Takes a sealed event into the account; a stranger's wrong password is counted in memory.
fn fold(shared: &Shared, account: &mut Account, subject: &Subject, entry: &Entry) {
    let record = &entry.record;
    if let Event::UnknownNameRefused(_) = entry.event {
        let (source, at) = (record.meta.source_key, record.recorded_at);
        shared
            .strangers_mut()
            .failed(subject.stranger, source, at, &shared.policy);
    }
    if let Ok(account_id) = AccountId::parse(&record.meta.account_id) {
        account.evolve(&Recorded {
            account_id: &account_id,
            version: record.version,
            at: record.recorded_at,
            caller: &record.meta.caller,
            source_key: record.meta.source_key,
            event: &entry.event,
        });
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
