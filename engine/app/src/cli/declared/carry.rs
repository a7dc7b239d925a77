//! Makes a plan's calls.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    kind::Kind,
    plan::{Action, Body, Plan, Verb},
};
use crate::cli::{
    client::{Client, read},
    failure::Failure,
    plugin,
};

/// Makes every call; gives how many of them changed something, by the engine's own word. Where one is refused, those before
/// it stand, and the same file applied again goes on from there.
pub(super) async fn out(plan: &Plan, client: &Client) -> Result<u64, Failure> {
    let mut changed = 0;
    for action in &plan.actions {
        let named = |failure: Failure| failure.about(&format!("{} {}", action.kind.noun(), action.name));
        if one(action, client).await.map_err(named)? {
            changed += 1;
        }
    }
    Ok(changed)
}

/// Whether it changed anything.
async fn one(action: &Action, client: &Client) -> Result<bool, Failure> {
    let mut path = vec!["v1"];
    path.extend(action.path.iter().map(String::as_str));
    let before = edition(action, client, &path).await?;
    let answer = match &action.body {
        Body::None => remove(action, client, &path).await?,
        Body::Json(body) => client.send(action.method.clone(), &path, body).await?,
        Body::Component(bytes) => {
            let pushed = client.upload(&path, &[], "application/wasm", bytes.clone()).await?;
            plugin::usable(client, &pushed).await?;
            pushed
        }
    };
    match before {
        None => Ok(true),
        Some(before) => {
            let after: Value = read(&answer)?;
            Ok(after.get("updated_at") != Some(&before))
        }
    }
}

/// When what is only compared by the engine was last changed; none where a call is a change in any case.
async fn edition(action: &Action, client: &Client, path: &[&str]) -> Result<Option<Value>, Failure> {
    if action.verb != Verb::Change || !matches!(action.kind, Kind::Endpoints | Kind::Secrets) {
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

/// An integrator whose deliveries are kept cannot go: it is made inactive instead.
async fn remove(action: &Action, client: &Client, path: &[&str]) -> Result<String, Failure> {
    match client.act(action.method.clone(), path).await {
        Err(Failure::Answered(problem)) if action.kind == Kind::Integrators && problem.code == "in_use" => {
            client.send(Method::PATCH, path, &json!({ "active": false })).await
        }
        answered => answered,
    }
}
