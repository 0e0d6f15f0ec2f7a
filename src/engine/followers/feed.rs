//! What other services are told: the events that follow a position, by whole commands, and what
//! the stream they stand in must agree with. Nothing here knows how they are sent.

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

/// Events in one portion; the group that reaches it may end.
pub const PORTION_EVENTS_MAX: usize = 1_000;
/// Bytes of records in one portion.
const PORTION_BYTES_MAX: usize = 1024 * 1024;

/// Events to publish, in order: whole commands.
#[derive(Debug, Default)]
pub struct Portion {
    /// The events; none where none of those that were read is for others.
    pub events: Vec<PublishedEvent>,
    /// The last position that was read.
    pub through: u64,
}

/// One epoch of the log, as publication tells it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedEpoch {
    /// Number of the epoch, from 1.
    pub number: usize,
    /// The hexadecimal id of its log.
    pub log_id: String,
    /// The first position that was given up when it began; none in the first.
    pub lost_from: Option<u64>,
}

/// Reads what is to be published.
#[derive(Clone)]
pub struct Feed {
    pub(in crate::engine) shared: Arc<Shared>,
    pub(in crate::engine) log: LogReader,
}

impl Feed {
    /// The next portion after a position; may block while the disk is read.
    ///
    /// # Errors
    /// A sentence when the log cannot be read.
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

    /// The last durable position.
    pub fn head(&self) -> u64 {
        self.log.head()
    }

    /// The last durable position, and a signal whenever it rises.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.shared.progress.committed_signal()
    }

    /// The epochs of the log, the newest last; never none.
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
    /// A sentence when the log cannot be read.
    pub fn has(&self, event: &PublishedEvent) -> Result<bool, String> {
        stream_witness::has(&self.log, event)
    }

    /// Remembers durably, beside the keyring, that the stream knows an event which the log has not,
    /// so that every start refuses until that is mended or given up; may block.
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

    /// How far publication is.
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

/// The events for others among whole groups, numbered within their command.
fn published(entries: &[Entry]) -> Vec<PublishedEvent> {
    let mut events = Vec::with_capacity(entries.len());
    for group in entries.chunk_by(|_, next| next.record.group_index > 0) {
        let told = || group.iter().filter(|entry| entry.event.is_published());
        let size = told().count() as u16;
        events.extend(told().zip(0..).map(|(entry, index)| {
            let group = Group { index, size };
            PublishedEvent::of(audit_event(entry, None), group).with_notice(notice(&entry.event))
        }));
    }
    events
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
