//! The outcomes of earlier commands: a repeat of a command id gets the same outcome, without a
//! second decision.
//!
//! For two minutes an outcome is kept as it was sent, and a repeat gets the same bytes. Secrets in
//! an answer (a seed, backup codes, a challenge) are kept sealed and opened for a repeat only.
//! Later, for 24 hours, the outcome is found again from the command's own events, and one with a
//! secret is `outcome.unseen`. Then a repeat is recognised by its request without the secrets: a
//! tag on disk that covered a password would let an attacker test passwords at the price of one
//! hash, and comparing it with a verifier would test them without any count. So a repeat with
//! another password or code gets the recorded outcome. If the key of the recorded tag is destroyed,
//! nothing can be compared.

use std::collections::{HashMap, VecDeque};

use countersign_schemas::command::Command;
use countersign_schemas::event::Event;
use countersign_schemas::ids::{CommandKey, StreamKey};
use countersign_schemas::record::StreamKind;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::Details;
use countersign_schemas::sealed::Sealed;
use countersign_schemas::time::Micros;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::account::outcome::recall;
use crate::account::{Account, LoginReply, Reply};
use crate::engine::accounts::HistoryError;
use crate::engine::keys::vault::Vault;
use crate::engine::shared::Shared;
use crate::engine::{Done, Outcome, Request};
use crate::log::index::CommandPlace;

// BUG: unknown-user-repeats: a repeat after it distinguishes an unknown user from a known one.
/// How long, in seconds, an outcome is kept as it was sent
/// (docs/reference/contract.md#command-ids-and-repeats).
const KEPT_S: u64 = 120;
/// Outcomes kept as they were sent; beyond that, the oldest is dropped.
const KEPT_MAX: usize = 65_536;
/// Other bodies under one id after which every answer is `outcome.unseen`.
const MISMATCHES_MAX: u8 = 5;
/// Ids whose other bodies are counted; beyond that, the oldest is dropped.
const MISMATCHED_MAX: usize = 65_536;

/// The writer's memory of outcomes.
#[derive(Default)]
pub struct Outcomes {
    kept: HashMap<CommandKey, Kept>,
    order: VecDeque<(Micros, CommandKey)>,
    mismatches: HashMap<CommandKey, u8>,
    mismatch_order: VecDeque<CommandKey>,
}

struct Kept {
    /// The stream of the command's events; `None` if it has no events.
    stream: Option<StreamKey>,
    exact_tag: [u8; 16],
    /// The result without its secrets.
    result: Result<Done, Refusal>,
    /// The secrets of the result, if it has any.
    sealed: Option<Sealed<'static>>,
}

impl Kept {
    /// Takes the secrets out of an outcome, and seals them.
    fn of(
        vault: &Vault,
        (key, stream, exact_tag): (&CommandKey, Option<StreamKey>, [u8; 16]),
        mut result: Result<Done, Refusal>,
    ) -> Self {
        let secret = match &mut result {
            Ok(done) => done.reply.take_secret(),
            Err(_) => None,
        };
        let sealed = secret.map(|secret| vault.seal_kept(key, &secret));
        let sealed = sealed.transpose().unwrap_or_else(|error| {
            tracing::error!(%error, "an outcome is not kept: its repeat will not receive it");
            result = Err(Refusal::new(ErrorCode::OutcomeUnseen));
            None
        });
        Self {
            stream,
            exact_tag,
            result,
            sealed,
        }
    }

    /// Returns the outcome as it was sent.
    fn result(&self, vault: &Vault, key: &CommandKey) -> Result<Done, Refusal> {
        let mut done = self.result.clone()?;
        if let Some(sealed) = &self.sealed {
            let secret = vault.open_kept(key, sealed).ok();
            let put = secret.and_then(|secret| done.reply.put_secret(&secret));
            put.ok_or_else(|| Refusal::new(ErrorCode::OutcomeUnseen))?;
        }
        Ok(done)
    }
}

impl Outcomes {
    /// Returns the outcome of an earlier command under this key; `None` if the key is new.
    ///
    /// # Errors
    /// [`HistoryError`] if the command's events cannot be read.
    pub fn of(
        &mut self,
        shared: &Shared,
        key: CommandKey,
        request: &Request,
        now: Micros,
    ) -> Result<Option<Outcome>, HistoryError> {
        self.forget(now);
        let tags = &request.tags;
        let (same, result) = match self.kept.get(&key) {
            Some(kept) => {
                let same = kept.exact_tag.ct_eq(&tags.exact).into();
                (Some(same), kept.result(&shared.vault, &key))
            }
            None => match shared.index.command(&key, now)? {
                Some(place) => {
                    let recalled = recalled(shared, place)?;
                    let is_asserted =
                        request.command.audience().is_some() || recalled.is_bound_to_an_audience;
                    let result = recalled.result;
                    (
                        shared.vault.is_body_tag(&recalled.body_tag, &tags.asked),
                        result.and_then(|done| without_assertion(done, is_asserted)),
                    )
                }
                None => return Ok(None),
            },
        };
        let refused = |code| Outcome {
            result: Err(Refusal::new(code)),
            replayed: false,
        };
        if self
            .mismatches
            .get(&key)
            .is_some_and(|n| *n >= MISMATCHES_MAX)
        {
            return Ok(Some(refused(ErrorCode::OutcomeUnseen)));
        }
        match same {
            Some(true) => {}
            Some(false) => {
                self.count_mismatch(key);
                return Ok(Some(refused(ErrorCode::IdempotencyMismatch)));
            }
            None => return Ok(Some(refused(ErrorCode::OutcomeUnseen))),
        }
        let unseen = matches!(&result, Err(refusal) if refusal.code == ErrorCode::OutcomeUnseen);
        Ok(Some(Outcome {
            result,
            replayed: !unseen,
        }))
    }

    /// Keeps an outcome that is about to be sent. The outcome of an erasure removes the account's
    /// earlier ones: they may contain its secrets and its name.
    pub fn remember(
        &mut self,
        vault: &Vault,
        (key, stream, exact_tag): (CommandKey, Option<StreamKey>, [u8; 16]),
        now: Micros,
        result: Result<Done, Refusal>,
    ) {
        if self.order.len() == KEPT_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
        if let Ok(Done {
            reply: Reply::AccountErased,
            ..
        }) = &result
        {
            self.kept.retain(|_, kept| kept.stream != stream);
        }
        let kept = Kept::of(vault, (&key, stream, exact_tag), result);
        self.kept.insert(key, kept);
        self.order.push_back((now, key));
    }

    fn forget(&mut self, now: Micros) {
        while let Some((_, old)) = self
            .order
            .front()
            .filter(|(at, _)| at.plus_s(KEPT_S) <= now)
        {
            self.kept.remove(old);
            self.order.pop_front();
        }
    }

    fn count_mismatch(&mut self, key: CommandKey) {
        if !self.mismatches.contains_key(&key) {
            if self.mismatch_order.len() == MISMATCHED_MAX
                && let Some(oldest) = self.mismatch_order.pop_front()
            {
                self.mismatches.remove(&oldest);
            }
            self.mismatch_order.push_back(key);
        }
        let count = self.mismatches.entry(key).or_default();
        *count = count.saturating_add(1);
    }
}

/// Computes the hash over caller, subject and a command's request without its secrets.
pub fn asked(by: [&[u8]; 2], command: &Command) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in by {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(command.open_part());
    hash.finalize().into()
}

/// Refuses to repeat a login that was asserted: there is no second assertion.
fn without_assertion(done: Done, is_asserted: bool) -> Result<Done, Refusal> {
    match done.reply {
        Reply::Login(LoginReply::ByPassword { .. }) | Reply::Login(LoginReply::Verified { .. })
            if is_asserted =>
        {
            Err(Refusal::new(ErrorCode::OutcomeUnseen))
        }
        _ => Ok(done),
    }
}

/// An outcome that was found again.
struct Recalled {
    body_tag: [u8; 16],
    result: Result<Done, Refusal>,
    /// Whether it completed a login that was started for an audience.
    is_bound_to_an_audience: bool,
}

/// Finds an outcome again from the command's own events.
fn recalled(shared: &Shared, place: CommandPlace) -> Result<Recalled, HistoryError> {
    let last_position = place.first + u64::from(place.len) - 1;
    let mut events: Vec<Event> = Vec::with_capacity(usize::from(place.len));
    let mut last = shared.accounts.record(place.first)?;
    for position in place.first..=last_position {
        last = shared.accounts.record(position)?;
        let event = last
            .event()
            .map_err(|error| HistoryError::at(position, error))?;
        events.push(event);
    }
    let after = match last.stream_kind {
        StreamKind::Account => {
            let (stream, version) = (last.stream_key, last.version);
            shared.accounts.rebuild(stream, version, last_position)?
        }
        StreamKind::Log => Account::default(),
    };
    let is_bound_to_an_audience = match spent_challenge(&events) {
        Some(challenge) => {
            let before = last.version - u32::from(place.len);
            let account = shared
                .accounts
                .rebuild(last.stream_key, before, place.first)?;
            let mut open = account.challenges.iter();
            open.any(|open| open.hash == challenge && open.audience.is_some())
        }
        None => false,
    };
    let details = Details {
        position: last_position,
        version: last.version,
        at: last.recorded_at,
    };
    let at = last.recorded_at;
    let result =
        recall(&events, &after, &shared.policy, at).map(|reply| Done::new(reply, details, at));
    Ok(Recalled {
        body_tag: last.meta.body_tag,
        result,
        is_bound_to_an_audience,
    })
}

/// Returns the challenge that a completed login used up.
fn spent_challenge(events: &[Event]) -> Option<[u8; 16]> {
    match events.first()? {
        Event::TotpAccepted(e) => e.challenge,
        Event::BackupCodeAccepted(e) => e.challenge,
        _ => None,
    }
}
