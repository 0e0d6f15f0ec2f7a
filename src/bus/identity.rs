//! Who the caller is: by the broker's statement, or in dev mode by the caller's own.
//!
//! The name is the *user* of `Nats-Request-Info`. Its `name` is the name that the client gave its
//! own connection: an agent could use a colleague's and approve their own reset with it.
//!
//! The broker writes that header into a block of lines that the caller wrote, so it counts only if
//! its text appears nowhere else. And it does not count alone: the subjects of support agents and
//! operators carry the user too, and the broker lets each user publish only to its own.

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
const SUBJECT_RULE: &str = "the user in the subject is the caller: 1 to 64 printable ASCII characters, percent-encoded; Countersign-Caller is absent or names the same user";
const SUBJECT_UNVERIFIED: &str = "the subject of this request must carry your user, percent-encoded: countersign.v1.support.<user>.<name> or countersign.v1.admin.<user>.<name>";
const BLOCK_MALFORMED: &str = "the header block is malformed: lines end in CRLF, names have no spaces, values no control characters, and there are at most 64 lines";

/// How the service identifies callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// By `Nats-Request-Info`, which the broker writes when a request crosses an account border
    /// over an import with `share: true`; a request without it is refused.
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

/// The broker's statement about a caller; its other members are not needed here.
#[derive(Deserialize)]
struct RequestInfo {
    #[serde(default, rename = "acc")]
    account: String,
    #[serde(default)]
    user: String,
}

impl RequestInfo {
    /// Returns the name that the broker's statement alone proves. In operator mode (accounts are
    /// nkeys) a client chooses its user's name itself, as `user` or `nkey` of its CONNECT, and only
    /// the account is proven; otherwise a user has a password or an nkey.
    fn proven(self) -> String {
        let is_key = |account: &str| {
            account.starts_with('A') && nkeys::KeyPair::from_public_key(account).is_ok()
        };
        if is_key(&self.account) {
            self.account
        } else {
            self.user
        }
    }
}

impl Identity {
    /// Returns the refusal of a message whose header block is malformed: none of its lines can be
    /// trusted.
    pub fn malformed(&self) -> Refusal {
        let code = match self {
            Self::Verified { .. } => ErrorCode::ActorUnverified,
            Self::Dev => ErrorCode::RequestMalformed,
        };
        Refusal::because(code, BLOCK_MALFORMED)
    }

    /// Returns the caller of a request whose subject carries the user, `named` by its token; the
    /// role follows from the subject.
    ///
    /// # Errors
    /// `actor.unverified` if the broker does not vouch for that very user; in dev mode
    /// `request.invalid` if the token is not a user's, or the header names another user.
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

    /// Returns the caller of a command; the role follows from the subject.
    ///
    /// # Errors
    /// `actor.unverified` if the broker does not vouch for a caller; in dev mode `request.invalid`
    /// if the header is unreadable.
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

    /// Returns the caller of a query that is open to `roles`; the role follows from the caller's
    /// NATS account.
    ///
    /// # Errors
    /// `actor.unverified` as for a command; `actor.forbidden` if the caller's NATS account has no
    /// role or another one. Dev mode allows every query, in the last of the roles: the auditor's,
    /// if that is one of them.
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
                let role = roles.last().expect("every query is open to a role");
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

// BUG: platform-header-only: only this header names the platform; no subject does.
fn vouched(headers: Option<&HeaderMap>) -> Result<RequestInfo, Refusal> {
    let unverified = || Refusal::new(ErrorCode::ActorUnverified);
    let headers = headers.ok_or_else(unverified)?;
    if !appears_once(headers) {
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

/// Returns whether the broker's header is there once, and its name, in any letter case, is in no
/// other name and no value: a line left open could swallow the broker's line as its tail.
fn appears_once(headers: &HeaderMap) -> bool {
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
