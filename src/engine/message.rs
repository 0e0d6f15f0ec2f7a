//! The messages between the threads of the engine: a command with the evidence gathered so far, and
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

/// Commands that may wait for the writer; a further one is refused as `overloaded`.
pub const QUEUE_MAX: usize = 4_096;

/// A command with the evidence gathered so far.
pub struct Submission {
    pub request: Request,
    pub reply: ReplyTo,
    pub evidence: Evidence,
    /// Steps taken so far.
    pub steps: u8,
    /// Whether it was once admitted to the slow steps; its later ones are then not refused for want
    /// of room.
    pub is_admitted: bool,
    /// Whether its password counts at its source as a comparison under way.
    pub is_under_way: bool,
    /// What the writer knew when the command passed the gate; `None` before that.
    pub gated: Option<Gated>,
}

/// The state against which a command passed the gate.
#[derive(Clone)]
pub struct Gated {
    pub subject: Subject,
    pub account: Arc<Account>,
    pub key: CommandKey,
    /// Log time at the gate.
    pub at: Micros,
    /// The time that the wall clock must have reached, at the gate, for codes to be checked.
    pub clock_floor: Micros,
    /// The key under which failures of its source are counted at the account.
    pub at_account: SourceKey,
    /// The key under which failures of its source are counted at the text that names the account.
    pub at_text: SourceKey,
    /// The seconds that the source still had to wait at the gate, over all names and at the text
    /// that names the account.
    pub source_waits_s: Option<u64>,
    /// The seconds for which a pair of password and code passes no wait for passwords: because of
    /// wrong pairs from its source, or of wrong passwords beside a right code at the account.
    pub pair_waits_s: Option<u64>,
}

/// The account that a command concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The account's stream; `None` if a name or a challenge belongs to no account.
    pub stream: Option<StreamKey>,
    /// Keyed hash of the text that names the account. Wrong passwords are counted under it beside
    /// the account: it is the same whether the text is an id or a username, and whichever account
    /// has it.
    pub text: [u8; 16],
}

impl Subject {
    /// Returns the key under which the command's slow work is queued.
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

    /// Refuses the command; no answer rests on a commit.
    pub fn refuse(self, code: ErrorCode) {
        (self.reply)(Outcome::refused(code));
    }
}

/// A step for the pool to take.
pub type Job = (Box<Submission>, Step);

/// An access record on its way to the writer.
pub struct PendingAccess {
    pub event: Event,
    pub viewer: Viewer,
    /// Signalled once the record is durable; dropped if it will not become durable.
    pub durable: SyncSender<()>,
}

/// A message in the writer's queue.
pub enum Message {
    /// A new command.
    Submission(Box<Submission>),
    /// A step was taken, or could not be for this reason.
    Stepped(Box<Submission>, Result<(), ErrorCode>),
    /// A rotation is complete: only the active key-encryption key, with this number, still wraps
    /// data keys, and it wraps this many.
    Rewrapped(u32, u64),
    /// A caller viewed an account or exported events.
    Accessed(Box<PendingAccess>),
    /// Finish what is under way and stop; the sender is dropped when that is done.
    Stop(SyncSender<()>),
}

/// The sending end of the writer's queue.
///
/// New commands are bounded here. The results of steps, and what the service itself records, are
/// bounded by the threads that send them and always arrive: the result of a comparison must not be
/// lost for lack of room.
#[derive(Clone)]
pub struct ToWriter {
    sender: Sender<Message>,
    waiting: Arc<AtomicUsize>,
}

impl ToWriter {
    /// Opens a queue and returns its two ends.
    pub fn open() -> (Self, Receiver<Message>) {
        let (sender, receiver) = channel();
        let waiting = Arc::default();
        (Self { sender, waiting }, receiver)
    }

    /// Queues a new command; refuses it if there is no room or no writer.
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

    /// Queues any other message.
    ///
    /// # Errors
    /// The message itself, if the writer has ended.
    pub fn send(&self, message: Message) -> Result<(), Message> {
        self.sender.send(message).map_err(|error| error.0)
    }

    /// Notes that the writer has taken a new command from the queue.
    pub fn taken(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    /// Returns the number of new commands that wait.
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
