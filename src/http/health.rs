//! Alive: the process is worth keeping. Ready: the service takes requests.

use hyper::StatusCode;

use super::{PLAIN, Page, text};
use crate::engine::Readings;

/// The result of one check: nothing, or a sentence that says what is wrong.
struct Check {
    name: &'static str,
    wrong: Option<String>,
}

/// The checks of one page.
pub struct Verdict {
    name: &'static str,
    checks: Vec<Check>,
}

/// Checks whether the process is worth keeping: after a failed commit it must be restarted.
pub fn live(readings: &Readings) -> Verdict {
    Verdict {
        name: "livez",
        checks: vec![log(readings)],
    }
}

/// Checks whether the service takes and answers requests.
pub fn ready(readings: &Readings, is_serving: bool) -> Verdict {
    let draining = readings
        .is_draining
        .then(|| "the service is stopping".to_owned());
    let away = (!is_serving).then(|| "no broker, or not subscribed yet".to_owned());
    let clock = readings.clock_is_behind.then(|| {
        let behind_s = readings.clock_behind_s;
        format!("the wall clock is {behind_s} s behind the log: no code is checked")
    });
    let halted = readings.views.iter().filter_map(|view| {
        Some(format!(
            "{} has halted: {}",
            view.name,
            view.halted.as_ref()?
        ))
    });
    let halted = halted.collect::<Vec<_>>().join(", ");
    let checks = [
        ("stopping", draining),
        ("broker", away),
        ("views", Some(halted).filter(|text| !text.is_empty())),
        ("clock", clock),
        ("files", readings.misplaced.clone()),
    ];
    let mut all = vec![log(readings)];
    all.extend(checks.map(|(name, wrong)| Check { name, wrong }));
    Verdict {
        name: "readyz",
        checks: all,
    }
}

fn log(readings: &Readings) -> Check {
    let wrong = readings.has_failed.then(|| {
        "a commit has failed, or the data folder was changed: see the log lines".to_owned()
    });
    Check { name: "log", wrong }
}

impl Verdict {
    /// 200 if every check passes, else 503. The page shows the checks on request, and whenever one
    /// fails.
    pub fn page(&self, is_verbose: bool) -> Page {
        let holds = self.checks.iter().all(|check| check.wrong.is_none());
        let status = if holds {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        if holds && !is_verbose {
            return text(status, PLAIN, "ok\n".into());
        }
        let lines = self.checks.iter().map(|check| match &check.wrong {
            None => format!("[+]{} ok\n", check.name),
            Some(wrong) => format!("[-]{} failed: {wrong}\n", check.name),
        });
        let ending = if holds { "passed" } else { "failed" };
        let body = lines.collect::<String>() + &format!("{} check {ending}\n", self.name);
        text(status, PLAIN, body)
    }
}
