//! The events to publish: those that follow a position, by whole commands, and what the stream that
//! holds them must agree with. This file does not know how they are sent.

use std::sync::Arc;

use countersign_projections::{Entry, audit_event, notice_of};
use countersign_schemas::event::Event;
use countersign_schemas::published::{Group, Notice, PublishedEvent};
use tokio::sync::watch;

use super::stream_witness;
use super::stream_witness::Witness;
use crate::engine::entries::{decode, whole_groups};
use crate::engine::shared::Shared;
use crate::engine::shared::publication::Publication;
use crate::log::LogReader;

/// Events in one portion; the group that reaches the limit is completed.
pub const PORTION_EVENTS_MAX: usize = 1_000;
/// Bytes of records in one portion.
const PORTION_BYTES_MAX: usize = 1024 * 1024;

/// Events to publish, in order, by whole commands.
#[derive(Debug, Default)]
pub struct Portion {
    /// The events; empty if none of the events that were read is public.
    pub events: Vec<PublishedEvent>,
    /// The last position that was read.
    pub through: u64,
}

/// An epoch of the log, as publication identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedEpoch {
    /// Number of the epoch, from 1.
    pub number: usize,
    /// The hexadecimal id of its log.
    pub log_id: String,
    /// The first position that was given up when the epoch began; `None` for the first epoch.
    pub lost_from: Option<u64>,
}

/// Reads the events to publish.
#[derive(Clone)]
pub struct Feed {
    pub(in crate::engine) shared: Arc<Shared>,
    pub(in crate::engine) log: LogReader,
}

impl Feed {
    /// Returns the next portion after a position; may block while the disk is read.
    ///
    /// # Errors
    /// A sentence if the log cannot be read.
    pub fn after(&self, position: u64) -> Result<Portion, String> {
        let page = self
            .log
            .read(position + 1, PORTION_EVENTS_MAX, PORTION_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        let entries = page
            .iter()
            .map(|(position, bytes)| decode(position, bytes))
            .collect::<Result<Vec<_>, _>>()?;
        let whole = whole_groups(&entries);
        Ok(Portion {
            through: whole.last().map_or(position, |entry| entry.position),
            events: published(whole),
        })
    }

    /// Returns the last durable position.
    pub fn head(&self) -> u64 {
        self.log.head()
    }

    /// Returns the last durable position, and a signal whenever it rises.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared.progress.committed_signal()
    }

    /// Returns the epochs of the log, the newest last; never empty.
    pub fn epochs(&self) -> Vec<PublishedEpoch> {
        let first = *self.shared.vault.keyring().first_log_id();
        let later = self.shared.accounts.later_epochs().iter();
        let later = later.map(|epoch| (epoch.begun.log_id, epoch.begun.lost_from));
        [(first, None)]
            .into_iter()
            .chain(later)
            .zip(1..)
            .map(|((log_id, lost_from), number)| PublishedEpoch {
                number,
                log_id: data_encoding::HEXLOWER.encode(&log_id),
                lost_from,
            })
            .collect()
    }

    /// Whether the log has this event at its position; may block while the disk is read.
    ///
    /// # Errors
    /// A sentence if the log cannot be read.
    pub fn has(&self, event: &PublishedEvent) -> Result<bool, String> {
        stream_witness::has(&self.log, event)
    }

    /// Records durably, beside the keyring, that the stream has an event which the log does not
    /// have, so that every start is refused until the log is restored or the loss accepted; may
    /// block.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn bear_witness(&self, event: PublishedEvent, lost_from: u64) -> std::io::Result<()> {
        let log_id = data_encoding::HEXLOWER.encode(self.shared.vault.keyring().log_id());
        let witness = Witness {
            log_id,
            lost_from,
            event,
        };
        witness.write(self.shared.vault.keyring_file())
    }

    /// Returns the progress of publication.
    pub fn publication(&self) -> &Publication {
        &self.shared.publication
    }
}

fn notice(event: &Event) -> Option<Notice> {
    notice_of(event).map(|kind| Notice {
        kind: kind.as_str().into(),
        ends_sessions: kind.ends_sessions(),
    })
}

/// Selects the public events of whole groups, numbered within their command.
fn published(entries: &[Entry]) -> Vec<PublishedEvent> {
    let mut events = Vec::with_capacity(entries.len());
    for group in entries.chunk_by(|_, next| next.record.group_index > 0) {
        let public = || group.iter().filter(|entry| entry.event.is_published());
        let size = public().count() as u16;
        events.extend(public().zip(0..).map(|(entry, index)| {
            let group = Group { index, size };
            PublishedEvent::of(audit_event(entry, None), group).with_notice(notice(&entry.event))
        }));
    }
    events
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
