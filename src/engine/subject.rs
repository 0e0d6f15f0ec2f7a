//! Whose history a command belongs to, and where it came from.

use countersign_schemas::command::Command;
use countersign_schemas::ids::{StreamKey, Username};

use super::vault::Vault;
use super::{Request, Shared};

/// Whose history a command belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The account's stream; none where a name or a challenge belongs to nobody.
    pub stream: Option<StreamKey>,
    /// Keyed hash of the name, under which a stranger's wrong passwords are counted.
    pub stranger: [u8; 16],
}

impl Subject {
    /// The key under which the command's slow work is queued.
    pub fn queue_key(&self) -> StreamKey {
        self.stream.unwrap_or(StreamKey(self.stranger))
    }
}

/// Finds whose history a command belongs to.
pub fn subject(shared: &Shared, command: &Command) -> Subject {
    let account_id = match command {
        Command::RegisterAccount(c) => c.account_id.as_ref(),
        Command::ChangePassword(c) => Some(&c.account_id),
        Command::Enable2fa(c) => Some(&c.account_id),
        Command::ConfirmCode(c) => Some(&c.account_id),
        Command::CancelEnrolment(c) => Some(&c.account_id),
        Command::RegenerateBackupCodes(c) => Some(&c.account_id),
        Command::Disable2fa(c) => Some(&c.account_id),
        Command::StartLogin(c) => c.account_id.as_ref(),
        Command::VerifyLogin(c) => c.account_id.as_ref(),
    };
    if let Some(id) = account_id {
        let stranger = shared
            .vault
            .keyring()
            .body_tag(&[b"account", id.as_str().as_bytes()]);
        return Subject {
            stream: Some(StreamKey::of(id)),
            stranger,
        };
    }
    let directory = shared.directory();
    match command {
        Command::StartLogin(c) if c.username.is_some() => {
            let name = name_hash(&shared.vault, c.username.as_ref());
            Subject {
                stream: directory.by_name(&name),
                stranger: name,
            }
        }
        Command::VerifyLogin(c) => {
            let challenge = c.challenge_id.as_ref().map_or([0; 16], |id| id.hash());
            Subject {
                stream: directory.by_challenge(&challenge),
                stranger: challenge,
            }
        }
        Command::RegisterAccount(_)
        | Command::ChangePassword(_)
        | Command::Enable2fa(_)
        | Command::ConfirmCode(_)
        | Command::CancelEnrolment(_)
        | Command::RegenerateBackupCodes(_)
        | Command::Disable2fa(_)
        | Command::StartLogin(_) => Subject {
            stream: None,
            stranger: [0; 16],
        },
    }
}

/// The keyed hash of a login name.
pub fn name_hash(vault: &Vault, name: Option<&Username>) -> [u8; 16] {
    name.map_or([0; 16], |name| vault.keyring().name_hash(name.as_str()))
}

/// Keyed hash of where a request came from: the address that the platform saw, else the caller.
pub fn source_key(vault: &Vault, request: &Request) -> [u8; 8] {
    let ip = request.command.context().and_then(|c| c.ip.as_ref());
    let tag = match ip {
        Some(ip) => vault.keyring().body_tag(&[b"ip", ip.as_str().as_bytes()]),
        None => vault
            .keyring()
            .body_tag(&[b"caller", request.caller.name.as_bytes()]),
    };
    let mut key = [0; 8];
    key.copy_from_slice(&tag[..8]);
    key
}
