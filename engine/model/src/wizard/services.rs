//! The services that are called, where each is, and whether this node reaches them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A service of TOTVS'. The first eight are those that a firewall has to let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Says where the others are.
    Registry,
    /// Gives tokens.
    Rac,
    /// Says which tables are wanted.
    Entities,
    /// Takes tables as messages.
    Ingestion,
    /// Carol itself: takes records.
    Carol,
    /// Gives the connector's credentials.
    CarolCredentials,
    /// The queue of messages.
    Link,
    /// SmartLink's API.
    Smartlink,
    /// Takes requests for provisioning; not among the eight.
    Provisioning,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Registry,
        Self::Rac,
        Self::Entities,
        Self::Ingestion,
        Self::Carol,
        Self::CarolCredentials,
        Self::Link,
        Self::Smartlink,
        Self::Provisioning,
    ];
    /// The eight that the job's node has to reach.
    pub const PREFLIGHT: [Self; 8] = [
        Self::Registry,
        Self::Rac,
        Self::Entities,
        Self::Ingestion,
        Self::Carol,
        Self::CarolCredentials,
        Self::Link,
        Self::Smartlink,
    ];

    /// The stable key.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Rac => "rac",
            Self::Entities => "entities",
            Self::Ingestion => "ingestion",
            Self::Carol => "carol",
            Self::CarolCredentials => "carol_credentials",
            Self::Link => "link",
            Self::Smartlink => "smartlink",
            Self::Provisioning => "provisioning",
        }
    }

    /// Reads a key.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.key() == key)
    }

    /// Where it is where nobody says otherwise.
    pub const fn usual(self) -> &'static str {
        match self {
            Self::Registry => "https://endpoint-registry.totvs.app/api/v1/services",
            Self::Rac => "https://admin.rac.totvs.app/totvs.rac/connect/token",
            Self::Entities => "https://provisioning.totvs.app/api/carol-definitions/v1/entities",
            Self::Ingestion => "https://ingestion-smartlink.totvs.app",
            Self::Carol => "https://app.carol.ai",
            Self::CarolCredentials => "https://provisioning.totvs.app/api/carol-definitions/v1/carolcredentials",
            Self::Link => "https://link.totvs.app",
            Self::Smartlink => "https://api-smartlink.totvs.app",
            Self::Provisioning => "https://provisioning.totvs.app/api/carol-definitions/v1/provisionings",
        }
    }

    /// What the registry calls it. `rac-token-V1` is documented; the others follow its form.
    pub const fn registered(self) -> &'static str {
        match self {
            Self::Registry => "endpoint-registry-V1",
            Self::Rac => "rac-token-V1",
            Self::Entities => "carol-entities-V1",
            Self::Ingestion => "ingestion-smartlink-V1",
            Self::Carol => "carol-app-V1",
            Self::CarolCredentials => "carol-credentials-V1",
            Self::Link => "link-V1",
            Self::Smartlink => "smartlink-api-V1",
            Self::Provisioning => "carol-provisioning-V1",
        }
    }

    /// Where it is: as the operator says, else as the registry says, else as usual.
    pub fn address(self, said: &BTreeMap<Self, String>, registered: &BTreeMap<String, String>) -> String {
        let found = said.get(&self).or_else(|| registered.get(self.registered()));
        found.map_or_else(|| self.usual().to_owned(), Clone::clone)
    }
}

/// How one part of a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It went well.
    Ok,
    /// It did not.
    Failed,
    /// The part before it failed.
    NotTried,
    /// There is none: a plain connection, or one by a proxy.
    NotUsed,
}

/// Whether this node reaches a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Which.
    pub service: Service,
    /// Where.
    pub url: String,
    /// Its name has an address that may be called.
    pub dns: Phase,
    /// A connection was made.
    pub tcp: Phase,
    /// Both sides agreed on a secured connection.
    pub tls: Phase,
    /// An answer came, whatever it says.
    pub http: Phase,
    /// Its status.
    pub status: Option<u16>,
    /// The stable code of what failed.
    pub code: Option<String>,
    /// What failed, in a sentence.
    pub message: Option<String>,
    /// Milliseconds that it took.
    pub elapsed_ms: u64,
}

impl Probe {
    /// Whether an answer came.
    pub fn is_ok(&self) -> bool {
        self.http == Phase::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p17_the_operator_comes_before_the_registry_and_that_before_the_usual_address() {
        let said = BTreeMap::from([(Service::Link, "http://said/".to_owned())]);
        let registered = [("link-V1", "http://registered/"), ("rac-token-V1", "http://rac/token")];
        let registered = registered.map(|(name, url)| (name.to_owned(), url.to_owned())).into();
        let address = |service: Service| service.address(&said, &registered);
        assert_eq!([address(Service::Link), address(Service::Rac)], ["http://said/", "http://rac/token"]);
        assert_eq!(address(Service::Smartlink), "https://api-smartlink.totvs.app");
        assert!(Service::ALL.iter().all(|service| Service::from_key(service.key()) == Some(*service)));
    }
}
