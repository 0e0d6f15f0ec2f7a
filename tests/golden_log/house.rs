//! An engine in process, on a folder and with a clock that the test moves.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use countersign::account::{Policy, Reply};
use countersign::crypto::otp::{TotpSecret, hotp, step_at};
use countersign::engine::{Caller, Clock, Engine, EngineOptions, Request, init};
use countersign::log::LogOptions;
use countersign_schemas::code::Code;
use countersign_schemas::command::Command;
use countersign_schemas::ids::CommandId;
use countersign_schemas::record::Role;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;
use serde_json::Value;

/// Small, so that the golden log has sealed segments too.
const SEGMENT_RECORDS: u64 = 64;

pub struct House {
    pub data: PathBuf,
    pub keyring: PathBuf,
    now: Arc<AtomicU64>,
    next_id: AtomicU64,
}

impl House {
    pub fn at(data: PathBuf, keyring: PathBuf, now: Micros) -> Self {
        Self {
            data,
            keyring,
            now: Arc::new(AtomicU64::new(now.0)),
            next_id: AtomicU64::new(1),
        }
    }

    fn log(&self) -> LogOptions {
        LogOptions {
            segment_records: SEGMENT_RECORDS.try_into().unwrap(),
            ..LogOptions::default()
        }
    }

    pub fn init(&self) {
        init(&self.data, &self.keyring, self.time(), self.log()).unwrap();
    }

    pub fn start(&self, policy: Policy) -> Engine {
        let now = Arc::clone(&self.now);
        let clock: Clock = Arc::new(move || Micros(now.load(Ordering::SeqCst)));
        let options = EngineOptions {
            policy,
            monotonic: Arc::clone(&clock),
            clock,
            log: self.log(),
            ..EngineOptions::new(self.data.clone(), self.keyring.clone())
        };
        Engine::start(options).unwrap()
    }

    pub fn time(&self) -> Micros {
        Micros(self.now.load(Ordering::SeqCst))
    }

    pub fn pass(&self, seconds: u64) {
        self.now
            .fetch_add(seconds * Micros::SECOND, Ordering::SeqCst);
    }

    pub fn send(&self, engine: &Engine, name: &str, body: &Value) -> Result<Reply, ErrorCode> {
        self.send_by(engine, "golden", name, body)
    }

    /// Sends it as this caller.
    pub fn send_by(
        &self,
        engine: &Engine,
        caller: &str,
        name: &str,
        body: &Value,
    ) -> Result<Reply, ErrorCode> {
        let number = self.next_id.fetch_add(1, Ordering::SeqCst);
        let id = format!("golden-{}-{number}", self.time().0);
        let payload = serde_json::to_vec(body).unwrap();
        let by = Caller {
            name: caller.into(),
            verified: true,
            role: Role::Platform,
        };
        let command = Command::decode(name, &payload).unwrap();
        let tags = engine.body_tags(caller, name, &payload, &command);
        let id = CommandId::parse(&id).unwrap();
        let mut request = Request::new(command, id, by, tags, self.time());
        request.on_behalf_of = Some("a-user".into());
        request.trace_id = Some([7; 16]);
        let (sender, receiver) = mpsc::channel();
        engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
        let result = receiver.recv().unwrap().result;
        result
            .map(|done| done.reply)
            .map_err(|refusal| refusal.code)
    }

    /// The app's code, so many steps from now.
    pub fn code(&self, secret: &TotpSecret, steps: i64) -> String {
        let step = step_at(self.time().unix_s()).strict_add_signed(steps);
        Code::Totp(hotp(secret, step)).reveal()
    }
}
