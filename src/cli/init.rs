//! `init`: creates a log and its keyring.

use std::path::PathBuf;

use super::fault::Fault;
use super::show;
use crate::engine;
use crate::log::LogOptions;

#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The data folder to make
    #[arg(long, env = "COUNTERSIGN_DATA")]
    data: PathBuf,
    /// The keyring file to make, outside the data folder
    #[arg(long, env = "COUNTERSIGN_KEYRING")]
    keyring: PathBuf,
}

pub fn run(args: &InitArgs) -> Result<(), Fault> {
    engine::init(
        &args.data,
        &args.keyring,
        engine::wall_clock(),
        LogOptions::default(),
    )
    .map_err(Fault::failed)?;
    show::line(&format!(
        "created the log in {} and the keyring {}\nKeep a copy of the keyring apart from the data: without it nothing that is sealed can be read.",
        args.data.display(),
        args.keyring.display(),
    ))
}
