//! The history of checkpoints: one line for each note, its thinning, and writes that survive a
//! crash.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use crate::durable;

/// The number of lines at which the history is thinned.
pub(super) const HISTORY_LINES_MAX: usize = 1_024;

/// Thins the lines of a history; the last line of each epoch stays.
pub(super) fn thinned(lines: Vec<String>) -> Vec<String> {
    if lines.len() < HISTORY_LINES_MAX {
        return lines;
    }
    let origin = |line: &str| line.split(' ').next().map(str::to_owned);
    every_second(lines, |line, next| origin(line) != origin(next))
}

/// Drops every second entry, except the last one and those that `stays` keeps, judged by the entry
/// and the next one.
pub(super) fn every_second<T>(entries: Vec<T>, stays: impl Fn(&T, &T) -> bool) -> Vec<T> {
    let next = |at: usize| entries.get(at + 1);
    let kept: Vec<bool> = (0..entries.len())
        .map(|at| at % 2 == 0 || next(at).is_none_or(|next| stays(&entries[at], next)))
        .collect();
    let kept = entries.into_iter().zip(kept).filter(|(_, kept)| *kept);
    kept.map(|(entry, _)| entry).collect()
}

/// Writes a note in one line: origin, size, root, signature.
pub(super) fn line_of(note: &str) -> String {
    let (text, signature) = note.split_once("\n\n").unwrap_or((note, ""));
    let signature = signature.trim_end().rsplit(' ').next().unwrap_or_default();
    format!("{} {signature}", text.replace('\n', " "))
}

/// Writes a line back as the note that it came from; any other line gives no valid note.
pub(super) fn note_of(line: &str) -> String {
    let mut parts = line.splitn(4, ' ');
    let mut part = || parts.next().unwrap_or_default();
    let (origin, size, root, signature) = (part(), part(), part(), part());
    format!("{origin}\n{size}\n{root}\n\n\u{2014} {origin} {signature}\n")
}

/// Appends a line durably; a crash leaves at most a part of it.
pub(super) fn append(path: &Path, line: &str) -> io::Result<()> {
    if !path.exists() {
        return durable::replace(path, line.as_bytes());
    }
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_thinned_but_keeps_both_ends() {
        let lines: Vec<_> = (0..3_000).map(|n| format!("a {n} r s")).collect();
        let mut kept = Vec::new();
        for line in &lines {
            kept.push(line.clone());
            if kept.len() > HISTORY_LINES_MAX {
                kept = thinned(kept);
            }
            assert!(kept.len() <= HISTORY_LINES_MAX);
            assert_eq!(kept.last(), Some(line));
        }
        assert_eq!(kept[0], lines[0]);
        assert!(kept.len() > HISTORY_LINES_MAX / 2 - 1);
        let few = lines[..10].to_vec();
        assert_eq!(thinned(few.clone()), few, "a torn history loses nothing");
        let full = lines[..HISTORY_LINES_MAX].to_vec();
        assert_eq!(thinned(full).len(), HISTORY_LINES_MAX / 2 + 1);
    }

    #[test]
    fn thinning_keeps_the_last_line_of_each_epoch() {
        let lines = |name: &str, count: u32| -> Vec<_> {
            (0..count).map(|n| format!("{name} {n} r s")).collect()
        };
        let kept = thinned([lines("a", 600), lines("b", 600)].concat());
        assert!(kept.contains(&"a 599 r s".to_owned()));
        assert!(kept.contains(&"b 599 r s".to_owned()));
        assert_eq!(kept.len(), 602);
    }
}
