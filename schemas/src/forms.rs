//! The stored forms that this build reads and writes, as `schemas.lock` pins them.

use crate::event::log::v1::Form;

/// The lock file is compiled into the build; a test compares it with the types.
const LOCK: &str = include_str!("../schemas.lock");

/// Returns every stored form of this build, in the order of their numbers.
///
/// A fingerprint is the first 16 bytes of SHA-256 over the shape: names, widths, order and
/// variants.
pub fn stored_forms() -> Vec<Form> {
    let form =
        |line| form(line).expect("a line of schemas.lock is held against the types by a test");
    LOCK.lines().map(form).collect()
}

/// Reads one line: `<type> <version> <name> <fingerprint> <shape>`.
fn form(line: &str) -> Option<Form> {
    let mut words = line.split(' ').skip(1);
    let version = words.next()?.parse().ok()?;
    let name = words.next()?.to_owned();
    let digits = words.next()?.as_bytes();
    let bytes = data_encoding::HEXLOWER.decode(digits).ok()?;
    Some(Form {
        name,
        version,
        fingerprint: bytes.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[test]
    fn every_event_and_the_blocks_of_a_record_are_among_the_forms() {
        let forms = stored_forms();
        let has = |name: &str, version| {
            let found = forms
                .iter()
                .filter(|f| f.name == name && f.version == version);
            found.count() == 1
        };
        for (_, version, name) in Event::ALL.iter().chain(Event::EARLIER) {
            assert!(has(name, *version), "{name} v{version}");
        }
        let blocks = [("record-meta", 1), ("record-meta", 2), ("record-source", 1)];
        assert!(blocks.iter().all(|(name, version)| has(name, *version)));
        let events = Event::ALL.len() + Event::EARLIER.len();
        assert_eq!(forms.len(), events + blocks.len());
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = "18 1 password-rejected c115faba21d83643e3735e6f04e7c94e {purpose: Purpose}";
        let form = form(line).expect("a whole line");
        assert_eq!((form.name.as_str(), form.version), ("password-rejected", 1));
        assert_eq!(form.fingerprint[..3], [0xc1, 0x15, 0xfa]);
    }
}
