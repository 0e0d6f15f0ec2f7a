//! Each alert of `docker/alerts.yaml` has its runbook, and is in the tables of alerts.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use yaml_rust2::{Yaml, YamlLoader};

use super::tables::{page, quoted, tables};

/// The questions of a person on call, in this order.
const QUESTIONS: &[&str] = &[
    "What it means",
    "How to see it",
    "What to do",
    "How to know that it is over",
];

/// An alert: its name, its severity and the metrics that it watches.
struct Alert {
    name: String,
    severity: String,
    metrics: BTreeSet<String>,
}

fn alerts() -> Vec<Alert> {
    let text = fs::read_to_string(Path::new(super::ROOT).join("docker/alerts.yaml")).unwrap();
    let document = YamlLoader::load_from_str(&text).unwrap().remove(0);
    let rules = document["groups"].as_vec().unwrap().iter();
    let rules = rules.flat_map(|group| group["rules"].as_vec().unwrap());
    let text = |value: &Yaml| value.as_str().unwrap().to_owned();
    rules
        .map(|rule| {
            let expression = text(&rule["expr"]);
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let is_metric = |word: &&str| {
                *word == "up" || word.starts_with("countersign_") || word.starts_with("jetstream_")
            };
            Alert {
                name: text(&rule["alert"]),
                severity: text(&rule["labels"]["severity"]),
                metrics: words.filter(is_metric).map(Into::into).collect(),
            }
        })
        .collect()
}

/// The runbook of an alert: `CountersignDiskFree` has `countersign-disk-free.md`.
fn runbook(alert: &str) -> String {
    let mut file = String::new();
    for letter in alert.chars() {
        if letter.is_uppercase() && !file.is_empty() {
            file.push('-');
        }
        file.extend(letter.to_lowercase());
    }
    file + ".md"
}

#[test]
fn each_alert_has_a_runbook_that_answers_four_questions() {
    let mut runbooks: BTreeSet<String> =
        fs::read_dir(Path::new(super::ROOT).join("docs/how-to/runbooks"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
    assert!(runbooks.remove("index.md"));
    for alert in alerts() {
        let file = runbook(&alert.name);
        assert!(runbooks.remove(&file), "{file}");
        let text = page(&format!("how-to/runbooks/{file}"));
        assert_eq!(
            text.lines().next(),
            Some(format!("# {}", alert.name).as_str())
        );
        let headings = text.lines().filter_map(|line| line.strip_prefix("## "));
        let asked: Vec<_> = headings.filter(|title| QUESTIONS.contains(title)).collect();
        assert_eq!(asked, QUESTIONS, "{file}");
        for metric in alert.metrics.iter().filter(|name| *name != "up") {
            assert!(text.contains(metric.as_str()), "{file}: {metric}");
        }
    }
    assert!(runbooks.is_empty(), "no alert has {runbooks:?}");
}

#[test]
fn the_index_of_the_runbooks_has_each_alert_with_its_metrics_and_its_page() {
    let text = page("how-to/runbooks/index.md");
    let table = tables(&text)
        .into_iter()
        .find(|table| table.has("alert"))
        .unwrap();
    let alerts = alerts();
    assert_eq!(table.rows.len(), alerts.len());
    for alert in alerts {
        let is_its = |row: &&Vec<String>| quoted(&row[0]) == [alert.name.as_str()];
        let row = table.rows.iter().find(is_its);
        let row = row.unwrap_or_else(|| panic!("{} is not in the index", alert.name));
        let cell = |column| table.cell(row, column).unwrap();
        let metrics: BTreeSet<String> =
            quoted(cell("metric")).into_iter().map(Into::into).collect();
        assert_eq!(metrics, alert.metrics, "{}", alert.name);
        assert_eq!(cell("severity"), alert.severity, "{}", alert.name);
        assert!(
            cell("page").ends_with(&format!("]({})", runbook(&alert.name))),
            "{}",
            alert.name
        );
    }
}

#[test]
fn the_page_of_metrics_has_each_alert_and_names_it_at_its_metrics() {
    let text = page("reference/metrics.md");
    let tables = tables(&text);
    let listed = tables
        .iter()
        .find(|table| table.heading == "Alerts")
        .unwrap();
    let metrics = tables.iter().find(|table| table.has("metric")).unwrap();
    let alerts = alerts();
    assert_eq!(listed.rows.len(), alerts.len());
    for alert in &alerts {
        let link = format!(
            "[`{}`](../how-to/runbooks/{})",
            alert.name,
            runbook(&alert.name)
        );
        let row = listed.rows.iter().find(|row| row[0] == link);
        let row = row.unwrap_or_else(|| panic!("{link} is not there"));
        assert_eq!(
            listed.cell(row, "severity").unwrap(),
            alert.severity,
            "{}",
            alert.name
        );
    }
    for row in &metrics.rows {
        let metric = format!("countersign_{}", quoted(&row[0])[0]);
        let watching: Vec<_> = alerts
            .iter()
            .filter(|alert| alert.metrics.contains(&metric))
            .collect();
        let names: Vec<_> = watching.iter().map(|alert| alert.name.as_str()).collect();
        assert_eq!(
            quoted(metrics.cell(row, "alert").unwrap()),
            names,
            "{metric}"
        );
    }
}

#[test]
fn the_file_of_a_runbook_follows_from_its_alert() {
    assert_eq!(runbook("CountersignDiskFree"), "countersign-disk-free.md");
}
