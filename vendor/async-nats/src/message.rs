// Copyright 2020-2023 The NATS Authors
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
// http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

//! A Core NATS message.
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::header::HeaderMap;
use crate::status::StatusCode;
use crate::subject::Subject;

/// A Core NATS message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Subject to which message is published to.
    pub subject: Subject,
    /// Optional reply subject to which response can be published by [crate::Subscriber].
    /// Used for request-response pattern with [crate::Client::request].
    pub reply: Option<Subject>,
    /// Payload of the message. Can be any arbitrary data format.
    pub payload: Bytes,
    /// Optional headers.
    pub headers: Option<HeaderMap>,
    /// Optional Status of the message. Used mostly for internal handling.
    pub status: Option<StatusCode>,
    /// Optional [status][crate::Message::status] description.
    pub description: Option<String>,

    pub length: usize,

    /// countersign: why the payload, and mostly the headers too, are missing although there were
    /// some; `None` where the message is as it was sent.
    #[serde(skip)]
    pub fault: Option<Fault>,
    /// countersign: counts the message against what its subscription may hold, until it is dropped.
    #[serde(skip)]
    pub(crate) held: Option<std::sync::Arc<Held>>,
}

/// countersign: why a message arrives without its payload; headers it has only where they parse and
/// the payload alone is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The header block or the subject does not parse.
    Malformed,
    /// It is larger than [`ConnectOptions::inbound_limits`][crate::ConnectOptions::inbound_limits]
    /// lets in.
    TooLarge,
}

/// countersign: bytes that a message takes of what its subscription may hold.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    all: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Held {
    /// Takes as much, where that leaves no more than `max`.
    pub(crate) fn take(
        bytes: usize,
        max: usize,
        all: &std::sync::Arc<std::sync::atomic::AtomicUsize>,
    ) -> Option<std::sync::Arc<Self>> {
        use std::sync::atomic::Ordering;
        // Only the connection adds, so nothing is added between the two.
        if all.load(Ordering::Relaxed).saturating_add(bytes) > max {
            return None;
        }
        all.fetch_add(bytes, Ordering::Relaxed);
        let all = std::sync::Arc::clone(all);
        Some(std::sync::Arc::new(Self { bytes, all }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all
            .fetch_sub(self.bytes, std::sync::atomic::Ordering::Relaxed);
    }
}

/// An outbound message to be published.
/// Does not contain status or description which are valid only for inbound messages.
#[derive(Clone, Debug)]
pub struct OutboundMessage {
    pub subject: Subject,
    pub reply: Option<Subject>,
    pub payload: Bytes,
    pub headers: Option<HeaderMap>,
}
