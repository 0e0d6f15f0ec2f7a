//! Finds given values in the writable memory of a process.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use crate::canary::forms::Search;

const PAGE_BYTES: usize = 4_096;
/// The bytes of one read.
const READ_BYTES: usize = 256 * PAGE_BYTES;
/// Every process of these tests has more writable memory than this.
const WRITTEN_BYTES_MIN: usize = 1 << 20;

/// A writable mapping of the process: its range, and its name in the system.
struct Mapping {
    from: u64,
    to: u64,
    name: String,
}

fn writable(process: u32) -> Vec<Mapping> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mapping = |line: &str| {
        let mut words = line.split_whitespace();
        let (from, to) = words.next()?.split_once('-')?;
        let is_writable = words.next()?.starts_with("rw");
        let at = |hex| u64::from_str_radix(hex, 16).unwrap();
        let name = words.nth(3).unwrap_or("without a name").to_owned();
        is_writable.then(|| Mapping {
            from: at(from),
            to: at(to),
            name,
        })
    };
    maps.lines().filter_map(mapping).collect()
}

/// The values that are in the writable memory of a process, and where.
///
/// The service is not dumpable, so the tests must run as root or with `CAP_SYS_PTRACE` to read its
/// memory.
pub fn search(process: u32, search: &Search) -> BTreeSet<String> {
    let memory = File::open(format!("/proc/{process}/mem"))
        .expect("root, or CAP_SYS_PTRACE, to read the memory of a process that is not dumpable");
    let mut found = BTreeSet::new();
    let mut written_bytes = 0;
    for mapping in writable(process) {
        for run in written(&memory, &mapping) {
            written_bytes += run.len();
            let here = search.found_in(&run).into_iter();
            found.extend(here.map(|form| format!("{form:?} in {}", mapping.name)));
        }
    }
    assert!(written_bytes > WRITTEN_BYTES_MIN, "{written_bytes} bytes");
    found
}

/// The contents of a mapping without empty pages, one piece for each run of other pages.
fn written(memory: &File, mapping: &Mapping) -> Vec<Vec<u8>> {
    let mut runs = vec![Vec::new()];
    let mut part = vec![0; READ_BYTES];
    let mut at = mapping.from;
    while at < mapping.to {
        let len = READ_BYTES.min((mapping.to - at) as usize);
        // A mapping can be gone since it was listed, and some cannot be read.
        let read = memory.read_at(&mut part[..len], at).unwrap_or(0);
        if read == 0 {
            break;
        }
        for page in part[..read].chunks(PAGE_BYTES) {
            let is_empty = page == &[0; PAGE_BYTES][..page.len()];
            let last = runs.last_mut().unwrap();
            match is_empty {
                true if last.is_empty() => {}
                true => runs.push(Vec::new()),
                false => last.extend(page),
            }
        }
        at += read as u64;
    }
    runs
}
