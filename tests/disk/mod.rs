//! A disk in memory that remembers what a power loss would take, and that fails on demand.
//!
//! It is a `StorageBackend` of redb, so that the real `EventLog` runs on it (`storage.rs`), with
//! any version of redb. The names of the files are real files in a folder, because publishing a
//! segment is a rename.
//!
//! The model is redb's own: writes before a completed sync stay, later writes arrive in any
//! combination, and bytes outside a write do not change.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// The bytes in a real file with its contents on a disk in memory, so that it has a length.
const SOME: &[u8] = b"elsewhere";

/// One change that has not been synced.
#[derive(Clone, Debug)]
pub enum Op {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// A kind of call that redb makes on its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
    SetLen,
    Sync,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing is done.
    Error,
    /// Half of a write is done, then the disk is full.
    NoSpace,
    /// The sync fails and its writes are gone, as on Linux after a write-back error.
    LoseWrites,
}

/// A failure of the `at`-th call of a kind (from 1), once or from there on.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub call: Call,
    pub at: u64,
    pub sticky: bool,
    pub failure: Failure,
}

/// The files that a power loss at one moment can leave.
#[derive(Clone, Debug)]
pub struct CrashPoint {
    pub acknowledged: u64,
    pub files: Vec<LostFile>,
}

/// One file at that moment: the bytes that are safe, and the writes that may or may not have
/// arrived.
#[derive(Clone, Debug)]
pub struct LostFile {
    pub name: String,
    pub durable: Arc<Vec<u8>>,
    pub unsynced: Vec<Op>,
}

#[derive(Clone, Debug, Default)]
struct FileState {
    live: Vec<u8>,
    durable: Arc<Vec<u8>>,
    unsynced: Vec<Op>,
}

#[derive(Debug, Default)]
struct State {
    folder: PathBuf,
    files: BTreeMap<String, FileState>,
    acknowledged: u64,
    points: Option<Vec<CrashPoint>>,
    fault: Option<Fault>,
    calls: u64,
    fault_hit: bool,
}

#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// Makes an empty disk with its file names in `folder`.
    pub fn new(folder: &Path) -> Disk {
        let state = State {
            folder: folder.to_owned(),
            ..State::default()
        };
        Disk(Arc::new(Mutex::new(state)))
    }

    /// Makes a disk that holds these files, all durable, and puts their names into `folder`.
    pub fn holding(folder: &Path, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Disk {
        let disk = Disk::new(folder);
        let _ = fs::create_dir(folder);
        let mut names = Vec::new();
        for (name, live) in files {
            let durable = Arc::new(live.clone());
            let state = FileState {
                live,
                durable,
                unsynced: Vec::new(),
            };
            disk.state().files.insert(key(Path::new(&name)), state);
            names.push(name);
        }
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if !names
                .iter()
                .any(|name| *name == entry.file_name().to_string_lossy())
            {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        for name in names {
            let is_empty = disk.state().files[&key(Path::new(&name))].live.is_empty();
            let shown: &[u8] = if is_empty { &[] } else { SOME };
            fs::write(folder.join(name), shown).unwrap();
        }
        disk
    }

    /// Makes an empty file with this name.
    pub fn create(&self, path: &Path) -> io::Result<()> {
        File::create_new(path)?;
        self.state().files.insert(key(path), FileState::default());
        Ok(())
    }

    /// The file with this name, for redb.
    pub fn backend(&self, path: &Path) -> Backend {
        Backend {
            disk: self.clone(),
            name: key(path),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Records up to which position the log has acknowledged records as durable.
    pub fn acknowledge(&self, head: u64) {
        self.state().acknowledged = head;
    }

    /// Begins to remember every moment before and after a sync.
    pub fn record(&self) {
        self.state().points = Some(Vec::new());
    }

    /// Ends remembering with the present moment and returns all moments.
    pub fn crash_points(&self) -> Vec<CrashPoint> {
        let mut state = self.state();
        state.remember();
        state.points.take().unwrap_or_default()
    }

    /// Arms a fault and starts counting calls of its kind.
    pub fn arm(&self, fault: Fault) {
        let mut state = self.state();
        (state.fault, state.calls, state.fault_hit) = (Some(fault), 0, false);
    }

    /// Disarms the fault and returns whether it struck.
    pub fn disarm(&self) -> bool {
        let mut state = self.state();
        state.fault = None;
        state.fault_hit
    }
}

/// A file keeps its contents when it is published.
fn key(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.trim_end_matches(".new").to_owned()
}

impl State {
    fn remember(&mut self) {
        let Some(points) = &mut self.points else {
            return;
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let state = &self.files[&key(Path::new(&name))];
            files.push(LostFile {
                name,
                durable: Arc::clone(&state.durable),
                unsynced: state.unsynced.clone(),
            });
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        points.push(CrashPoint {
            acknowledged: self.acknowledged,
            files,
        });
    }

    fn strikes(&mut self, call: Call) -> Option<Failure> {
        let fault = self.fault.filter(|fault| fault.call == call)?;
        self.calls += 1;
        let strikes = self.calls == fault.at || (fault.sticky && self.calls > fault.at);
        self.fault_hit |= strikes;
        strikes.then_some(fault.failure)
    }
}

/// Applies one change to a file's bytes.
pub fn apply(file: &mut Vec<u8>, op: &Op) {
    match op {
        Op::SetLen(length) => file.resize(*length, 0),
        Op::Write { offset, bytes } => {
            let end = offset + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[*offset..end].copy_from_slice(bytes);
        }
    }
}

#[derive(Debug)]
pub struct Backend {
    disk: Disk,
    name: String,
}

impl Backend {
    fn change(&self, op: Op) {
        let mut state = self.disk.state();
        let file = state.files.get_mut(&self.name).unwrap();
        apply(&mut file.live, &op);
        file.unsynced.push(op);
    }

    fn strikes(&self, call: Call) -> Option<Failure> {
        self.disk.state().strikes(call)
    }
}

fn injected(failure: Failure) -> io::Error {
    match failure {
        Failure::NoSpace => io::Error::from(io::ErrorKind::StorageFull),
        Failure::Error | Failure::LoseWrites => io::Error::other("injected"),
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[&self.name].live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(failure) = self.strikes(Call::Read) {
            return Err(injected(failure));
        }
        let state = self.disk.state();
        let start = usize::try_from(offset).unwrap();
        let bytes = state.files[&self.name].live.get(start..start + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if let Some(failure) = self.strikes(Call::SetLen) {
            return Err(injected(failure));
        }
        self.change(Op::SetLen(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let failure = self.strikes(Call::Sync);
        let mut state = self.disk.state();
        if failure.is_none() {
            state.remember();
        }
        let file = state.files.get_mut(&self.name).unwrap();
        match failure {
            None => {
                file.unsynced.clear();
                file.durable = Arc::new(file.live.clone());
                state.remember();
                return Ok(());
            }
            Some(Failure::LoseWrites) => {
                file.unsynced.clear();
                file.live = file.durable.to_vec();
            }
            Some(Failure::Error | Failure::NoSpace) => {}
        }
        Err(io::Error::other("injected"))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let failure = self.strikes(Call::Write);
        let kept = match failure {
            None => data,
            Some(Failure::NoSpace) => &data[..data.len() / 2],
            Some(_) => &data[..0],
        };
        if !kept.is_empty() {
            let bytes = kept.to_vec();
            self.change(Op::Write { offset, bytes });
        }
        failure.map_or(Ok(()), |failure| Err(injected(failure)))
    }
}
