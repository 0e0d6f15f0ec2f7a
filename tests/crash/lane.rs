//! One client: it sends the commands of its users one at a time, until the service dies.

use std::collections::VecDeque;

use crate::rng::Rng;
use crate::user::User;
use crate::wire::{Ack, Sent, Wire};

/// Commands sent twice at once under one id, in percent.
const DOUBLED: u64 = 8;
/// Idle users of a lane beside the active one; they send nothing across crashes.
const RESTING_MAX: usize = 2;

pub struct Lane {
    name: String,
    users_made: u64,
    pub rng: Rng,
    pub user: User,
    resting: VecDeque<User>,
    /// The replies of the service since the last crash.
    pub acks: Vec<Ack>,
    /// The commands that it did not reply to before it died.
    pub unanswered: Option<Sent>,
}

impl Lane {
    pub fn new(name: String, seed: u64) -> Self {
        Self {
            user: User::new(format!("{name}-0")),
            users_made: 1,
            name,
            rng: Rng(seed),
            resting: VecDeque::new(),
            acks: Vec::new(),
            unanswered: None,
        }
    }

    /// Sends commands until one is not answered.
    pub async fn work(mut self, wire: Wire) -> Self {
        while self.unanswered.is_none() {
            if self.user.is_done() {
                self.change_user();
            }
            let sent = self.user.next(&mut self.rng);
            match self.send(&wire, &sent).await {
                Some(ack) => {
                    self.user.hear(&ack);
                    self.acks.push(ack);
                }
                None => self.unanswered = Some(sent),
            }
        }
        self
    }

    async fn send(&mut self, wire: &Wire, sent: &Sent) -> Option<Ack> {
        if !self.rng.chance(DOUBLED) {
            return wire.command(sent).await;
        }
        let (one, other) = tokio::join!(wire.command(sent), wire.command(sent));
        let (Some(one), Some(other)) = (&one, &other) else {
            return one.or(other);
        };
        // A command that was not recorded is decided again, and a wait may have ended in between.
        let recorded = one.replayed || other.replayed;
        assert!(!recorded || one.answer == other.answer, "{one:?} {other:?}");
        let waits = one.answer.code() == Some("account.throttled");
        let first = if one.replayed || waits { other } else { one };
        Some(first.clone())
    }

    fn change_user(&mut self) {
        let new = User::new(format!("{}-{}", self.name, self.users_made));
        self.users_made += 1;
        self.resting
            .push_back(std::mem::replace(&mut self.user, new));
        if self.resting.len() > RESTING_MAX {
            self.resting.pop_front();
        }
    }

    /// Sends the unanswered commands again: now their outcome is known.
    pub async fn settle(&mut self, wire: &Wire) {
        if let Some(sent) = self.unanswered.take() {
            let ack = wire.command(&sent).await.expect("the service lives");
            self.user.hear(&ack);
            self.acks.push(ack);
        }
    }

    /// Tries every spent code again.
    pub async fn replay_codes(&mut self, wire: &Wire) -> Result<(), String> {
        for user in self.resting.iter_mut().chain([&mut self.user]) {
            let (totp, backup) = user.take_spent();
            // One app code only: each is a counted failure.
            for code in totp.last().into_iter().chain(&backup) {
                let ack = wire.command(&user.replay(code)).await.expect("it lives");
                let refused = match ack.answer.code() {
                    Some("code.invalid") => true,
                    Some("account.throttled" | "code.second_required") => code.len() == 6,
                    _ => false,
                };
                if !refused {
                    return Err(format!("a spent code was accepted: {ack:?}"));
                }
                self.acks.push(ack);
            }
        }
        Ok(())
    }
}
