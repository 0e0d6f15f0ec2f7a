//! Notes against the specification's examples and the crates `signed_note` and `tlog_tiles`.

use super::*;

const PETER_VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_SEED: &str = "gQoUAtUUbI2E8kQzMPVAgOv5juF9nHT2JS/F1ccoMXM=";
const PETER_TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                          then you don't know what your problem is.\n";
const PETER_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\
    \n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH_LINE: &str = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
const ENOCH_VKEY: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";

fn signer() -> NoteSigner {
    NoteSigner::new(&[7; 32], &[0xab; 16])
}

fn peter() -> NoteSigner {
    let seed = BASE64.decode(PETER_SEED.as_bytes()).unwrap();
    NoteSigner::named(&seed.try_into().unwrap(), "PeterNeumann".into())
}

#[test]
fn the_known_note_of_the_go_checksum_database_is_signed_and_opened() {
    assert_eq!(peter().sign_text(PETER_TEXT), PETER_NOTE);
    assert_eq!(peter().public().vkey(), PETER_VKEY);
    let key = NoteKey::parse(PETER_VKEY).unwrap();
    assert_eq!(key.open(PETER_NOTE), Ok(PETER_TEXT));
    assert_eq!(key, *peter().public());
}

#[test]
fn a_witness_beside_us_changes_nothing_and_is_no_signature_of_ours() {
    let both = [PETER_NOTE, ENOCH_LINE].concat();
    let (peter, enoch) = (NoteKey::parse(PETER_VKEY), NoteKey::parse(ENOCH_VKEY));
    assert_eq!(peter.clone().unwrap().open(&both), Ok(PETER_TEXT));
    assert_eq!(enoch.clone().unwrap().open(&both), Ok(PETER_TEXT));
    assert_eq!(enoch.unwrap().open(PETER_NOTE), Err(NoteError::OtherKey));
    // The same name with another id is another key.
    let renamed = both.replace("EnochRoot", "PeterNeumann");
    assert_eq!(peter.unwrap().open(&renamed), Ok(PETER_TEXT));
}

#[test]
fn a_checkpoint_has_the_form_of_the_specification() {
    let note = signer().sign(20_852_163, &[1; 32]);
    let (text, line) = note.split_once("\n\n").unwrap();
    assert_eq!(
        text,
        "countersign.example/abababababababababababababababab\n20852163\n\
         AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
    );
    assert!(line.starts_with("— countersign.example/abababababababababababababababab "));
    let checkpoint = signer().public().open_checkpoint(&note).unwrap();
    assert_eq!((checkpoint.size, checkpoint.root), (20_852_163, [1; 32]));
}

#[test]
fn the_crates_signed_note_and_tlog_tiles_accept_what_is_signed() {
    use signed_note::{Note, StandardVerifier, VerifierList};
    for size in [1, 2, 1_000_000, u64::MAX] {
        let root: [u8; 32] = Sha256::digest(size.to_le_bytes()).into();
        let text = signer().sign(size, &root);
        let verifier = StandardVerifier::new(&signer().public().vkey()).unwrap();
        let note = Note::from_bytes(text.as_bytes()).unwrap();
        let known = VerifierList::new(vec![Box::new(verifier)]);
        assert_eq!(note.verify(&known).unwrap().0.len(), 1);
        let theirs = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
        assert_eq!(theirs.origin(), origin(&[0xab; 16]));
        assert_eq!((theirs.size(), theirs.hash().0), (size, root));
    }
}

#[test]
fn no_changed_bit_of_a_note_is_believed() {
    let note = signer().sign(41, &[9; 32]);
    let key = signer();
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            // What is no longer UTF-8 never gets as far as a note.
            if let Ok(bad) = String::from_utf8(bytes) {
                key.public().open_checkpoint(&bad).unwrap_err();
            }
        }
    }
}

#[test]
fn cut_and_lengthened_notes_are_refused() {
    let (note, key) = (signer().sign(41, &[9; 32]), signer());
    for cut in (0..note.len()).filter(|&cut| note.is_char_boundary(cut)) {
        key.public().open_checkpoint(&note[..cut]).unwrap_err();
    }
    for tail in ["\n", " ", "x\n", "\n\n", "\0\n", "— name\n", "— a b\n"] {
        let longer = format!("{note}{tail}");
        key.public().open_checkpoint(&longer).unwrap_err();
    }
    let long = format!("{}{note}", "x".repeat(NOTE_BYTES_MAX));
    assert_eq!(key.public().open(&long), Err(NoteError::TooLong));
}

#[test]
fn a_second_signature_by_our_key_must_be_right_too() {
    let (note, key) = (signer().sign(41, &[9; 32]), signer());
    let other = signer().sign(42, &[9; 32]);
    let line = other.split_once("\n\n").unwrap().1;
    let both = format!("{note}{line}");
    assert_eq!(key.public().open(&both), Err(NoteError::WrongSignature));
}

#[test]
fn a_checkpoint_of_another_log_or_key_is_refused() {
    let note = signer().sign(41, &[9; 32]);
    let other_log = NoteSigner::new(&[7; 32], &[0xac; 16]);
    let other_key = NoteSigner::new(&[8; 32], &[0xab; 16]);
    for other in [other_log, other_key] {
        assert_eq!(other.public().open(&note), Err(NoteError::OtherKey));
    }
    // Our key under another name signs for that name only.
    let foreign = NoteSigner::named(&[7; 32], "other".into());
    let text = Checkpoint::parse(signer().public().open(&note).unwrap()).unwrap();
    let signed = foreign.sign_text(&text.text());
    let refused = foreign.public().open_checkpoint(&signed);
    assert!(matches!(refused, Err(NoteError::Checkpoint(_))));
}

#[test]
fn a_checkpoint_has_one_spelling() {
    let root = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    assert!(Checkpoint::parse(&format!("o\n5\n{root}\n")).is_ok());
    for bad in [
        format!("\n5\n{root}\n"),
        format!("o\n05\n{root}\n"),
        format!("o\n+5\n{root}\n"),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("o\n5\n{root}"),
        format!("o\n5\n{root}\n\n"),
        format!("o\n5\n{root}\nextension\n"),
        format!("o\n5\n{}\n", root.trim_end_matches('=')),
        format!("o\n5\n{}\n", root.replace("QE=", "QF=")),
        format!("o\n5\n{}\n", &root[4..]),
        format!("o\n5\n{root}\r\n"),
        "o\n5\n".into(),
        String::new(),
    ] {
        let refused = Checkpoint::parse(&bad);
        assert!(matches!(refused, Err(NoteError::Checkpoint(_))), "{bad:?}");
    }
}

#[test]
fn a_verifier_key_has_one_spelling_and_is_a_safe_key() {
    let vkey = signer().public().vkey();
    assert_eq!(NoteKey::parse(&vkey), Ok(signer().public().clone()));
    let (name, rest) = vkey.split_once('+').unwrap();
    let (id, key) = rest.split_once('+').unwrap();
    // The neutral point: a signature by it fits many texts.
    let weak = VerifyingKey::from_bytes(&std::array::from_fn(|at| u8::from(at == 0))).unwrap();
    let weak_id = HEXLOWER.encode(&key_id(name, &weak));
    let weak = BASE64.encode(&[&[1][..], weak.as_bytes()].concat());
    let mut other_type = BASE64.decode(key.as_bytes()).unwrap();
    other_type[0] = 2;
    let other_type = BASE64.encode(&other_type);
    for bad in [
        String::new(),
        format!("{name}+{id}"),
        format!("+{id}+{key}"),
        format!("a b+{id}+{key}"),
        format!("{name}x+{id}+{key}"),
        format!("{name}+{}+{key}", id.to_uppercase()),
        format!("{name}+0{id}+{key}"),
        format!("{name}+{id}+{key}="),
        format!("{name}+{id}+{key}\n"),
        format!("{name}+{id}+{}", &key[..key.len() - 4]),
        format!("{name}+{id}+{other_type}"),
        format!("{name}+{weak_id}+{weak}"),
    ] {
        let refused = NoteKey::parse(&bad);
        assert!(matches!(refused, Err(NoteError::Vkey(_))), "{bad:?}");
    }
    let long = format!("{}{vkey}", "x".repeat(VKEY_BYTES_MAX));
    assert_eq!(NoteKey::parse(&long), Err(NoteError::TooLong));
}

#[test]
fn a_name_is_one_word_without_a_plus() {
    assert!(is_name("countersign.example/ab"));
    for other in ["", "a b", "a\u{a0}b", "a\u{7f}b", "a+b"] {
        assert!(!is_name(other), "{other:?}");
    }
}

#[test]
fn what_is_as_long_as_the_bound_is_read() {
    let note = signer().sign(41, &[9; 32]);
    let fill = "x".repeat(NOTE_BYTES_MAX - note.len());
    let longest = format!("{fill}{note}");
    let refused = signer().public().open(&longest);
    assert_eq!(refused, Err(NoteError::WrongSignature));
    let name = "x".repeat(VKEY_BYTES_MAX);
    let vkey = signer().public().renamed(&name).vkey();
    let name = &name[..VKEY_BYTES_MAX - (vkey.len() - VKEY_BYTES_MAX)];
    let longest = signer().public().renamed(name);
    assert_eq!(longest.vkey().len(), VKEY_BYTES_MAX);
    assert_eq!(NoteKey::parse(&longest.vkey()), Ok(longest));
}

#[test]
fn debug_shows_no_private_key() {
    let shown = format!("{:?}", signer());
    assert!(shown.contains(&signer().public().vkey()));
    assert!(!shown.contains("[7, 7"));
    assert!(!shown.contains(&HEXLOWER.encode(&[7; 4])));
}

#[test]
fn a_key_is_known_under_the_names_of_other_epochs() {
    let other = NoteSigner::new(&[7; 32], &[0xcd; 16]);
    let note = other.sign(41, &[9; 32]);
    let ours = signer().public().clone();
    assert_eq!(ours.open(&note), Err(NoteError::OtherKey));
    let renamed = ours.renamed(other.public().name());
    assert_eq!(&renamed, other.public());
    assert_eq!(renamed.open_checkpoint(&note).unwrap().size, 41);
}
