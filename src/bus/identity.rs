//! Who is calling: the broker's word, or in dev mode the caller's own.
//!
//! The name is the *user* of `Nats-Request-Info`. Its `name` is what the client called its own
//! connection, so an agent could take a colleague's and approve their own reset by it.
//!
//! The broker writes that header into a block of lines that the caller wrote, so it counts only
//! where its text stands nowhere else. And it does not count alone: the subjects of support agents
//! and operators carry the user too, and the broker lets each publish to its own.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use countersign_schemas::record::Role;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use serde::Deserialize;

use super::headers::{CALLER, REQUEST_INFO, single};
use super::user_token::{user_of, user_token};
use crate::engine::Caller;

/// The longest name of a caller, in bytes.
const NAME_BYTES_MAX: usize = 64;

const CALLER_RULE: &str = "Countersign-Caller is 1 to 64 printable ASCII characters, once";
const SUBJECT_RULE: &str = "the user in the subject is the caller: 1 to 64 printable ASCII characters, percent-encoded, and Countersign-Caller says the same or nothing";
const SUBJECT_UNVERIFIED: &str = "the subject of this request carries its user, countersign.v1.support.<user>.<name> or countersign.v1.admin.<user>.<name>: yours, percent-encoded";
const BLOCK_MALFORMED: &str = "the header block is malformed: lines end in CRLF, names have no spaces, values no control characters, and there are at most 64 lines";

/// How callers are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// By `Nats-Request-Info`, which the broker writes where a request crosses an account border
    /// over an import with `share: true`; without it nothing is answered.
    Verified {
        /// The role of each NATS account, for queries.
        accounts: BTreeMap<String, Role>,
    },
    /// By the header `Countersign-Caller`, unverified: for one machine and for tests.
    Dev,
}

impl Default for Identity {
    fn default() -> Self {
        let accounts = [
            ("PLATFORM", Role::Platform),
            ("SUPPORT", Role::Support),
            ("OPERATOR", Role::Operator),
            ("AUDIT", Role::Audit),
        ];
        Self::Verified {
            accounts: accounts.map(|(name, role)| (name.to_owned(), role)).into(),
        }
    }
}

/// What the broker says of a caller; other members are of no use here.
#[derive(Deserialize)]
struct RequestInfo {
    #[serde(default, rename = "acc")]
    account: String,
    #[serde(default)]
    user: String,
}

impl RequestInfo {
    /// The name that the broker's word alone proves. In operator mode (accounts are nkeys) a client
    /// says itself what its user is called, as `user` or `nkey` of its CONNECT, and only the account
    /// is proven; elsewhere a user has a password or an nkey.
    fn proven(self) -> String {
        let is_key = |account: &str| {
            account.starts_with('A') && nkeys::KeyPair::from_public_key(account).is_ok()
        };
        match is_key(&self.account) {
            true => self.account,
            false => self.user,
        }
    }
}

impl Identity {
    /// The refusal of a message whose header block is malformed: nothing in it can be believed.
    pub fn malformed(&self) -> Refusal {
        let code = match self {
            Self::Verified { .. } => ErrorCode::ActorUnverified,
            Self::Dev => ErrorCode::RequestMalformed,
        };
        Refusal::because(code, BLOCK_MALFORMED)
    }

    /// The caller of a request whose subject carries the user, `named` there by its token; its role
    /// follows the subject.
    ///
    /// # Errors
    /// `actor.unverified` where the broker does not vouch for that very user; in dev mode
    /// `request.invalid` where the token is no user's, or the header says another name.
    pub fn caller_in_subject(
        &self,
        headers: Option<&HeaderMap>,
        role: Role,
        named: Option<&str>,
    ) -> Result<Caller, Refusal> {
        let mut caller = self.caller_of_command(headers, role)?;
        match (self, named) {
            (Self::Verified { .. }, named) => {
                let user = vouched(headers)?.user;
                if named != Some(user_token(&user).as_str()) {
                    let code = ErrorCode::ActorUnverified;
                    return Err(Refusal::because(code, SUBJECT_UNVERIFIED));
                }
                caller.name = user;
            }
            (Self::Dev, Some(token)) => {
                let refused = || Refusal::because(ErrorCode::RequestInvalid, SUBJECT_RULE);
                let user = user_of(token).filter(|user| is_name(user));
                let user = user.ok_or_else(refused)?;
                let is_said = single(headers, CALLER) != Ok(None);
                if is_said && caller.name != user {
                    return Err(refused());
                }
                caller.name = user;
            }
            (Self::Dev, None) => {}
        }
        Ok(caller)
    }

    /// The caller of a command; its role follows the subject.
    ///
    /// # Errors
    /// `actor.unverified` where the broker does not vouch for one; in dev mode `request.invalid`
    /// where the header is unreadable.
    pub fn caller_of_command(
        &self,
        headers: Option<&HeaderMap>,
        role: Role,
    ) -> Result<Caller, Refusal> {
        let name = match self {
            Self::Verified { .. } => vouched(headers)?.proven(),
            Self::Dev => claimed(headers)?,
        };
        Ok(Caller {
            name,
            verified: matches!(self, Self::Verified { .. }),
            role,
        })
    }

    /// The caller of a query that is open to `roles`; its role follows the caller's NATS account.
    ///
    /// # Errors
    /// `actor.unverified` as for a command; `actor.forbidden` where the caller's NATS account has
    /// no role or another one. Dev mode allows everything, in the last of the roles: the auditor's
    /// where there is one.
    pub fn caller_of_query(
        &self,
        headers: Option<&HeaderMap>,
        roles: &[Role],
    ) -> Result<Caller, Refusal> {
        let (name, role) = match self {
            Self::Verified { accounts } => {
                let info = vouched(headers)?;
                let role = accounts.get(&info.account).filter(|r| roles.contains(r));
                let forbidden = || Refusal::new(ErrorCode::ActorForbidden);
                let role = *role.ok_or_else(forbidden)?;
                (info.proven(), role)
            }
            Self::Dev => {
                let role = roles.last().expect("every query is open to somebody");
                (claimed(headers)?, *role)
            }
        };
        Ok(Caller {
            name,
            verified: matches!(self, Self::Verified { .. }),
            role,
        })
    }
}

// BUG: platform-header-only: only this header says who a platform is; no subject does.
fn vouched(headers: Option<&HeaderMap>) -> Result<RequestInfo, Refusal> {
    let unverified = || Refusal::new(ErrorCode::ActorUnverified);
    let headers = headers.ok_or_else(unverified)?;
    if !stands_once(headers) {
        return Err(unverified());
    }
    let text = single(Some(headers), REQUEST_INFO).map_err(|()| unverified())?;
    let info: RequestInfo =
        serde_json::from_str(text.ok_or_else(unverified)?).map_err(|_| unverified())?;
    if info.account.is_empty() || !is_name(&info.user) {
        return Err(unverified());
    }
    Ok(info)
}

/// Whether the broker's header is there once, and its name, in any letter case, in no other name and
/// in no value: as a tail, say, of a line that was left open for the broker's to be swallowed.
fn stands_once(headers: &HeaderMap) -> bool {
    let mut times = 0;
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        if name == REQUEST_INFO {
            times += values.len();
        } else if mentions(name) {
            return false;
        }
        if values.iter().any(|value| mentions(value.as_str())) {
            return false;
        }
    }
    times == 1
}

fn mentions(text: &str) -> bool {
    let windows = &mut text.as_bytes().windows(REQUEST_INFO.len());
    windows.any(|window| window.eq_ignore_ascii_case(REQUEST_INFO.as_bytes()))
}

fn claimed(headers: Option<&HeaderMap>) -> Result<String, Refusal> {
    let refused = || Refusal::because(ErrorCode::RequestInvalid, CALLER_RULE);
    match single(headers, CALLER).map_err(|_| refused())? {
        None => Ok("anonymous".into()),
        Some(name) if is_name(name) => Ok(name.into()),
        Some(_) => Err(refused()),
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| (0x20..=0x7e).contains(&b))
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
