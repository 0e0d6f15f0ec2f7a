//! What travels between the threads of the engine: a command with what was found out about it, and
//! the queue that carries it to the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};

use countersign_schemas::ids::CommandKey;
use countersign_schemas::refusal::ErrorCode;
use countersign_schemas::time::Micros;

use super::counts::source::SourceKey;
use super::request::ReplyTo;
use super::request::Viewer;
use super::{Outcome, Request};
use crate::account::Step;
use crate::account::{Account, Evidence};
use countersign_schemas::event::Event;
use countersign_schemas::ids::StreamKey;
use std::thread::JoinHandle;

/// Commands that may wait for the writer; one more is `overloaded`.
pub const QUEUE_MAX: usize = 4_096;

/// A command with what was found out about it.
pub struct Submission {
    pub request: Request,
    pub reply: ReplyTo,
    pub evidence: Evidence,
    /// Steps taken so far.
    pub steps: u8,
    /// Whether it has had a place among the slow steps; its later ones are not turned away.
    pub is_admitted: bool,
    /// Whether its password counts as under way at its source.
    pub is_under_way: bool,
    /// What the writer knew when it passed the gate; none before.
    pub gated: Option<Gated>,
}

/// A command that has passed the gate, and against what.
#[derive(Clone)]
pub struct Gated {
    pub subject: Subject,
    pub account: Arc<Account>,
    pub key: CommandKey,
    /// Log time then.
    pub at: Micros,
    /// What the wall clock must have reached then for codes to be checked.
    pub clock_floor: Micros,
    /// Under what failures of its source are counted at the account.
    pub at_account: SourceKey,
    /// The same at the text that names the account.
    pub at_text: SourceKey,
    /// How many seconds the source then still waited, over all names and at the text that names the
    /// account.
    pub source_waits_s: Option<u64>,
    /// How many seconds a pair of password and code passes no wait for passwords: because of its
    /// source's wrong pairs, or of wrong passwords beside a right code at the account.
    pub pair_waits_s: Option<u64>,
}

/// Whose history a command belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The account's stream; none where a name or a challenge belongs to nobody.
    pub stream: Option<StreamKey>,
    /// Keyed hash of the text that names the account, under which wrong passwords are counted
    /// beside the account: the same whether it is taken as an id or as a username, and whoever has
    /// it.
    pub text: [u8; 16],
}

impl Subject {
    /// The key under which the command's slow work is queued.
    pub fn queue_key(&self) -> StreamKey {
        self.stream.unwrap_or(StreamKey(self.text))
    }
}

impl Submission {
    pub fn new(request: Request, reply: ReplyTo) -> Self {
        Self {
            evidence: Evidence::none(request.received_at),
            request,
            reply,
            steps: 0,
            is_admitted: false,
            is_under_way: false,
            gated: None,
        }
    }

    /// Refuses it: no answer rests on a commit.
    pub fn refuse(self, code: ErrorCode) {
        (self.reply)(Outcome::refused(code));
    }
}

/// A step that the pool takes.
pub type Job = (Box<Submission>, Step);

/// A look on its way to the writer.
pub struct Looking {
    pub event: Event,
    pub viewer: Viewer,
    /// Told once the record is durable; dropped where it will not be.
    pub durable: SyncSender<()>,
}

/// What the writer's queue carries.
pub enum Message {
    /// A new command.
    Submission(Box<Submission>),
    /// A step was taken, or why it could not be.
    Stepped(Box<Submission>, Result<(), ErrorCode>),
    /// No key-encryption key but the active one wraps anything: this one, so many data keys.
    Rewrapped(u32, u64),
    /// Somebody looked at an account, or took events away.
    LookedUp(Box<Looking>),
    /// Finish what is under way, and stop; the sender is dropped when that is done.
    Stop(SyncSender<()>),
}

/// The way to the writer.
///
/// New commands are bounded here. What comes back from a step, and what the service itself records,
/// is bounded by those who do the work, and always arrives: a comparison that was made must not be
/// lost for want of room.
#[derive(Clone)]
pub struct ToWriter {
    sender: Sender<Message>,
    waiting: Arc<AtomicUsize>,
}

impl ToWriter {
    /// The two ends of a queue.
    pub fn open() -> (Self, Receiver<Message>) {
        let (sender, receiver) = channel();
        let waiting = Arc::default();
        (Self { sender, waiting }, receiver)
    }

    /// Hands a new command over; refuses it where there is no room, or no writer.
    pub fn submit(&self, submission: Submission) {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= QUEUE_MAX {
            self.taken();
            return submission.refuse(ErrorCode::Overloaded);
        }
        if let Err(Message::Submission(submission)) =
            self.send(Message::Submission(Box::new(submission)))
        {
            self.taken();
            submission.refuse(ErrorCode::StoreUnavailable);
        }
    }

    /// Hands anything else over.
    ///
    /// # Errors
    /// The message, where the writer has ended.
    pub fn send(&self, message: Message) -> Result<(), Message> {
        self.sender.send(message).map_err(|error| error.0)
    }

    /// The writer has taken a new command.
    pub fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// New commands that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }
}

/// Starts a thread of the engine.
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .expect("a thread can be started while the service starts")
}
