//! The engine on a disk that fails: it reports nothing that is not durable, and then it stops.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_schemas::refusal::ErrorCode;
use redb::{Builder, Database, DatabaseError, StorageBackend};
use serde_json::json;

use super::fixture::{Fixture, verify};
use crate::log::Storage;

/// A file whose writes fail while the switch is on.
#[derive(Debug)]
struct Failing {
    file: File,
    broken: Arc<AtomicBool>,
}

impl Failing {
    fn check(&self) -> io::Result<()> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the disk is gone")),
            false => Ok(()),
        }
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write_all_at(data, offset)
    }
}

fn storage(broken: &Arc<AtomicBool>) -> Storage {
    let broken = Arc::clone(broken);
    let open = move |builder: &Builder, path: &Path| -> Result<Database, DatabaseError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        builder.create_with_backend(Failing {
            file,
            broken: Arc::clone(&broken),
        })
    };
    Storage {
        create: Arc::new(open.clone()),
        open: Arc::new(open),
        ..Storage::default()
    }
}

#[test]
fn a_commit_that_fails_answers_outcome_unknown_and_stops_and_a_restart_is_safe() {
    let fixture = Fixture::new();
    let engine = fixture.start();
    let (secret, codes) = fixture.enrol(&engine, "ada");
    drop(engine);
    fixture.pass(30);
    let broken = Arc::new(AtomicBool::new(false));
    let engine = fixture.start_on(storage(&broken));
    let failed = engine.failed();
    assert!(!*failed.borrow());
    broken.store(true, Ordering::SeqCst);
    let code = fixture.code(&secret, 0);
    let lost = fixture.send_as(&engine, "lost", "verify-login", verify(&code));
    assert_eq!(lost.result.unwrap_err().code, ErrorCode::OutcomeUnknown);
    assert!(*failed.borrow(), "the process must stop");
    let later = fixture.send(&engine, "verify-login", verify(&codes[0]));
    assert_eq!(later.unwrap_err(), ErrorCode::StoreUnavailable);
    drop(engine);
    broken.store(false, Ordering::SeqCst);
    let engine = fixture.start();
    // The code is used or it is not: a repeat of the command id learns which, and a new code logs
    // in once.
    let again = fixture.send_as(&engine, "lost", "verify-login", verify(&code));
    assert!(again.result.is_ok());
    let twice = fixture.send(&engine, "verify-login", verify(&code));
    assert_eq!(twice.unwrap_err(), ErrorCode::CodeInvalid);
    let status = json!({"account_id": "ada", "code": codes[0]});
    assert!(fixture.send(&engine, "verify-login", status).is_ok());
}
