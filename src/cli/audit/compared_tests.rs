//! Exports of other builds: sentences may differ, facts may not.

use countersign_projections::RENDERING;
use countersign_schemas::audit::ExportPage;
use countersign_schemas::ids::AccountId;
use countersign_schemas::reply::AuditEvent;

use super::super::export_file::tests::{
    Desk, everything, exported, of, page, records, with_manifest, written,
};
use super::super::manifest::ManifestLine;

/// The same as another build would have written it.
fn with_rendering(export: &[u8], rendering: Option<u32>) -> Vec<u8> {
    with_manifest(export, |manifest| manifest.rendering = rendering)
}

/// An auditor keeps exports for years, and sentences change meanwhile. But an attacker who changes
/// a sentence can also name another rendering.
#[test]
fn a_sentence_of_another_build_is_accepted_only_with_the_flag_and_is_counted() {
    let (strict, lenient) = (Desk::new(), Desk::taking_other_renderings());
    let records = records();
    for query in [everything(21), of("ada", 21)] {
        let mut page = page(&records, &query);
        page.events[1].event.text = "A user signed in, in an older wording.".into();
        let position = page.events[1].event.position;
        let ours = written(&records, &query, std::slice::from_ref(&page));
        let what = "the event does not match its record";
        for desk in [&strict, &lenient] {
            assert_eq!(desk.refused(&ours), format!("position {position}: {what}"));
        }
        for rendering in [Some(RENDERING + 1), Some(0), None] {
            let theirs = with_rendering(&ours, rendering);
            let error = strict.refused(&theirs);
            let begins = format!(
                "position {position}: its sentence is not the one that this build derives from its record"
            );
            assert!(
                error.starts_with(&begins) && error.contains("--other-rendering"),
                "{error}"
            );
            let report = lenient.verify(&theirs).unwrap();
            assert_eq!(report.document["not_compared"], serde_json::json!(["text"]));
            assert_eq!(report.document["reads_otherwise"], 1);
            let note = format!(
                "1 events have another sentence than this build's, the first at position {position} "
            );
            assert!(report.text.contains(&note), "{}", report.text);
        }
        // Without other sentences there is nothing to accept.
        let unchanged = with_rendering(&exported(&records, &query), Some(RENDERING + 1));
        let report = strict.verify(&unchanged).unwrap();
        assert_eq!(report.document["not_compared"], serde_json::json!([]));
    }
}

/// the facts must match, whatever build wrote the export.
#[test]
fn everything_but_the_wording_is_compared_whatever_build_wrote_the_export() {
    let desk = Desk::taking_other_renderings();
    let records = records();
    for query in [everything(21), of("ada", 21)] {
        let changes: [&dyn Fn(&mut AuditEvent); 11] = [
            &|event| event.position += 1,
            &|event| event.kind = "totp-accepted".into(),
            &|event| event.account_id = Some(AccountId::parse("eve").unwrap()),
            &|event| event.version += 1,
            &|event| event.at = event.at.plus_s(1),
            &|event| event.caller.name = "eve".into(),
            &|event| event.command_id = "another".into(),
            &|event| event.trace_id = Some("0".repeat(32)),
            &|event| event.data = serde_json::json!({"an_older": "form"}),
            &|event| event.caller.verified = !event.caller.verified,
            &|event| event.caller.role = "audit".into(),
        ];
        for change in changes {
            let mut page = page(&records, &query);
            change(&mut page.events[1].event);
            let bytes = written(&records, &query, &[page]);
            desk.refused(&with_rendering(&bytes, Some(RENDERING + 1)));
        }
        let mut other = page(&records, &query);
        other.events[1].record = other.events[2].record.clone();
        let bytes = written(&records, &query, &[other]);
        desk.refused(&with_rendering(&bytes, Some(RENDERING + 1)));
    }
}

#[test]
fn of_an_export_of_this_build_every_column_is_compared() {
    let desk = Desk::new();
    let report = desk.verify(&exported(&records(), &everything(21))).unwrap();
    assert_eq!(report.document["not_compared"], serde_json::json!([]));
    assert_eq!(report.document.get("reads_otherwise"), None);
    assert!(!report.text.contains("note"), "{}", report.text);
}

/// The service words the events, and the client names the rendering in the manifest.
#[test]
fn a_manifest_names_a_rendering_only_where_service_and_client_agree_on_one() {
    let records = records();
    let query = everything(21);
    let whole = page(&records, &query);
    let rendering_of = |renderings: &[Option<u32>]| {
        let pages: Vec<_> = renderings
            .iter()
            .map(|rendering| ExportPage {
                rendering: *rendering,
                ..whole.clone()
            })
            .collect();
        let bytes = written(&records, &query, &pages);
        let text = String::from_utf8(bytes).unwrap();
        let last: ManifestLine = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        last.manifest.rendering
    };
    let (ours, other) = (Some(RENDERING), Some(RENDERING + 1));
    assert_eq!(rendering_of(&[ours, ours]), ours);
    for pages in [&[other][..], &[None], &[ours, other], &[ours, None]] {
        assert_eq!(rendering_of(pages), None, "{pages:?}");
    }
}
