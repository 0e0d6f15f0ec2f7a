//! The password service outside: asked beside the endpoint loops, a bounded number of requests at a
//! time.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, Request as NatsRequest};
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::secret::SecretText;
use countersign_schemas::strict::decode;
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use super::headers::{SERVICE_ERROR, SERVICE_ERROR_CODE};
use crate::crypto::stack;
use crate::engine::PasswordService;

/// How many passwords may be checked at the same time; a further one is refused as `overloaded`.
const ASKING_MAX: usize = 256;

/// How to reach the password service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryConfig {
    /// The subject that it answers on.
    pub subject: String,
    /// How long it may take to answer.
    pub timeout: Duration,
}

/// Asks the password service.
pub struct Directory {
    config: DirectoryConfig,
    client: watch::Receiver<Client>,
    asking: Arc<Semaphore>,
}

/// The answer of the password service, exactly in this form.
#[derive(Deserialize)]
struct Answer {
    valid: bool,
}

impl Directory {
    /// Makes a client of the password service that uses the current connection.
    pub fn new(config: DirectoryConfig, client: watch::Receiver<Client>) -> Self {
        Self {
            config,
            client,
            asking: Arc::new(Semaphore::new(ASKING_MAX)),
        }
    }

    /// Makes the service that the engine asks from its own threads; must be called inside a tokio
    /// runtime.
    pub fn into_service(self) -> PasswordService {
        let (directory, runtime) = (Arc::new(self), Handle::current());
        Box::new(move |asked| {
            let Ok(permit) = Arc::clone(&directory.asking).try_acquire_owned() else {
                return asked.answer(Err(ErrorCode::Overloaded));
            };
            let directory = Arc::clone(&directory);
            runtime.spawn(async move {
                let valid = directory.is_valid(&asked.account_id, &asked.password).await;
                drop(permit);
                asked.answer(valid.ok_or(ErrorCode::DirectoryUnavailable));
            });
        })
    }

    /// Returns the answer; `None` if there is no readable one.
    async fn is_valid(&self, account: &AccountId, password: &SecretText) -> Option<bool> {
        let body = || json!({"account_id": account, "password": password.reveal()}).to_string();
        let body = stack::wiped(body);
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
                    tracing::error!("the password service's answer is not {{\"valid\":bool}}");
                }
                answer
            }
            Err(error) => {
                tracing::error!(%error, "the password service does not answer");
                None
            }
        }
    }
}

/// Reads an answer so that it fails closed: an answer with an error header counts as none, whatever
/// its body says, and so does one with unreadable headers.
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
