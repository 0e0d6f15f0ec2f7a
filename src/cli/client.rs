//! A client of the service: one request and one reply, or an error that says why there is no reply.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Event, HeaderMap, RequestErrorKind, ServerError};
use countersign_schemas::ids::AccountId;
use countersign_schemas::refusal::Problem;
use countersign_schemas::secret::SecretText;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::fault::Fault;
use crate::bus::{Connection, DEFAULT_SERVER, Violation, user_token};

/// How often a request without responders is sent again before this is an error.
const NO_RESPONDERS_RETRIES: usize = 2;
const NO_RESPONDERS_WAIT: Duration = Duration::from_millis(250);
/// Events of the connection that are kept to explain a time-out.
const EVENTS_MAX: usize = 16;

/// How to reach the broker, by the flags and variables of the `nats` command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ClientArgs {
    /// NATS server URLs, separated by commas [default: nats://127.0.0.1:4222]
    #[arg(long, global = true, env = "NATS_URL", hide_env_values = true)]
    pub server: Option<String>,
    /// The broker's user
    #[arg(long, global = true, env = "NATS_USER")]
    pub user: Option<String>,
    /// The broker user's password, not an account's
    #[arg(long, global = true, env = "NATS_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Credentials file
    #[arg(long, global = true, env = "NATS_CREDS")]
    pub creds: Option<PathBuf>,
    /// File with an nkey seed
    #[arg(long, global = true, env = "NATS_NKEY")]
    pub nkey: Option<PathBuf>,
    /// Certificates of the authorities to trust
    #[arg(long, global = true, env = "NATS_CA")]
    pub tlsca: Option<PathBuf>,
    /// The client's certificate
    #[arg(long, global = true, env = "NATS_CERT")]
    pub tlscert: Option<PathBuf>,
    /// The key of the client's certificate
    #[arg(long, global = true, env = "NATS_KEY")]
    pub tlskey: Option<PathBuf>,
    /// Begin with the TLS handshake, for a server with handshake_first
    #[arg(long, global = true)]
    pub tlsfirst: bool,
    /// How long to wait for a reply: 5, 5s or 500ms
    #[arg(long, global = true, env = "NATS_TIMEOUT", default_value = "5s", value_parser = seconds)]
    pub timeout: Duration,
    /// A context of the `nats` command
    #[arg(long, global = true, env = "NATS_CONTEXT")]
    pub context: Option<String>,
    /// Prefix of reply subjects [default: _INBOX.<user>]
    #[arg(long, global = true)]
    pub inbox_prefix: Option<String>,
    /// The caller's name, for a service with --identity dev
    #[arg(long, global = true, env = "COUNTERSIGN_CALLER")]
    pub caller: Option<String>,
    /// The command's id: sending it again gives the same outcome [default: a new one]
    #[arg(long, global = true, value_name = "ID")]
    pub command_id: Option<String>,
    /// Print the reply document itself
    #[arg(long, global = true)]
    pub json: bool,
}

impl Default for ClientArgs {
    fn default() -> Self {
        Self {
            server: None,
            user: None,
            password: None,
            creds: None,
            nkey: None,
            tlsca: None,
            tlscert: None,
            tlskey: None,
            tlsfirst: false,
            timeout: Duration::from_secs(5),
            context: None,
            inbox_prefix: None,
            caller: None,
            command_id: None,
            json: false,
        }
    }
}

/// Reads `5`, `5s` or `500ms`.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = |digits: &str| {
        digits
            .parse::<u64>()
            .map_err(|_| "a time is 5, 5s or 500ms".to_owned())
    };
    match text.strip_suffix("ms") {
        Some(digits) => number(digits).map(Duration::from_millis),
        None => number(text.strip_suffix('s').unwrap_or(text)).map(Duration::from_secs),
    }
}

/// A context file of the `nats` command (ADR-21).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NatsContext {
    url: String,
    user: String,
    password: String,
    creds: String,
    nkey: String,
    cert: String,
    key: String,
    ca: String,
    tls_first: bool,
    inbox_prefix: String,
}

impl ClientArgs {
    /// How to connect: flags and variables before the context, the context before the defaults.
    ///
    /// # Errors
    /// [`Fault::Usage`] when the named context cannot be read.
    pub fn connection(&self, name: &str) -> Result<Connection, Fault> {
        let context = match &self.context {
            Some(context) => read_context(context)?,
            None => NatsContext::default(),
        };
        let text = |flag: &Option<String>, other: &str| {
            flag.clone()
                .or_else(|| Some(other.to_owned()).filter(|text| !text.is_empty()))
        };
        let path = |flag: &Option<PathBuf>, other: &str| {
            flag.clone()
                .or_else(|| Some(PathBuf::from(other)).filter(|_| !other.is_empty()))
        };
        Ok(Connection {
            servers: text(&self.server, &context.url).unwrap_or_else(|| DEFAULT_SERVER.into()),
            user: text(&self.user, &context.user),
            password: text(&self.password, &context.password).map(SecretText::new),
            creds: path(&self.creds, &context.creds),
            nkey: path(&self.nkey, &context.nkey),
            tls_ca: path(&self.tlsca, &context.ca),
            tls_cert: path(&self.tlscert, &context.cert),
            tls_key: path(&self.tlskey, &context.key),
            tls_first: self.tlsfirst || context.tls_first,
            inbox_prefix: text(&self.inbox_prefix, &context.inbox_prefix),
            name: name.into(),
            timeout: self.timeout,
        })
    }
}

fn read_context(name: &str) -> Result<NatsContext, Fault> {
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")))
        .ok_or_else(|| Fault::Usage("a context needs HOME or XDG_CONFIG_HOME to be set".into()))?;
    let path = folder
        .join("nats")
        .join("context")
        .join(format!("{name}.json"));
    let unreadable = |why: String| {
        Fault::Usage(format!(
            "context {name} cannot be read from {} ({why}): see `nats context ls`",
            path.display()
        ))
    };
    let text = std::fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_str(&text).map_err(|_| unreadable("it is not a context file".into()))
}

/// A connection to the service.
pub struct Client {
    nats: async_nats::Client,
    events: mpsc::Receiver<async_nats::Event>,
    timeout: Duration,
    caller: Option<String>,
    command_id: Option<String>,
    /// Our token in the subjects of support agents and operators, with its dot; empty if we do not
    /// know our name on the broker.
    user: String,
}

/// A success reply of the service.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The reply document.
    pub body: Value,
    /// Whether it is the stored outcome of an earlier identical command.
    pub replayed: bool,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`Fault::Connection`] or [`Fault::Usage`].
    pub async fn connect(args: &ClientArgs) -> Result<Self, Fault> {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let connection = args.connection("countersign-cli")?;
        let nats = connection.connect(Some(sender)).await?;
        let user = connection.broker_user()?;
        Ok(Self {
            user: user.map_or_else(String::new, |user| user_token(&user) + "."),
            nats,
            events,
            timeout: args.timeout,
            caller: args.caller.clone(),
            command_id: args.command_id.clone(),
        })
    }

    /// Sends a platform command.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn command(&mut self, name: &str, body: &Value) -> Result<Answer, Fault> {
        self.ask(&format!("countersign.v1.command.{name}"), body)
            .await
    }

    /// Sends a support agent's command.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn support(&mut self, name: &str, body: &Value) -> Result<Answer, Fault> {
        let subject = format!("countersign.v1.support.{}{name}", self.user);
        self.ask(&subject, body).await
    }

    /// Sends a query, with its id where it has one.
    ///
    /// # Errors
    /// As [`Client::ask`]; [`Fault::Usage`] for an id that cannot be a part of a subject, because
    /// no service replies there.
    pub async fn query(&mut self, name: &str, body: &Value) -> Result<Answer, Fault> {
        if let Some((query, id)) = name.split_once('.')
            && query != "schema"
        {
            AccountId::parse(id).map_err(|rule| Fault::Usage(rule.0.into()))?;
        }
        self.ask(&format!("countersign.v1.query.{name}"), body)
            .await
    }

    /// Sends an operator's request.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn admin(&mut self, name: &str, body: &Value) -> Result<Answer, Fault> {
        let subject = format!("countersign.v1.admin.{}{name}", self.user);
        self.ask(&subject, body).await
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// [`Fault::Refused`] with the service's document, [`Fault::Permission`],
    /// [`Fault::Unavailable`], [`Fault::Usage`].
    pub async fn ask(&mut self, subject: &str, body: &Value) -> Result<Answer, Fault> {
        let payload = serde_json::to_vec(body).map_err(Fault::failed)?;
        let headers = self.headers()?;
        let mut retries = NO_RESPONDERS_RETRIES;
        loop {
            match self.send(subject, headers.clone(), &payload).await {
                Err(error) if retries > 0 && error.kind() == RequestErrorKind::NoResponders => {
                    retries -= 1;
                    tokio::time::sleep(NO_RESPONDERS_WAIT).await;
                }
                Err(error) => return Err(self.explain(subject, &error)),
                Ok(message) => return read(&message),
            }
        }
    }

    fn headers(&self) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        let id = self
            .command_id
            .clone()
            .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let given = [
            ("Nats-Msg-Id", Some(id)),
            ("Countersign-Caller", self.caller.clone()),
        ];
        for (name, value) in given {
            let Some(value) = value else { continue };
            let value: async_nats::HeaderValue = value
                .parse()
                .map_err(|_| Fault::Usage(format!("{name} must be one line of text")))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    async fn send(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: &[u8],
    ) -> Result<async_nats::Message, async_nats::RequestError> {
        let request = async_nats::Request::new()
            .headers(headers)
            .payload(payload.to_vec().into())
            .timeout(Some(self.timeout));
        self.nats.send_request(subject.to_owned(), request).await
    }

    /// A missing permission looks like a time-out; the connection's events show it.
    fn explain(&mut self, subject: &str, error: &async_nats::RequestError) -> Fault {
        while let Ok(event) = self.events.try_recv() {
            if let Event::ServerError(ServerError::Other(text)) = event {
                match Violation::of(&text) {
                    Some(Violation::Publish(refused)) if refused == subject => {
                        return Fault::Permission(format!("publishing to {subject}"));
                    }
                    Some(Violation::Subscription(refused)) => {
                        return Fault::Permission(format!("subscribing to {refused}"));
                    }
                    Some(Violation::Publish(_)) | None => {}
                }
            }
        }
        Fault::Unavailable(match error.kind() {
            RequestErrorKind::NoResponders => {
                format!("no service replies on {subject}: is it running on this broker?")
            }
            RequestErrorKind::TimedOut => format!(
                "no reply on {subject} within {} s: send the same --command-id again to learn the outcome",
                self.timeout.as_secs()
            ),
            _ => format!(
                "the request on {subject} failed ({error}): send the same --command-id again"
            ),
        })
    }
}

/// Reads a reply so that it fails closed: an error header or an unreadable body is never success.
fn read(message: &async_nats::Message) -> Result<Answer, Fault> {
    let header = |name: &str| {
        message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(name))
    };
    let refused =
        header("Nats-Service-Error-Code").is_some() || header("Nats-Service-Error").is_some();
    if refused {
        let problem: Problem = serde_json::from_slice(&message.payload).map_err(|_| {
            Fault::failed("the service refused the request without a readable reason")
        })?;
        return Err(Fault::Refused(Box::new(problem)));
    }
    let body = serde_json::from_slice(&message.payload).map_err(|_| {
        Fault::failed("the reply is not JSON: does another program use this subject?")
    })?;
    Ok(Answer {
        body,
        replayed: header("Countersign-Replayed").is_some(),
    })
}
