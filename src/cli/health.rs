//! `health`: asks a service of this machine whether it is ready, for container health checks.

use std::net::SocketAddr;

use super::client::ClientArgs;
use super::fault::Fault;
use super::show;
use crate::http::{asked_at, readiness};

#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// Where the service listens, as in `serve --http`
    #[arg(long, env = "COUNTERSIGN_HTTP", value_name = "ADDR")]
    http: SocketAddr,
}

pub async fn run(args: HealthArgs, client: &ClientArgs) -> Result<(), Fault> {
    let answer = readiness(asked_at(args.http), client.timeout).await;
    let (is_ready, page) = answer.map_err(|error| Fault::Unavailable(error.to_string()))?;
    show::line(&page)?;
    if is_ready {
        Ok(())
    } else {
        Err(Fault::Negative("the service is not ready".into()))
    }
}
