//! `config show`: the settings in force, and where each one comes from.

use std::ffi::OsStr;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::client::ClientArgs;
use super::fault::Fault;
use super::settings::{SettingsArgs, effective};
use super::{command, show};

/// Shown in place of a secret.
const REDACTED: &str = "***";

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Show every setting in force and where it comes from; secrets are not shown
    Show(Box<SettingsArgs>),
}

/// One setting as it is in force.
#[derive(Debug, Serialize)]
struct Setting {
    name: String,
    value: Value,
    origin: String,
}

pub fn run(verb: &ConfigVerb, client: &ClientArgs) -> Result<(), Fault> {
    let ConfigVerb::Show(args) = verb;
    let config = effective(args, client)?;
    let values = serde_json::to_value(&config).map_err(Fault::failed)?;
    let file = file_table(args.config.as_deref())?;
    let command = command();
    let matches = command.clone().get_matches();
    let origins = Origins {
        given: innermost(&matches),
        verb: verb_of(&command)?,
        file,
        file_name: args.config.as_deref(),
    };
    let mut settings = settings(&values, &origins);
    for (name, given) in [("password", &client.password), ("context", &client.context)] {
        if let (Some(text), Some(origin)) = (given, origins.given(name)) {
            let secret = name == "password";
            settings.push(Setting {
                name: format!("nats.{name}"),
                value: if secret { REDACTED } else { text.as_str() }.into(),
                origin,
            });
        }
    }
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    if client.json {
        let document = serde_json::json!({"settings": settings});
        show::line(&format!("{document:#}"))
    } else {
        show::line(&table(&settings))
    }
}

/// Every key of every section.
fn settings(values: &Value, origins: &Origins) -> Vec<Setting> {
    let sections = values.as_object().into_iter().flatten();
    let keys = sections.flat_map(|(section, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.map(move |(key, value)| (section, key, value))
    });
    keys.map(|(section, key, value)| Setting {
        name: format!("{section}.{key}"),
        value: shown(section, key, value),
        origin: origins.of(section, key),
    })
    .collect()
}

fn shown(section: &str, key: &str, value: &Value) -> Value {
    match (section, key, value) {
        ("nats", "server", Value::String(urls)) => redacted(urls).into(),
        _ => value.clone(),
    }
}

/// Addresses without their passwords; a lone word before the `@` is a token. A comma splits a
/// password, so an address that may be the beginning of a password is not shown either.
fn redacted(urls: &str) -> String {
    let one = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let Some((credentials, host)) = rest.rsplit_once('@') else {
            return url.to_owned();
        };
        let user = credentials.split_once(':').map_or("", |(user, _)| user);
        let colon = if user.is_empty() { "" } else { ":" };
        let scheme = match scheme {
            "" => String::new(),
            scheme => format!("{scheme}://"),
        };
        format!("{scheme}{user}{colon}{REDACTED}@{host}")
    };
    let urls: Vec<_> = urls.split(',').map(str::trim).collect();
    let may_begin = |at: usize| {
        let next = urls[at + 1..]
            .iter()
            .find(|url| url.contains('@') || url.contains("://"));
        next.is_some_and(|url| !url.contains("://"))
    };
    let shown = |(at, url): (usize, &&str)| {
        if !url.contains('@') && may_begin(at) {
            REDACTED.to_owned()
        } else {
            one(url)
        }
    };
    urls.iter()
        .enumerate()
        .map(shown)
        .collect::<Vec<_>>()
        .join(",")
}

/// The sources of settings: arguments, variables and the file.
struct Origins<'a> {
    given: &'a ArgMatches,
    verb: Command,
    file: toml::Table,
    file_name: Option<&'a Path>,
}

impl Origins<'_> {
    fn of(&self, section: &str, key: &str) -> String {
        let has_flag = matches!(section, "service" | "nats");
        if let Some(given) = has_flag.then(|| self.given(key)).flatten() {
            return given;
        }
        let in_file = self
            .file
            .get(section)
            .and_then(toml::Value::as_table)
            .is_some_and(|keys| keys.contains_key(key));
        match (in_file, self.file_name) {
            (true, Some(file)) => file.display().to_string(),
            (true, None) | (false, _) => "default".into(),
        }
    }

    /// The flag or the variable that gave an argument.
    fn given(&self, argument: &str) -> Option<String> {
        let known = self.verb.get_arguments().find(|a| a.get_id() == argument)?;
        match self.given.value_source(argument)? {
            ValueSource::CommandLine => Some(format!("--{}", known.get_long()?)),
            ValueSource::EnvVariable => known.get_env().and_then(OsStr::to_str).map(Into::into),
            _ => None,
        }
    }
}

fn innermost(matches: &ArgMatches) -> &ArgMatches {
    match matches.subcommand() {
        Some((_, inner)) => innermost(inner),
        None => matches,
    }
}

/// `config show` with the arguments of every command.
fn verb_of(command: &Command) -> Result<Command, Fault> {
    let mut built = command.clone();
    built.build();
    let verb = built
        .find_subcommand("config")
        .and_then(|config| config.find_subcommand("show"));
    verb.cloned()
        .ok_or_else(|| Fault::failed("`config show` is not in the command line"))
}

/// The file as it is written; it was already read once.
fn file_table(path: Option<&Path>) -> Result<toml::Table, Fault> {
    let Some(path) = path else {
        return Ok(toml::Table::new());
    };
    let text = std::fs::read_to_string(path).map_err(Fault::failed)?;
    toml::from_str(&text).map_err(Fault::failed)
}

fn table(settings: &[Setting]) -> String {
    let text = |value: &Value| match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let width = |of: &dyn Fn(&Setting) -> usize| settings.iter().map(of).max().unwrap_or(0);
    let names = width(&|setting| setting.name.len());
    let values = width(&|setting| text(&setting.value).len());
    let line = |setting: &Setting| {
        let value = text(&setting.value);
        let line = format!(
            "{:<names$}  {value:<values$}  {}\n",
            setting.name, setting.origin
        );
        line
    };
    settings.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn no_address_shows_a_password_or_a_token() {
        for (url, shown) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://a:b@h:1", "nats://a:***@h:1"),
            ("nats://a:p@ss@h, tls://x", "nats://a:***@h,tls://x"),
            ("nats://token@h", "nats://***@h"),
            ("a:b@h", "a:***@h"),
            ("nats://a:p,q@h:1", "***,***@h:1"),
            ("nats://a:p,12,q@h:1", "***,***,***@h:1"),
            ("nats://[::1]:4222,h:1,h", "nats://[::1]:4222,h:1,h"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
