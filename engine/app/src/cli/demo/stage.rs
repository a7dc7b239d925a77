//! Sets the stage: a real engine on an empty database, the partners, and everything registered over the API.

use std::{collections::HashMap, path::Path, sync::Arc, time::Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engate_model::Secret;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use url::Url;

use super::{
    super::{
        client::{Client, read},
        declared::{self, Document},
        failure::Failure,
        scratch::Scratch,
        settings::refused,
    },
    input::Publication,
    partners::{KEY, PROFILES, Partner},
};
use crate::{
    clock::{Chance, SystemClock},
    config::{self, Config},
    serve::Server,
};

/// What is registered, in the form that `engate apply` takes.
const SET_UP: &str = include_str!("../../../../../examples/demo.toml");
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
struct Registered {
    id: String,
    integrator: String,
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
        for profile in &PROFILES {
            stage.partners.push(Partner::open(profile).await?);
        }
        stage.set_up(&engine).await?;
        Ok(stage)
    }

    /// Applies `examples/demo.toml`, as `engate apply` would.
    async fn set_up(&mut self, engine: &str) -> Result<(), Failure> {
        let mut variables = HashMap::from([
            ("SINTEGRE_LINK_KEY".to_owned(), STANDARD.encode(rand::random::<[u8; 32]>())),
            ("FILES_URL".to_owned(), format!("{engine}/v1/files")),
            ("VALE_COMERCIO_KEY".to_owned(), KEY.to_owned()),
        ]);
        for partner in &self.partners {
            let name = partner.profile.slug.replace('-', "_").to_uppercase();
            let secret = engate_egress::generate_signing_secret(rand::random());
            variables.insert(format!("{name}_URL"), partner.url());
            variables.insert(format!("{name}_SIGNING_SECRET"), secret.expose().to_owned());
            partner.set_signing_secret(secret);
        }
        let document = Document::read(SET_UP, Path::new("."), &|name| variables.get(name).cloned());
        declared::settle(&document.map_err(Failure::failed)?, &self.client, Path::new(".")).await?;
        let endpoints: Vec<Registered> = self.client.list_all(&["v1", "endpoints"], &[]).await?.rows()?;
        for Registered { id, integrator } in endpoints {
            let partner = self.partners.iter().position(|partner| partner.profile.slug == integrator);
            self.partner_of.extend(partner.map(|partner| (id, partner)));
        }
        let installed = self.client.list_all(&["v1", "plugins"], &[]).await?;
        let text = |plugin: &Value, key: &str| plugin.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        let named = |plugin: &Value| format!("{} {}", text(plugin, "name"), text(plugin, "version"));
        self.plugins = installed.rows::<Value>()?.iter().map(named).collect();
        Ok(())
    }

    /// Writes the publication's file and hands its event in.
    pub(super) async fn publish(&self, id: &str, publication: &Publication) -> Result<Accepted, Failure> {
        #[derive(Deserialize)]
        struct Taken {
            id: String,
            deliveries: usize,
        }
        if let Some((path, content)) = &publication.file {
            self.scratch.write(&Path::new(FILES).join(path), content)?;
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
