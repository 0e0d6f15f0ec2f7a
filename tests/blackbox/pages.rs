//! Every `sh` and `python` block of the pages of `docs/` runs as written: in order, one shell for
//! each page, in an empty folder, with `countersign` in the PATH.
//!
//! The how-tos run on the shipped broker with a service in verified identity, the tutorial on an
//! open broker with a service that trusts every caller, like that of `dev`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::gateways::nats_py;
use super::metrics;
use super::operating::shipped;
use super::support::Rig;
use super::support::service::Service;
use super::support::site::{Site, binary, ends, eventually};
use super::watching::{address, get};

/// The folders of guides: each of their pages has something to run.
const GUIDES: &[&str] = &["tutorial", "how-to"];
/// Guides without a block that can run as written, and why.
const NOTHING_TO_RUN: &[(&str, &str)] = &[
    (
        "how-to/lost-log.md",
        "its commands need a log that has lost events",
    ),
    (
        "how-to/mutants.md",
        "it needs another tool and most of a day",
    ),
    ("how-to/upgrade.md", "its steps need two builds"),
    (
        "how-to/runbooks/",
        "an alert names one installation, and its address is not known here",
    ),
];
/// The kinds of blocks. Only `sh` and `python` run. A `console` block has a prompt, and commands
/// that this machine may not have or must not run. A `text` block shows output, or needs a value of
/// the reader.
const KINDS: &[&str] = &[
    "sh", "console", "text", "python", "toml", "json", "promql", "yaml", "",
];
/// The exit codes of a command that should fail: refused, not permitted, unavailable, a failed
/// check. Any other code is a fault, a usage error or a missing program.
const MEANT: &[&str] = &["3", "4", "5", "6"];
/// The last line of the shell's output, which is absent if a block ends the shell.
const END: &str = "== the page is done";
/// The one way to show a command that should fail.
const MAY_FAIL: &str = "|| echo \"exit code $?\"";
/// A page is a few lines long, and its slowest command waits a minute for an erasure.
const PAGES_MIN: usize = 10;

/// A fenced block of a page.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    kind: String,
    line: usize,
    text: String,
    /// The file that the page says to save it in.
    file: Option<String>,
}

impl Block {
    fn runs(&self) -> bool {
        matches!(self.kind.as_str(), "sh" | "python")
    }

    /// The shell commands of the block.
    fn command(&self) -> String {
        let end = "END_OF_THE_BLOCK";
        match (self.kind.as_str(), &self.file) {
            ("python", Some(file)) => format!("cat > {file} <<'{end}'\n{}{end}\n", self.text),
            ("python", None) => format!("python3 - <<'{end}'\n{}{end}\n", self.text),
            _ => self.text.clone(),
        }
    }
}

/// The blocks of a page, and the line of each fence.
fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut above = "";
    for (nth, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => found.push(block),
            (Some(kind), None) => {
                open = Some(Block {
                    kind: kind.trim().into(),
                    line: nth + 1,
                    text: String::new(),
                    file: saved_as(std::mem::take(&mut above)),
                });
            }
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) if line.contains("ave this as `") => above = line,
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a block has no end");
    found
}

/// The file of a sentence that says where to save the next block.
fn saved_as(above: &str) -> Option<String> {
    let (_, name) = above.split_once("ave this as `")?;
    name.split('`').next().map(Into::into)
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// Every page by its path below `docs/`, with its text.
fn pages() -> Vec<(String, String)> {
    fn below(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, found);
            } else {
                let name = path.strip_prefix(docs()).unwrap().to_str().unwrap();
                found.push((name.into(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    below(&docs(), &mut found);
    found.sort();
    assert!(found.len() > PAGES_MIN);
    found
}

/// The shell script of a page: its blocks, each after a line that names its place.
fn script(name: &str, blocks: &[Block]) -> String {
    let parts = blocks.iter().filter(|block| block.runs()).map(|block| {
        let place = format!("docs/{name}:{}", block.line);
        // A block that goes on after a failure hides this failure and those of later blocks.
        format!(
            "case $- in *e*) ;; *) exit 99;; esac; echo '== {place}'; echo '== {place}' >&2\n{}",
            block.command()
        )
    });
    parts.chain([format!("echo '{END}'\n")]).collect()
}

/// What is wrong with the run of a page; `None` if it went as the page says.
fn wrong(name: &str, text: &str, output: &Output) -> Option<String> {
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let mut codes = said
        .lines()
        .filter_map(|line| line.strip_prefix("exit code "));
    let unmeant = codes.find(|code| !MEANT.contains(code));
    let unseen = shown(text)
        .into_iter()
        .find(|line| !said.lines().any(|said| form(said) == form(line)));
    let is_done = said.lines().next_back() == Some(END);
    let why = match (unmeant, unseen) {
        _ if !output.status.success() => format!("the page ended with {}", output.status),
        _ if !is_done => "a block ended the shell".into(),
        (Some(code), _) => format!("a command that should be refused ended with {code}"),
        (None, Some(line)) => format!("the page shows `{line}`, which was not printed"),
        (None, None) => return None,
    };
    Some(format!("docs/{name}: {why}\n{said}\n---\n{complained}"))
}

/// The lines that a page shows right after the block that prints them: a `text` block after one
/// that runs.
fn shown(page: &str) -> Vec<String> {
    let blocks = blocks(page);
    let pairs = blocks.windows(2);
    let shown = pairs.filter(|pair| pair[0].runs() && pair[1].kind == "text");
    let lines = shown.flat_map(|pair| pair[1].text.lines());
    let lines = lines.filter(|line| !line.trim().is_empty() && !line.contains('…'));
    // Neither a command nor a file that it leaves is output.
    let is_file = |line: &str| line.contains('/') && !line.contains(' ');
    let printed = lines.filter(|line| !line.starts_with("countersign ") && !is_file(line));
    printed.map(Into::into).collect()
}

/// A line without the words that differ from run to run: words with digits, and codes in capitals.
fn form(line: &str) -> Vec<&str> {
    let differs = |word: &&str| {
        word.contains(|c: char| c.is_ascii_digit()) || !word.contains(|c: char| c.is_lowercase())
    };
    let words = line.split_whitespace();
    words
        .map(|word| if differs(&word) { "#" } else { word })
        .collect()
}

/// Runs a page in an empty folder, with the variables that its reader has set.
fn run(name: &str, text: &str, variables: &[(&str, String)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let (programs, work) = (folder.path().join("bin"), folder.path().join("work"));
    fs::create_dir(&programs).unwrap();
    fs::create_dir(&work).unwrap();
    symlink(binary().get_program(), programs.join("countersign")).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut shell = Command::new("bash");
    for (variable, _) in std::env::vars_os() {
        let variable = variable.to_string_lossy().into_owned();
        if ["NATS_", "COUNTERSIGN_", "CS_"]
            .iter()
            .any(|own| variable.starts_with(own))
        {
            shell.env_remove(variable);
        }
    }
    let text = script(name, &blocks(text));
    shell
        .args(["-euo", "pipefail", "-c"])
        .arg(text)
        .current_dir(&work)
        .env("HOME", &work)
        .env("PATH", format!("{}:{path}", programs.display()))
        .envs(variables.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null())
        // Every command of `countersign` has its own time limit.
        .output()
        .unwrap()
}

/// Runs every page that has something to run and a name that the rule accepts; returns their
/// number.
fn all(variables: &[(&str, String)], is_ours: impl Fn(&str) -> bool) -> usize {
    let mut ran = 0;
    let mut found = Vec::new();
    for (name, text) in pages().iter().filter(|(name, _)| is_ours(name)) {
        if blocks(text).iter().any(|block| block.kind == "sh") {
            ran += 1;
            found.extend(wrong(name, text, &run(name, text, variables)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    ran
}

/// Whether a line goes on after a command in it fails, although the shell stops at a failure.
fn hides(line: &str) -> bool {
    let line = line.trim().replace(MAY_FAIL, "");
    let words = ["if ", "while ", "until ", "! "];
    line.contains("||")
        || line.contains("&&")
        || line.ends_with('&')
        || line.starts_with("export ") && line.contains("$(")
        || words.iter().any(|word| line.starts_with(word))
}

#[test]
fn a_line_that_hides_a_failure_is_found() {
    for line in [
        "a || true",
        "a && b",
        "a &",
        "export A=$(b)",
        "if a; then",
        "! a",
    ] {
        assert!(hides(line), "{line}");
    }
    for line in [
        "a || echo \"exit code $?\"",
        "A=$(a | b)",
        "export A=1",
        "(a; b)",
    ] {
        assert!(!hides(line), "{line}");
    }
}

#[test]
fn every_guide_has_something_to_run_and_every_block_says_what_it_is() {
    let mut found = Vec::new();
    for (name, text) in pages() {
        let blocks = blocks(&text);
        let unknown = blocks.iter().filter(|b| !KINDS.contains(&b.kind.as_str()));
        found.extend(unknown.map(|b| format!("docs/{name}:{}: a block of `{}`", b.line, b.kind)));
        let unprompted = blocks
            .iter()
            .filter(|block| block.kind == "console" && !block.text.starts_with("$ "));
        found.extend(unprompted.map(|b| format!("docs/{name}:{}: no prompt", b.line)));
        let hiding = blocks
            .iter()
            .filter(|block| block.kind == "sh" && block.text.lines().any(hides));
        found.extend(hiding.map(|b| format!("docs/{name}:{}: hides a failure", b.line)));
        if text
            .lines()
            .any(|line| line.trim_start().starts_with("~~~"))
        {
            found.push(format!("docs/{name}: a block is fenced by ```"));
        }
        let is_guide = GUIDES.iter().any(|folder| name.starts_with(folder));
        let runs = blocks.iter().any(|block| block.kind == "sh");
        let is_listed = NOTHING_TO_RUN
            .iter()
            .any(|(page, _)| name.starts_with(page));
        if is_guide && runs == is_listed {
            found.push(format!(
                "docs/{name}: something to run: {runs}, listed as without: {is_listed}"
            ));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tutorial_runs_as_written_and_shows_what_it_says() {
    let rig = Rig::start("").await;
    let variables = [("NATS_URL", rig.broker.url())];
    assert_eq!(all(&variables, |name| name.starts_with("tutorial/")), 1);
}

#[test]
fn the_other_pages_run_as_written_on_the_shipped_broker() {
    let broker = shipped();
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup");
    let keys = folder.path().join("backup-keys");
    let site = Site::new(&format!(
        "[backup]\nfolder = {backup:?}\nkeys_folder = {keys:?}\n"
    ));
    let url = |user: &str| format!("nats://{user}:secret@127.0.0.1:{}", broker.port());
    let _service = Service::start(&site, &url("countersign"), &["--http", "127.0.0.1:0"]);
    let mut variables = vec![
        ("NATS_URL", format!("nats://127.0.0.1:{}", broker.port())),
        ("COUNTERSIGN_DATA", site.data().display().to_string()),
        ("COUNTERSIGN_KEYRING", site.keyring().display().to_string()),
        ("COUNTERSIGN_HTTP", address(&site).to_string()),
    ];
    let users = ["PLATFORM", "ALICE", "BOB", "OPERATOR", "AUDIT"];
    let names = users.map(|user| format!("CS_{user}_PASSWORD"));
    variables.push(("PYTHONPATH", nats_py().display().to_string()));
    variables.extend(names.iter().map(|name| (name.as_str(), "secret".into())));
    eventually("everything is published", || {
        let mut doctor = binary();
        doctor.args(["doctor", "--server", &url("operator")]);
        String::from_utf8_lossy(&ends(doctor).stdout).contains(" 0 behind")
    });
    let ran = all(&variables, |name| !name.starts_with("tutorial/"));
    assert!(ran >= PAGES_MIN, "only {ran} pages ran");
    // Every query is counted now.
    let (status, emitted) = get(address(&site), "/metrics");
    assert_eq!(status, 200);
    assert_eq!(metrics::listed(), metrics::families(&emitted));
}

#[test]
fn a_block_that_fails_is_found_whatever_hides_it() {
    for (page, is_well) in [
        (
            "```sh\nA=1\n```\ntext\n```sh\ntest \"$A\" = 1 && countersign --version\n```\n",
            true,
        ),
        ("```sh\ncountersign nothing\n```\n", false),
        ("```sh\ncountersign nothing | tee x\n```\n", false),
        (
            "```sh\ncountersign nothing || echo \"exit code $?\"\n```\n",
            false,
        ),
        ("```sh\ncountersing || echo \"exit code $?\"\n```\n", false),
        ("```sh\necho \"$NOT_SET\"\n```\n", false),
        ("  ```sh\n  false\n  ```\n", false),
        ("```sh\nexit 0\n```\n", false),
        ("```sh\nset +e\nfalse\n```\n```sh\ntrue\n```\n", false),
        ("```console\n$ false\n```\n", true),
        ("```python\nraise SystemExit(1)\n```\n", false),
        (
            "Save this as `a.py`.\n```python\nB = 1\n```\n\n```python\nimport a\nprint(a.B)\n```\n",
            true,
        ),
        (
            "```sh\necho of 1 code\n```\n```text\nof 2 code\n```\n",
            true,
        ),
        (
            "```sh\necho of 1 code\n```\n```text\nof 2 codes\n```\n",
            false,
        ),
    ] {
        let found = wrong("x.md", page, &run("x.md", page, &[]));
        assert_eq!(found.is_none(), is_well, "{page}: {found:?}");
    }
}
