//! The numbers of the service as OpenMetrics text; no account, caller or value of a request in it.

use std::fmt::Write;

use super::endpoints::Endpoint;
use super::stats::Stats;
use crate::engine::Engine;

/// What the text is.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that can be told now.
pub fn text(engine: &Engine, endpoints: &[Endpoint], stats: &[Stats], is_ready: bool) -> String {
    let mut text = String::new();
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(
        text,
        "# TYPE countersign_build info\ncountersign_build_info{{version=\"{version}\"}} 1"
    );
    gauge(
        &mut text,
        "ready",
        "Whether requests are taken",
        u64::from(is_ready),
    );
    let feed = engine.feed();
    let (head, publication) = (feed.head(), feed.publication());
    gauge(&mut text, "log_position", "The last durable position", head);
    let views = engine.admin().view_list().views.into_iter();
    let shown = views.map(|view| view.position).min().unwrap_or(0);
    let lag = head.saturating_sub(shown);
    gauge(
        &mut text,
        "projection_lag_events",
        "Positions that the slowest view is behind",
        lag,
    );
    let lag = head.saturating_sub(publication.through());
    gauge(
        &mut text,
        "publication_lag_events",
        "Positions that are not published yet",
        lag,
    );
    let halted = u64::from(publication.halted().is_some());
    gauge(
        &mut text,
        "publication_halted",
        "Whether nothing can be published",
        halted,
    );
    requests(&mut text, endpoints, stats);
    text.push_str("# EOF\n");
    text
}

fn gauge(text: &mut String, name: &str, help: &str, value: u64) {
    let _ = writeln!(
        text,
        "# TYPE countersign_{name} gauge\n# HELP countersign_{name} {help}\ncountersign_{name} {value}"
    );
}

fn requests(text: &mut String, endpoints: &[Endpoint], stats: &[Stats]) {
    text.push_str(
        "# TYPE countersign_requests counter\n# HELP countersign_requests Answered requests by what became of them\n",
    );
    for (endpoint, stats) in endpoints.iter().zip(stats) {
        for (outcome, count) in stats.outcomes() {
            let _ = writeln!(
                text,
                "countersign_requests_total{{endpoint=\"{}\",outcome=\"{outcome}\"}} {count}",
                endpoint.name
            );
        }
    }
}
