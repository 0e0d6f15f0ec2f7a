//! The command line, one file per noun: what people type and what scripts rely on.

mod account;
pub(crate) mod audit;
mod backup;
mod backup_codes;
pub mod client;
mod config;
mod config_show;
mod confirm;
mod dev;
mod doctor;
mod factor;
pub mod fault;
mod health;
mod init;
mod input;
mod keys;
mod log;
mod login;
mod policy;
mod progress;
mod reference;
mod reset;
mod serve;
mod settings;
pub mod show;
mod support;
mod view;

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::{Arg, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use client::ClientArgs;
use fault::Fault;
use settings::SettingsArgs;

/// Two-factor authentication as a service over NATS.
///
/// Try it: `countersign dev` starts a broker and the service on this machine and plays a tour.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, after_help = fault::exit_codes(), arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    noun: Noun,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Run a broker and the service on this machine, and play a tour
    Dev(dev::DevArgs),
    /// Create a log and its keyring
    Init(init::InitArgs),
    /// Run the service
    Serve(serve::ServeArgs),
    /// Ask a service of this machine whether it is ready: exit 0 if it is, 6 if not, 5 if it is
    /// away
    Health(health::HealthArgs),
    /// Make accounts, change passwords, erase accounts
    #[command(subcommand)]
    Account(account::AccountVerb),
    /// Turn the second factor on and off
    #[command(subcommand)]
    Factor(factor::FactorVerb),
    /// Make new backup codes
    #[command(subcommand, name = "backup-codes")]
    BackupCodes(backup_codes::BackupCodesVerb),
    /// Check passwords and codes
    #[command(subcommand)]
    Login(login::LoginVerb),
    /// Help an account's owner, as a support agent
    #[command(subcommand)]
    Support(support::SupportVerb),
    /// Read, export and verify the history
    #[command(subcommand)]
    Audit(audit::AuditVerb),
    /// Verify a backup
    #[command(subcommand)]
    Backup(backup::BackupVerb),
    /// Read the log, back it up, go on after a loss
    #[command(subcommand)]
    Log(log::LogVerb),
    /// List the views, build one again
    #[command(subcommand)]
    View(view::ViewVerb),
    /// List, rotate and forget keys
    #[command(subcommand)]
    Keys(keys::KeysVerb),
    /// Compute what the limits on guessing are worth
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// Check an installation and report what is wrong; the service may run meanwhile
    Doctor(Box<SettingsArgs>),
    /// Show the settings in force
    #[command(subcommand)]
    Config(config_show::ConfigVerb),
    /// Show the contract's JSON Schemas
    #[command(subcommand)]
    Schema(reference::SchemaVerb),
    /// Print shell completions
    Completions(reference::CompletionsArgs),
    /// Print the man page (roff)
    Man,
}

impl Cli {
    /// Reads the command line and the environment; ends the process if they are not valid.
    pub fn read() -> Self {
        let matches = command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// The command line as it is read: an empty variable counts as unset, as for the `nats` command.
fn command() -> Command {
    without_empty_variables(Cli::command())
}

fn without_empty_variables(command: Command) -> Command {
    let without = |argument: Arg| {
        let value = argument.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) {
            argument.env(Resettable::Reset)
        } else {
            argument
        }
    };
    command
        .mut_args(without)
        .mut_subcommands(without_empty_variables)
}

/// Runs one command line; docs/reference/exit-codes.md lists the exit codes.
pub fn run(cli: Cli) -> ExitCode {
    if let Err(error) = forbid_core_files() {
        eprintln!(
            "countersign: warning: this process may leave a core file with secrets in it ({error})"
        );
    }
    let json = cli.client.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!(
                "countersign: the async runtime cannot start ({error}): check the limits of this process"
            );
            return ExitCode::from(fault::FAULT);
        }
    };
    let result = runtime.block_on(dispatch(cli));
    // A start that a signal stopped leaves a working thread behind, which nothing else ends.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => fault.report(json),
    }
}

/// A core file would hold every key in clear. The limit alone does not keep the system from handing
/// one to a program that collects them (core(5)).
fn forbid_core_files() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    Ok(rustix::process::set_dumpable_behavior(
        DumpableBehavior::NotDumpable,
    )?)
}

async fn dispatch(cli: Cli) -> Result<(), Fault> {
    let client = cli.client;
    match cli.noun {
        Noun::Dev(args) => dev::run(args).await,
        Noun::Init(args) => init::run(&args),
        Noun::Serve(args) => serve::run(args, &client).await,
        Noun::Health(args) => interruptible(health::run(args, &client)).await,
        Noun::Account(verb) => interruptible(Box::pin(account::run(verb, &client))).await,
        Noun::Factor(verb) => interruptible(Box::pin(factor::run(verb, &client))).await,
        Noun::BackupCodes(verb) => interruptible(backup_codes::run(verb, &client)).await,
        Noun::Login(verb) => interruptible(login::run(verb, &client)).await,
        Noun::Support(verb) => interruptible(Box::pin(support::run(verb, &client))).await,
        Noun::Audit(verb) => interruptible(Box::pin(audit::run(verb, &client))).await,
        Noun::Backup(verb) => backup::run(&verb, &client),
        Noun::Log(verb) => interruptible(log::run(verb, &client)).await,
        Noun::View(verb) => Box::pin(interruptible(view::run(verb, &client))).await,
        Noun::Keys(verb) => interruptible(keys::run(verb, &client)).await,
        Noun::Policy(verb) => policy::run(&verb, &client),
        Noun::Doctor(args) => interruptible(Box::pin(doctor::run(*args, &client))).await,
        Noun::Config(verb) => config_show::run(&verb, &client),
        Noun::Schema(verb) => interruptible(reference::schema(verb, &client)).await,
        Noun::Completions(args) => reference::completions(&args),
        Noun::Man => reference::man(),
    }
}

/// Lets an interrupt end a client command with exit code 130.
async fn interruptible(work: impl Future<Output = Result<(), Fault>>) -> Result<(), Fault> {
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(Fault::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior};

    /// T11: a program that collects core files gets none from this process.
    #[test]
    fn a_process_that_may_hold_secrets_is_not_dumpable() {
        super::forbid_core_files().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
