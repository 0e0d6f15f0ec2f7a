//! `policy`: computes what the configured limits are worth, by running the rules.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::client::ClientArgs;
use super::config::Config;
use super::fault::Fault;
use super::show;
use crate::account::Policy;
use crate::account::guessing::password_bound::{PasswordGuesses, password_guesses};
use crate::account::guessing::usual_limits::USUAL_LIMITS;
use crate::account::guessing::{CODE_ODDS, Compared, MONTH_S, ODDS_MAX, Owner, Support, compared};
use crate::account::passwords::{KNOWN_MAX, NEW_FAILURES_MAX, NEW_TRIES};
use crate::engine::pool::{WAITING_MAX, WIDTH};

/// Accounts of which one attacker knows the passwords, for the second pair of figures.
const ACCOUNTS: f64 = 10_000.0;
/// Guesses of backup codes in a second, far more than Argon2id allows.
const BACKUP_GUESSES_PER_S: f64 = 1_000.0;
/// Random bits of a backup code.
const BACKUP_CODE_BITS: i32 = 70;

#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Compute how likely a password thief is to guess a code in a month
    Explain(ExplainArgs),
}

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The configuration file (TOML) [default: the shipped policy]
    #[arg(long, env = "COUNTERSIGN_CONFIG")]
    config: Option<PathBuf>,
}

pub fn run(verb: &PolicyVerb, client: &ClientArgs) -> Result<(), Fault> {
    let PolicyVerb::Explain(args) = verb;
    let policy = Config::read(args.config.as_deref())?.policy;
    let explained = explain(&policy);
    if client.json {
        show::line(&serde_json::to_string_pretty(&explained).map_err(Fault::failed)?)
    } else {
        show::line(&text(&explained))
    }
}

/// The figures, as `--json` prints them.
#[derive(Debug, Serialize)]
struct Explained {
    window_codes: u64,
    code_odds: f64,
    month_s: u64,
    odds_max: f64,
    within_odds_max: bool,
    backup_code_odds: f64,
    password_guesses: PasswordGuesses,
    bounds: Vec<Bound>,
    limits: Vec<Row>,
}

/// Another bound: what it limits, the limit, and over what it counts.
#[derive(Debug, Serialize)]
struct Bound {
    of: &'static str,
    most: u64,
    per: String,
}

/// Every bound on guessing and on agents, except the one on app codes.
fn bounds(policy: &Policy) -> Vec<Bound> {
    let bound = |of, most: u64, per: &str| Bound {
        of,
        most,
        per: per.into(),
    };
    let hours = |seconds: u64| format!("agent and {} h, over all accounts", seconds / 3_600);
    let act = |of, most: u16| bound(of, most.into(), &hours(policy.agent_acts_window_s));
    let free = u64::from(policy.source_failures_free);
    let per_s = |seconds: u64| format!("account; or once in {} days", seconds / 86_400);
    vec![
        bound(
            "free wrong passwords",
            policy.password_failures_free.into(),
            "account and source",
        ),
        bound(
            "free wrong passwords",
            policy.password_day_failures_free.into(),
            "account and day",
        ),
        bound(
            "tries of a new source during a crowd's wait",
            NEW_TRIES as u64,
            "account, source and day",
        ),
        bound(
            "tries of all new sources",
            NEW_FAILURES_MAX as u64,
            "account and day",
        ),
        bound("known sources", KNOWN_MAX as u64, "account, for 30 days"),
        bound(
            "free wrong passwords",
            free,
            "address and day, over all names",
        ),
        bound("free wrong pairs", free, "address and day, over all names"),
        bound(
            "commands that wait for a hash",
            WAITING_MAX as u64,
            "service; a full queue drops the newest of the sender with the most",
        ),
        bound("hashes at a time", WIDTH as u64, "service"),
        act("suspend-factor", policy.suspensions_max),
        act("clear-attempts", policy.clears_max),
        bound("clear-attempts", 1, &per_s(policy.clear_again_after_s)),
        act("cases rejected or cancelled", policy.reset_ends_max),
        act("erase-account", policy.erasures_max),
        bound(
            "request-reset",
            policy.reset_requests_max.into(),
            &hours(policy.reset_requests_window_s),
        ),
    ]
}

/// One limit, and what an attacker gets within it in a month.
#[derive(Debug, Serialize)]
struct Row {
    limit: &'static str,
    owner: Owner,
    support: Support,
    #[serde(flatten)]
    compared: Compared,
    /// The odds that one account falls in a month.
    odds: f64,
    /// The odds that at least one of 10,000 does.
    odds_of_any_in_10000: f64,
    /// How many of 10,000 do, on average.
    expected_in_10000: f64,
}

const OURS: &str = "this policy";
const OURS_CLEARED: &str = "same, support clears";

fn explain(policy: &Policy) -> Explained {
    let row = |limit, owner, support, compared: Compared| {
        let odds = compared.odds(CODE_ODDS, policy.window_steps);
        Row {
            limit,
            owner,
            support,
            compared,
            odds,
            odds_of_any_in_10000: -(ACCOUNTS * (-odds).ln_1p()).exp_m1(),
            expected_in_10000: ACCOUNTS * odds,
        }
    };
    let owners = [Owner::Away, Owner::Daily];
    let ours = |limit, support| {
        owners.map(|owner| row(limit, owner, support, compared(policy, owner, support)))
    };
    let bare = ours(OURS, Support::Idle);
    let cleared = ours(OURS_CLEARED, Support::Clears);
    let within_odds_max = bare.iter().all(|row| row.odds <= ODDS_MAX);
    let usual = USUAL_LIMITS.iter().flat_map(|limit| {
        owners.map(|owner| row(limit.name, owner, Support::Idle, limit.compared(owner)))
    });
    Explained {
        window_codes: 2 * policy.window_steps + 1,
        code_odds: CODE_ODDS,
        month_s: MONTH_S,
        odds_max: ODDS_MAX,
        within_odds_max,
        backup_code_odds: BACKUP_GUESSES_PER_S * MONTH_S as f64 * 0.5_f64.powi(BACKUP_CODE_BITS),
        password_guesses: password_guesses(policy),
        bounds: bounds(policy),
        limits: bare.into_iter().chain(cleared).chain(usual).collect(),
    }
}

fn text(explained: &Explained) -> String {
    let mut text = format!(
        "How likely an attacker with the password, every source and these numbers guesses an app\n\
         code in 30 days, with {} codes valid at a time:\n\n\
         {:<25} {:<7} {:>11} {:>7} {:>9} {:>20}\n",
        explained.window_codes, "", "owner", "single", "pairs", "odds per", "of 10,000 accounts:"
    );
    text.push_str(&format!(
        "{:<25} {:<7} {:>11} {:>7} {:>9} {:>10} {:>9}\n",
        "limit", "logs in", "codes", "", "account", "any falls", "how many"
    ));
    for row in &explained.limits {
        text.push_str(&line(row));
    }
    let bar = if explained.within_odds_max {
        "met"
    } else {
        "NOT met: the numbers of this configuration are weaker than the shipped ones"
    };
    text.push_str(&format!(
        "\nThe limit of {:.1e} per account and month is {bar}.\n\n\
         The guesses against this policy are counted by running its rules. If one attack gives the most\n\
         single codes and another the most pairs, both counts are used. The other limits are models with\n\
         the same window. The likeliest code has odds of {:.5e} (RFC 4226 A.4). A single code is right\n\
         when it equals one of the {} valid ones; a pair when it equals two neighbouring ones, of which\n\
         there are {}.\n\
         Backup codes are always compared: {BACKUP_GUESSES_PER_S} guesses a second all month have odds of {:.1e}.\n\
         Each clear by support is worth one more budget. In the second pair of rows another agent clears\n\
         the attempts as soon as the rules allow, all month; the limit above does not include this.\n",
        explained.odds_max,
        explained.code_odds,
        explained.window_codes,
        explained.window_codes - 1,
        explained.backup_code_odds,
    ));
    text.push_str(&passwords(explained));
    text
}

/// What the limits on passwords are worth, and every other bound.
fn passwords(explained: &Explained) -> String {
    let guesses = &explained.password_guesses;
    let mut text = format!(
        "\nPasswords of one account that an attacker compares with its name and these numbers:\n\n\
         {:>9} a day from one source\n\
         {:>9} a day from any number of sources, {} in 30 days\n\n\
         A password and a code together pass a wait and are not a guess of a password: a wrong pair\n\
         reveals nothing about either, and its code is bounded as above.\n\n\
         Other bounds:\n\n",
        guesses.one_source_day, guesses.any_sources_day, guesses.any_sources_month
    );
    for bound in &explained.bounds {
        text.push_str(&format!(
            "{:>9}  {}, per {}\n",
            bound.most, bound.of, bound.per
        ));
    }
    text
}

fn line(row: &Row) -> String {
    let owner = match row.owner {
        Owner::Away => "never",
        Owner::Daily => "daily",
    };
    let pairs = match row.limit {
        OURS | OURS_CLEARED => row.compared.pairs.to_string(),
        _ => "-".into(),
    };
    format!(
        "{:<25} {owner:<7} {:>11} {pairs:>7} {:>9} {:>10} {:>9}\n",
        row.limit,
        row.compared.singles,
        odds(row.odds),
        odds(row.odds_of_any_in_10000),
        count(row.expected_in_10000),
    )
}

/// Odds to three digits, in percent where they are worth one.
fn odds(odds: f64) -> String {
    match odds {
        0.01.. => format!("{:.1} %", 100.0 * odds),
        _ => format!("{odds:.2e}"),
    }
}

fn count(count: f64) -> String {
    match count {
        10.0.. => format!("{count:.0}"),
        _ => format!("{count:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_policy_is_explained_with_its_odds_and_every_usual_limit() {
        let explained = explain(&Policy::default());
        assert!(explained.within_odds_max);
        assert_eq!(explained.limits.len(), 2 * (2 + USUAL_LIMITS.len()));
        let text = text(&explained);
        let ours: Vec<_> = text.lines().filter(|l| l.starts_with(OURS)).collect();
        let columns = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            columns(ours[0])[2..],
            ["never", "10", "90", "3.00e-5", "25.9", "%", "0.30"]
        );
        let cleared: Vec<_> = text
            .lines()
            .filter(|l| l.starts_with(OURS_CLEARED))
            .collect();
        assert_eq!(columns(cleared[0])[3..5], ["never", "60"]);
        assert!(text.contains("per account and month is met"));
        assert!(text.contains("5535 a day from any number of sources, 166050 in 30 days"));
        assert!(text.contains("100  free wrong passwords, per address and day"));
    }

    #[test]
    fn a_policy_over_the_limit_of_odds_is_reported_as_weaker() {
        let policy = Policy {
            code_failures_budget: 100,
            ..Policy::default()
        };
        assert!(text(&explain(&policy)).contains("is NOT met"));
    }
}
