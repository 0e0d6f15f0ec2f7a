//! Lists and rebuilds the views of a stopped service, for an operator who cannot start the service.
//!
//! They are sealed under the keyring, so it is needed here too.

use std::path::Path;

use countersign_projections::Views;
use countersign_schemas::admin::{ViewEntry, ViewList};
use countersign_schemas::time::Micros;

use super::epoch;
use super::error::StartError;
use super::foundation::Foundation;
use super::{open_views, rebuild_strange_views, views_seal};
use crate::crypto::keyring::Keyring;
use crate::engine::data_folder::log_folder;
use crate::engine::followers::projector;
use crate::engine::followers::projector::CATCH_UP;
use crate::engine::keys::vault::system_random;
use crate::engine::shared::progress::Progress;
use crate::log::{EventLog, LogOptions};

/// Lists the views and how far each is, with the last position of the log.
pub(in crate::engine) fn view_list(views: &Views, head: u64) -> ViewList {
    let views = views.list().into_iter().map(|view| ViewEntry {
        view: view.name.into(),
        version: view.version,
        position: view.checkpoint,
        halted: view.halted,
        building: view.building,
        given_up: view.given_up,
    });
    ViewList {
        views: views.collect(),
        head: Some(head),
    }
}

/// Lists the views in a data folder that no service has open.
///
/// # Errors
/// [`StartError`] if log or views cannot be opened.
pub fn list_stopped_views(data: &Path, keyring_file: &Path) -> Result<ViewList, StartError> {
    let seal = views_seal(&Keyring::load(keyring_file)?);
    let log = EventLog::open(&log_folder(data), LogOptions::default())?;
    let list = view_list(&open_views(data, &seal)?, log.head());
    log.close()?;
    Ok(list)
}

/// Brings the views up to date and rebuilds one; returns `None` if there is no view of that name.
///
/// `progress` receives, after each slice, the position reached and the last one. An interrupted
/// rebuild is continued by the next call or by the service.
///
/// # Errors
/// [`StartError`] if log or views cannot be opened, read or written.
pub fn rebuild_stopped_view(
    data: &Path,
    keyring_file: &Path,
    now: Micros,
    view: &str,
    mut progress: impl FnMut(u64, u64),
) -> Result<Option<ViewList>, StartError> {
    let options = LogOptions::default();
    let found = Foundation::open(data, keyring_file, options, system_random, now)?;
    // A view of another log than the signed one would be trusted later.
    let archive = epoch::archive(&found, data, keyring_file);
    found.index.distrust_with(archive)?;
    let views = open_views(data, &views_seal(&found.vault.keyring()))?;
    let (reader, log) = (found.reader(), found.log);
    let unwritten = |error: &dyn std::fmt::Display| StartError::Views(error.to_string());
    if !views.rebuild(view).map_err(|error| unwritten(&error))? {
        log.close()?;
        return Ok(None);
    }
    rebuild_strange_views(&views, &reader)?;
    let shown = Progress::default();
    projector::start(&reader, &views, &shown).map_err(StartError::Views)?;
    while let Some(position) = views.building() {
        progress(position, log.head());
        projector::build(&reader, &views, &shown, CATCH_UP).map_err(StartError::Views)?;
        views.flush().map_err(|error| unwritten(&error))?;
    }
    progress(log.head(), log.head());
    let list = view_list(&views, log.head());
    views.close().map_err(|error| unwritten(&error))?;
    drop(reader);
    log.close()?;
    Ok(Some(list))
}
