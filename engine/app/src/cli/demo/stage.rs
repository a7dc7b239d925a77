//! Sets the stage: a real engine on an empty database, the partners, and everything registered over the API.

use std::{collections::HashMap, sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::Secret;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use url::Url;

use super::{
    super::{
        client::{Client, read},
        failure::Failure,
        scratch::Scratch,
        settings::refused,
    },
    input::{CATALOG, Publication, TRANSACTION},
    partners::{HANG_TIMEOUT, KEY, Manner, PROFILES, Partner, Profile},
};
use crate::{
    clock::{Chance, SystemClock},
    config::{self, Config},
    serve::Server,
};

/// The secret that SINtegre's links are signed with.
const LINK_SECRET: &str = "sintegre-link";
/// Folder of the files that links lead to, below the scratch folder.
const FILES: &str = "files";

/// Everything that plays in the demo. What is dropped last is the folder.
pub(super) struct Stage {
    /// The engine.
    pub(super) server: Server,
    /// A client of it, with the first admin token.
    pub(super) client: Client,
    /// The token, for whoever wants to look around.
    pub(super) token: Secret,
    /// In the order of [`PROFILES`].
    pub(super) partners: Vec<Partner>,
    /// Which partner an endpoint belongs to, by the endpoint's id.
    pub(super) partner_of: HashMap<String, usize>,
    /// Installed plugins as `name version`.
    pub(super) plugins: Vec<String>,
    scratch: Scratch,
}

/// What became of one publication.
pub(super) struct Accepted {
    /// `evt_...`
    pub(super) event: String,
    /// How many endpoints it goes to.
    pub(super) deliveries: usize,
    /// When the engine's 202 was here.
    pub(super) at: Instant,
}

#[derive(Deserialize)]
struct Made {
    id: String,
    #[serde(default)]
    signing_secret: Option<String>,
}

impl Stage {
    /// Starts and registers everything.
    pub(super) async fn set() -> Result<Self, Failure> {
        let scratch = Scratch::make()?;
        scratch.write(format!("{FILES}/LEIAME.txt").as_ref(), "Arquivos da demonstração do Engate.\n")?;
        let server = Server::start(settings(&scratch)?, Arc::new(SystemClock), Chance::from_machine()).await;
        let server = server.map_err(Failure::failed)?;
        let token = server.first_token().cloned();
        let token = token.ok_or_else(|| Failure::failed("the engine made no first token on an empty database"))?;
        let engine = format!("http://{}", server.address());
        let base = Url::parse(&engine).map_err(Failure::failed)?;
        let client = Client::new(base, Some(token.clone()))?;
        let mut stage = Self {
            server,
            client,
            token,
            partners: Vec::with_capacity(PROFILES.len()),
            partner_of: HashMap::new(),
            plugins: Vec::new(),
            scratch,
        };
        stage.install().await?;
        for (n, profile) in PROFILES.iter().enumerate() {
            let partner = Partner::open(profile).await?;
            let endpoint = stage.register(&partner, &engine).await?;
            stage.partner_of.insert(endpoint, n);
            stage.partners.push(partner);
        }
        Ok(stage)
    }

    /// The catalogue, the links' secret and the grant for it.
    async fn install(&mut self) -> Result<(), Failure> {
        for product in &CATALOG {
            let body = json!({
                "key": product.key,
                "title": product.title,
                "macro_process": product.macro_process,
                "process": product.process,
            });
            self.client.send(Method::POST, &["v1", "event-types"], &body).await?;
        }
        let key = STANDARD.encode(rand::random::<[u8; 32]>());
        self.client.send(Method::PUT, &["v1", "secrets", LINK_SECRET], &json!({ "value": key })).await?;
        let grants = json!({ "hosts": [], "secrets": [LINK_SECRET], "reveal": [] });
        self.client.send(Method::PUT, &["v1", "plugins", "sintegre", "grants"], &grants).await?;
        let installed = self.client.list_all(&["v1", "plugins"], &[]).await?;
        let text = |plugin: &Value, key: &str| plugin.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        let named = |plugin: &Value| format!("{} {}", text(plugin, "name"), text(plugin, "version"));
        self.plugins = installed.rows::<Value>()?.iter().map(named).collect();
        Ok(())
    }

    /// Registers a partner and its endpoint; gives the endpoint's id.
    async fn register(&self, partner: &Partner, engine: &str) -> Result<String, Failure> {
        let profile = partner.profile;
        let company = json!({ "slug": profile.slug, "name": profile.name, "active": true, "services": ["webhooks"] });
        let company: Made = read(&self.client.send(Method::POST, &["v1", "integrators"], &company).await?)?;
        let endpoint = endpoint(profile, &company.id, &partner.url(), engine);
        let endpoint: Made = read(&self.client.send(Method::POST, &["v1", "endpoints"], &endpoint).await?)?;
        let secret = endpoint.signing_secret.map(Secret::new);
        partner
            .set_signing_secret(secret.ok_or_else(|| Failure::failed("the endpoint came without a signing secret"))?);
        Ok(endpoint.id)
    }

    /// Writes the publication's file and hands its event in.
    pub(super) async fn publish(&self, id: &str, publication: &Publication) -> Result<Accepted, Failure> {
        #[derive(Deserialize)]
        struct Taken {
            id: String,
            deliveries: usize,
        }
        if let Some((path, content)) = &publication.file {
            self.scratch.write(&std::path::Path::new(FILES).join(path), content)?;
        }
        // As text, so that numbers reach the engine as they are spelled.
        let payload: Box<RawValue> = serde_json::from_str(&publication.payload).map_err(Failure::failed)?;
        let event = Event { event_type: publication.event_type, subject: &publication.subject, id, payload: &payload };
        let answer = self.client.send(Method::POST, &["v1", "events"], &event).await?;
        let at = Instant::now();
        let taken: Taken = read(&answer)?;
        Ok(Accepted { event: taken.id, deliveries: taken.deliveries, at })
    }

    /// Ends the engine as SIGTERM would.
    pub(super) async fn clear(self) {
        // Partners go first, so that the one that hangs keeps nobody waiting.
        drop(self.partners);
        self.server.stop().await;
    }
}

#[derive(serde::Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    event_type: &'a str,
    subject: &'a str,
    id: &'a str,
    payload: &'a RawValue,
}

/// The settings `engate serve` would have to be given for the same; the environment plays no part.
fn settings(scratch: &Scratch) -> Result<Config, Failure> {
    let below = |name: &str| scratch.path().join(name).display().to_string();
    let flags = [
        ("listen", "127.0.0.1:0".to_owned()),
        ("data", below("data")),
        ("files.root", below(FILES)),
        // The partners are on this machine.
        ("egress.allow", "127.0.0.0/8".to_owned()),
    ];
    let loaded = config::load(None, |_| None, &flags).map_err(|invalid| refused(&invalid))?;
    Config::parse(&loaded).map_err(|invalid| refused(&invalid))
}

/// A partner's endpoint. The waits are short, so that the demo shows retries within seconds.
fn endpoint(profile: &Profile, integrator: &str, url: &str, engine: &str) -> Value {
    let products: Vec<_> = CATALOG.iter().filter(|entry| entry.frequency.is_some()).map(|entry| entry.key).collect();
    let (event_types, schedule_ms, timeout) = match profile.manner {
        Manner::Accepts | Manner::WantsKey => (products, [0, 500, 1_000].as_slice(), 5_000),
        Manner::ErrorInside => (vec![TRANSACTION], [0, 500].as_slice(), 5_000),
        Manner::UnavailableTwice => (vec![TRANSACTION], [0, 500, 1_000].as_slice(), 5_000),
        Manner::Hangs => (products, [0, 500].as_slice(), HANG_TIMEOUT.as_millis()),
    };
    let auth = match profile.manner {
        Manner::WantsKey => json!({ "type": "authorization", "value": KEY }),
        _ => json!({ "type": "none" }),
    };
    let mut endpoint = json!({
        "integrator": integrator,
        "description": profile.answers,
        "url": url,
        "auth": auth,
        "event_types": event_types,
        "timeout_ms": timeout,
        "retry": { "schedule_ms": schedule_ms },
    });
    let config = match profile.plugin {
        Some("sintegre") => {
            json!({ "names": "camel", "username": profile.slug, "link": { "base": format!("{engine}/v1/files") } })
        }
        Some("gsan") => json!({ "success": { "status": [200], "error_pointer": "/error" } }),
        _ => return endpoint,
    };
    if let Value::Object(fields) = &mut endpoint {
        fields.insert("plugin".to_owned(), json!(profile.plugin));
        fields.insert("config".to_owned(), config);
    }
    endpoint
}
