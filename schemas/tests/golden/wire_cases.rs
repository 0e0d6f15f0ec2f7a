//! The cases that the wire's golden files are made from, as the bytes that cross the wire.

use countersign_schemas::code::BackupCode;
use countersign_schemas::whole::Whole;

use crate::audit_cases;
use crate::made_cases::{audit_events, problems};

/// Document, case, bytes.
pub type Case = (&'static str, String, String);

/// Characters of one to four bytes in JSON, escaped where JSON asks for it.
const ODD: &str = r#"é e\u0301 漢 🦀 \" \\"#;

/// Every case of every document.
pub fn cases() -> Vec<Case> {
    let mut all = requests();
    all.extend(queries());
    all.extend(replies());
    all.extend(answers());
    all.extend(audit_cases::cases());
    all.extend(problems());
    all.extend(audit_events());
    all.extend(crate::reset_cases::wire());
    all
}

pub fn case(document: &'static str, name: &str, body: impl Into<String>) -> Case {
    // A combining accent is written as itself: serde_json escapes only what it must.
    (
        document,
        name.into(),
        body.into().replace(r"\u0301", "\u{301}"),
    )
}

fn backup_code() -> String {
    BackupCode::from_parts(3, &[0x5a; 9]).reveal()
}

fn requests() -> Vec<Case> {
    let context = format!(r#""context":{{"ip":"2001:db8::7","agent":"{ODD}"}}"#);
    let (z64, p256) = ("Z".repeat(64), "p".repeat(256));
    let backup = backup_code();
    vec![
        case(
            "register-account-request",
            "smallest",
            r#"{"username":"a","password":""}"#,
        ),
        case(
            "register-account-request",
            "largest",
            format!(
                r#"{{"account_id":"{z64}","username":"{}","password":"{p256}",{context}}}"#,
                "~".repeat(64)
            ),
        ),
        case(
            "register-account-request",
            "unicode",
            format!(r#"{{"username":"!#$%&'()*","password":"{ODD}"}}"#),
        ),
        case(
            "change-password-request",
            "smallest",
            r#"{"account_id":"a","password":"","new_password":""}"#,
        ),
        case(
            "change-password-request",
            "largest",
            format!(
                r#"{{"account_id":"{z64}","password":"{p256}","new_password":"{ODD}",{context}}}"#
            ),
        ),
        case("enable-2fa-request", "smallest", r#"{"account_id":"a"}"#),
        case(
            "enable-2fa-request",
            "largest",
            format!(
                r#"{{"account_id":"{z64}","proof":{{"password":"{p256}"}},"account_name":"{ODD}","label":"{ODD}",{context}}}"#
            ),
        ),
        case(
            "confirm-code-request",
            "smallest",
            r#"{"account_id":"a","authenticator_id":"b","code":"000000"}"#,
        ),
        case(
            "confirm-code-request",
            "largest",
            format!(
                r#"{{"account_id":"{z64}","authenticator_id":"{z64}","code":"{backup}",{context}}}"#
            ),
        ),
        case(
            "cancel-enrolment-request",
            "smallest",
            r#"{"account_id":"a","authenticator_id":"b"}"#,
        ),
        case(
            "cancel-enrolment-request",
            "largest",
            format!(r#"{{"account_id":"{z64}","authenticator_id":"{z64}",{context}}}"#),
        ),
        case(
            "regenerate-backup-codes-request",
            "smallest",
            r#"{"account_id":"a"}"#,
        ),
        case(
            "regenerate-backup-codes-request",
            "largest",
            format!(
                r#"{{"account_id":"{z64}","proof":{{"password":"{p256}","code":"{backup}"}},{context}}}"#
            ),
        ),
        case("disable-2fa-request", "smallest", r#"{"account_id":"a"}"#),
        case(
            "disable-2fa-request",
            "two-codes",
            r#"{"account_id":"a","proof":{"password":"p","code":"123456","next_code":"654321"}}"#,
        ),
        case(
            "change-password-request",
            "two-codes",
            r#"{"account_id":"a","password":"p","new_password":"q","code":"123456","next_code":"654321"}"#,
        ),
        case(
            "clear-attempts-request",
            "smallest",
            r#"{"account_id":"a","reason":"r"}"#,
        ),
        case(
            "erase-account-request",
            "smallest",
            r#"{"account_id":"a","reason":"r"}"#,
        ),
        case(
            "erase-account-request",
            "largest",
            format!(
                r#"{{"account_id":"{z64}","reason":"{}",{context}}}"#,
                "r".repeat(500)
            ),
        ),
        case("rotate-keys-request", "smallest", r#"{"reason":"r"}"#),
        case(
            "rotate-keys-request",
            "largest",
            format!(r#"{{"reason":"{}",{context}}}"#, "r".repeat(500)),
        ),
        case(
            "clear-attempts-request",
            "largest",
            format!(
                r#"{{"account_id":"{z64}","reason":"{}",{context}}}"#,
                "r".repeat(500)
            ),
        ),
        case(
            "disable-2fa-request",
            "largest",
            format!(
                r#"{{"account_id":"{z64}","proof":{{"password":"{ODD}","code":"999999"}},{context}}}"#
            ),
        ),
        case(
            "start-login-request",
            "smallest",
            r#"{"username":"a","password":""}"#,
        ),
        case("start-login-request", "vouched", r#"{"username":"a"}"#),
        case(
            "start-login-request",
            "by-account",
            r#"{"account_id":"A_b-9","password":"p","context":{}}"#,
        ),
        case(
            "start-login-request",
            "largest",
            format!(
                r#"{{"username":"ada@example.org","password":"{p256}","audience":"{}",{context}}}"#,
                "~".repeat(128)
            ),
        ),
        case(
            "start-login-request",
            "with-a-code",
            format!(r#"{{"username":"a","password":"p","code":"{backup}"}}"#),
        ),
        case(
            "start-login-request",
            "with-two-codes",
            r#"{"username":"a","password":"p","code":"123456","next_code":"654321","audience":"shop"}"#,
        ),
        case(
            "verify-login-request",
            "smallest",
            r#"{"challenge_id":"c","code":"123456"}"#,
        ),
        case(
            "verify-login-request",
            "by-account",
            format!(r#"{{"account_id":"ada","code":"{backup}"}}"#),
        ),
        case(
            "verify-login-request",
            "largest",
            format!(
                r#"{{"challenge_id":"{z64}","code":"123456","next_code":"654321","audience":"shop",{context}}}"#
            ),
        ),
    ]
}

/// The types that a page could ask for when its golden file was written.
const TYPES: &str = "\
    epoch-started policy-in-force unknown-name-refused clock-jumped \
    clock-back-accepted account-registered password-set password-rejected \
    enrolment-started enrolment-code-rejected enrolment-cancelled enrolment-expired \
    two-factor-enabled two-factor-disabled backup-codes-issued backup-code-accepted \
    backup-code-rejected login-started login-completed totp-accepted totp-rejected \
    code-replayed attempts-throttled double-code-required factor-suspended \
    attempts-cleared attempts-suppressed account-erased password-rehashed \
    keys-rotated data-keys-rewrapped";

fn queries() -> Vec<Case> {
    let types: Vec<String> = TYPES.split(' ').map(|name| format!("\"{name}\"")).collect();
    vec![
        case("login-status-request", "smallest", "{}"),
        case("schema-request", "smallest", "{}"),
        case("errors-request", "smallest", "{}"),
        case("jwks-request", "smallest", "{}"),
        case("audit-timeline-request", "smallest", "{}"),
        case(
            "audit-timeline-request",
            "largest",
            format!(r#"{{"after":{},"limit":500}}"#, Whole::MAX),
        ),
        case("audit-page-request", "smallest", "{}"),
        case("log-stats-request", "smallest", "{}"),
        case("view-list-request", "smallest", "{}"),
        case("key-list-request", "smallest", "{}"),
        case("backup-request", "smallest", r#"{"reason":"r"}"#),
        case(
            "view-rebuild-request",
            "smallest",
            r#"{"view":"login-status","reason":"r"}"#,
        ),
        case(
            "audit-page-request",
            "no-types",
            r#"{"limit":1,"types":[]}"#,
        ),
        case(
            "audit-page-request",
            "largest",
            format!(
                r#"{{"after":{},"limit":500,"types":[{}],"account_id":"{}","caller":"{ODD}","from":"1970-01-01T00:00:00.000000Z","to":"9999-12-30T21:59:59.999999Z"}}"#,
                Whole::MAX,
                types.join(","),
                "Z".repeat(64)
            ),
        ),
    ]
}

const DETAILS: &str = r#""details":{"position":12,"version":3,"at":"2026-02-23T09:00:00.123456Z"}"#;
const LARGEST: &str = r#""details":{"position":18446744073709551615,"version":4294967295,"at":"9999-12-30T21:59:59.999999Z"}"#;

fn replies() -> Vec<Case> {
    let codes: Vec<String> = (1..=10)
        .map(|ordinal| {
            format!(
                "\"{}\"",
                BackupCode::from_parts(ordinal, &[ordinal; 9]).reveal()
            )
        })
        .collect();
    let codes = codes.join(",");
    let file = r"Example (ada)\nSet 2, K7QM\n 1. 1041-…\n";
    vec![
        case(
            "register-account-response",
            "ordinary",
            format!(r#"{{"account_id":"ada",{DETAILS}}}"#),
        ),
        case(
            "register-account-response",
            "largest",
            format!(r#"{{"account_id":"{}",{LARGEST}}}"#, "Z".repeat(64)),
        ),
        case(
            "change-password-response",
            "ordinary",
            format!("{{{DETAILS}}}"),
        ),
        case(
            "enable-2fa-response",
            "ordinary",
            format!(
                r#"{{"authenticator_id":"A_b-9","secret":"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP","otpauth_uri":"otpauth://totp/Example:ada?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Example&algorithm=SHA1&digits=6&period=30","qr_svg":"<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>","expires_at":"2026-02-23T09:10:00.000000Z",{DETAILS}}}"#
            ),
        ),
        case(
            "confirm-code-response",
            "ordinary",
            format!(
                r#"{{"state":"on","set_no":2,"backup_codes":[{codes}],"backup_codes_file":"{file}",{DETAILS}}}"#
            ),
        ),
        case(
            "cancel-enrolment-response",
            "ordinary",
            format!(r#"{{"state":"off",{DETAILS}}}"#),
        ),
        case(
            "erase-account-response",
            "ordinary",
            format!(r#"{{"state":"erased",{DETAILS}}}"#),
        ),
        case(
            "rotate-keys-response",
            "ordinary",
            format!(r#"{{"key_id":2,{DETAILS}}}"#),
        ),
        case(
            "clear-attempts-response",
            "ordinary",
            format!(r#"{{"state":"on",{DETAILS}}}"#),
        ),
        case(
            "regenerate-backup-codes-response",
            "ordinary",
            format!(
                r#"{{"set_no":4294967295,"backup_codes":[{codes}],"backup_codes_file":"{file}","superseded_unused":10,{LARGEST}}}"#
            ),
        ),
        case(
            "disable-2fa-response",
            "ordinary",
            format!(r#"{{"state":"off",{DETAILS}}}"#),
        ),
        case(
            "disable-2fa-response",
            "every-other-state",
            format!(r#"{{"state":"pending",{DETAILS}}}"#),
        ),
        case(
            "start-login-response",
            "second-factor",
            format!(
                r#"{{"status":"second-factor-required","account_id":"ada","challenge_id":"30313233343536373839616263646566","methods":["totp","backup-code"],"expires_at":"2026-02-23T09:05:00.000000Z",{DETAILS}}}"#
            ),
        ),
        case(
            "start-login-response",
            "complete",
            format!(r#"{{"status":"complete","account_id":"ada","method":"password",{DETAILS}}}"#),
        ),
        case(
            "start-login-response",
            "with-assertion",
            format!(
                r#"{{"status":"complete","account_id":"ada","method":"password","assertion":"e30.e30.AA",{DETAILS}}}"#
            ),
        ),
        case(
            "start-login-response",
            "with-a-code",
            format!(
                r#"{{"status":"complete","account_id":"ada","method":"totp","backup_codes_left":10,"backup_codes_low":false,{DETAILS}}}"#
            ),
        ),
        case(
            "start-login-response",
            "with-a-backup-code",
            format!(
                r#"{{"status":"complete","account_id":"ada","method":"backup-code","backup_codes_left":3,"backup_codes_low":true,"authenticator_suspended":true,"after_reset_days":1,"assertion":"e30.e30.AA",{DETAILS}}}"#
            ),
        ),
        case(
            "verify-login-response",
            "while-suspended",
            format!(
                r#"{{"account_id":"ada","status":"complete","method":"backup-code","backup_codes_left":9,"backup_codes_low":false,"authenticator_suspended":true,{DETAILS}}}"#
            ),
        ),
        case(
            "verify-login-response",
            "totp",
            format!(
                r#"{{"account_id":"ada","status":"complete","method":"totp","backup_codes_left":10,"backup_codes_low":false,{DETAILS}}}"#
            ),
        ),
        case(
            "verify-login-response",
            "backup-code",
            format!(
                r#"{{"account_id":"ada","status":"complete","method":"backup-code","backup_codes_left":0,"backup_codes_low":true,"assertion":"e30.e30.AA",{DETAILS}}}"#
            ),
        ),
    ]
}

fn answers() -> Vec<Case> {
    let event = r#"{"position":1,"type":"epoch-started","version":1,"at":"2026-02-23T09:00:00.000000Z","caller":{"name":"countersign","role":"service","verified":true},"command_id":"init","data":{"epoch":1},"text":"A log begins."}"#;
    let mut cases = vec![
        case(
            "schema-response",
            "ordinary",
            r#"{"title":"x","type":"object"}"#,
        ),
        case(
            "backup-response",
            "one",
            r#"{"position":7,"files":["log/00000001.redb","keys/keys.redb"],"file_count":2}"#,
        ),
        case(
            "log-stats-response",
            "one",
            r#"{"position":7,"record_bytes":1400,"file_bytes":40960,"segments":[{"file":"00000001.redb","first":1,"last":7,"sealed":false,"bytes":40960}],"events":[{"type":"totp-accepted","count":7,"record_bytes":1400}],"index":{"position":7,"waiting":0},"cache":{"accounts":1,"bytes":2000,"bytes_max":67108864}}"#,
        ),
        case(
            "log-stats-response",
            "publication-halted",
            r#"{"position":0,"record_bytes":0,"file_bytes":0,"segments":[],"events":[],"index":{"position":0,"waiting":0},"cache":{"accounts":0,"bytes":0,"bytes_max":0},"publication":{"position":0,"lag":0,"halted":"JetStream does not answer"}}"#,
        ),
        case(
            "jwks-response",
            "one",
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        ),
        case("view-list-response", "none", r#"{"views":[]}"#),
        case(
            "key-list-response",
            "ordinary",
            r#"{"log_id":"00112233445566778899aabbccddeeff","vkey":"countersign.example+00000000+AQ==","keys":[{"kind":"key-encryption","key_id":1,"state":"retired","created_at":"2026-02-23T09:00:00.000000Z","seals":0},{"kind":"key-encryption","key_id":2,"state":"active","created_at":"2026-02-23T09:00:00.123456Z","seals":18446744073709551615},{"kind":"pepper","key_id":2,"state":"active","created_at":"2026-02-23T09:00:00.123456Z","seals":null}]}"#,
        ),
        case(
            "view-rebuild-response",
            "halted",
            r#"{"views":[{"view":"audit-trail","version":1,"position":7,"halted":"it met a gap"}]}"#,
        ),
        case(
            "view-list-response",
            "building",
            r#"{"views":[{"view":"audit-trail","version":1,"position":7,"halted":null,"building":3}],"head":7}"#,
        ),
        case(
            "view-list-response",
            "given-up",
            r#"{"views":[{"view":"audit-trail","version":1,"position":7,"halted":null,"given_up":"it met a gap"}],"head":7}"#,
        ),
        case(
            "errors-response",
            "one",
            r#"{"errors":[{"code":"draining","status":503,"title":"Wait","retryable":true}]}"#,
        ),
        case(
            "login-status-response",
            "off",
            r#"{"account_id":"ada","second_factor":"off","methods":[],"throttled_until":null,"double_code":false,"backup_codes_left":0,"backup_codes_low":false,"set_no":0,"enabled_at":null,"position":0}"#,
        ),
        case(
            "login-status-response",
            "suspended",
            r#"{"account_id":"ada","second_factor":"on","methods":["backup-code"],"throttled_until":null,"double_code":false,"backup_codes_left":9,"backup_codes_low":false,"authenticator_suspended":true,"set_no":1,"enabled_at":"2026-02-23T09:00:00.123456Z","position":7}"#,
        ),
        case(
            "login-status-response",
            "pending",
            r#"{"account_id":"ada","second_factor":"pending","methods":[],"throttled_until":null,"double_code":false,"backup_codes_left":0,"backup_codes_low":false,"set_no":1,"enabled_at":null,"position":2}"#,
        ),
        case(
            "login-status-response",
            "on",
            r#"{"account_id":"ada","second_factor":"on","methods":["totp","backup-code"],"throttled_until":"2026-02-23T09:00:05.000000Z","double_code":true,"backup_codes_left":3,"backup_codes_low":true,"set_no":4294967295,"enabled_at":"2026-02-23T09:00:00.123456Z","position":18446744073709551615}"#,
        ),
    ];
    for document in ["audit-timeline-response", "audit-page-response"] {
        cases.push(case(document, "empty", r#"{"events":[]}"#));
        cases.push(case(
            document,
            "with-next",
            format!(r#"{{"events":[{event},{event}],"next":1}}"#),
        ));
    }
    cases
}
