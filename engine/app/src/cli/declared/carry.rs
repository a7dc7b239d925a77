//! Makes a plan's calls.

use engate_model::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    job_run,
    kind::Kind,
    plan::{Action, Body, Plan, Verb},
    present::require_whole,
};
use crate::cli::{
    client::{Client, read},
    failure::Failure,
    plugin,
};

/// What came of a plan, whether or not it was carried out to its end.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Calls that changed something, by the engine's own word.
    pub(super) changed: u64,
    /// Keys that the engine drew; it tells them this once.
    pub(super) drawn: Vec<DrawnKey>,
}

/// A signing key that the engine drew for an endpoint of the file.
#[derive(Debug)]
pub(super) struct DrawnKey {
    /// What the file knows the endpoint by.
    pub(super) name: String,
    /// `ep_...`
    pub(super) endpoint: String,
    /// `whsec_...`
    pub(super) key: Secret,
}

/// Makes every call, and writes down in `done` what came of them. Where one is refused, those before it stand, and the same
/// file applied again goes on from there.
pub(super) async fn out(plan: &Plan, client: &Client, done: &mut Done) -> Result<(), Failure> {
    for action in &plan.actions {
        let named = |failure: Failure| failure.about(&format!("{} {}", action.kind.noun(), action.name));
        one(action, client, done).await.and_then(|()| require_whole(client)).map_err(named)?;
    }
    Ok(())
}

async fn one(action: &Action, client: &Client, done: &mut Done) -> Result<(), Failure> {
    let mut path = vec!["v1"];
    path.extend(action.path.iter().map(String::as_str));
    let before = edition(action, client, &path).await?;
    let answer = match &action.body {
        Body::None => remove(action, client, &path).await?,
        Body::Json(body) => {
            let body = with_ids(action, body, client).await?;
            client.send(action.method.clone(), &path, &body).await?
        }
        Body::Component(bytes, channel) => {
            let query = [("channel", channel.clone())];
            let pushed = client.upload(&path, &query, "application/wasm", bytes.clone()).await?;
            // It is there, whatever is wrong with it.
            done.changed += 1;
            return plugin::usable(client, &pushed).await;
        }
    };
    done.drawn.extend(drawn(action, &answer)?);
    let is_change = match before {
        None => true,
        Some(before) => read::<Value>(&answer)?.get("updated_at") != Some(&before),
    };
    done.changed += u64::from(is_change);
    Ok(())
}

/// When what is only compared by the engine was last changed; none where a call is a change in any case.
async fn edition(action: &Action, client: &Client, path: &[&str]) -> Result<Option<Value>, Failure> {
    if action.verb != Verb::Change || !matches!(action.kind, Kind::Endpoints | Kind::Secrets | Kind::Jobs) {
        return Ok(None);
    }
    let shown: Option<Value> = match action.kind {
        // A secret is not shown by itself.
        Kind::Secrets => {
            let all: Vec<Value> = client.list_all(&["v1", "secrets"], &[]).await?.rows()?;
            all.into_iter().find(|secret| secret.get("name").is_some_and(|name| *name == action.name))
        }
        _ => Some(read(&client.get(path, &[]).await?)?),
    };
    Ok(shown.and_then(|shown| shown.get("updated_at").cloned()))
}

/// A job's endpoints by their ids, which they may have only since a moment ago.
async fn with_ids(action: &Action, body: &Value, client: &Client) -> Result<Value, Failure> {
    let mut body = body.clone();
    let is_named = |body: &Value| job_run::endpoints_of(body).any(|endpoint| !job_run::is_id(endpoint));
    if action.kind == Kind::Jobs && is_named(&body) {
        let endpoints: Vec<Value> = client.list_all(&["v1", "endpoints"], &[]).await?.rows()?;
        job_run::identify_endpoints(&mut body, &endpoints);
    }
    Ok(body)
}

/// The key of an endpoint that is new, signs, and was given none.
fn drawn(action: &Action, answer: &str) -> Result<Option<DrawnKey>, Failure> {
    let Body::Json(body) = &action.body else { return Ok(None) };
    let is_given = body.pointer("/signing/secret").is_some();
    if action.kind != Kind::Endpoints || action.verb != Verb::Create || is_given {
        return Ok(None);
    }
    let made: Value = read(answer)?;
    let text = |field: &str| made.get(field).and_then(Value::as_str).map(str::to_owned);
    let signs = made.pointer("/signing/enabled") == Some(&json!(true));
    Ok(text("signing_secret").filter(|_| signs).map(|key| DrawnKey {
        name: action.name.clone(),
        endpoint: text("id").unwrap_or_default(),
        key: Secret::new(key),
    }))
}

/// An integrator whose deliveries are kept cannot go: it is made inactive instead.
async fn remove(action: &Action, client: &Client, path: &[&str]) -> Result<String, Failure> {
    match client.act(action.method.clone(), path).await {
        Err(Failure::Answered(problem)) if action.kind == Kind::Integrators && problem.code == "in_use" => {
            client.send(Method::PATCH, path, &json!({ "active": false })).await
        }
        answered => answered,
    }
}
