//! How the engine ends: it accepts nothing more, finishes what it accepted, and closes the files.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use countersign_schemas::refusal::ErrorCode;

use tokio::sync::watch;

use super::{Engine, Writing};
use crate::crash_point::reached;
use crate::engine::followers::indexer;
use crate::engine::message::Message;
use crate::log::index::Finding;

impl Engine {
    /// Returns what was found in the data folder that the service did not write; nothing is decided
    /// then.
    pub fn finding(&self) -> Option<Finding> {
        self.shared.index.finding()
    }

    /// Turns true if a commit has failed, and a restart is safe, or if there is a
    /// [`finding`](Self::finding): the process must stop.
    pub fn failed(&self) -> watch::Receiver<bool> {
        self.shared.failed.subscribe()
    }

    /// Accepts nothing more and finishes what was accepted; the log can still be read. May be
    /// called again.
    ///
    /// Waits at most `within` for slow steps. Commands that could not begin their steps by then are
    /// `draining`, with nothing compared; steps that were begun are finished.
    pub fn finish(&self, within: Duration) {
        self.draining.store(true, Ordering::Release);
        let (done, is_done) = sync_channel(1);
        // A writer that has failed is gone and receives no message.
        let _ = self.queue.send(Message::Stop(done));
        // Nothing is ever sent: the writer drops its end.
        if is_done.recv_timeout(within) == Err(RecvTimeoutError::Timeout) {
            for (submission, _) in self.pool.close() {
                let given_up = Message::Stepped(submission, Err(ErrorCode::Draining));
                if let Err(Message::Stepped(submission, _)) = self.queue.send(given_up) {
                    submission.refuse(ErrorCode::Draining);
                }
            }
        }
        let mut writer = self.writer.lock().expect("no holder of this lock panics");
        let log = match std::mem::replace(&mut *writer, Writing::Stopped(None)) {
            Writing::Stopped(log) => log,
            Writing::Thread(thread) => thread.join().unwrap_or_else(|_| {
                tracing::error!("the writer had panicked");
                None
            }),
        };
        *writer = Writing::Stopped(log);
        self.pool.stop();
    }

    /// Does the same as [`Engine::finish`] and then closes the files; may be called again.
    pub fn drain(&self, within: Duration) {
        self.finish(within);
        self.shared.progress.stop();
        let followers = std::mem::take(
            &mut *self
                .followers
                .lock()
                .expect("no holder of this lock panics"),
        );
        for thread in followers {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine had panicked");
            }
        }
        self.close_log();
        self.key_rewriter.stop();
        reached("checkpoint-unsigned");
        indexer::sign(&self.shared);
        reached("views-unflushed");
        if let Err(error) = self.shared.views.flush() {
            tracing::warn!(%error, "the views are not durable; the next start brings them up to date");
        }
        reached("views-flushed");
    }

    fn close_log(&self) {
        let mut writer = self.writer.lock().expect("no holder of this lock panics");
        if let Writing::Stopped(log) = &mut *writer
            && let Some(log) = log.take()
            && let Err(error) = log.close()
        {
            tracing::error!(%error, "the log did not close cleanly; it is repaired at the next start");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.drain(Duration::ZERO);
    }
}
