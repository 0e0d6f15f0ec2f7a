//! `keys`: look at the keys and rotate them; no key is ever shown.

use clap::Subcommand;
use serde_json::json;

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::show;

#[derive(Debug, Subcommand)]
pub enum KeysVerb {
    /// Bring a new key-encryption key and a new pepper into use, as an operator
    ///
    /// Data keys are wrapped anew in the background, passwords follow as their owners log in.
    /// Copy the keyring file afterwards: older copies do not open what is sealed from now on.
    Rotate {
        /// Why, for the auditors (1 to 500 bytes)
        #[arg(long)]
        reason: String,
    },
}

pub async fn run(verb: KeysVerb, args: &ClientArgs) -> Result<(), Fault> {
    match verb {
        KeysVerb::Rotate { reason } => {
            let mut client = Client::connect(args).await?;
            let body = json!({"reason": reason});
            let answer = client.admin("rotate-keys", &body).await?;
            show::answer(args, &answer, |body| {
                format!(
                    "key {} is in use: copy the keyring file now, an older copy does not open what is sealed from here on",
                    body["key_id"]
                )
            })
        }
    }
}
