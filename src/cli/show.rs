//! Output that people like to read; with `--json` the reply document itself.

use std::io::{IsTerminal, Write, stdout};

use countersign_schemas::time::Micros;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::Value;

use super::client::{Answer, ClientArgs};
use super::fault::Fault;

/// Prints an answer: the document with `--json`, else what `human` makes of it.
///
/// # Errors
/// [`Fault::Failed`] when standard output is gone.
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

/// Prints a text and a line end.
///
/// # Errors
/// [`Fault::Failed`] when standard output is gone.
pub fn line(text: &str) -> Result<(), Fault> {
    writeln!(stdout(), "{}", text.trim_end_matches('\n')).map_err(Fault::failed)
}

/// A field of a reply as text; empty when absent.
pub fn field<'a>(body: &'a Value, name: &str) -> &'a str {
    body.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A QR code in block characters with its quiet zone, dark on light whatever the terminal's colours.
///
/// # Errors
/// [`Fault::Failed`] when the text is too long for a QR code.
pub fn qr(text: &str) -> Result<String, Fault> {
    let code = QrCode::new(text).map_err(Fault::failed)?;
    let (dark, light) = match stdout().is_terminal() {
        true => (Dense1x2::Light, Dense1x2::Dark),
        false => (Dense1x2::Dark, Dense1x2::Light),
    };
    Ok(code
        .render::<Dense1x2>()
        .dark_color(dark)
        .light_color(light)
        .build())
}

/// A page of events as a table: where, when, whose, what, by whom.
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

/// A time of the log in this machine's zone, to the second.
fn local_time(text: &str) -> String {
    Micros::parse(text)
        .ok()
        .and_then(|at| jiff::Timestamp::from_microsecond(at.0.cast_signed()).ok())
        .map(|at| at.to_zoned_datetime(jiff::tz::TimeZone::system()))
        .map_or_else(
            || text.to_owned(),
            |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        )
}
