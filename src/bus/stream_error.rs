//! Why events are not published.

use crate::engine::StartError;

/// Why events are not published.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// JetStream does not answer; waiting may help.
    #[error("JetStream does not answer ({0}); commands go on, and what is due is published later")]
    Away(String),
    /// The stream is not as it must be.
    #[error(
        "the stream {stream} has other settings than publication needs ({drift}): set them back with `nats stream edit {stream}`"
    )]
    Drifted {
        /// Its name.
        stream: String,
        /// The settings.
        drift: String,
    },
    /// The stream is another log's.
    #[error(
        "the stream {stream} is not this log's ({found}), so nothing is published: give each installation a NATS account of its own, or delete that stream"
    )]
    Foreign {
        /// Its name.
        stream: String,
        /// Whose it is.
        found: String,
    },
    /// The broker says no.
    #[error(
        "the NATS server refuses {what} ({reason}): look at the limits and streams of the service's account"
    )]
    Refused {
        /// What it was asked.
        what: String,
        /// Its sentence.
        reason: String,
    },
    /// What was sent is not what the stream took; it is read again.
    #[error("a batch was not taken as it was sent ({0}); the stream's end is read again")]
    NotTaken(String),
    /// The log cannot be read.
    #[error("what is to be published cannot be read: {0}")]
    Log(String),
    /// The stream has an event that the log has not.
    #[error(transparent)]
    KnowsMore(#[from] Box<StartError>),
}

impl StreamError {
    /// Whether a service that starts says so instead of serving. Another log's stream halts only
    /// publication: it says nothing of this log.
    pub fn refuses_start(&self) -> bool {
        match self {
            Self::Away(_) | Self::NotTaken(_) | Self::Log(_) | Self::Foreign { .. } => false,
            Self::Drifted { .. } | Self::Refused { .. } | Self::KnowsMore(_) => true,
        }
    }
}
