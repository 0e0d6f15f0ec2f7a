//! Files at paths that the command line and the configuration name.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::support::bus::Bus;
use super::support::person::Person;
use super::support::service::Service;
use super::support::site::{Site, binary, ends};
use super::support::{CHEAP, broker};

const DEV: &[&str] = &["--identity", "dev"];

/// The same command under another umask.
fn masked(command: &Command, umask: &str) -> Command {
    let mut masked = Command::new("/bin/sh");
    masked.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]);
    masked.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => masked.env(name, value),
            None => masked.env_remove(name),
        };
    }
    masked
}

fn does(umask: &str, words: &[&str]) -> Output {
    let mut command = binary();
    command.args(words);
    let output = ends(masked(&command, umask));
    assert!(output.status.success(), "{words:?}: {output:?}");
    output
}

/// Every file and folder at and below a path.
fn below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap();
        found.extend(entries.flat_map(|entry| below(&entry.unwrap().path())));
    }
    found
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A site with folders for backups.
fn site() -> (Site, PathBuf, PathBuf) {
    let site = Site::new(CHEAP);
    let (log, keys) = (site.path().join("b/log"), site.path().join("b/keys"));
    let config = format!("{CHEAP}[backup]\nfolder = {log:?}\nkeys_folder = {keys:?}\n");
    fs::write(site.config(), config).unwrap();
    (site, log, keys)
}

/// Every file that commands write, under the most open and the strictest umask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines)]
async fn only_the_owner_can_read_a_file_that_a_command_writes_whatever_the_umask_is() {
    for umask in ["000", "777"] {
        let (site, log, keys) = site();
        let broker = broker(None);
        let url = broker.url();
        let at = |name: &str| site.path().join(name);
        let serve = || masked(&site.serve(&url, DEV), umask);
        let mut service = Service::run(&site, serve());
        let bus = Bus::connect(&url).await;
        Person::with_2fa(&bus, "ada").await;
        let asks = |words: &[&str]| {
            let words = [words, &["--server", &url, "--caller", "shop"]].concat();
            does(umask, &words);
        };
        asks(&["log", "backup", "--reason", "nightly"]);
        for format in ["jsonl", "csv", "ocsf"] {
            let file = at(&format!("export-{format}"));
            asks(&["audit", "export", "--format", format, "-o", text(&file)]);
        }
        asks(&["account", "erase", "ada", "--reason", "a wish"]);
        asks(&["keys", "rotate", "--reason", "yearly"]);
        asks(&["log", "backup", "--reason", "again"]);
        service.terminate();
        assert!(service.ended().success());
        let (data, keyring) = (site.data(), site.keyring());
        let (data, keyring) = (text(&data), text(&keyring));
        let (to, keys_to) = (at("c/log"), at("c/keys"));
        let stopped = [
            "--data",
            data,
            "--to",
            text(&to),
            "--keys-to",
            text(&keys_to),
        ];
        does(umask, &[&["log", "backup"][..], &stopped].concat());
        does(
            umask,
            &[
                "view",
                "rebuild",
                "audit-trail",
                "--data",
                data,
                "--keyring",
                keyring,
            ],
        );
        does(
            umask,
            &[
                "backup",
                "verify",
                text(&to),
                "--keys",
                text(&keys_to),
                "--keyring",
                keyring,
            ],
        );
        does(
            umask,
            &["backup", "verify", text(&log), "--keys", text(&keys)],
        );
        let (other, ring) = (at("other/data"), at("other-keys/ring"));
        does(
            umask,
            &["init", "--data", text(&other), "--keyring", text(&ring)],
        );
        let ours = [site.config(), site.log_lines(), site.path().to_owned()];
        let written = below(site.path());
        for path in written.iter().filter(|path| !ours.contains(path)) {
            // The folders above the named ones are made too.
            let right = if path.is_dir() { 0o700 } else { 0o600 };
            let mode = fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(
                mode,
                right,
                "umask {umask}: {} has {mode:o}",
                path.display()
            );
        }
        for name in [
            "data/log/00000001.redb",
            "data/index.redb",
            "data/views.redb",
            "data/keys.redb",
            "data/tag-keys",
            "data/checkpoint.json",
            "keys/keyring.toml",
            "keys/checkpoint",
            "keys/checkpoint-history",
            "keys/tombstones",
            "b/log/backup.json",
            "b/log/log/00000001.redb",
            "b/keys/keys.redb",
            "b/keys/backup.json",
            "c/log/log/00000001.redb",
            "c/keys/keys.redb",
            "export-jsonl",
            "export-csv",
            "export-csv.manifest.json",
            "export-ocsf",
            "other/data/keys.redb",
            "other-keys/ring",
        ] {
            assert!(written.contains(&at(name)), "{name} was written");
        }
    }
}

/// Once, a backup renamed its copies over the segments that the service wrote to, and later events
/// were lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_code_is_not_accepted_again_after_a_backup_into_the_data_folder_and_a_kill() {
    let (site, log, _) = site();
    let broker = broker(None);
    let url = broker.url();
    let mut service = Service::start(&site, &url, DEV);
    let bus = Bus::connect(&url).await;
    let ada = Person::with_2fa(&bus, "ada").await;
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    symlink(site.data(), &log).unwrap();
    let segment = site.data().join("log/00000001.redb");
    let before = fs::metadata(&segment).unwrap().ino();
    let mut command = binary();
    command.args(["log", "backup", "--reason", "nightly", "--server", &url]);
    let refused = ends(command);
    assert!(!refused.status.success(), "{refused:?}");
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("[backup]"), "{why}");
    assert_eq!(fs::metadata(&segment).unwrap().ino(), before);
    ada.vouched(&ada.codes[0]).await.ok();
    service.kill();
    fs::remove_file(&log).unwrap();
    let _service = Service::start(&site, &url, DEV);
    ada.vouched(&ada.codes[0]).await.refused("code.invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_writes_over_or_among_the_files_of_an_installation() {
    let (site, ..) = site();
    let broker = broker(None);
    let url = broker.url();
    let mut service = Service::start(&site, &url, DEV);
    let at = |name: &str| site.path().join(name);
    symlink(site.data(), at("link")).unwrap();
    let refuses = |words: &[&str]| {
        let before: Vec<_> = below(&site.data())
            .into_iter()
            .chain(below(&at("keys")))
            .collect();
        let mut command = binary();
        command.args(words);
        let output = ends(command);
        assert!(!output.status.success(), "{words:?}: {output:?}");
        let after: Vec<_> = below(&site.data())
            .into_iter()
            .chain(below(&at("keys")))
            .collect();
        assert_eq!(after, before, "{words:?}");
    };
    for file in [
        "data/log/00000002.redb",
        "link/x.csv",
        "keys/x.csv",
        "data/../link/log/x",
    ] {
        let file = at(file);
        refuses(&["audit", "export", "-o", text(&file), "--server", &url]);
    }
    service.terminate();
    assert!(service.ended().success());
    let data = site.data();
    for (to, keys_to) in [
        ("data", "k"),
        ("link", "k"),
        ("l", "data"),
        ("l", "link/log"),
        ("l", "l"),
        ("keys", "k"),
        ("", "k"),
        ("l", "l/below"),
    ] {
        let (to, keys_to) = (at(to), at(keys_to));
        refuses(&[
            "log",
            "backup",
            "--data",
            text(&data),
            "--to",
            text(&to),
            "--keys-to",
            text(&keys_to),
        ]);
    }
    for (data, keyring) in [
        ("new", "new/ring"),
        ("new", "x/../new/ring"),
        ("new", "ring/checkpoint"),
        ("new", "keys/second.toml"),
        ("new", "link/ring"),
    ] {
        let (data, keyring) = (at(data), at(keyring));
        refuses(&["init", "--data", text(&data), "--keyring", text(&keyring)]);
        assert!(!data.exists());
    }
}
