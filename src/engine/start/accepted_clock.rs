//! The operator's acceptance of a wall clock behind the log: recorded, and found again at a start.

use countersign_schemas::event::Event;
use countersign_schemas::ids::StreamKey;
use countersign_schemas::time::Micros;

use super::error::StartError;
use super::foundation::Foundation;
use crate::account::{Policy, service};
use crate::engine::clock::AcceptedClock;
use crate::engine::entries::record;

/// Log-wide events that are read at once in the search for the last acceptance.
const PAGE: u32 = 256;

/// Records that an operator accepts a wall clock behind the log as right. A clock that is not
/// behind needs no acceptance.
///
/// # Errors
/// [`StartError`] if it cannot be recorded.
pub fn accept_back(
    found: &mut Foundation,
    policy: &Policy,
    reason: &str,
    wall: Micros,
) -> Result<(), StartError> {
    let log_time = found.index.tail().at;
    if wall.plus_s(policy.clock_back_max_s) >= log_time {
        tracing::info!("the wall clock is not behind the log, so nothing had to be accepted");
        return Ok(());
    }
    let event = service::clock_back_accepted(wall, log_time, reason);
    found.append(&event, wall)
}

/// Returns the acceptance in force: the last one, if log time has not moved since.
///
/// # Errors
/// [`StartError`] if the log cannot be read.
pub fn accepted(found: &Foundation) -> Result<Option<AcceptedClock>, StartError> {
    let (reader, index) = (found.reader(), &found.index);
    let log_time = index.tail().at;
    let mut through = index.version(&StreamKey::LOG)?;
    while through > 0 {
        let after = through.saturating_sub(PAGE);
        for position in index
            .positions(&StreamKey::LOG, after, through)?
            .iter()
            .rev()
        {
            let gone = || StartError::Record(format!("position {position} cannot be read"));
            let record = record(&reader, *position).ok_or_else(gone)?;
            if record.recorded_at < log_time {
                return Ok(None);
            }
            if let Ok(Event::ClockBackAccepted(e)) = record.event() {
                let at = record.recorded_at;
                return Ok(Some(AcceptedClock { at, wall: e.wall }));
            }
        }
        through = after;
    }
    Ok(None)
}
