//! A real nats-server is started, greets, stops, comes back, and dies with its parent.
#![allow(clippy::unwrap_used)]

mod patience;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{Server, find_or_fetch, tools_folder};
use patience::PATIENCE;
use tempfile::TempDir;

/// Set in the process that is to be killed.
const PARENT: &str = "COUNTERSIGN_TEST_PARENT";

fn server() -> Server {
    find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}"))
        .expect("tests need a broker")
}

fn start(options: &BrokerOptions) -> Broker {
    Broker::start(&server(), options).unwrap()
}

/// A client that speaks the protocol by hand, after it has read the greeting.
struct Client {
    stream: BufReader<TcpStream>,
    greeting: serde_json::Value,
}

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let greeting = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
        Self { stream, greeting }
    }

    /// Sends one request and returns the payload of its reply.
    fn request(&mut self, subject: &str, payload: &str) -> String {
        let text = format!(
            "CONNECT {{}}\r\nSUB answer 1\r\nPUB {subject} answer {}\r\n{payload}\r\n",
            payload.len()
        );
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.stream.read_line(&mut line).unwrap(),
                0,
                "the broker hung up"
            );
            assert!(!line.starts_with("-ERR"), "{line}");
            if line.starts_with("MSG ") {
                let mut reply = String::new();
                self.stream.read_line(&mut reply).unwrap();
                return reply;
            }
        }
    }
}

fn is_refused(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_err()
}

#[test]
fn a_started_broker_greets_with_a_new_enough_version_and_jetstream() {
    let broker = start(&BrokerOptions::default());
    let greeting = Client::connect(broker.port()).greeting;
    let version = greeting["version"].as_str().unwrap();
    let numbers: Vec<u32> = version
        .split(['.', '-'])
        .take(3)
        .map(|part| part.parse().unwrap())
        .collect();
    assert!(numbers >= vec![2, 12, 6], "{version}");
    assert_eq!(greeting["jetstream"], true);
    assert_eq!(broker.url(), format!("nats://127.0.0.1:{}", broker.port()));
}

#[test]
fn a_broker_is_in_a_process_group_of_its_own_so_that_ctrl_c_spares_it() {
    let broker = start(&BrokerOptions::default());
    let group = format!("kill -0 -{}", broker.pid());
    assert!(
        Command::new("/bin/sh")
            .args(["-c", &group])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_stopped_broker_has_ended_cleanly_and_freed_its_port() {
    let broker = start(&BrokerOptions::default());
    let (port, folder) = (
        broker.port(),
        broker.log_file().parent().unwrap().to_owned(),
    );
    let mut client = Client::connect(port);
    broker.stop().unwrap();
    let mut rest = String::new();
    client.stream.read_to_string(&mut rest).unwrap();
    assert!(is_refused(port));
    TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert!(!folder.exists());
}

#[test]
fn a_killed_broker_comes_back_on_its_port_with_its_store() {
    let store = TempDir::new().unwrap();
    let mut options = BrokerOptions {
        store: Some(store.path().to_owned()),
        ..BrokerOptions::default()
    };
    let mut broker = start(&options);
    let created = r#"{"name":"KEPT","subjects":["kept.>"]}"#;
    let reply = Client::connect(broker.port()).request("$JS.API.STREAM.CREATE.KEPT", created);
    assert!(
        reply.contains("stream_create_response") && !reply.contains("error"),
        "{reply}"
    );
    broker.kill();
    assert!(is_refused(broker.port()));

    options.port = Some(broker.port());
    let again = start(&options);
    assert_eq!(again.port(), broker.port());
    let reply = Client::connect(again.port()).request("$JS.API.STREAM.INFO.KEPT", "");
    assert!(reply.contains(r#""config":{"name":"KEPT""#), "{reply}");
}

#[test]
fn a_configuration_file_is_used_with_the_environment_it_refers_to() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("nats.conf");
    let text = "http: 127.0.0.1:8222\nlisten: 0.0.0.0:4222\njetstream { store_dir: \"./data\" }\n\
                accounts { A: { jetstream: enabled, users: [{ user: ada, password: $ADA_PASSWORD }] } }\n";
    fs::write(&config, text).unwrap();
    let options = BrokerOptions {
        config: Some(config),
        environment: vec![("ADA_PASSWORD".to_owned(), "horse".to_owned())],
        ..BrokerOptions::default()
    };
    // Two at once: neither the ports nor the folder of the file can be shared.
    let (one, other) = (start(&options), start(&options));
    assert_ne!(one.port(), other.port());
    let greeting = Client::connect(one.port()).greeting;
    assert_eq!(greeting["auth_required"], true);
    assert_eq!(greeting["jetstream"], true);
    assert!(one.log_file().with_file_name("data").is_dir());
}

#[test]
fn a_broker_that_cannot_start_says_why() {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("nats.conf");
    fs::write(&config, "accounts: {\n").unwrap();
    let options = BrokerOptions {
        config: Some(config),
        ..BrokerOptions::default()
    };
    let error = Broker::start(&server(), &options).unwrap_err().to_string();
    assert!(
        error.contains("ended at once") && error.contains("Parse error on line 2"),
        "{error}"
    );
}

#[test]
fn a_broker_on_a_taken_port_says_so() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let options = BrokerOptions {
        port: Some(taken.local_addr().unwrap().port()),
        ..BrokerOptions::default()
    };
    let error = Broker::start(&server(), &options).unwrap_err().to_string();
    assert!(error.contains("address already in use"), "{error}");
}

#[test]
fn a_broker_dies_with_its_killed_parent() {
    if env::var_os(PARENT).is_some() {
        let broker = start(&BrokerOptions::default());
        println!("PORT {}", broker.port());
        // Until the other process kills this one, or is gone itself.
        std::io::stdin().read_line(&mut String::new()).unwrap();
        return;
    }
    let mut parent = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "a_broker_dies_with_its_killed_parent",
            "--nocapture",
        ])
        .env(PARENT, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let port = lines
        .into_iter()
        .find_map(|line| line.split("PORT ").nth(1).map(str::to_owned))
        .unwrap();
    let port: u16 = port.parse().unwrap();
    let mut client = Client::connect(port);
    parent.kill().unwrap();
    parent.wait().unwrap();
    // The reads end when the dying server's connections close, which may be before its listener does.
    let ended = |stream: &mut dyn Read| {
        let end = stream
            .read_to_end(&mut Vec::new())
            .map_err(|error| error.kind());
        assert!(
            matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)),
            "{end:?}"
        );
    };
    ended(&mut client.stream);
    let refused = (0..1000).any(|_| match TcpStream::connect(("127.0.0.1", port)) {
        Err(_) => true,
        Ok(mut stream) => {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            ended(&mut stream);
            false
        }
    });
    assert!(refused);
}
