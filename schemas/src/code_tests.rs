//! Which texts are codes and which are not, and that no code is ever printed.

use proptest::prelude::*;

use super::*;

const RANDOM: [u8; 9] = [0xde, 0xad, 0xbe, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89];

fn backup(text: &str) -> BackupCode {
    match Code::parse(text).unwrap() {
        Code::Backup(code) => code,
        Code::Totp(_) => panic!("read as an app's code"),
    }
}

#[test]
fn six_ascii_digits_are_an_apps_code() {
    assert_eq!(
        Code::parse("081804"),
        Ok(Code::Totp(TotpCode::from_number(81_804)))
    );
    assert_eq!(TotpCode::from_number(1_094_287_082).reveal(), "287082");
    assert_eq!(TotpCode::from_number(u32::MAX).digits(), b"967295");
}

/// C-02, C-03, C-05, C-06: a text that is nearly a code is malformed, whatever its length.
#[test]
fn nearly_a_code_is_malformed() {
    let long = [5, 7, 8, 64, 65, 1_000_000].map(|count| "1".repeat(count));
    let texts = [
        "",
        " ",
        "-",
        "81804",
        "081 804",
        " 081804",
        "081804 ",
        "081-804",
        "081804\t",
        "+81804",
        "-81804",
        "8e4",
        "0x13f",
        "081804\0",
        "081804\n",
        "\u{a0}081804",
        "081804\u{a0}",
        "081\u{a0}804",
        "０８１８０４",
        "٠٨١٨٠٤",
        "08180\u{301}",
        "null",
    ];
    for text in texts.into_iter().chain(long.iter().map(String::as_str)) {
        assert_eq!(Code::parse(text), Err(MalformedCode), "{text:?}");
    }
}

#[test]
fn a_backup_code_is_shown_in_four_groups_with_its_ordinal_first() {
    let code = BackupCode::from_parts(10, &RANDOM);
    assert_eq!(code.reveal(), "AVTP-VXVR-14D2-PF27");
    assert_eq!(code.ordinal(), 10);
    assert_eq!(code.canonical(), b"AVTPVXVR14D2PF27");
    assert_eq!(backup(&code.reveal()), code);
    assert_eq!(
        &BackupCode::from_parts(1, &[0; 9]).reveal()[..18],
        "1000-0000-0000-000"
    );
    assert_eq!(
        &BackupCode::from_parts(9, &[255; 9]).reveal()[..18],
        "9ZZZ-ZZZZ-ZZZZ-ZZZ"
    );
}

/// B-02: lower case, no dashes, and Crockford's look-alikes are the same code.
#[test]
fn a_backup_code_is_read_as_people_type_it() {
    let code = BackupCode::from_parts(1, &[0; 9]);
    let shown = code.reveal();
    let typed = [
        shown.to_lowercase(),
        shown.replace('-', ""),
        shown.replace('-', " "),
        shown.replace('0', "O").replace('1', "I"),
        shown.replace('0', "o").replace('1', "l"),
        format!("  {shown}--"),
    ];
    for text in &typed {
        assert_eq!(&backup(text), &code, "{text:?}");
    }
    let others = [
        shown.replace('-', "\t"),
        shown.replace('-', "\u{2010}"),
        shown.replace('0', "U"),
        format!("{shown}0"),
        shown[..18].to_owned(),
        format!("{}{shown}", " ".repeat(46)),
    ];
    for text in &others {
        assert_eq!(Code::parse(text), Err(MalformedCode), "{text:?}");
    }
}

#[test]
fn an_ordinal_that_no_set_has_is_still_well_formed() {
    for ordinal in [0, 11, 31] {
        let code = BackupCode::from_parts(ordinal, &RANDOM);
        assert_eq!(backup(&code.reveal()).ordinal(), ordinal);
    }
}

/// B-03, for every position and every wrong character.
#[test]
fn every_single_wrong_character_is_detected() {
    let code = BackupCode::from_parts(7, &RANDOM);
    for at in 0..BACKUP_CODE_CHARS {
        for wrong in ALPHABET {
            let mut characters = *code.canonical();
            if characters[at] == *wrong {
                continue;
            }
            characters[at] = *wrong;
            let read = BackupCode::canonicalise(&characters);
            assert!(read.unwrap().is_mistyped());
        }
    }
}

#[test]
fn no_code_is_in_debug_output() {
    let totp = Code::parse("081804").unwrap();
    let backup = BackupCode::from_parts(3, &RANDOM);
    let printed = format!(
        "{totp:?} {:?} {backup:?} {:?}",
        TotpCode::from_number(81_804),
        Code::Backup(backup.clone()),
    );
    assert_eq!(
        printed,
        "Code::Totp(…) TotpCode(…) BackupCode(…) Code::Backup(…)"
    );
}

/// C-02: a number is not a code, and the complaint does not repeat it.
#[test]
fn json_takes_a_string_only_and_never_repeats_a_wrong_value() {
    let read = |json: &str| serde_json::from_str::<Code>(json);
    assert_eq!(read(r#""081804""#).unwrap(), Code::parse("081804").unwrap());
    assert_eq!(
        read(r#""\u0030\u00381804""#).unwrap(),
        Code::parse("081804").unwrap()
    );
    let wrong = [
        "81804",
        "-81804",
        "8.1804e4",
        "81804818048180481804",
        "true",
        "null",
        r#""081804 ""#,
        r#"["081804"]"#,
        r#"{"code":"081804"}"#,
        r#""81804""#,
    ];
    for json in wrong {
        let message = read(json).unwrap_err().to_string();
        assert!(!message.contains("1804"), "{json} gave {message}");
    }
}

#[test]
fn json_gives_the_text_a_user_would_type() {
    let json = |code: &Code| serde_json::to_string(code).unwrap();
    assert_eq!(json(&Code::parse("081804").unwrap()), r#""081804""#);
    let code = Code::Backup(BackupCode::from_parts(10, &RANDOM));
    assert_eq!(json(&code), r#""AVTP-VXVR-14D2-PF27""#);
}

#[test]
fn the_schema_says_the_shape_and_a_mistyped_code_has_it() {
    let schema = schemars::schema_for!(Code);
    let schema = jsonschema::draft202012::new(schema.as_value()).unwrap();
    let right = BackupCode::from_parts(3, &RANDOM).reveal();
    let wrong = right[..right.len() - 1].to_owned() + if right.ends_with('7') { "8" } else { "7" };
    for text in [&right, &wrong] {
        assert!(schema.is_valid(&text.as_str().into()));
    }
    let read = |text: &str| serde_json::from_value::<Code>(text.into()).map(|c| c.is_mistyped());
    assert_eq!(read(&right).ok(), Some(false));
    assert_eq!(read(&wrong).ok(), Some(true));
    assert_eq!(Code::parse(&wrong), Err(MalformedCode));
}

proptest! {
    #[test]
    fn every_code_made_is_read_back(ordinal in 0u8..32, random: [u8; 9], number: u32) {
        let code = BackupCode::from_parts(ordinal, &random);
        prop_assert_eq!(Code::parse(&code.reveal()), Ok(Code::Backup(code)));
        let totp = TotpCode::from_number(number);
        prop_assert_eq!(totp.reveal(), format!("{:06}", number % 1_000_000));
        prop_assert_eq!(Code::parse(&totp.reveal()), Ok(Code::Totp(totp)));
    }

    #[test]
    fn every_transposition_of_two_different_characters_is_detected(random: [u8; 9]) {
        let code = BackupCode::from_parts(4, &random);
        for first in 0..BACKUP_CODE_CHARS {
            for second in first + 1..BACKUP_CODE_CHARS {
                let mut characters = *code.canonical();
                characters.swap(first, second);
                let same = characters == *code.canonical();
                let read = BackupCode::canonicalise(&characters).unwrap();
                prop_assert_eq!(read.is_mistyped(), !same);
            }
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in ".{0,80}") {
        if let Ok(Code::Totp(code)) = Code::parse(&text) {
            prop_assert_eq!(code.reveal(), text);
        }
    }
}
