//! `config show`: every setting with its value, and whether the file says so or the default.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::ClientArgs;
use super::config::Config;
use super::fault::Fault;
use super::show;

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Show every setting, its value and where it comes from
    Show {
        /// The configuration file (TOML)
        #[arg(long, env = "COUNTERSIGN_CONFIG")]
        config: Option<PathBuf>,
    },
}

/// A setting with its value and its origin.
type Setting = (String, toml::Value, &'static str);

pub fn run(verb: &ConfigVerb, args: &ClientArgs) -> Result<(), Fault> {
    let ConfigVerb::Show { config: path } = verb;
    let config = Config::read(path.as_deref())?;
    let said = match path {
        Some(path) => std::fs::read_to_string(path).map_err(Fault::failed)?,
        None => String::new(),
    };
    let said: toml::Table = toml::from_str(&said).map_err(Fault::failed)?;
    let settings = settings(&config, &said)?;
    if args.json {
        let member = |(name, value, origin): &Setting| json!({"name": name, "value": value, "origin": origin});
        let all: Vec<Value> = settings.iter().map(member).collect();
        return show::line(&serde_json::to_string_pretty(&all).map_err(Fault::failed)?);
    }
    let lines = settings
        .iter()
        .map(|(name, value, origin)| format!("{:<48}# {origin}", format!("{name} = {value}")));
    show::line(&lines.collect::<Vec<_>>().join("\n"))
}

fn settings(config: &Config, said: &toml::Table) -> Result<Vec<Setting>, Fault> {
    let effective = toml::Table::try_from(config).map_err(Fault::failed)?;
    let mut settings = Vec::new();
    for (section, values) in effective {
        let toml::Value::Table(values) = values else {
            continue;
        };
        let in_file = said.get(&section).and_then(toml::Value::as_table);
        for (name, value) in values {
            let origin = match in_file.is_some_and(|said| said.contains_key(&name)) {
                true => "file",
                false => "default",
            };
            settings.push((format!("{section}.{name}"), value, origin));
        }
    }
    Ok(settings)
}
