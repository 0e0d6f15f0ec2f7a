//! A client that writes the protocol by hand, since async-nats sends no malformed header block.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::patience::PATIENCE;

/// What came back: the header block as it was sent, and the body.
pub struct Reply {
    pub block: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The word of a refusal; empty where it is none.
    pub fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let is_refused = self.block.contains("Countersign-Error");
        let code = problem["code"].as_str().filter(|_| is_refused);
        code.unwrap_or_default().to_owned()
    }
}

/// One connection; its reply subject is `_INBOX.<user>.raw`.
pub struct Raw {
    stream: BufReader<TcpStream>,
    pub inbox: String,
    pub greeting: Value,
}

impl Raw {
    pub fn connect(port: u16, user: &str) -> Self {
        let mut raw = Self::greeted(port, user);
        let connect = json!({"user": user, "pass": "secret"});
        raw.introduce(connect);
        while raw.line() != "PONG" {}
        raw
    }

    /// A connection that has not said who it is.
    pub fn greeted(port: u16, user: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Self {
            stream: BufReader::new(stream),
            inbox: format!("_INBOX.{user}.raw"),
            greeting: Value::Null,
        };
        let greeting = raw.line();
        let greeting = greeting.strip_prefix("INFO ").unwrap();
        raw.greeting = serde_json::from_str(greeting).unwrap();
        raw
    }

    /// Says who it is, listens on its inbox, and asks for a sign of life.
    pub fn introduce(&mut self, mut connect: Value) {
        connect["headers"] = true.into();
        connect["no_responders"] = true.into();
        connect["verbose"] = false.into();
        connect["pedantic"] = false.into();
        let text = format!("CONNECT {connect}\r\nSUB {} 1\r\nPING\r\n", self.inbox);
        self.write(text.as_bytes());
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).unwrap();
    }

    /// Sends a block and a body, with the length that the block is said to have.
    pub fn send(&mut self, subject: &str, block: &[u8], said: usize, body: &[u8]) {
        let message = message(subject, &self.inbox, block, said, body);
        self.write(&message);
    }

    /// Sends a request and waits for its reply.
    pub fn ask(&mut self, subject: &str, block: &[u8], body: &[u8]) -> Reply {
        self.send(subject, block, block.len(), body);
        self.reply()
    }

    /// The next message; the words of an error of the broker where that comes first.
    pub fn reply(&mut self) -> Reply {
        loop {
            let line = self.line();
            let sizes: Vec<usize> = line
                .split(' ')
                .rev()
                .map_while(|word| word.parse().ok())
                .collect();
            let (headers, whole) = match line.split(' ').next() {
                Some("HMSG") => (sizes[1], sizes[0]),
                Some("MSG") => (0, sizes[0]),
                Some("-ERR") => {
                    let body = line.into_bytes();
                    let block = "-ERR".into();
                    return Reply { block, body };
                }
                Some("PING") => {
                    self.write(b"PONG\r\n");
                    continue;
                }
                _ => continue,
            };
            let mut bytes = vec![0; whole + 2];
            self.stream.read_exact(&mut bytes).unwrap();
            let body = bytes[headers..whole].to_vec();
            let block = String::from_utf8_lossy(&bytes[..headers]).into_owned();
            return Reply { block, body };
        }
    }

    /// A round trip: everything that was sent before has been read by the broker.
    pub fn flush(&mut self) {
        self.write(b"PING\r\n");
        while self.line() != "PONG" {}
    }

    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        assert!(!line.is_empty(), "the broker hung up");
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }
}

/// The bytes of one message.
pub fn message(subject: &str, inbox: &str, block: &[u8], said: usize, body: &[u8]) -> Vec<u8> {
    let whole = block.len() + body.len();
    let mut bytes = format!("HPUB {subject} {inbox} {said} {whole}\r\n").into_bytes();
    bytes.extend_from_slice(block);
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(b"\r\n");
    bytes
}
