//! One command at a time for each account: while a secret is compared for one, the account's others
//! wait, so that what the gate saw is still true when the comparison is decided.
//!
//! Those that wait take turns by source, so that a source that floods an account waits behind itself.

use std::collections::HashMap;

use countersign_schemas::ids::{CommandKey, StreamKey};

use crate::crypto::tag::TAG_BYTES;
use crate::engine::intake::pool::Sender;
use crate::engine::message::Submission;
use crate::fair_queue::FairQueue;

/// Commands that may wait for one account; of the source that has the most, the newest gives way.
pub const PARKED_MAX: usize = 32;

/// The same of one source.
const PARKED_PER_SOURCE_MAX: usize = 16;

/// The accounts for which something is under way, and who waits for them.
#[derive(Default)]
pub struct Lanes {
    busy: HashMap<StreamKey, Lane>,
    /// The commands under way, for which account and with which body, so that none is under way twice.
    commands: HashMap<CommandKey, (StreamKey, [u8; TAG_BYTES])>,
}

struct Lane {
    command: CommandKey,
    parked: FairQueue<Sender, Submission>,
}

impl Lanes {
    /// Whether something is under way for an account.
    pub fn is_busy(&self, lane: &StreamKey) -> bool {
        self.busy.contains_key(lane)
    }

    /// For which account a command of this id is under way, and the tag of its body.
    pub fn under_way(&self, command: &CommandKey) -> Option<(StreamKey, [u8; TAG_BYTES])> {
        self.commands.get(command).copied()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.busy.is_empty()
    }

    /// Something is under way for the account from now on.
    pub fn hold(&mut self, lane: StreamKey, command: CommandKey, tag: [u8; TAG_BYTES]) {
        let parked = FairQueue::new(PARKED_MAX, PARKED_PER_SOURCE_MAX);
        self.busy.entry(lane).or_insert(Lane { command, parked });
        self.commands.insert(command, (lane, tag));
    }

    /// Lets a command wait for the account, and gives back the one that finds no room.
    pub fn park(&mut self, lane: &StreamKey, submission: Submission) -> Option<Submission> {
        let Some(lane) = self.busy.get_mut(lane) else {
            return Some(submission);
        };
        match lane.parked.push(Sender::of(&submission), submission) {
            Ok(displaced) => displaced,
            Err(turned_away) => Some(turned_away),
        }
    }

    /// Nothing is under way for the account any more; gives those that waited, in turn.
    pub fn release(&mut self, lane: &StreamKey) -> Vec<Submission> {
        let Some(mut lane) = self.busy.remove(lane) else {
            return Vec::new();
        };
        self.commands.remove(&lane.command);
        lane.parked.drain()
    }

    /// Gives up everything that waits.
    pub fn drain(&mut self) -> Vec<Submission> {
        self.commands.clear();
        let lanes = std::mem::take(&mut self.busy);
        lanes
            .into_values()
            .flat_map(|mut lane| lane.parked.drain())
            .collect()
    }
}
