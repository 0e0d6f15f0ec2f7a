//! Measures rotations and erasures beside logins, in turns, in one run.
//!
//! ```text
//! cargo run --release --example keys_bench                        # 200,000 data keys, 5 turns
//! cargo run --release --example keys_bench -- 1000000 9           # more keys, more turns
//! ```
//!
//! A login is `verify-login` with a TOTP code, and the caller vouches for the first factor. The
//! engine gets 256 at a time, without a broker. Meanwhile a rotation wraps every data key again, or
//! one operator erases account after account. Only the ratio to the plain turns means anything on
//! another machine.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use countersign::account::{Policy, Reply, SecretReply};
use countersign::crypto::data_keys::{DataKeys, STAGED_KEYS_MAX};
use countersign::crypto::keyring::Keyring;
use countersign::crypto::otp::{TotpSecret, hotp, step_at};
use countersign::engine::{
    Caller, Clock, Done, Engine, EngineOptions, PasswordsBy, Request, init, system_random,
    wall_clock,
};
use countersign::log::LogOptions;
use countersign_schemas::admin::{KeyEntry, KeyState};
use countersign_schemas::code::Code;
use countersign_schemas::command::Command;
use countersign_schemas::ids::CommandId;
use countersign_schemas::record::Role;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Accounts that log in, each once a turn.
const ACCOUNTS: usize = 10_000;
/// Accounts that are erased in a turn at most.
const ERASURES: usize = 100;
/// Commands that wait for their reply at the same time.
const IN_FLIGHT: usize = 256;
/// The same while accounts are made: the engine's pool holds 64.
const ENROLLING: usize = 48;
const STEP_S: u64 = 30;
/// The refusal of a login with the same six digits as the code before, by chance.
const ALIKE: &str = "code.invalid";
/// Between two rewritings of the key store.
const MINUTE_S: u64 = 60;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (keys, turns) = (next(200_000)?, next(5)?);
    let folder = tempfile::tempdir()?;
    let fixture = Fixture::open(folder.path(), keys)?;
    let secrets = fixture.enrol()?;
    println!("{keys} data keys and {ACCOUNTS} accounts that log in");
    let mut measured: BTreeMap<&str, Vec<Turn>> = BTreeMap::new();
    for turn in 0..turns {
        for beside in ["nothing", "a rotation", "erasures"] {
            fixture.skip(MINUTE_S.max(STEP_S));
            let done = fixture.turn(beside, &format!("{beside}-{turn}"), &secrets)?;
            println!("turn {}: beside {beside} {done}", turn + 1);
            measured.entry(beside).or_default().push(done);
        }
    }
    let medians = measured.iter_mut().map(|(beside, turns)| {
        turns.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
        (*beside, turns[turns.len() / 2].per_second)
    });
    let medians: BTreeMap<_, _> = medians.collect();
    for (beside, per_second) in &medians {
        let ratio = per_second / medians["nothing"];
        println!("beside {beside}: median {per_second:.0}/s, ratio {ratio:.2}");
    }
    let started = Instant::now();
    fixture.skip(MINUTE_S);
    fixture.ask("erase-account", "alone", &erasure("account-0"))?;
    println!(
        "an erasure with nothing beside it took {:?}",
        started.elapsed()
    );
    Ok(())
}

fn erasure(account: &str) -> Value {
    json!({"account_id": account, "reason": "the bench"})
}

/// An engine on its own files, with clocks that are ahead of the machine's by the skipped time.
struct Fixture {
    engine: Engine,
    skipped_s: Arc<AtomicU64>,
}

/// /// The times of one turn.
struct Turn {
    per_second: f64,
    took: Vec<Duration>,
    /// What was done beside the logins, and how long it took.
    beside: String,
}

impl std::fmt::Display for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |percent| self.took[(self.took.len() - 1) * percent / 100];
        write!(
            f,
            "{:.0} logins/s, p50 {:?}, p99 {:?}, longest {:?}{}",
            self.per_second,
            at(50),
            at(99),
            at(100),
            self.beside
        )
    }
}

impl Fixture {
    fn open(folder: &Path, keys: usize) -> Outcome<Self> {
        let (data, keyring) = (folder.join("data"), folder.join("keyring"));
        init(&data, &keyring, wall_clock(), LogOptions::default())?;
        fill(&data.join("keys.redb"), &keyring, keys)?;
        let skipped_s = Arc::new(AtomicU64::new(0));
        let skipped = Arc::clone(&skipped_s);
        let clock: Clock = Arc::new(move || wall_clock().plus_s(skipped.load(Ordering::Relaxed)));
        let engine = Engine::start(EngineOptions {
            policy: Policy {
                kdf_memory_kib: 8,
                ..Policy::default()
            },
            passwords_by: PasswordsBy::Caller,
            monotonic: Arc::clone(&clock),
            clock,
            ..EngineOptions::new(data, keyring)
        })?;
        Ok(Self { engine, skipped_s })
    }

    fn skip(&self, seconds: u64) {
        self.skipped_s.fetch_add(seconds, Ordering::Relaxed);
    }

    fn step(&self) -> u64 {
        step_at(wall_clock().unix_s() + self.skipped_s.load(Ordering::Relaxed))
    }

    /// Submits a command; its outcome arrives under its number.
    fn send(&self, name: &str, id: &str, body: &Value, at: usize, done: &Sender<Arrived>) {
        let payload = body.to_string().into_bytes();
        let (sent, done) = (Instant::now(), done.clone());
        let command = Command::decode(name, &payload).expect("a valid body");
        let caller = Caller {
            name: "bench".into(),
            verified: true,
            role: Role::Platform,
        };
        let tags = self.engine.body_tags("bench", name, &payload, &command);
        let id = CommandId::parse(id).expect("a valid id");
        let request = Request::new(command, id, caller, tags, self.engine.now());
        let reply = move |outcome: countersign::engine::Outcome| {
            let result = outcome
                .result
                .map_err(|refusal| refusal.code.as_str().into());
            // The receiver is gone if the bench has ended early.
            let _ = done.send((at, sent.elapsed(), result));
        };
        self.engine.submit(request, Box::new(reply));
    }

    fn ask(&self, name: &str, id: &str, body: &Value) -> Outcome<Reply> {
        let (sender, receiver) = channel();
        self.send(name, id, body, 0, &sender);
        let (_, _, result) = receiver.recv()?;
        Ok(result
            .map_err(|code: String| format!("{name} was refused: {code}"))?
            .reply)
    }

    /// Enrols every account and returns the secrets.
    fn enrol(&self) -> Outcome<Vec<TotpSecret>> {
        let next = Mutex::new(0..ACCOUNTS);
        let secrets = Mutex::new(BTreeMap::new());
        thread::scope(|threads| {
            let enrolling: Vec<_> = (0..ENROLLING)
                .map(|_| {
                    threads.spawn(|| -> Outcome<()> {
                        loop {
                            let Some(at) = next.lock().expect("no panic").next() else {
                                return Ok(());
                            };
                            let secret = self.enrol_one(&format!("account-{at}"))?;
                            secrets.lock().expect("no panic").insert(at, secret);
                        }
                    })
                })
                .collect();
            enrolling
                .into_iter()
                .try_for_each(|one| one.join().expect("no panic"))
        })?;
        Ok(secrets.into_inner()?.into_values().collect())
    }

    fn enrol_one(&self, account: &str) -> Outcome<TotpSecret> {
        let body = json!({"account_id": account});
        let begun = self.ask("enable-2fa", &format!("enable-{account}"), &body)?;
        let Reply::Secret(SecretReply::EnrolmentStarted {
            authenticator_id,
            secret,
            ..
        }) = begun
        else {
            return Err("no enrolment".into());
        };
        let code = Code::Totp(hotp(&secret, self.step())).reveal();
        let body =
            json!({"account_id": account, "authenticator_id": authenticator_id, "code": code});
        self.ask("confirm-code", &format!("confirm-{account}"), &body)?;
        Ok(secret)
    }

    /// Every account logs in once, while other work goes on.
    fn turn(&self, beside: &str, name: &str, secrets: &[TotpSecret]) -> Outcome<Turn> {
        let going = Arc::new(AtomicU64::new(1));
        thread::scope(|threads| {
            let goes_on = Arc::clone(&going);
            let other = threads.spawn(move || match beside {
                "a rotation" => self.rotate(name),
                "erasures" => self.erase(name, &goes_on),
                _ => Ok(String::new()),
            });
            let logins = self.log_in(name, secrets);
            going.store(0, Ordering::Relaxed);
            let beside = other.join().expect("no panic")?;
            let (per_second, took) = logins?;
            Ok(Turn {
                per_second,
                took,
                beside,
            })
        })
    }

    fn log_in(&self, name: &str, secrets: &[TotpSecret]) -> Outcome<(f64, Vec<Duration>)> {
        let step = self.step();
        let (done, arrived): (_, Receiver<Arrived>) = channel();
        let send = |at: usize, secret: &TotpSecret| {
            let code = Code::Totp(hotp(secret, step)).reveal();
            let body = json!({"account_id": format!("account-{at}"), "code": code});
            self.send(
                "verify-login",
                &format!("{name}-{at}").replace(' ', "-"),
                &body,
                at,
                &done,
            );
        };
        let started = Instant::now();
        let mut took = Vec::with_capacity(secrets.len());
        let mut to_send = secrets.iter().enumerate();
        to_send
            .by_ref()
            .take(IN_FLIGHT)
            .for_each(|(at, secret)| send(at, secret));
        while took.len() < secrets.len() {
            let (at, time, result) = arrived.recv()?;
            match result {
                Err(code) if code != ALIKE => {
                    return Err(format!("login {at} was refused: {code}").into());
                }
                Ok(_) | Err(_) => {}
            }
            took.push(time);
            if let Some((at, secret)) = to_send.next() {
                send(at, secret);
            }
        }
        let per_second = took.len() as f64 / started.elapsed().as_secs_f64();
        took.sort();
        Ok((per_second, took))
    }

    /// Rotates, and waits until every data key is wrapped again.
    fn rotate(&self, name: &str) -> Outcome<String> {
        let started = Instant::now();
        let id = format!("rotate-{name}").replace(' ', "-");
        self.ask("rotate-keys", &id, &json!({"reason": "the bench"}))?;
        let replied = started.elapsed();
        loop {
            let list = self.engine.admin().key_list().map_err(|_| "no key list")?;
            let is_left = |key: &KeyEntry| key.state == KeyState::Retired && key.seals > Some(0);
            if !list.keys.iter().any(is_left) {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(format!(
            "; reply after {replied:?}, all wrapped again after {:?}",
            started.elapsed()
        ))
    }

    /// Erases account after account while the turn lasts; they are made for it.
    fn erase(&self, name: &str, goes_on: &AtomicU64) -> Outcome<String> {
        let (sender, receiver) = channel();
        let mut erased = 0;
        while goes_on.load(Ordering::Relaxed) == 1 && erased < ERASURES {
            let account = format!("{name}-{erased}");
            self.enrol_one(&account)?;
            self.send(
                "erase-account",
                &format!("erase-{account}"),
                &erasure(&account),
                0,
                &sender,
            );
            erased += 1;
        }
        self.skip(MINUTE_S);
        for _ in 0..erased {
            let (_, _, result) = receiver.recv()?;
            result.map_err(|code: String| format!("an erasure was refused: {code}"))?;
        }
        Ok(format!("; {erased} accounts made and erased"))
    }
}

/// A command's number, its duration and its outcome.
type Arrived = (usize, Duration, Result<Done, String>);

/// Makes data keys for accounts that are never registered.
fn fill(store: &Path, keyring: &Path, keys: usize) -> Outcome<()> {
    let ring = Arc::new(Keyring::load(keyring)?);
    let store = DataKeys::open(store, ring, false)?;
    for at in 0..keys {
        let (mut stream, mut entropy, mut nonce) = ([0; 16], [0; 32], [0; 12]);
        let random = [&mut stream[..], &mut entropy, &mut nonce];
        if !random.into_iter().all(system_random) {
            return Err("no random bytes".into());
        }
        store.stage_new(&stream, entropy, nonce)?;
        if (at + 1) % STAGED_KEYS_MAX == 0 {
            store.commit()?;
        }
    }
    Ok(store.commit()?)
}
