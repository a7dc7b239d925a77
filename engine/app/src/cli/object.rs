//! One object of the API: shown, changed and deleted, under its `ETag`.

use reqwest::Method;
use serde_json::{Map, Value};

use super::{
    client::{Client, read},
    failure::Failure,
    present::{Field, Screen},
    remote::Guard,
};

/// Shows what is at `path`, with the `ETag` that an edit may be guarded by.
pub(super) async fn show(client: &Client, path: &[&str], screen: Screen) -> Result<(), Failure> {
    let (answer, tag) = client.get_tagged(path).await?;
    print(&answer, tag.as_deref(), screen)
}

/// Changes the fields of `body`; the others stay. `command` is named where there is nothing to change.
pub(super) async fn update(
    client: &Client,
    path: &[&str],
    body: Map<String, Value>,
    tag: Option<&str>,
    command: &str,
) -> Result<String, Failure> {
    if body.is_empty() {
        return Err(Failure::usage(format!("nothing to change was given; see `engate {command} --help`")));
    }
    client.edit(Method::PATCH, path, Some(&Value::Object(body)), tag).await
}

/// Deletes what is at `path`, and says so with `sentence`.
pub(super) async fn delete(
    client: &Client,
    path: &[&str],
    guard: &Guard,
    sentence: &str,
    screen: Screen,
) -> Result<(), Failure> {
    let answer = client.edit(Method::DELETE, path, None, guard.tag()).await?;
    screen.done(&answer, sentence)
}

/// Prints an object, a field a line; for programs as it came.
pub(super) fn print(answer: &str, tag: Option<&str>, screen: Screen) -> Result<(), Failure> {
    if screen.json {
        return screen.line(answer);
    }
    let Value::Object(object) = read(answer)? else { return screen.line(answer) };
    let facts = object.iter().map(|(name, value)| (name.as_str(), Field::new(spelled(value))));
    let tag = tag.map(|tag| ("etag", Field::new(tag)));
    screen.facts(&facts.chain(tag).collect::<Vec<_>>())
}

/// A JSON value for people: text without quotes, nothing as a dash.
pub(super) fn spelled(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
