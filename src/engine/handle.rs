//! A throw-away stand-in for the engine, so that the bus can be tested; not to be merged.

use std::collections::BTreeSet;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use countersign_schemas::command::Command;
use countersign_schemas::ids::{AccountId, AuthenticatorId};
use countersign_schemas::query::{AuditPageQuery, AuditTimelineQuery};
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::reply::{self, Details};
use countersign_schemas::time::Micros;

use super::{Done, Outcome, ReplyTo, Request};
use crate::account::{Policy, Reply};
use crate::crypto::otp::TotpSecret;

/// The stand-in.
#[allow(clippy::type_complexity)]
pub struct Engine {
    policy: Policy,
    queries: Queries,
    writer: Mutex<Option<(Sender<(Request, ReplyTo)>, JoinHandle<()>)>>,
}

/// The stand-in's queries.
pub struct Queries;

impl Engine {
    /// Starts a writer that takes `pace` for each command.
    pub fn stub(pace: Duration) -> Self {
        let (sender, receiver) = channel::<(Request, ReplyTo)>();
        let writer = std::thread::spawn(move || {
            let mut accounts = BTreeSet::new();
            for (position, (request, reply)) in (1..).zip(receiver) {
                std::thread::sleep(pace);
                let result = decide(&request, &mut accounts).map(|reply| Done {
                    reply,
                    details: Details {
                        position,
                        version: 1,
                        at: request.received_at,
                    },
                });
                reply(Outcome {
                    result,
                    replayed: false,
                });
            }
        });
        Self {
            policy: Policy::default(),
            queries: Queries,
            writer: Mutex::new(Some((sender, writer))),
        }
    }

    /// Takes a command.
    pub fn submit(&self, request: Request, reply: ReplyTo) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match &*writer {
            Some((sender, _)) => {
                let _ = sender.send((request, reply));
            }
            None => {
                drop(writer);
                reply(Outcome {
                    result: Err(Refusal::new(ErrorCode::Draining)),
                    replayed: false,
                });
            }
        }
    }

    /// A tag of a body.
    pub fn body_tag(&self, _: &str, _: &str, _: &[u8]) -> [u8; 16] {
        [0; 16]
    }

    /// The wall clock.
    pub fn now(&self) -> Micros {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Micros(since.map_or(0, |d| d.as_micros() as u64))
    }

    /// The queries.
    pub fn queries(&self) -> &Queries {
        &self.queries
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Finishes what is queued.
    pub fn drain(&self, _: Duration) {
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((sender, thread)) = writer {
            drop(sender);
            let _ = thread.join();
        }
    }
}

fn decide(request: &Request, accounts: &mut BTreeSet<AccountId>) -> Result<Reply, Refusal> {
    match &request.command {
        Command::RegisterAccount(c) => {
            let account_id = c.account_id.clone().unwrap_or_else(|| {
                AccountId::parse(request.caller.name.as_str()).expect("a stub's caller is an id")
            });
            match accounts.insert(account_id.clone()) {
                true => Ok(Reply::AccountRegistered { account_id }),
                false => Err(Refusal::new(ErrorCode::AccountExists)),
            }
        }
        Command::Enable2fa(c) => Ok(Reply::EnrolmentStarted {
            authenticator_id: AuthenticatorId::parse("auth-1").expect("valid"),
            secret: TotpSecret::new([7; 20]),
            display_name: c.account_id.as_str().into(),
            expires_at: request.received_at.plus_s(600),
        }),
        Command::StartLogin(_) => Err(Refusal::new(ErrorCode::CredentialsInvalid)),
        _ => Err(Refusal::new(ErrorCode::AccountNotFound)),
    }
}

impl Queries {
    /// Nobody is known.
    pub fn login_status(
        &self,
        _: &AccountId,
        min: Option<u64>,
    ) -> Result<reply::LoginStatus, Refusal> {
        Err(Refusal::new(match min {
            Some(_) => ErrorCode::ProjectionBehind,
            None => ErrorCode::AccountNotFound,
        }))
    }

    /// Nobody is known.
    pub fn audit_timeline(
        &self,
        _: &AccountId,
        _: &AuditTimelineQuery,
        _: Option<u64>,
    ) -> Result<reply::AuditPage, Refusal> {
        Err(Refusal::new(ErrorCode::AccountNotFound))
    }

    /// Nothing happened.
    pub fn audit_page(
        &self,
        _: &AuditPageQuery,
        _: Option<u64>,
    ) -> Result<reply::AuditPage, Refusal> {
        Ok(reply::AuditPage {
            events: Vec::new(),
            next: None,
        })
    }
}
