//! The commands. Their names and fields are the format.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::body::{CHALLENGE_NAMES, CODES, Field, LOGIN_NAMES, PROVES, object, request};
use crate::code::Code;
use crate::concerns::{FirstFactor, Given, Target};
use crate::context::Context;
use crate::ids::{
    AccountId, AccountName, Audience, AuthenticatorId, ChallengeId, Label, Reason, Username,
};
use crate::open_part::{OpenPart, show_text};
use crate::secret::SecretText;
use crate::strict::{DecodeError, decode, optional_object};
use crate::support::{
    ApproveReset, CancelReset, ExecuteReset, RejectReset, RequestReset, SuspendFactor,
    UserCancelReset,
};

object!(
    /// Proof that the caller's user owns the account.
    Proof [PROVES, CODES] {
        /// The current password.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<SecretText>,
        /// A code, if the policy demands both factors; a code that is given is always checked and
        /// spent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// The app's following code, if two consecutive codes are required.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_code: Option<Code>,
    }
);
object!(
    /// Proof for an enrolment, which has no code yet.
    PasswordProof [] {
        /// The current password.
        password: SecretText,
    }
);

request!(
    /// Makes an account with a username and a password.
    RegisterAccount {
        /// The account's id; the service makes a UUIDv7 when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account_id: Option<AccountId>,
        /// The login name, compared in lower case.
        username: Username,
        /// The first password: at least 8 and at most 256 bytes.
        password: SecretText,
    }
);
request!(
    /// Replaces the password; open challenges and a pending enrolment become void.
    ChangePassword [CODES] {
        /// The account's id.
        account_id: AccountId,
        /// The current password.
        password: SecretText,
        /// The new password: at least 8 and at most 256 bytes.
        new_password: SecretText,
        /// A code, if the policy demands both factors; a code that is given is always checked and
        /// spent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// The app's following code, if two consecutive codes are required.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_code: Option<Code>,
    }
);
request!(
    /// Starts an enrolment: reveals a new secret, which takes effect once it is confirmed.
    Enable2fa {
        /// The account's id.
        account_id: AccountId,
        /// The current password; absent if the caller vouches for the first factor.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_object")]
        proof: Option<PasswordProof>,
        /// The name that the authenticator app shows; the username or the account id when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account_name: Option<AccountName>,
        /// The user's own name for the authenticator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<Label>,
    }
);
request!(
    /// Confirms an enrolment with the app's first code; turns 2FA on and reveals ten backup codes.
    ConfirmCode {
        /// The account's id.
        account_id: AccountId,
        /// The authenticator's id, as `enable-2fa` returned it.
        authenticator_id: AuthenticatorId,
        /// The six digits that the app shows.
        code: Code,
    }
);
request!(
    /// Drops a pending enrolment.
    CancelEnrolment {
        /// The account's id.
        account_id: AccountId,
        /// The authenticator's id, as `enable-2fa` returned it.
        authenticator_id: AuthenticatorId,
    }
);
request!(
    /// Makes ten new backup codes; every code of the old set stops working at once.
    RegenerateBackupCodes {
        /// The account's id.
        account_id: AccountId,
        /// The proof of ownership; absent if the caller vouches for the first factor.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_object")]
        proof: Option<Proof>,
    }
);
request!(
    /// Turns 2FA off.
    Disable2fa {
        /// The account's id.
        account_id: AccountId,
        /// The proof of ownership; absent if the caller vouches for the first factor.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_object")]
        proof: Option<Proof>,
    }
);
request!(
    /// Checks the first factor; opens a challenge if 2FA is on, or completes the login with a code.
    StartLogin [LOGIN_NAMES, CODES] {
        /// The login name; exactly one of this and `account_id` is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        username: Option<Username>,
        /// The account's id; exactly one of this and `username` is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account_id: Option<AccountId>,
        /// The password; absent if the caller has checked it itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<SecretText>,
        /// A code of either kind. With the right password it completes the login at once, even
        /// during a wait that the wrong passwords of others caused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// The app's following code, if two consecutive codes are required.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_code: Option<Code>,
        /// The only audience that the login may be asserted to; it binds `verify-login` too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<Audience>,
    }
);
request!(
    /// Checks the second factor: an app code or a backup code, in one field.
    VerifyLogin [CHALLENGE_NAMES, CODES] {
        /// The challenge that `start-login` opened; exactly one of this and `account_id` is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        challenge_id: Option<ChallengeId>,
        /// The account's id, if the caller has checked the first factor itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account_id: Option<AccountId>,
        /// A code of either kind.
        code: Code,
        /// The app's following code, if two consecutive codes are required.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_code: Option<Code>,
        /// The audience of the assertion; if `start-login` named one, the same one or none. Without
        /// an audience no assertion is made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<Audience>,
    }
);

request!(
    /// Allows app codes to be tried again after many wrong ones; a suspension stays.
    ClearAttempts {
        /// The account's id.
        account_id: AccountId,
        /// The agent's reason, for the auditors.
        reason: Reason,
    }
);
request!(
    /// Destroys an account's data keys, so that none of its sealed data can be read any more.
    EraseAccount {
        /// The account's id.
        account_id: AccountId,
        /// The operator's reason, for the auditors.
        reason: Reason,
    }
);
request!(
    /// Brings a new key-encryption key and a new pepper into use; resealing continues in the
    /// background.
    RotateKeys {
        /// The operator's reason, for the auditors.
        reason: Reason,
    }
);

/// Which role a command belongs to: the one that can reach its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// A command of a platform service, `countersign.v1.command.<name>`.
    Platform,
    /// A command of a support agent, `countersign.v1.support.<user>.<name>`; a command id is
    /// required.
    Support,
    /// A command of an operator, `countersign.v1.admin.<user>.<name>`; a command id is required.
    Operator,
}

/// Declares the one list of commands, from which subjects, schemas and golden files follow.
macro_rules! commands {
    ($(
        $variant:ident $kind:ident $name:literal $summary:literal
        |$body:pat_param| $target:expr, $given:expr;
    )*) => {
        /// One command.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Command {
            $(#[doc = $summary] $variant($variant),)*
        }

        impl Command {
            /// Every command's name, which is unique over all kinds, and its summary.
            pub const ALL: &'static [(&'static str, &'static str)] = &[$(($name, $summary),)*];

            /// Returns the kind of the command called `name`; `None` if there is no such command.
            pub fn kind_of(name: &str) -> Option<CommandKind> {
                match name { $($name => Some(CommandKind::$kind),)* _ => None }
            }

            /// Returns the command's name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            fn concerns(&self) -> (Target<'_>, Given<'_>) {
                match self { $(Self::$variant($body) => ($target, $given),)* }
            }

            /// The last token of its subject: the name, but where two roles have one word.
            pub fn token_of(name: &str) -> &str {
                match name {
                    "user-cancel-reset" => "cancel-reset",
                    name => name,
                }
            }

            /// Decodes the body of the command called `name`, strictly.
            ///
            /// # Errors
            /// [`DecodeError`], which repeats no value of the body. An unknown name is reported for
            /// the whole body, since the name comes from the subject.
            pub fn decode(name: &str, body: &[u8]) -> Result<Self, DecodeError> {
                let command = match name {
                    $($name => Self::$variant(decode(body)?),)*
                    _ => return Err(DecodeError::at("", "there is no command with this name")),
                };
                match command.is_mistyped() {
                    true => Err(DecodeError::Mistyped),
                    false => Ok(command),
                }
            }

            /// Returns whether the command holds a backup code with a wrong check character.
            fn is_mistyped(&self) -> bool {
                match self { $(Self::$variant(body) => body.is_mistyped(),)* }
            }

            /// Encodes the body as a client sends it.
            ///
            /// # Errors
            /// None in practice: JSON can represent every field.
            pub fn encode(&self) -> serde_json::Result<Vec<u8>> {
                match self { $(Self::$variant(body) => serde_json::to_vec(body),)* }
            }

            /// Returns where the request came from, if the caller gave it.
            pub fn context(&self) -> Option<&Context> {
                match self { $(Self::$variant(body) => body.context.as_ref(),)* }
            }

            /// Returns what the command asks for, without its secrets and without where it came
            /// from.
            pub fn open_part(&self) -> Vec<u8> {
                let mut out = Vec::new();
                show_text(self.name(), &mut out);
                match self { $(Self::$variant(body) => body.show(&mut out),)* }
                out
            }

            /// Returns the JSON Schema of the command called `name`; `None` if there is no such
            /// command.
            pub fn schema(name: &str) -> Option<schemars::Schema> {
                match name { $($name => Some(schemars::schema_for!($variant)),)* _ => None }
            }
        }
    };
}

commands! {
    RegisterAccount Platform "register-account" "Make an account with a username and a password"
        |c| Target::NewAccount(c.account_id.as_ref(), &c.username), Given::NOTHING;
    ChangePassword Platform "change-password" "Replace the password"
        |c| Target::Account(&c.account_id),
        Given::first(FirstFactor::Own(&c.password)).and(c.code.as_ref(), &c.next_code);
    Enable2fa Platform "enable-2fa" "Start an enrolment and reveal its secret and QR code"
        |c| Target::Account(&c.account_id),
        Given::first(FirstFactor::Password(c.proof.as_ref().map(|proof| &proof.password)));
    ConfirmCode Platform "confirm-code" "Turn 2FA on with the app's first code and reveal ten backup codes"
        |c| Target::Account(&c.account_id), Given::NOTHING.and(Some(&c.code), &None);
    CancelEnrolment Platform "cancel-enrolment" "Drop a pending enrolment"
        |c| Target::Account(&c.account_id), Given::NOTHING;
    RegenerateBackupCodes Platform "regenerate-backup-codes" "Make ten new backup codes and void the old ones"
        |c| Target::Account(&c.account_id), Given::of(&c.proof);
    Disable2fa Platform "disable-2fa" "Turn 2FA off"
        |c| Target::Account(&c.account_id), Given::of(&c.proof);
    StartLogin Platform "start-login" "Check the password and open a challenge when 2FA is on, or complete the login with a code"
        |c| Target::either(c.username.as_ref().map(Target::Name), &c.account_id),
        Given::first(FirstFactor::Password(c.password.as_ref())).and(c.code.as_ref(), &c.next_code);
    VerifyLogin Platform "verify-login" "Check an app code or a backup code"
        |c| Target::either(c.challenge_id.as_ref().map(Target::Challenge), &c.account_id),
        Given::first(FirstFactor::vouched_by(&c.account_id)).and(Some(&c.code), &c.next_code);
    UserCancelReset Platform "user-cancel-reset" "Object to a support reset as the account's owner"
        |c| Target::Account(&c.account_id), Given::NOTHING;
    ClearAttempts Support "clear-attempts" "Let app codes be tried again after many wrong ones"
        |c| Target::Account(&c.account_id), Given::NOTHING;
    SuspendFactor Support "suspend-factor" "Stop app codes and open challenges at once, for a stolen phone"
        |c| Target::Account(&c.account_id), Given::NOTHING;
    RequestReset Support "request-reset" "Ask for a reset of the second factor, to be approved by another agent"
        |c| Target::Account(&c.account_id), Given::NOTHING;
    ApproveReset Support "approve-reset" "Approve another agent's reset; its cooling-off time begins"
        |c| Target::Case(&c.case_id), Given::NOTHING;
    RejectReset Support "reject-reset" "Turn a reset down"
        |c| Target::Case(&c.case_id), Given::NOTHING;
    CancelReset Support "cancel-reset" "Call a reset off"
        |c| Target::Case(&c.case_id), Given::NOTHING;
    ExecuteReset Support "execute-reset" "Turn the second factor off once the cooling-off time is over"
        |c| Target::Case(&c.case_id), Given::NOTHING;
    EraseAccount Operator "erase-account" "Destroy an account's data keys, so that nothing of it can be read any more"
        |c| Target::Account(&c.account_id), Given::NOTHING;
    RotateKeys Operator "rotate-keys" "Bring a new key-encryption key and a new pepper into use"
        |_| Target::Log, Given::NOTHING;
}

impl Command {
    /// How it names the history that it belongs to.
    pub fn target(&self) -> Target<'_> {
        self.concerns().0
    }

    /// What it brings to prove that the account's owner asks.
    pub fn proof(&self) -> Given<'_> {
        self.concerns().1
    }

    /// Returns the audience of the requested assertion.
    pub fn audience(&self) -> Option<&Audience> {
        match self {
            Self::StartLogin(c) => c.audience.as_ref(),
            Self::VerifyLogin(c) => c.audience.as_ref(),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
