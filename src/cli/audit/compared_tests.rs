//! Exports of other builds: words may differ, facts may not.

use countersign_projections::RENDERING;
use countersign_schemas::audit::ExportPage;
use countersign_schemas::ids::AccountId;
use countersign_schemas::reply::AuditEvent;

use super::super::export_file::tests::{
    Desk, everything, exported, of, page, with_manifest, written,
};
use super::super::manifest::ManifestLine;
use crate::log::verify::tests::records;

/// The same as another build would have written it.
fn with_rendering(export: &[u8], rendering: Option<u32>) -> Vec<u8> {
    with_manifest(export, |manifest| manifest.rendering = rendering)
}

/// An auditor keeps exports for years, and sentences change meanwhile.
#[test]
fn an_export_that_another_build_words_otherwise_verifies_and_says_what_was_not_compared() {
    let desk = Desk::new();
    let records = records();
    for query in [everything(21), of("ada", 21)] {
        let mut page = page(&records, &query);
        page.events[1].event.text = "Somebody signed in, as we used to say.".into();
        page.events[2].event.data = serde_json::json!({"an_older": "form"});
        let position = page.events[1].event.position;
        let ours = written(&records, &query, std::slice::from_ref(&page));
        let what = "the event does not say what its record says";
        assert_eq!(desk.refused(&ours), format!("position {position}: {what}"));
        for rendering in [Some(RENDERING + 1), Some(0), None] {
            let report = desk.verify(&with_rendering(&ours, rendering)).unwrap();
            let columns = serde_json::json!(["source", "on_behalf_of", "text", "data"]);
            assert_eq!(report.document["not_compared"], columns);
            assert_eq!(report.document["reads_otherwise"], 2);
            assert!(
                report.text.contains("nor text, data, which another build wrote")
                    && report.text.contains(&format!("2 events read otherwise than this build would put them, the first at position {position}\n")),
                "{}",
                report.text
            );
        }
    }
}

/// Whatever build wrote it: the words are a courtesy, the facts are not.
#[test]
fn what_is_no_wording_is_compared_whatever_build_wrote_the_export() {
    let desk = Desk::new();
    let records = records();
    for query in [everything(21), of("ada", 21)] {
        let changes: [&dyn Fn(&mut AuditEvent); 8] = [
            &|event| event.position += 1,
            &|event| event.kind = "totp-accepted".into(),
            &|event| event.account_id = Some(AccountId::parse("eve").unwrap()),
            &|event| event.version += 1,
            &|event| event.at = event.at.plus_s(1),
            &|event| event.caller.name = "eve".into(),
            &|event| event.command_id = "another".into(),
            &|event| event.trace_id = Some("0".repeat(32)),
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
fn an_export_of_this_build_has_its_words_compared_and_says_what_is_sealed() {
    let desk = Desk::new();
    let report = desk.verify(&exported(&records(), &everything(21))).unwrap();
    let columns = serde_json::json!(["source", "on_behalf_of"]);
    assert_eq!(report.document["not_compared"], columns);
    assert_eq!(report.document.get("reads_otherwise"), None);
    assert!(
        report
            .text
            .contains("not compared: source, on_behalf_of, which are sealed")
    );
}

/// The service words the events, and the client writes down what it is told.
#[test]
fn a_manifest_names_a_rendering_only_where_service_and_client_agree_on_one() {
    let records = records();
    let query = everything(21);
    let whole = page(&records, &query);
    let told = |renderings: &[Option<u32>]| {
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
    assert_eq!(told(&[ours, ours]), ours);
    for pages in [&[other][..], &[None], &[ours, other], &[ours, None]] {
        assert_eq!(told(pages), None, "{pages:?}");
    }
}
