//! Where a stream's events and a command's events stand: derived from the records, in memory.
//!
//! The log itself is one ascending table; this index is rebuilt from it at start. Positions are
//! only ever added, by the writer, after the commit that made them durable.

use std::collections::HashMap;

use countersign_schemas::ids::{CommandKey, StreamKey};
use countersign_schemas::record::Record;
use countersign_schemas::time::Micros;

/// How long a command's outcome can be asked for again (CONTRACT §3).
pub const COMMAND_HORIZON_S: u64 = 86_400;

/// Where the events of one command stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandPlace {
    /// Position of its first event.
    pub first: u64,
    /// How many events it has, at consecutive positions.
    pub len: u16,
    /// When it was recorded.
    pub at: Micros,
}

/// A record does not follow from what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record at position {position} does not follow: its {what} is not the next one, so records were lost, changed or added; restore the log from a backup"
)]
pub struct NotNext {
    /// Its position.
    pub position: u64,
    /// What is out of order.
    pub what: &'static str,
}

/// Positions by stream and by command.
#[derive(Debug, Default)]
pub struct Index {
    streams: HashMap<StreamKey, Vec<u64>>,
    commands: HashMap<CommandKey, CommandPlace>,
    last_at: Micros,
    open_group: Option<(CommandKey, u16)>,
}

impl Index {
    /// Takes the record at a position in; positions must come in order.
    ///
    /// # Errors
    /// [`NotNext`] when its version, its time or its place in a group is not the next one.
    pub fn push(&mut self, position: u64, record: &Record) -> Result<(), NotNext> {
        let not_next = |what| NotNext { position, what };
        let versions = self.streams.entry(record.stream_key).or_default();
        if record.version as usize != versions.len() + 1 {
            return Err(not_next("version"));
        }
        if record.recorded_at < self.last_at {
            return Err(not_next("time"));
        }
        let expected = self.open_group.take().unwrap_or((record.command_key, 0));
        if expected != (record.command_key, record.group_index) {
            return Err(not_next("place in its group"));
        }
        if record.group_index + 1 < record.group_len {
            self.open_group = Some((record.command_key, record.group_index + 1));
        }
        versions.push(position);
        self.last_at = record.recorded_at;
        if record.group_index == 0 {
            let place = CommandPlace {
                first: position,
                len: record.group_len,
                at: record.recorded_at,
            };
            self.commands.insert(record.command_key, place);
        }
        Ok(())
    }

    /// The positions of a stream's events, ascending.
    pub fn stream(&self, key: &StreamKey) -> &[u64] {
        self.streams.get(key).map_or(&[], Vec::as_slice)
    }

    /// How many events a stream has.
    pub fn version(&self, key: &StreamKey) -> u32 {
        self.stream(key).len() as u32
    }

    /// Where a command's events stand, within the horizon.
    pub fn command(&self, key: &CommandKey, now: Micros) -> Option<CommandPlace> {
        let place = self.commands.get(key).copied()?;
        (now < place.at.plus_s(COMMAND_HORIZON_S)).then_some(place)
    }

    /// Forgets commands beyond the horizon, to be called now and then.
    pub fn forget_old_commands(&mut self, now: Micros) {
        self.commands
            .retain(|_, place| now < place.at.plus_s(COMMAND_HORIZON_S));
    }

    /// When the last record was recorded.
    pub fn last_at(&self) -> Micros {
        self.last_at
    }

    /// Whether the last record ended its group.
    pub fn is_whole(&self) -> bool {
        self.open_group.is_none()
    }
}
