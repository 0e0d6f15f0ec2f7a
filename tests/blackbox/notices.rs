//! The owner is notified of events of the account: the sample mailer of `examples/`, unchanged.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::reset::support;
use super::support::person::Person;
use super::support::site::eventually_async;
use super::support::stream::Stream;
use super::support::{CHEAP, Rig};

/// The mailer, ended when dropped.
struct Mailer(Child);

impl Drop for Mailer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Mailer {
    fn start(url: &str) -> Self {
        // A run of this file alone builds no examples.
        let mut build = Command::new(env!("CARGO"));
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        let built = build.args(["build", "--quiet", "--example", "notice_mailer"]);
        assert!(built.status().unwrap().success());
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_countersign"));
        let examples = binary.parent().unwrap().join("examples");
        let mut command = Command::new(examples.join("notice_mailer"));
        Self(command.arg(url).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Its next lines, without the sentences.
    fn lines(&mut self, count: usize) -> Vec<String> {
        let out = self.0.stdout.take().unwrap();
        let lines = BufReader::new(out).lines().take(count);
        let head = |line: String| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(": ");
        lines.map(|line| head(line.unwrap())).collect()
    }
}

/// changes of the login, attempts that others may have made, and each step of a reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r08_the_owner_is_notified_of_codes_used_and_of_every_step_of_a_reset() {
    let rig = Rig::start(CHEAP).await;
    let (alice, bert) = (rig.bus.named("alice"), rig.bus.named("bert"));
    let ada = Person::with_2fa(&rig.bus, "ada").await;
    ada.log_in(&ada.codes[0].clone()).await.ok();
    let case = json!({"account_id": "ada", "reason": "a lost phone", "ticket": "T-1"});
    let opened = support(&alice, "request-reset", case).await.unwrap();
    let approval = json!({"case_id": opened["case_id"], "reason": "called back"});
    support(&bert, "approve-reset", approval).await.unwrap();
    let owner = json!({"account_id": "ada"});
    let called_off = rig.bus.command("cancel-reset", owner).await;
    called_off.ok();
    let stream = Stream::at(&rig.broker.url(), "COUNTERSIGN_EVENTS").await;
    eventually_async("the stream is there", async || stream.last().await > 0).await;
    let notices = Mailer::start(&rig.broker.url()).lines(5);
    let due = [
        "factor-on",
        "backup-code-used",
        "reset-requested",
        "reset-approved",
        "reset-cancelled",
    ];
    assert_eq!(notices, due.map(|kind| format!("to ada: {kind}")));
}
