//! Another service that checks passwords: asked beside the endpoint loops, a bounded few at a time.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, Request as NatsRequest};
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::{ErrorCode, Refusal};
use countersign_schemas::secret::SecretText;
use countersign_schemas::strict::decode;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, watch};

use super::headers::{SERVICE_ERROR, SERVICE_ERROR_CODE};
use super::replier::Ticket;
use super::reply::Told;
use crate::engine::{AskElsewhere, Engine, Request};

/// Passwords that may be asked about at the same time; one more is `overloaded`.
const ASKING_MAX: usize = 256;

/// Where another service checks passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryConfig {
    /// The subject that it answers on.
    pub subject: String,
    /// How long it may take.
    pub timeout: Duration,
}

/// Asks that service.
pub struct Directory {
    config: DirectoryConfig,
    client: watch::Receiver<Client>,
    asking: Arc<Semaphore>,
}

/// What it answers; anything else is no answer.
#[derive(Deserialize)]
struct Answer {
    valid: bool,
}

impl Directory {
    /// Asks over the client in use.
    pub fn new(config: DirectoryConfig, client: watch::Receiver<Client>) -> Self {
        Self {
            config,
            client,
            asking: Arc::new(Semaphore::new(ASKING_MAX)),
        }
    }

    /// Submits a command once the service was asked about its password; never waits itself. A
    /// service that does not answer is `directory.unavailable`, and nothing was appended.
    pub fn submit(self: &Arc<Self>, engine: &Arc<Engine>, mut request: Request, ticket: Ticket) {
        let (account, password) = match engine.ask_elsewhere(&request) {
            AskElsewhere::Nothing => return submit(engine, request, ticket),
            AskElsewhere::Nobody => {
                request.directory = Some(false);
                return submit(engine, request, ticket);
            }
            AskElsewhere::About(account, password) => (account, password),
        };
        let Ok(permit) = Arc::clone(&self.asking).try_acquire_owned() else {
            return ticket.tell(Told::Refused(Refusal::new(ErrorCode::Overloaded)));
        };
        let (directory, engine) = (Arc::clone(self), Arc::clone(engine));
        tokio::spawn(async move {
            let valid = directory.is_valid(&account, &password).await;
            drop(permit);
            match valid {
                Some(valid) => {
                    request.directory = Some(valid);
                    submit(&engine, request, ticket);
                }
                None => ticket.tell(Told::Refused(Refusal::new(ErrorCode::DirectoryUnavailable))),
            }
        });
    }

    /// Its answer, none where there is none that can be read.
    async fn is_valid(&self, account: &AccountId, password: &SecretText) -> Option<bool> {
        let body = json!({"account_id": account, "password": password.reveal()}).to_string();
        let asked = NatsRequest::new()
            .payload(body.into())
            .timeout(Some(self.config.timeout));
        let client = self.client.borrow().clone();
        let answer = client
            .send_request(self.config.subject.clone(), asked)
            .await;
        match answer {
            Ok(message) => {
                let answer = read(&message);
                if answer.is_none() {
                    tracing::error!("the directory's answer is not {{\"valid\":bool}}");
                }
                answer
            }
            Err(error) => {
                tracing::error!(%error, "the directory does not answer");
                None
            }
        }
    }
}

/// Reads an answer so that it fails closed: one with an error header is none, whatever its body says,
/// nor is one whose headers cannot be read.
fn read(message: &Message) -> Option<bool> {
    if message.fault.is_some() {
        return None;
    }
    let headers = message.headers.as_ref();
    let is_error = |name| headers.is_some_and(|headers| headers.get(name).is_some());
    if is_error(SERVICE_ERROR) || is_error(SERVICE_ERROR_CODE) {
        return None;
    }
    decode::<Answer>(&message.payload).ok().map(|a| a.valid)
}

/// Hands a command to the engine; its outcome goes to whoever asked.
pub fn submit(engine: &Engine, request: Request, ticket: Ticket) {
    let audience = request.command.audience().cloned();
    let reply = Box::new(move |outcome| ticket.tell(Told::Outcome(outcome, audience)));
    engine.submit(request, reply);
}
