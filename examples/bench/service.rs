//! The real binary as a separate process, and its use of the machine.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;

/// The binary beside the folder of this example.
pub fn binary() -> Outcome<PathBuf> {
    let example = std::env::current_exe()?;
    let folder = example.ancestors().nth(2).ok_or("no target folder")?;
    Ok(folder.join("countersign"))
}

/// The service, killed −9 when dropped.
pub struct Service(Child);

impl Service {
    /// Starts it and waits until it is ready; returns how long that took.
    pub fn start(
        data: &Path,
        keyring: &Path,
        url: &str,
        more: &[&str],
    ) -> Outcome<(Self, Duration)> {
        let started_at = Instant::now();
        let mut child = Command::new(binary()?)
            .args(["serve", "--identity", "dev", "--server", url])
            .args(more)
            .arg("--data")
            .arg(data)
            .arg("--keyring")
            .arg(keyring)
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no standard error")?).lines();
        let service = Self(child);
        let is_ready = |line: &std::io::Result<String>| {
            line.as_ref()
                .is_ok_and(|line| line.contains(r#""message":"ready""#))
        };
        lines.find(is_ready).ok_or("the service ended")??;
        let took = started_at.elapsed();
        thread::spawn(move || lines.for_each(drop));
        Ok((service, took))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processor time of a process; in the rest of the time it waits for other processes and for
/// the disk.
#[allow(dead_code, reason = "not every bench asks it")]
pub fn processor_s(pid: u32) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name in brackets, user and system time are the 12th and 13th fields, in 1/100 s.
    let (_, rest) = stat.rsplit_once(')').ok_or("an odd stat")?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}

/// Bytes of a process from a line of its status: `RssAnon` is memory without a file, `VmHWM` the
/// most memory so far.
#[allow(dead_code, reason = "not every bench asks it")]
pub fn memory(pid: u32, line: &str) -> Outcome<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: u64 = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))
        .and_then(|text| text.trim().strip_suffix(" kB"))
        .ok_or("the process has no memory")?
        .parse()?;
    Ok(kib * 1024)
}
