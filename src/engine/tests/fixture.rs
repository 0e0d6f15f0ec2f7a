//! The fixture of the engine's tests: a real log in a temporary folder, with clocks as arguments.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use countersign_schemas::code::Code;
use countersign_schemas::command::Command;
use countersign_schemas::ids::CommandId;
use countersign_schemas::record::{Record, Role};
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;
use serde_json::{Value, json};

use crate::account::{Policy, Reply, SecretReply};
use crate::crypto::keyring::Keyring;
use crate::crypto::otp::{TotpSecret, hotp, step_at};
use crate::engine::accounts::snapshots::Snapshots;
use crate::engine::record_seals::RecordSeals;
use crate::engine::start::foundation::SNAPSHOTS_LABEL;
use crate::engine::{
    BackupFolders, Caller, Engine, EngineOptions, Outcome, Request, StartError, init,
};
use crate::log::tree::leaf_hash;
use crate::log::{EventLog, LogOptions, Storage};

/// An installation whose clock the test moves.
pub(in crate::engine) struct Fixture {
    folder: tempfile::TempDir,
    now: Arc<AtomicU64>,
    monotonic: Arc<AtomicU64>,
    next_id: AtomicU64,
}

impl Fixture {
    pub(in crate::engine) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Arc::new(AtomicU64::new(1_800_000_000_000_000));
        let fixture = Self {
            folder,
            now,
            monotonic: Arc::default(),
            next_id: AtomicU64::new(1),
        };
        init(
            &fixture.data(),
            &fixture.keyring(),
            fixture.time(),
            LogOptions::default(),
        )
        .unwrap();
        fixture
    }

    /// Appends records as this installation's own service would, with its keyring.
    pub(in crate::engine) fn append(&self, log: &mut EventLog, records: Vec<Record>) {
        let seals = RecordSeals::of(&Keyring::load(&self.keyring()).unwrap());
        let head = log.head();
        let mut before = leaf_hash(&log.reader().get(head).unwrap().unwrap());
        let sealed = (head + 1..).zip(records).map(|(at, mut record)| {
            let bytes = seals.encode(at, &before, &mut record).unwrap();
            before = leaf_hash(&bytes);
            bytes
        });
        log.append(head, &sealed.collect::<Vec<_>>()).unwrap();
    }

    pub(in crate::engine) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(in crate::engine) fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    pub(in crate::engine) fn keyring(&self) -> std::path::PathBuf {
        self.folder.path().join("keys").join("keyring.toml")
    }

    /// Returns the folders of its backups.
    pub(in crate::engine) fn backups(&self) -> BackupFolders {
        BackupFolders {
            log: self.folder.path().join("backup"),
            keys: self.folder.path().join("backup-keys"),
        }
    }

    pub(in crate::engine) fn time(&self) -> Micros {
        Micros(self.now.load(Ordering::SeqCst))
    }

    /// Opens the snapshots in a file of this installation.
    pub(in crate::engine) fn snapshots(&self, path: &std::path::Path) -> Snapshots {
        let key = Keyring::load(&self.keyring()).unwrap();
        let key = key.file_key(SNAPSHOTS_LABEL);
        Snapshots::open(&Storage::default(), path, key)
    }

    /// Lets time pass, by both clocks.
    pub(in crate::engine) fn pass(&self, seconds: u64) {
        let micros = seconds * Micros::SECOND;
        self.monotonic.fetch_add(micros, Ordering::SeqCst);
        self.now.fetch_add(micros, Ordering::SeqCst);
    }

    /// Sets the wall clock forward or back.
    pub(in crate::engine) fn set_wall(&self, by_s: i64) {
        let by = by_s * Micros::SECOND.cast_signed();
        self.now.fetch_add(by.cast_unsigned(), Ordering::SeqCst);
    }

    pub(in crate::engine) fn try_start(&self) -> Result<Engine, StartError> {
        self.try_start_with(|_| {})
    }

    pub(in crate::engine) fn start_on(&self, storage: crate::log::Storage) -> Engine {
        self.try_start_with(|options| options.log.storage = storage)
            .unwrap()
    }

    pub(in crate::engine) fn try_start_with(
        &self,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Result<Engine, StartError> {
        let mut options = self.options();
        change(&mut options);
        Engine::start(options)
    }

    pub(in crate::engine) fn options(&self) -> EngineOptions {
        let (now, monotonic) = (Arc::clone(&self.now), Arc::clone(&self.monotonic));
        EngineOptions {
            policy: Policy {
                kdf_memory_kib: 8,
                ..Policy::default()
            },
            clock: Arc::new(move || Micros(now.load(Ordering::SeqCst))),
            monotonic: Arc::new(move || Micros(monotonic.load(Ordering::SeqCst))),
            backup: Some(self.backups()),
            ..EngineOptions::new(self.data(), self.keyring())
        }
    }

    pub(in crate::engine) fn start_with(&self, change: impl FnOnce(&mut EngineOptions)) -> Engine {
        self.try_start_with(change).unwrap()
    }

    pub(in crate::engine) fn start(&self) -> Engine {
        self.try_start().unwrap()
    }

    pub(in crate::engine) fn request(
        &self,
        name: &str,
        body: &Value,
        id: &str,
        engine: &Engine,
    ) -> Request {
        let payload = serde_json::to_vec(body).unwrap();
        let caller = Caller {
            name: "test".into(),
            verified: true,
            role: Command::kind_of(name).map_or(Role::Platform, Role::from),
        };
        let command = Command::decode(name, &payload).unwrap();
        let tags = engine.body_tags("test", name, &payload, &command);
        let id = CommandId::parse(id).unwrap();
        Request::new(command, id, caller, tags, self.time())
    }

    pub(in crate::engine) fn send_as(
        &self,
        engine: &Engine,
        id: &str,
        name: &str,
        body: Value,
    ) -> Outcome {
        let (sender, receiver) = mpsc::channel();
        let request = self.request(name, &body, id, engine);
        engine.submit(
            request,
            Box::new(move |outcome| sender.send(outcome).unwrap()),
        );
        receiver.recv().unwrap()
    }

    /// Returns a command id that was not used before.
    pub(in crate::engine) fn fresh_id(&self) -> String {
        format!("c-{}", self.next_id.fetch_add(1, Ordering::SeqCst))
    }

    pub(in crate::engine) fn send(
        &self,
        engine: &Engine,
        name: &str,
        body: Value,
    ) -> Result<Reply, ErrorCode> {
        let id = self.fresh_id();
        let outcome = self.send_as(engine, &id, name, body);
        outcome
            .result
            .map(|done| done.reply)
            .map_err(|refusal| refusal.code)
    }

    /// Registers and enrols an account; returns its secret and its backup codes.
    pub(in crate::engine) fn enrol(
        &self,
        engine: &Engine,
        account: &str,
    ) -> (TotpSecret, Vec<String>) {
        self.enrol_as(engine, account, account)
    }

    /// The same with a username that differs from the id.
    pub(in crate::engine) fn enrol_as(
        &self,
        engine: &Engine,
        account: &str,
        username: &str,
    ) -> (TotpSecret, Vec<String>) {
        let body = json!({"account_id": account, "username": username, "password": PASSWORD});
        self.send(engine, "register-account", body).unwrap();
        let body = json!({"account_id": account, "proof": {"password": PASSWORD}});
        let Ok(Reply::Secret(SecretReply::EnrolmentStarted {
            authenticator_id,
            secret,
            ..
        })) = self.send(engine, "enable-2fa", body)
        else {
            panic!("enrolment starts");
        };
        let code = self.code(&secret, 0);
        let body =
            json!({"account_id": account, "authenticator_id": authenticator_id, "code": code});
        let Ok(Reply::Secret(SecretReply::CodeConfirmed { issued, .. })) =
            self.send(engine, "confirm-code", body)
        else {
            panic!("the first code confirms");
        };
        let codes = issued.codes.iter().map(|code| code.reveal()).collect();
        (secret, codes)
    }

    pub(in crate::engine) fn code(&self, secret: &TotpSecret, steps: i64) -> String {
        let step = step_at(self.time().unix_s()).strict_add_signed(steps);
        Code::Totp(hotp(secret, step)).reveal()
    }
}

pub(in crate::engine) const PASSWORD: &str = "correct horse battery staple";

pub(in crate::engine) fn verify(code: &str) -> Value {
    json!({"account_id": "ada", "code": code})
}
