//! What a test holds: an engine, a client of it, and partners.

use serde_json::{Value, json};

use super::{Api, Database, Engine, Receiver, Setup, api::id};

/// The integrator that endpoints belong to unless a test says otherwise.
pub(crate) const INTEGRATOR: &str = "partner";

/// A test's world.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) api: Api,
    /// Plays the partners.
    pub(crate) receiver: Receiver,
}

impl App {
    /// A running engine with one integrator, and a partner without programmed paths.
    pub(crate) async fn start(database: &Database, setup: Setup) -> Self {
        let engine = Engine::start(database, setup).await;
        let api = Api::admin(engine.url());
        let partner = json!({"slug": INTEGRATOR, "name": "Partner", "active": true, "services": ["billing"]});
        api.post("/v1/integrators", &partner).await.expect(201);
        Self { engine, api, receiver: Receiver::start().await }
    }

    /// Registers an endpoint; what `fields` leave out is one try, no authentication, the integrator above.
    pub(crate) async fn endpoint(&self, fields: Value) -> Value {
        self.api.post("/v1/endpoints", &endpoint(fields)).await.expect(201)
    }

    /// Registers an endpoint that takes these types at a path of the receiver; gives its id.
    pub(crate) async fn endpoint_at(&self, path: &str, event_types: &[&str]) -> String {
        id(&self.endpoint(json!({"url": self.receiver.url(path), "event_types": event_types})).await)
    }

    /// Registers an endpoint as [`App::endpoint_at`] with a schedule of waits.
    pub(crate) async fn endpoint_retrying(&self, path: &str, event_type: &str, schedule_ms: &[u64]) -> String {
        let url = self.receiver.url(path);
        let retry = json!({"schedule_ms": schedule_ms});
        id(&self.endpoint(json!({"url": url, "event_types": [event_type], "retry": retry})).await)
    }

    /// What went wrong without the test looking at it.
    pub(crate) async fn check(&mut self) {
        let unforeseen = self.receiver.unforeseen();
        assert!(unforeseen.is_empty(), "requests that nobody foresaw: {unforeseen:?}");
        assert!(self.engine.is_stopped() || self.engine.is_alive(), "the engine ended by itself");
        let log = self.engine.log();
        let panics: Vec<_> = log.lines().filter(|line| line.contains("panicked at")).collect();
        assert!(panics.is_empty(), "the engine panicked: {panics:?}");
        let orphans = self.engine.orphans().await;
        assert!(orphans.is_empty(), "neither finished nor scheduled: {orphans:?}");
    }

    /// `engate doctor` finds nothing wrong, orphans included.
    pub(crate) async fn doctor(&self) {
        let output = self.engine.command(&["doctor"]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "engate doctor: {}\n{said}", output.status);
    }

    /// Shows what a failed test needs to be understood.
    pub(crate) fn dump(&self) {
        self.engine.dump();
    }

    /// Ends the engine, if it runs.
    pub(crate) async fn stop(&mut self) {
        if !self.engine.is_stopped() {
            self.engine.kill().await;
        }
    }
}

/// The body that registers an endpoint: `fields` over the defaults of [`App::endpoint`].
pub(crate) fn endpoint(fields: Value) -> Value {
    let mut endpoint = json!({
        "integrator": INTEGRATOR, "description": "under test", "auth": {"type": "none"}, "enabled": true,
        "retry": {"schedule_ms": [0]},
    });
    for (name, value) in fields.as_object().unwrap() {
        endpoint[name] = value.clone();
    }
    endpoint
}
