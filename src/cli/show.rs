//! Output for people; with `--json` the reply document itself.

use std::io::{self, IsTerminal, Write, stdout};

use countersign_schemas::time::Micros;
use fast_qr::{ECL, QRBuilder};
use serde_json::Value;

use super::client::{Answer, ClientArgs};
use super::fault::Fault;

/// Light modules around a QR code (ISO/IEC 18004, 9.1).
const QUIET: usize = 4;

/// Colours that no theme changes (ECMA-48, 8.3.117).
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const PLAIN: &str = "\x1b[0m";

/// Prints a reply: the document with `--json`, else the text that `human` makes of it.
///
/// # Errors
/// As [`written`].
pub fn answer(
    args: &ClientArgs,
    answer: &Answer,
    human: impl FnOnce(&Value) -> String,
) -> Result<(), Fault> {
    let text = if args.json {
        serde_json::to_string_pretty(&answer.body).map_err(Fault::failed)?
    } else {
        human(&answer.body)
    };
    if answer.replayed && !args.json {
        eprintln!("(the stored outcome of an earlier identical command)");
    }
    line(&text)
}

/// Prints a text and a line break.
///
/// # Errors
/// As [`written`].
pub fn line(text: &str) -> Result<(), Fault> {
    written(writeln!(stdout(), "{}", text.trim_end_matches('\n')))
}

/// Turns the result of writing to standard output into a fault.
///
/// # Errors
/// [`Fault::Unread`] if no program reads it any more, else [`Fault::Failed`].
pub fn written(result: io::Result<()>) -> Result<(), Fault> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Fault::Unread,
        _ => Fault::failed(error),
    })
}

/// A text from a caller on one line, without characters that break a table or make a terminal show
/// another text: control characters, and characters that change the direction of writing.
pub fn one_line(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| {
        if c.is_control() || turns(c) || matches!(c, '\u{2028}' | '\u{2029}') {
            ' '
        } else {
            c
        }
    };
    text.chars().map(shown).collect()
}

/// A field of a reply as text; empty when absent.
pub fn field<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A QR code in block characters with its quiet zone, dark on light in every colour scheme.
///
/// # Errors
/// [`Fault::Failed`] when the text is too long for a QR code.
pub fn qr(text: &str) -> Result<String, Fault> {
    let code = QRBuilder::new(text)
        .ecl(ECL::M)
        .build()
        .map_err(Fault::failed)?;
    let side = code.size + 2 * QUIET;
    let is_dark = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < code.size);
        matches!((inside(x), inside(y)), (Some(x), Some(y)) if code[y][x].value())
    };
    let (begin, end) = if stdout().is_terminal() {
        (BLACK_ON_WHITE, PLAIN)
    } else {
        ("", "")
    };
    let lines = (0..side).step_by(2).map(|y| {
        let blocks = (0..side).map(|x| match (is_dark(x, y), is_dark(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        });
        format!("{begin}{}{end}", blocks.collect::<String>())
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// A page of events as a table: position, time, account, sentence and caller.
pub fn events(page: &Value) -> String {
    let none = Vec::new();
    let events = page
        .get("events")
        .and_then(Value::as_array)
        .unwrap_or(&none);
    let mut accounts: Vec<_> = events
        .iter()
        .map(|event| field(event, "account_id"))
        .collect();
    accounts.dedup();
    let mut text = String::new();
    for event in events {
        let position = event
            .get("position")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let caller = event
            .get("caller")
            .map(|caller| field(caller, "name"))
            .unwrap_or_default();
        text.push_str(&format!(
            "{position:>6}  {}  ",
            local_time(field(event, "at"))
        ));
        if accounts.len() > 1 {
            text.push_str(&format!("{:<36}  ", field(event, "account_id")));
        }
        text.push_str(&format!("{}  [{caller}]\n", field(event, "text")));
    }
    match page.get("next").and_then(Value::as_u64) {
        Some(next) => text.push_str(&format!("more: --after {next}\n")),
        None if events.is_empty() => text.push_str("no events\n"),
        None => {}
    }
    text
}

/// The rows of a table; every column but the last is as wide as its widest cell.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max();
    let widths: Vec<_> = (0..N).map(|at| width(at).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The age of a time of the log, in its two largest units.
pub fn age(text: &str, now: Micros) -> String {
    let Ok(at) = Micros::parse(text) else {
        return text.to_owned();
    };
    let minutes = now.0.saturating_sub(at.0) / (60 * Micros::SECOND);
    let (days, hours) = (minutes / 1_440, minutes / 60 % 24);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {} min", minutes % 60),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

/// A time of the log in this machine's zone, to the second.
pub fn local_time(text: &str) -> String {
    Micros::parse(text)
        .ok()
        .and_then(|at| jiff::Timestamp::from_microsecond(at.0.cast_signed()).ok())
        .map(|at| at.to_zoned_datetime(jiff::tz::TimeZone::system()))
        .map_or_else(
            || text.to_owned(),
            |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_text_cannot_control_the_terminal() {
        let written = "lost\u{1b}[2J\r\nphone\u{9b}31m \u{202e}evil\u{2069}\u{2028}Zoë ä";
        assert_eq!(one_line(written), "lost [2J  phone 31m  evil  Zoë ä");
    }

    #[test]
    fn a_qr_code_in_block_characters_decodes_to_its_text() {
        let text = "otpauth://totp/Countersign:ada?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let lines: Vec<Vec<char>> = qr(text)
            .unwrap()
            .lines()
            .map(|line| line.chars().collect())
            .collect();
        let (side, scale) = (lines[0].len(), 4);
        let is_dark = |x: usize, y: usize| match lines[y / 2][x] {
            '█' => true,
            '▀' => y.is_multiple_of(2),
            '▄' => !y.is_multiple_of(2),
            _ => false,
        };
        let mut picture =
            rqrr::PreparedImage::prepare_from_bitmap(side * scale, side * scale, |x, y| {
                is_dark(x / scale, y / scale)
            });
        assert_eq!(picture.detect_grids()[0].decode().unwrap().1, text);
        let quiet = (0..side).all(|at| (0..4).all(|edge| !is_dark(at, edge) && !is_dark(edge, at)));
        assert!(quiet, "four modules of light (ISO/IEC 18004)");
    }

    #[test]
    fn an_age_has_its_two_largest_units() {
        let now = Micros(1_800_000_000_000_000);
        let ago = |seconds| age(&now.minus_s(seconds).to_string(), now);
        let ages = [59, 60, 3_599, 3_600, 86_399, 86_400, 7 * 86_400 + 7_200].map(ago);
        let expected = [
            "0 min",
            "1 min",
            "59 min",
            "1 h 0 min",
            "23 h 59 min",
            "1 d 0 h",
            "7 d 2 h",
        ];
        assert_eq!(ages, expected);
        assert_eq!(age("soon", now), "soon");
    }
}
