//! The part of the tour about support: two agents, and the owner's veto.

use serde_json::{Value, json};

use super::tour::{Tour, holds, shown, text};
use crate::cli::client::{Client, ClientArgs};
use crate::cli::fault::Fault;

/// An agent with a connection of its own.
struct Agent {
    name: &'static str,
    client: Client,
}

impl Agent {
    async fn connect(args: &ClientArgs, name: &'static str) -> Result<Self, Fault> {
        let args = ClientArgs {
            caller: Some(name.into()),
            ..args.clone()
        };
        let client = Client::connect(&args).await?;
        Ok(Self { name, client })
    }

    async fn sends(&mut self, name: &str, body: &Value) -> Result<Value, Fault> {
        println!("{} → {name} {}", self.name, shown(body));
        let answer = self.client.support(name, body).await;
        match &answer {
            Ok(answer) => println!("← {}", shown(&answer.body)),
            Err(Fault::Refused(problem)) => {
                println!("← {} {}: {}", problem.status, problem.code, problem.title);
            }
            Err(_) => {}
        }
        Ok(answer?.body)
    }

    async fn is_refused(&mut self, name: &str, body: &Value, word: &str) -> Result<(), Fault> {
        match self.sends(name, body).await {
            Err(Fault::Refused(problem)) if problem.code == word => Ok(()),
            Err(other) => Err(other),
            Ok(_) => Err(Fault::Failed(format!(
                "{name} should be refused with {word}, but it succeeded"
            ))),
        }
    }
}

/// Plays a reset that the owner cancels.
///
/// # Errors
/// [`Fault`] of the first step that did not hold.
pub async fn play(tour: &mut Tour, args: &ClientArgs, account: &str) -> Result<(), Fault> {
    let mut alice = Agent::connect(args, "alice").await?;
    let mut bob = Agent::connect(args, "bob").await?;
    tour.title("A user calls support: phone and codes are lost. An agent requests a reset");
    let body = json!({"account_id": account, "reason": "the owner called", "ticket": "T-1", "lost": "both"});
    let case = text(&alice.sends("request-reset", &body).await?, "case_id")?;
    let on_case = json!({"case_id": case, "reason": "the owner was called back"});
    tour.title("The same agent cannot approve it");
    alice
        .is_refused("approve-reset", &on_case, "approval.self")
        .await?;
    tour.title("A second agent approves; a cooling-off time of 72 hours begins");
    let approved = bob.sends("approve-reset", &on_case).await?;
    holds(
        "the case cools off",
        approved.get("state") == Some(&json!("cooling-off")),
    )?;
    bob.is_refused("execute-reset", &on_case, "reset.cooling_off")
        .await?;
    tour.title("The owner is notified and objects: the reset is cancelled");
    let body = json!({"account_id": account});
    let vetoed = tour.command("cancel-reset", body).await?;
    holds(
        "the reset is cancelled",
        vetoed.get("state") == Some(&json!("cancelled")),
    )?;
    bob.is_refused("execute-reset", &on_case, "reset.closed")
        .await
}
