//! The cases of what auditors ask and get: checkpoints, proofs, records, exports.

use countersign_schemas::whole::Whole;

use crate::wire_cases::{Case, case};

const MAX: &str = "18446744073709551615";
/// The largest number of a request.
const WHOLE: u64 = Whole::MAX;

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut all = requests();
    all.extend(responses());
    all
}

fn requests() -> Vec<Case> {
    let instant = r#""2026-02-23T09:00:00.123456Z""#;
    vec![
        case("checkpoint-request", "empty", "{}"),
        case("account-at-request", "position", r#"{"position":1}"#),
        case(
            "account-at-request",
            "time",
            format!(r#"{{"at":{instant}}}"#),
        ),
        case("proof-request", "smallest", r#"{"position":1}"#),
        case(
            "proof-request",
            "largest",
            format!(r#"{{"position":{WHOLE},"size":{WHOLE}}}"#),
        ),
        case("consistency-request", "smallest", r#"{"from":1}"#),
        case(
            "consistency-request",
            "largest",
            format!(r#"{{"from":{WHOLE},"to":{WHOLE}}}"#),
        ),
        case("audit-records-request", "empty", "{}"),
        case(
            "audit-records-request",
            "largest",
            format!(r#"{{"after":{WHOLE}}}"#),
        ),
        case("audit-explain-request", "ordinary", r#"{"position":7}"#),
        case(
            "audit-export-request",
            "smallest",
            r#"{"format":"jsonl","through":1,"proofs":false}"#,
        ),
        case(
            "audit-export-request",
            "largest",
            format!(
                r#"{{"format":"ocsf","through":{WHOLE},"after":{WHOLE},"types":["totp-accepted"],"account_id":"{}","from":{instant},"to":{instant},"proofs":true}}"#,
                "Z".repeat(64)
            ),
        ),
        case(
            "audit-export-request",
            "csv",
            r#"{"format":"csv","through":7,"types":[],"proofs":false}"#,
        ),
    ]
}

fn responses() -> Vec<Case> {
    let hash = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    let event = r#""position":1,"type":"epoch-started","version":1,"at":"2026-02-23T09:00:00.000000Z","caller":{"name":"countersign","role":"service","verified":true},"command_id":"init","data":{"epoch":1},"text":"A log begins.""#;
    vec![
        case(
            "account-at-response",
            "off",
            r#"{"account_id":"ada","second_factor":"off","methods":[],"throttled_until":null,"double_code":false,"backup_codes_left":0,"backup_codes_low":false,"set_no":0,"enabled_at":null,"position":3}"#,
        ),
        case(
            "checkpoint-response",
            "ordinary",
            format!(
                r#"{{"note":"countersign.example/00\n7\n{hash}\n\n— countersign.example/00 AAAAAA==\n","size":7,"root":"{hash}","vkey":"countersign.example/00+00000000+AQ=="}}"#
            ),
        ),
        case(
            "proof-response",
            "alone",
            format!(
                r#"{{"record":"AA==","leaf_hash":"{hash}","inclusion":[],"size":1,"root":"{hash}"}}"#
            ),
        ),
        case(
            "proof-response",
            "among-three",
            format!(
                r#"{{"record":"","leaf_hash":"{hash}","inclusion":["{hash}","{hash}"],"size":3,"root":"{hash}"}}"#
            ),
        ),
        case(
            "consistency-response",
            "equal",
            r#"{"proof":[],"from":7,"to":7}"#,
        ),
        case(
            "consistency-response",
            "grown",
            format!(r#"{{"proof":["{hash}"],"from":1,"to":{MAX}}}"#),
        ),
        case("audit-records-response", "empty", r#"{"records":[]}"#),
        case(
            "audit-records-response",
            "with-next",
            format!(r#"{{"records":["AA==","AQI="],"next":{MAX}}}"#),
        ),
        case(
            "audit-explain-response",
            "recorded",
            r#"{"events":[],"verdict":"recorded","because":[],"policy_position":0,"rerun":"not-made","rerun_detail":"nobody asked"}"#,
        ),
        case(
            "audit-explain-response",
            "allowed",
            format!(
                r#"{{"events":[{{{event}}}],"verdict":"allowed","because":["It was right."],"before":{{"account_id":"ada","second_factor":"off","methods":[],"throttled_until":null,"double_code":false,"backup_codes_left":0,"backup_codes_low":false,"set_no":0,"enabled_at":null,"position":3}},"policy_position":2,"rerun":"same"}}"#
            ),
        ),
        case(
            "audit-explain-response",
            "refused",
            r#"{"events":[],"verdict":"refused","because":[],"policy_position":2,"rerun":"different","rerun_detail":"another"}"#,
        ),
        case("audit-export-response", "empty", r#"{"events":[]}"#),
        case(
            "audit-export-response",
            "plain",
            format!(r#"{{"events":[{{{event}}}],"next":1}}"#),
        ),
        case(
            "audit-export-response",
            "proven",
            format!(
                r#"{{"events":[{{{event},"record":"AA==","inclusion":["{hash}"]}},{{{event},"record":"AA=="}}]}}"#
            ),
        ),
    ]
}
