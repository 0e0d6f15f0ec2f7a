//! `view`: the views, which can be built again from the log at any time. The command asks a running
//! service over NATS; with `--data` it works on the files of a stopped one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use countersign_schemas::admin::ViewList;
use serde_json::{Value, json};

use super::client::{Answer, Client, ClientArgs};
use super::fault::Fault;
use super::progress::Progress;
use super::show;
use crate::engine::{list_stopped_views, rebuild_stopped_view, wall_clock};

/// How often the command asks for the progress of a view.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub enum ViewVerb {
    /// List the views and their positions
    List {
        #[command(flatten)]
        of: Stopped,
    },
    /// Build a view again from the log; the old one serves until the new one is complete
    Rebuild {
        /// The view's name
        view: String,
        /// Why; a running service requires it
        #[arg(long, required_unless_present = "data")]
        reason: Option<String>,
        #[command(flatten)]
        of: Stopped,
    },
}

#[derive(Debug, clap::Args)]
pub struct Stopped {
    /// The data folder of a stopped service [default: ask the running one]
    #[arg(long, value_name = "DIR", requires = "keyring")]
    data: Option<PathBuf>,
    /// The keyring file, which seals the views; with --data
    #[arg(long, value_name = "FILE", env = "COUNTERSIGN_KEYRING")]
    keyring: Option<PathBuf>,
}

impl Stopped {
    /// Data folder and keyring of a stopped service; `None` for a running one.
    fn files(self) -> Option<(PathBuf, PathBuf)> {
        self.data.zip(self.keyring)
    }
}

pub async fn run(verb: ViewVerb, args: &ClientArgs) -> Result<(), Fault> {
    let body = match verb {
        ViewVerb::List { of } => match of.files() {
            Some((data, keyring)) => {
                document(list_stopped_views(&data, &keyring).map_err(Fault::failed)?)?
            }
            None => {
                let mut client = Client::connect(args).await?;
                client.admin("view-list", &json!({})).await?.body
            }
        },
        ViewVerb::Rebuild { view, reason, of } => match of.files() {
            Some((data, keyring)) => rebuild_stopped(&view, &data, &keyring, args)?,
            None => rebuild(&view, reason, args).await?,
        },
    };
    let answer = Answer {
        body,
        replayed: false,
    };
    show::answer(args, &answer, views)
}

fn document(list: ViewList) -> Result<Value, Fault> {
    serde_json::to_value(list).map_err(Fault::failed)
}

fn rebuild_stopped(
    view: &str,
    data: &Path,
    keyring: &Path,
    args: &ClientArgs,
) -> Result<Value, Fault> {
    let mut progress = Progress::new("building", args.json);
    let at = |done, head| progress.at(done, head);
    let built = rebuild_stopped_view(data, keyring, wall_clock(), view, at);
    drop(progress);
    let unknown = || Fault::Usage(format!("there is no view {view}: see `view list`"));
    let list = document(built.map_err(Fault::failed)?.ok_or_else(unknown)?)?;
    is_built(&list, view)?;
    Ok(list)
}

/// Requests the rebuild, and waits until the view is built.
async fn rebuild(view: &str, reason: Option<String>, args: &ClientArgs) -> Result<Value, Fault> {
    let mut client = Client::connect(args).await?;
    let body = json!({"view": view, "reason": reason});
    let mut list = client.admin("view-rebuild", &body).await?.body;
    let mut progress = Progress::new("building", args.json);
    loop {
        let views = list["views"].as_array().into_iter().flatten();
        let ours = views.into_iter().find(|entry| entry["view"] == view);
        let Some(done) = ours.and_then(|entry| entry["building"].as_u64()) else {
            is_built(&list, view)?;
            return Ok(list);
        };
        progress.at(done, list["head"].as_u64().unwrap_or(done));
        tokio::time::sleep(LOOK_EVERY).await;
        list = client.admin("view-list", &json!({})).await?.body;
    }
}

/// Checks that the new view replaced the old one.
fn is_built(list: &Value, view: &str) -> Result<(), Fault> {
    let views = list["views"].as_array().into_iter().flatten();
    let ours = views.into_iter().find(|entry| entry["view"] == view);
    match ours.and_then(|entry| entry["given_up"].as_str()) {
        None => Ok(()),
        Some(why) => Err(Fault::Failed(format!(
            "{view} could not be built again, and the old view stays: {why}"
        ))),
    }
}

/// A table of the views.
fn views(body: &Value) -> String {
    let none = Vec::new();
    let views = body["views"].as_array().unwrap_or(&none);
    let line = |view: &Value| {
        let halted = view["halted"].as_str().map(|why| format!("halted: {why}"));
        let building = view["building"].as_u64();
        let building = building.map(|at| format!("being built again, up to {at}"));
        let given_up = view["given_up"].as_str();
        let given_up = given_up.map(|why| format!("not built again: {why}"));
        let state = [halted, building, given_up]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        format!(
            "{:<16}v{}  up to {}  {}\n",
            show::field(view, "view"),
            view["version"],
            view["position"],
            if state.is_empty() {
                "follows".to_owned()
            } else {
                state.join("; ")
            }
        )
    };
    views.iter().map(line).collect()
}
