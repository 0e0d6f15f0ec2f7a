//! One installation for one test: a broker, a data folder with its keyring, and the service.

pub mod answer;
pub mod bus;
pub mod model;
pub mod person;
pub mod phone;
pub mod qr;
pub mod service;
pub mod site;
pub mod stream;

use countersign::dev::broker::{Broker, BrokerOptions};
use countersign::dev::find::{find_or_fetch, tools_folder};

use bus::Bus;
use service::Service;
use site::Site;

/// The cheapest hashes that the policy allows: these tests are not about their cost.
pub const CHEAP: &str = "[policy]\nkdf_memory_kib = 8\nkdf_passes = 1\n";

/// Starts a broker on a free port, or on the one that is named.
pub fn broker(port: Option<u16>) -> Broker {
    let server = find_or_fetch(None, &tools_folder(), &mut |line| println!("{line}"))
        .expect("tests need a broker");
    let options = BrokerOptions {
        port,
        ..BrokerOptions::default()
    };
    Broker::start(&server, &options).unwrap()
}

/// A running installation; everything goes with it.
pub struct Rig {
    pub service: Service,
    pub bus: Bus,
    pub site: Site,
    pub broker: Broker,
}

impl Rig {
    /// Starts broker and service with this configuration, in dev identity.
    pub async fn start(config: &str) -> Self {
        Self::start_on(Site::new(config)).await
    }

    /// The same with other files and another program.
    pub async fn start_on(site: Site) -> Self {
        let broker = broker(None);
        let service = Service::start(&site, &broker.url(), &["--identity", "dev"]);
        let bus = Bus::connect(&broker.url()).await;
        Self {
            service,
            bus,
            site,
            broker,
        }
    }

    /// SIGKILL, and a new process on the same files.
    pub fn kill_and_restart(&mut self) {
        self.service.kill();
        self.restart();
    }

    /// Starts the service again after its end.
    pub fn restart(&mut self) {
        self.service = Service::start(&self.site, &self.broker.url(), &["--identity", "dev"]);
    }
}
