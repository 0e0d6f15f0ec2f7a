//! The endpoints with their counters: written by the bus, read by `$SRV.STATS` and by `/metrics`.

use std::sync::Arc;

use super::endpoints::{self, Endpoint};
use super::stats::{Counts, Stats};

/// The endpoints, and how often each was used.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The service's endpoints.
    pub(super) endpoints: Arc<[Endpoint]>,
    /// The counters, one for each endpoint.
    pub(super) stats: Arc<[Stats]>,
}

impl Default for Traffic {
    fn default() -> Self {
        let endpoints: Arc<[_]> = endpoints::all().into();
        let stats = endpoints.iter().map(|_| Stats::default()).collect();
        Self { endpoints, stats }
    }
}

impl Traffic {
    /// Returns the counters of every endpoint.
    pub fn counts(&self) -> impl Iterator<Item = (&Endpoint, Counts)> {
        let counts = self.stats.iter().map(Stats::counts);
        self.endpoints.iter().zip(counts)
    }
}
