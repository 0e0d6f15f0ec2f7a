//! Passwords that another service holds: whether it has to be asked about a command, and whose.

use countersign_schemas::command::Command;
use countersign_schemas::ids::{AccountId, CommandKey};
use countersign_schemas::secret::SecretText;

use super::request::password_of;
use super::subject::{source_key, subject};
use super::{Engine, Request};

/// What another service is to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskElsewhere {
    /// Nothing: there is no password, it was done before, or its source is waiting.
    Nothing,
    /// Whose password it would be is unknown, so it is not right.
    Nobody,
    /// Whether this is the account's password.
    About(AccountId, SecretText),
}

impl Engine {
    /// What another service is to be asked before a command is submitted.
    pub fn ask_elsewhere(&self, request: &Request) -> AskElsewhere {
        let Some(password) = password(&request.command).filter(|_| self.shared.elsewhere) else {
            return AskElsewhere::Nothing;
        };
        let key = CommandKey::of(&request.caller.name, &request.command_id);
        let is_repeat = matches!(
            self.shared.index.command(&key, self.shared.log_time()),
            Ok(Some(_))
        );
        let Ok(subject) = subject(&self.shared, &request.command) else {
            return AskElsewhere::Nothing;
        };
        let Ok(account) = self.shared.account(&subject, None) else {
            return AskElsewhere::Nothing;
        };
        let Ok(source) = source_key(&self.shared, &account, request) else {
            return AskElsewhere::Nothing;
        };
        let waits = account.passwords.waiting_s(source, self.shared.log_time());
        if is_repeat || waits.is_some() {
            return AskElsewhere::Nothing;
        }
        match account_id(&request.command).cloned().or(account.id.clone()) {
            Some(account) => AskElsewhere::About(account, password.clone()),
            None => AskElsewhere::Nobody,
        }
    }
}

/// The password that proves the owner; one that is to be replaced is this service's own.
fn password(command: &Command) -> Option<&SecretText> {
    match command {
        Command::StartLogin(c) => c.password.as_ref(),
        Command::Enable2fa(c) => password_of(c.proof.as_ref()),
        Command::RegenerateBackupCodes(c) => password_of(c.proof.as_ref()),
        Command::Disable2fa(c) => password_of(c.proof.as_ref()),
        _ => None,
    }
}

fn account_id(command: &Command) -> Option<&AccountId> {
    match command {
        Command::StartLogin(c) => c.account_id.as_ref(),
        Command::Enable2fa(c) => Some(&c.account_id),
        Command::RegenerateBackupCodes(c) => Some(&c.account_id),
        Command::Disable2fa(c) => Some(&c.account_id),
        _ => None,
    }
}
