//! Another service that checks passwords: asked beside the endpoint loops, a bounded few at a time.

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

    /// What the engine asks, from its own threads; to be called inside a tokio runtime.
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

    /// Its answer, none where there is none that can be read.
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
