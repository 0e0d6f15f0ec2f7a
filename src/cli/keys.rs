//! `keys`: lists the keys, rotates them, forgets an old one; no secret key is ever shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Subcommand;
use countersign_schemas::admin::{KeyEntry, KeyKind, KeyList, KeyState};
use countersign_schemas::time::Micros;
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::show;
use crate::crypto::data_keys::{DataKeys, DataKeysError};
use crate::crypto::keyring::Keyring;
use crate::engine::{Lacking, key_list, lacking_in, wall_clock};

const DAY_S: u64 = 86_400;

#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// List the keys: numbers, states, ages, and how many data keys each wraps
    ///
    /// Asks the running service, as an operator. With --keyring the command reads the file itself,
    /// and with --data too it counts the data keys that each key wraps in a stopped service's key
    /// store.
    List {
        /// The keyring file to read
        #[arg(long, env = "COUNTERSIGN_KEYRING")]
        keyring: Option<PathBuf>,
        /// The data folder with the keys to count
        #[arg(long, env = "COUNTERSIGN_DATA", requires = "keyring")]
        data: Option<PathBuf>,
    },
    /// Bring a new key-encryption key and a new pepper into use, as an operator
    ///
    /// Data keys are wrapped again in the background; passwords follow as their owners log in.
    /// Copy the keyring folder afterwards: older copies cannot open what is sealed from now on.
    Rotate {
        /// Why, for the auditors (1 to 500 characters)
        #[arg(long)]
        reason: String,
    },
    /// Remove a retired key-encryption key from the keyring of a stopped service
    ///
    /// Copies of keys.redb that this key wraps can never be read again. Forget the key once these
    /// copies are aged out, or in order to make them unreadable.
    Forget {
        /// The key's number
        key_id: u32,
        /// The keyring file
        #[arg(long, env = "COUNTERSIGN_KEYRING")]
        keyring: PathBuf,
        /// The data folder
        #[arg(long, env = "COUNTERSIGN_DATA")]
        data: PathBuf,
    },
}

pub async fn run(verb: KeysVerb, args: &ClientArgs) -> Result<(), Fault> {
    match verb {
        KeysVerb::List {
            keyring: Some(keyring),
            data,
        } => Box::pin(list_files(&keyring, data.as_deref(), args)).await,
        KeysVerb::List { .. } => {
            let mut client = Client::connect(args).await?;
            let answer = client.admin("key-list", &json!({})).await?;
            show::answer(args, &answer, listed)
        }
        KeysVerb::Rotate { reason } => {
            let mut client = Client::connect(args).await?;
            let body = json!({"reason": reason});
            let answer = client.admin("rotate-keys", &body).await?;
            show::answer(args, &answer, |body| {
                format!(
                    "key {} is in use: copy the keyring folder now, an older copy cannot open what is sealed from now on",
                    body["key_id"]
                )
            })
        }
        KeysVerb::Forget {
            key_id,
            keyring,
            data,
        } => forget(key_id, &keyring, &data),
    }
}

/// Lists the keys of the keyring file. The key store of a running service belongs to the service,
/// so the counts come from the service, if it replies.
async fn list_files(keyring: &Path, data: Option<&Path>, args: &ClientArgs) -> Result<(), Fault> {
    let ring = Arc::new(Keyring::load(keyring).map_err(Fault::failed)?);
    let list = match data.map(|data| open(data, &ring)) {
        None => key_list(&ring, None),
        Some(Ok(keys)) => key_list(&ring, Some(&keys.counts().map_err(Fault::failed)?)),
        Some(Err(DataKeysError::InUse(_))) => match ask(args).await {
            Some(list) if list.log_id == key_list(&ring, None).log_id => list,
            Some(_) | None => key_list(&ring, None),
        },
        Some(Err(error)) => return Err(Fault::failed(error)),
    };
    if args.json {
        show::line(&serde_json::to_string_pretty(&list).map_err(Fault::failed)?)
    } else {
        show::line(&table(&list))
    }
}

fn open(data: &Path, keyring: &Arc<Keyring>) -> Result<DataKeys, DataKeysError> {
    DataKeys::open(&data.join("keys.redb"), Arc::clone(keyring), false)
}

/// The list of the running service, if it replies.
async fn ask(args: &ClientArgs) -> Option<KeyList> {
    let mut client = Client::connect(args).await.ok()?;
    let answer = client.admin("key-list", &json!({})).await.ok()?;
    serde_json::from_value(answer.body).ok()
}

fn forget(key_id: u32, keyring: &Path, data: &Path) -> Result<(), Fault> {
    let ring = Arc::new(Keyring::load(keyring).map_err(Fault::failed)?);
    let keys = open(data, &ring).map_err(Fault::failed)?;
    let counts = keys.counts().map_err(Fault::failed)?;
    if let Some(count) = counts.get(&key_id) {
        return Err(Fault::Negative(format!(
            "keys.redb still needs key {key_id} ({count} data keys), so nothing was changed: rotate, and let the service run until `data-keys-rewrapped` is in the log"
        )));
    }
    // The counts rest on the key number that each row names; a row that opens names the right one.
    keys.check_keys().map_err(Fault::failed)?;
    drop(keys);
    let lacking = lacking_in(data, keyring).map_err(Fault::failed)?;
    // A copy that has the key may be wrapped by the one to forget.
    if let Some(Lacking::Key(position) | Lacking::Erasure(position)) = lacking {
        return Err(Fault::Negative(format!(
            "keys.redb does not have the data key that the event at position {position} needs, so nothing was changed: restore the copy of keys.redb that has it, or erase that account, and then run this again"
        )));
    }
    let ring = Keyring::load(keyring).map_err(Fault::failed)?;
    match ring.forget(keyring, key_id).map_err(Fault::failed)? {
        Some(_) => show::line(&format!("key {key_id} is forgotten")),
        None => Err(Fault::Negative(format!(
            "the keyring has no retired key-encryption key {key_id}: see `keys list`"
        ))),
    }
}

fn listed(body: &Value) -> String {
    match serde_json::from_value(body.clone()) {
        Ok(list) => table(&list),
        Err(_) => body.to_string(),
    }
}

fn table(list: &KeyList) -> String {
    let now = wall_clock();
    let mut text = format!("log   {}\nvkey  {}\n\n", list.log_id, list.vkey);
    for key in &list.keys {
        text.push_str(&row(key, now));
    }
    text
}

fn row(key: &KeyEntry, now: Micros) -> String {
    let kind = match key.kind {
        KeyKind::KeyEncryption => "key-encryption",
        KeyKind::Pepper => "pepper",
    };
    let state = match key.state {
        KeyState::Active => "active",
        KeyState::Retired => "retired",
    };
    let days = now.0.saturating_sub(key.created_at.0) / (DAY_S * Micros::SECOND);
    let seals = match (key.seals, key.kind) {
        (Some(count), _) => format!("wraps {count} data keys"),
        (None, KeyKind::KeyEncryption) => "not counted".to_owned(),
        (None, KeyKind::Pepper) => String::new(),
    };
    let line = format!(
        "{kind:<14}  {:>4}  {state:<7}  {:.0}  {days:>5} days  {seals}",
        key.key_id, key.created_at
    );
    format!("{}\n", line.trim_end())
}
