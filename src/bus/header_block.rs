//! The parser of header blocks. It is strict on purpose: the broker's statement about the caller is
//! in the same block as lines that the caller wrote.
//!
//! ```text
//!  NATS/1.0[ SP 3DIGIT [SP description]] CRLF     a status is the server's alone
//!  *( name ":" value CRLF )                       name: printable ASCII without ":", not empty
//!  CRLF                                           exactly here the block ends
//! ```
//!
//! nats-server treats the last two bytes of a publisher's block as its closing CRLF, whatever they
//! are, and writes its own line after the rest; it finds a forged copy only after a CRLF. So
//! nothing else may end a line, or join one to the previous line. A value that the service or the
//! broker acts on is UTF-8 without control characters. RFC 9110 allows the tab there, but nothing
//! in this contract needs it. Every other value only informs and is never a reason to refuse: a tab
//! in it is read as a blank, and bytes that are not text as [`UNREADABLE`].

use async_nats::{HeaderBlock, HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The largest header block of a request, in bytes.
pub const HEADER_BYTES_MAX: usize = 16_384;
/// The most header lines of a block.
const LINES_MAX: usize = 64;

/// Replaces bytes that are not text, in a value that only informs.
pub const UNREADABLE: char = char::REPLACEMENT_CHARACTER;

/// The prefixes, in any letter case, of the names with values that the service or the broker acts
/// on.
const ACTED_ON: [&str; 2] = ["countersign", "nats"];

const VERSION: &[u8] = b"NATS/1.0";
const CRLF: &[u8] = b"\r\n";

/// Parses a block from its first byte to its last; `None` if it is malformed.
pub fn parse(block: &[u8]) -> Option<HeaderBlock> {
    let mut lines = Lines(block);
    let (status, description) = first_line(lines.next()?.strip_prefix(VERSION)?)?;
    let mut headers = HeaderMap::new();
    for _ in 0..=LINES_MAX {
        let line = lines.next()?;
        if line.is_empty() {
            let at_end = lines.0.is_empty();
            return at_end.then_some(HeaderBlock {
                headers,
                status,
                description,
            });
        }
        let (name, value) = header(line)?;
        headers.append(name, value);
    }
    None
}

/// The lines of a block without their CRLF; a line that does not end in CRLF is malformed.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| is_line_break(*byte))?;
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(CRLF)?;
        Some(line)
    }
}

fn is_line_break(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n'
}

/// Returns the status and its description from the text after the version.
fn first_line(rest: &[u8]) -> Option<(Option<StatusCode>, Option<String>)> {
    if rest.is_empty() {
        return Some((None, None));
    }
    let (status, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let status = StatusCode::from_bytes(status).ok()?;
    if rest.is_empty() {
        return Some((Some(status), None));
    }
    let description = text(rest.strip_prefix(b" ")?)?;
    Some((Some(status), Some(description.to_owned())))
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    let value = if is_acted_on(name) {
        text(value)?.into()
    } else {
        informing(value)
    };
    Some((name.parse().ok()?, value.parse().ok()?))
}

fn is_acted_on(name: &str) -> bool {
    let begins = |with: &str| {
        let start = name.get(..with.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(with))
    };
    ACTED_ON.into_iter().any(begins)
}

/// Returns the readable text of a value that only informs.
fn informing(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let readable = |character: char| match character {
        '\t' => ' ',
        _ if character.is_control() => UNREADABLE,
        _ => character,
    };
    let text: String = text.chars().map(readable).collect();
    text.trim_matches(' ').to_owned()
}

/// Returns text without control characters, without the spaces around it.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(block: &[u8], name: &str) -> Vec<String> {
        let headers = parse(block).unwrap().headers;
        let values = headers.get_all(name).map(|value| value.as_str().to_owned());
        values.collect()
    }

    #[test]
    fn a_block_of_whole_lines_is_read() {
        assert_eq!(parse(b"NATS/1.0\r\n\r\n"), Some(HeaderBlock::default()));
        let block = "NATS/1.0\r\nA: 1\r\nA:2\r\nEmpty:\r\nOn-Behalf: Zo\u{eb}  \r\na:b: c\r\n\r\n";
        let block = block.as_bytes();
        assert_eq!(values(block, "A"), ["1", "2"]);
        assert_eq!(values(block, "Empty"), [""]);
        assert_eq!(values(block, "On-Behalf"), ["Zo\u{eb}"]);
        assert_eq!(values(block, "a"), ["b: c"]);
    }

    #[test]
    fn a_status_of_the_server_is_read() {
        for (line, status, description) in [
            ("NATS/1.0 503", 503, None),
            (
                "NATS/1.0 404 Message Not Found",
                404,
                Some("Message Not Found"),
            ),
            ("NATS/1.0 204 EOB", 204, Some("EOB")),
        ] {
            let block = format!("{line}\r\nNats-Subject: a\r\n\r\n");
            let read = parse(block.as_bytes()).unwrap();
            assert_eq!(read.status.unwrap().as_u16(), status);
            assert_eq!(read.description.as_deref(), description);
            assert_eq!(values(block.as_bytes(), "Nats-Subject"), ["a"]);
        }
        for line in [
            "NATS/1.0 ",
            "NATS/1.0 5",
            "NATS/1.0 503x",
            "NATS/1.0x",
            "NATS/1.1",
            "nats/1.0",
        ] {
            assert_eq!(parse(format!("{line}\r\n\r\n").as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn whatever_could_end_or_join_a_line_otherwise_is_malformed() {
        for rest in [
            "",
            "A: 1",
            "A: 1\r\n",
            "A: 1\n\r\n",
            "A: 1\r\r\n\r\n",
            "A: 1\nB: 2\r\n\r\n",
            "A: 1\rB: 2\r\n\r\n",
            "A: 1\r\n B: 2\r\n\r\n",
            "A: 1\r\n\tB: 2\r\n\r\n",
            "A : 1\r\n\r\n",
            "A\t: 1\r\n\r\n",
            " A: 1\r\n\r\n",
            ": 1\r\n\r\n",
            "A B: 1\r\n\r\n",
            "A\u{e9}: 1\r\n\r\n",
            "no colon\r\n\r\n",
            "Nats-A: \0\r\n\r\n",
            "nats-msg-id: a\tb\r\n\r\n",
            "NATS-Request-Info: \u{7f}\r\n\r\n",
            "countersign-A: \u{85}\r\n\r\n",
            "A: 1\r\n\r\n\r\n",
            "A: 1\r\n\r\nB: 2\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(
                parse(format!("NATS/1.0\r\n{rest}").as_bytes()),
                None,
                "{rest:?}"
            );
        }
        for block in [
            &b""[..],
            b"NATS/1.0",
            b"NATS/1.0\n\n",
            b"\r\n\r\n",
            b"NATS/1.0\r\nCountersign-A: \xff\r\n\r\n",
            b"NATS/1.0\r\ntracestate: a\rb\r\n\r\n",
            b"NATS/1.0\r\ntracestate: a\nb\r\n\r\n",
        ] {
            assert_eq!(parse(block), None, "{block:?}");
        }
    }

    #[test]
    fn a_value_that_only_informs_makes_no_block_malformed() {
        for name in ["tracestate", "TraceParent", "baggage", "User-Agent", "Nat"] {
            for (written, read) in [
                (&b"\ta=1\t,\tb=2\t"[..], "a=1 , b=2"),
                (b"a\0b\x7f", "a\u{fffd}b\u{fffd}"),
                (b"\xc2\x85\x1b[0m", "\u{fffd}\u{fffd}[0m"),
                (b"caf\xe9", "caf\u{fffd}"),
            ] {
                let block = [b"NATS/1.0\r\n", name.as_bytes(), b":", written, b"\r\n\r\n"].concat();
                assert_eq!(values(&block, name), [read], "{name}");
            }
        }
    }

    #[test]
    fn a_block_has_at_most_so_many_lines() {
        let block = |lines: usize| format!("NATS/1.0\r\n{}\r\n", "a:b\r\n".repeat(lines));
        assert_eq!(values(block(LINES_MAX).as_bytes(), "a").len(), LINES_MAX);
        assert_eq!(parse(block(LINES_MAX + 1).as_bytes()), None);
    }

    #[test]
    fn every_part_of_a_block_is_malformed() {
        let block = b"NATS/1.0 404 Not Found\r\nA: 1\r\nNats-Request-Info: {}\r\n\r\n";
        for end in 0..block.len() {
            assert_eq!(parse(&block[..end]), None, "{end}");
        }
        assert!(parse(block).is_some());
    }
}
