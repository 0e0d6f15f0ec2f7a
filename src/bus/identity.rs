//! Who is calling: the broker's word, or in dev mode the caller's own.
//!
//! The name is the *user* of `Nats-Request-Info`. Its `name` is what the client called its own
//! connection, so an agent could take a colleague's and approve their own reset by it.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use countersign_schemas::record::Role;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use serde::Deserialize;

use super::headers::{CALLER, REQUEST_INFO, single};
use crate::engine::Caller;

/// The longest name of a caller, in bytes.
const NAME_BYTES_MAX: usize = 64;

const CALLER_RULE: &str = "Countersign-Caller is 1 to 64 printable ASCII characters, once";

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

impl Identity {
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
            Self::Verified { .. } => vouched(headers)?.user,
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
                (info.user, *role.ok_or_else(forbidden)?)
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

fn vouched(headers: Option<&HeaderMap>) -> Result<RequestInfo, Refusal> {
    let unverified = || Refusal::new(ErrorCode::ActorUnverified);
    let text = single(headers, REQUEST_INFO).map_err(|_| unverified())?;
    let info: RequestInfo =
        serde_json::from_str(text.ok_or_else(unverified)?).map_err(|_| unverified())?;
    if info.account.is_empty() || !is_name(&info.user) {
        return Err(unverified());
    }
    Ok(info)
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, *value);
        }
        headers
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> ErrorCode {
        result.unwrap_err().code
    }

    #[test]
    fn the_user_is_the_caller_and_not_the_name_that_a_client_gave_itself() {
        let info = headers(&[(
            REQUEST_INFO,
            r#"{"acc":"SUPPORT","user":"alice","name":"bob"}"#,
        )]);
        let caller = Identity::default()
            .caller_of_command(Some(&info), Role::Platform)
            .unwrap();
        assert_eq!((caller.name.as_str(), caller.verified), ("alice", true));
        let role = |role| Identity::Dev.caller_of_command(None, role).map(|c| c.role);
        assert_eq!(role(Role::Support), Ok(Role::Support));
    }

    #[test]
    fn without_the_brokers_word_nobody_is_verified() {
        let verified = Identity::default();
        for info in [
            r#"{"acc":"PLATFORM","rtt":1}"#,
            r#"{"user":"a"}"#,
            r#"{"acc":"PLATFORM","user":""}"#,
            "not json",
            r#"{"acc":1}"#,
        ] {
            let info = headers(&[(REQUEST_INFO, info), (CALLER, "eve")]);
            let refused = code(verified.caller_of_command(Some(&info), Role::Platform));
            assert_eq!(refused, ErrorCode::ActorUnverified);
        }
        let twice = r#"{"acc":"PLATFORM","user":"a"}"#;
        let twice = headers(&[(REQUEST_INFO, twice), (REQUEST_INFO, twice)]);
        assert_eq!(
            code(verified.caller_of_command(Some(&twice), Role::Platform)),
            ErrorCode::ActorUnverified
        );
        assert_eq!(
            code(verified.caller_of_command(None, Role::Platform)),
            ErrorCode::ActorUnverified
        );
    }

    #[test]
    fn a_role_asks_only_its_own_queries() {
        let verified = Identity::default();
        let ask = |account: &str, roles: &[Role]| {
            let info = format!(r#"{{"acc":"{account}","user":"u"}}"#);
            verified.caller_of_query(Some(&headers(&[(REQUEST_INFO, &info)])), roles)
        };
        let auditor = ask("AUDIT", &[Role::Support, Role::Audit]).unwrap();
        assert_eq!((auditor.name.as_str(), auditor.role), ("u", Role::Audit));
        assert!(auditor.verified);
        let anybody = Identity::Dev.caller_of_query(None, &[Role::Support, Role::Audit]);
        assert_eq!(anybody.unwrap().role, Role::Audit);
        assert_eq!(
            code(ask("PLATFORM", &[Role::Audit])),
            ErrorCode::ActorForbidden
        );
        assert_eq!(
            code(ask("STRANGER", &[Role::Audit])),
            ErrorCode::ActorForbidden
        );
    }

    #[test]
    fn in_dev_mode_the_caller_names_itself() {
        let name = |pairs: &[(&str, &str)]| {
            Identity::Dev.caller_of_command(Some(&headers(pairs)), Role::Platform)
        };
        let ada = name(&[
            (CALLER, "ada"),
            (REQUEST_INFO, r#"{"acc":"A","user":"eve"}"#),
        ])
        .unwrap();
        assert_eq!((ada.name.as_str(), ada.verified), ("ada", false));
        assert_eq!(name(&[]).unwrap().name, "anonymous");
        let long = "x".repeat(65);
        for bad in [
            &[(CALLER, "")][..],
            &[(CALLER, &long)],
            &[(CALLER, "é")],
            &[(CALLER, "a"), (CALLER, "a")],
        ] {
            assert_eq!(code(name(bad)), ErrorCode::RequestInvalid);
        }
    }
}
