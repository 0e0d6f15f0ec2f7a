//! `schemas.lock`: the shape of every stored form, one line each; lines are added, never changed.

use std::fs;

use sha2::{Digest, Sha256};

use crate::files::{adding, crate_folder};
use crate::registered::{Registered, stored_forms};

const CURE: &str = "a stored payload is frozen: restore it, and make the change as a new version \
                    (vN+1, a line in the list of events, a From of the old one)";

/// `<type> <version> <name> <fingerprint> <shape>`; the fingerprint is the first 16 bytes of
/// SHA-256 of the shape.
fn line(form: &Registered) -> String {
    let digest = Sha256::digest(form.shape.as_bytes());
    let fingerprint = data_encoding::HEXLOWER.encode(&digest[..16]);
    let Registered {
        event_type,
        version,
        name,
        shape,
    } = form;
    format!("{event_type} {version} {name} {fingerprint} {shape}")
}

/// The words before the fingerprint, which name the form of a line.
fn identity(line: &str) -> Vec<&str> {
    line.split(' ').take(3).collect()
}

/// Compares the lines that stand in the file with those of this build. Returns the lines to add.
fn compare<'a>(held: &[&str], made: &'a [String]) -> Result<Vec<&'a String>, String> {
    for held in held {
        let same = made.iter().find(|made| identity(made) == identity(held));
        match same {
            None => return Err(format!("a form has disappeared; {CURE}\n held: {held}")),
            Some(made) if made != held => {
                return Err(format!(
                    "a form has changed; {CURE}\n held: {held}\n made: {made}"
                ));
            }
            Some(_) => {}
        }
    }
    let missing = |made: &&String| !held.contains(&made.as_str());
    Ok(made.iter().filter(missing).collect())
}

#[test]
fn every_stored_form_has_its_pinned_shape() {
    let file = crate_folder().join("schemas.lock");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let held: Vec<&str> = text.lines().collect();
    let made: Vec<String> = stored_forms().iter().map(line).collect();
    let missing = compare(&held, &made).unwrap_or_else(|finding| panic!("schemas.lock: {finding}"));
    if missing.is_empty() {
        return;
    }
    assert!(
        adding(),
        "schemas.lock: new forms need a line: UPDATE_GOLDEN=1 cargo test -p countersign-schemas \
         --test golden\n{missing:#?}"
    );
    fs::write(file, made.join("\n") + "\n").unwrap();
}

#[test]
fn a_changed_or_vanished_line_is_a_finding_and_a_new_one_is_an_addition() {
    let made = ["1 1 a f00 {x: u8}".into(), "2 1 b f01 {y: u8}".into()];
    assert_eq!(compare(&["1 1 a f00 {x: u8}"], &made), Ok(vec![&made[1]]));
    let changed = compare(&["1 1 a f02 {x: u16}"], &made).unwrap_err();
    assert!(changed.contains("has changed"), "{changed}");
    let vanished = compare(&["3 1 c f03 {z: u8}"], &made).unwrap_err();
    assert!(vanished.contains("has disappeared"), "{vanished}");
}

#[test]
fn names_order_widths_and_variants_are_part_of_a_shape() {
    let forms = stored_forms();
    let shape = |name| &forms.iter().find(|form| form.name == name).unwrap().shape;
    assert_eq!(
        shape("totp-accepted"),
        "{step: u64, drift: i8, enrolment: u32, double_code: bool, purpose: Purpose, \
         first_factor: FirstFactor, challenge: option<[u8; 16]>}; FirstFactor = Password(u32) | \
         Vouched; Purpose = Login | ChangePassword | Enable | Regenerate | Disable"
    );
    assert_eq!(
        shape("account-registered"),
        "{username: option<{key: u32, nonce: [u8; 12], ciphertext: list<u8>}>}"
    );
}
