//! `schema`, `completions`, `man`: the documents about the binary itself.

use std::io::{Write, stdout};

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;
use countersign_schemas::catalogue;
use serde_json::{Value, json};

use super::client::{Client, ClientArgs};
use super::fault::Fault;
use super::{Cli, show};

#[derive(Debug, Subcommand)]
pub enum SchemaVerb {
    /// Show one JSON Schema, as the running service has it
    Show {
        /// Its name, for example verify-login-request
        name: String,
    },
    /// List the names of the JSON Schemas of this version
    Ls,
    /// List the errors that the service knows
    Errors,
}

#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

pub async fn schema(verb: SchemaVerb, args: &ClientArgs) -> Result<(), Fault> {
    let query = match verb {
        SchemaVerb::Show { name } => format!("schema.{name}"),
        SchemaVerb::Errors => "errors".into(),
        SchemaVerb::Ls => return names(args),
    };
    let answer = Client::connect(args)
        .await?
        .query(&query, &json!({}))
        .await?;
    show::answer(args, &answer, |body: &Value| format!("{body:#}"))
}

fn names(args: &ClientArgs) -> Result<(), Fault> {
    let names: Vec<_> = catalogue::documents().into_iter().map(|d| d.0).collect();
    if args.json {
        show::line(&json!({"schemas": names}).to_string())
    } else {
        show::line(&names.join("\n"))
    }
}

pub fn completions(args: &CompletionsArgs) -> Result<(), Fault> {
    // The generator panics if it cannot write, and standard output may be closed.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "countersign", &mut text);
    show::written(stdout().write_all(&text))
}

pub fn man() -> Result<(), Fault> {
    let rendered = clap_mangen::Man::new(Cli::command()).render(&mut stdout());
    show::written(rendered)
}
