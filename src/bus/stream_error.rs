//! Why events are not published.

use crate::engine::StartError;

/// The reasons why events are not published.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// JetStream does not answer; waiting may help.
    #[error(
        "JetStream does not answer ({0}); commands continue, and the events are published later"
    )]
    Away(String),
    /// The stream's settings are not those that publication needs.
    #[error(
        "the stream {stream} does not have the settings that publication needs ({drift}): restore them with `nats stream edit {stream}`"
    )]
    Drifted {
        /// The stream's name.
        stream: String,
        /// The settings that differ.
        drift: String,
    },
    /// The stream belongs to another log.
    #[error(
        "the stream {stream} does not belong to this log ({found}), so nothing is published: give each installation a NATS account of its own, or delete that stream"
    )]
    Foreign {
        /// The stream's name.
        stream: String,
        /// What was found in it.
        found: String,
    },
    /// The broker refuses a request.
    #[error(
        "the NATS server refuses {what} ({reason}): check the limits and streams of the service's account"
    )]
    Refused {
        /// What the broker was asked to do.
        what: String,
        /// The broker's sentence.
        reason: String,
    },
    /// The stream did not take what was sent; its end is read again.
    #[error(
        "the stream did not store a batch as it was sent ({0}); the stream's end is read again"
    )]
    NotTaken(String),
    /// The log cannot be read.
    #[error("the events to publish cannot be read: {0}")]
    Log(String),
    /// The stream has an event that the log does not have.
    #[error(transparent)]
    KnowsMore(#[from] Box<StartError>),
}

impl StreamError {
    /// Returns whether a starting service fails with this error instead of serving. Another log's
    /// stream only halts publication: it proves nothing about this log.
    pub fn refuses_start(&self) -> bool {
        match self {
            Self::Away(_) | Self::NotTaken(_) | Self::Log(_) | Self::Foreign { .. } => false,
            Self::Drifted { .. } | Self::Refused { .. } | Self::KnowsMore(_) => true,
        }
    }
}
