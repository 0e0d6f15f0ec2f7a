//! What every command says of itself: which account it concerns, and what proves it.

use crate::code::Code;
use crate::command::Proof;
use crate::ids::{AccountId, CaseId, ChallengeId, Username};
use crate::secret::SecretText;

/// How a command names the history that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// The account with this id.
    Account(&'a AccountId),
    /// An account that the command makes: its id, once it has one, and its login name.
    NewAccount(Option<&'a AccountId>, &'a Username),
    /// The account that holds this login name.
    Name(&'a Username),
    /// The account whose login opened this challenge.
    Challenge(&'a ChallengeId),
    /// The account of this reset case.
    Case(&'a CaseId),
    /// No account.
    Log,
}

impl<'a> Target<'a> {
    /// The first of two names that is given. Decoding demands one of them; without any the command
    /// concerns no account.
    pub(crate) fn either(
        first: Option<Target<'a>>,
        account_id: &'a Option<AccountId>,
    ) -> Target<'a> {
        let by_id = || account_id.as_ref().map(Target::Account);
        first.or_else(by_id).unwrap_or(Target::Log)
    }
}

/// What a command brings to prove that the account's owner asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given<'a> {
    /// The first factor.
    pub first: FirstFactor<'a>,
    /// A code of either kind.
    pub code: Option<&'a Code>,
    /// The app's following code.
    pub next_code: Option<&'a Code>,
}

/// What a command says of the first factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstFactor<'a> {
    /// Nothing: it is not asked for, or an earlier step proved it.
    NotAsked,
    /// The caller has checked it, as the command itself says.
    Vouched,
    /// The password that is to be replaced: this service's own, wherever others are checked.
    Own(&'a SecretText),
    /// The password; none where the caller vouches for it.
    Password(Option<&'a SecretText>),
}

impl<'a> FirstFactor<'a> {
    /// The caller's word, where it names the account in place of a challenge.
    pub(crate) fn vouched_by(account_id: &Option<AccountId>) -> Self {
        if account_id.is_some() {
            Self::Vouched
        } else {
            Self::NotAsked
        }
    }

    /// The password that proves the owner, of a command that may bring one.
    pub fn may_bring(self) -> Option<Option<&'a SecretText>> {
        match self {
            Self::Own(password) => Some(Some(password)),
            Self::Password(password) => Some(password),
            Self::NotAsked | Self::Vouched => None,
        }
    }
}

impl<'a> Given<'a> {
    /// No proof at all.
    pub(crate) const NOTHING: Self = Self {
        first: FirstFactor::NotAsked,
        code: None,
        next_code: None,
    };

    /// A first factor alone.
    pub(crate) fn first(first: FirstFactor<'a>) -> Self {
        Self {
            first,
            ..Self::NOTHING
        }
    }

    /// A proof that may be absent.
    pub(crate) fn of(proof: &'a Option<Proof>) -> Self {
        let Some(proof) = proof else {
            return Self::first(FirstFactor::Password(None));
        };
        Self::first(FirstFactor::Password(proof.password.as_ref()))
            .and(proof.code.as_ref(), &proof.next_code)
    }

    /// The same with a code and the one that follows it.
    pub(crate) fn and(self, code: Option<&'a Code>, next_code: &'a Option<Code>) -> Self {
        Self {
            code,
            next_code: next_code.as_ref(),
            ..self
        }
    }
}
