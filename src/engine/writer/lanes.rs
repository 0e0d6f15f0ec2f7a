//! One command at a time for each account: while a secret is compared for one command, the
//! account's other commands wait, so that the state that the gate saw is still current when the
//! comparison is decided.
//!
//! Waiting commands take turns by sender, so that a sender that floods an account waits behind
//! itself.

use std::collections::HashMap;

use countersign_schemas::ids::{CommandKey, StreamKey};

use crate::crypto::tag::TAG_BYTES;
use crate::engine::intake::pool::Sender;
use crate::engine::message::Submission;
use crate::fair_queue::FairQueue;

/// Commands that may wait for one account; beyond that, the newest of the sender with the most
/// waiting commands gives way.
pub const PARKED_MAX: usize = 32;

/// Commands of one sender that may wait for one account.
const PARKED_PER_SOURCE_MAX: usize = 16;

/// The accounts for which a command is under way, and the commands that wait for them.
#[derive(Default)]
pub struct Lanes {
    busy: HashMap<StreamKey, Lane>,
    /// The commands under way, with account and body tag, so that none is under way twice.
    commands: HashMap<CommandKey, (StreamKey, [u8; TAG_BYTES])>,
}

struct Lane {
    command: CommandKey,
    parked: FairQueue<Sender, Submission>,
}

impl Lanes {
    /// Whether a command is under way for an account.
    pub fn is_busy(&self, lane: &StreamKey) -> bool {
        self.busy.contains_key(lane)
    }

    /// Returns the account for which a command of this id is under way, and the tag of its body.
    pub fn under_way(&self, command: &CommandKey) -> Option<(StreamKey, [u8; TAG_BYTES])> {
        self.commands.get(command).copied()
    }

    /// Whether no command is under way.
    pub fn is_empty(&self) -> bool {
        self.busy.is_empty()
    }

    /// Notes that a command is under way for the account.
    pub fn hold(&mut self, lane: StreamKey, command: CommandKey, tag: [u8; TAG_BYTES]) {
        let parked = FairQueue::new(PARKED_MAX, PARKED_PER_SOURCE_MAX);
        self.busy.entry(lane).or_insert(Lane { command, parked });
        self.commands.insert(command, (lane, tag));
    }

    /// Lets a command wait for the account, and returns the one that finds no room.
    pub fn park(&mut self, lane: &StreamKey, submission: Submission) -> Option<Submission> {
        let Some(lane) = self.busy.get_mut(lane) else {
            return Some(submission);
        };
        match lane.parked.push(Sender::of(&submission), submission) {
            Ok(displaced) => displaced,
            Err(turned_away) => Some(turned_away),
        }
    }

    /// Ends the account's command; returns the commands that waited, in turn.
    pub fn release(&mut self, lane: &StreamKey) -> Vec<Submission> {
        let Some(mut lane) = self.busy.remove(lane) else {
            return Vec::new();
        };
        self.commands.remove(&lane.command);
        lane.parked.drain()
    }

    /// Takes every waiting command out.
    pub fn drain(&mut self) -> Vec<Submission> {
        self.commands.clear();
        let lanes = std::mem::take(&mut self.busy);
        lanes
            .into_values()
            .flat_map(|mut lane| lane.parked.drain())
            .collect()
    }
}
