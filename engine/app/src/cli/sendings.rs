//! What came of sending by hand: one version, or all of an endpoint.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    client::read,
    failure::{Exit, Failure},
    present::{Field, Screen, plain_lines},
};

/// A sending as the API tells it.
#[derive(Deserialize)]
struct Sending {
    event_type: String,
    outcome: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    status_code: Option<u16>,
    latency_ms: f64,
    #[serde(default)]
    response_body: Option<String>,
    delivery: String,
    attempt: u32,
    joined: bool,
}

#[derive(Deserialize)]
struct Skipped {
    event_type: String,
    reason: String,
}

#[derive(Deserialize)]
struct Sendings {
    sent: Vec<Sending>,
    skipped: Vec<Skipped>,
}

impl Sending {
    fn exit(&self) -> Exit {
        if self.outcome == "failed" { Exit::Failed } else { Exit::Done }
    }

    fn status(&self) -> String {
        self.status_code.map_or_else(|| "-".to_owned(), |status| status.to_string())
    }
}

/// The body of a trial.
pub(super) fn trial(event_type: Option<String>, payload: Option<&str>) -> Result<Value, Failure> {
    let payload = payload.map(serde_json::from_str::<Value>).transpose();
    let payload = payload.map_err(|error| Failure::usage(format!("--payload is no JSON: {error}")))?;
    let given = [("event_type", event_type.map(Value::from)), ("payload", payload)];
    Ok(given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into())
}

/// Shows one sending.
pub(super) fn one(answer: &str, screen: Screen) -> Result<Exit, Failure> {
    let sending: Sending = read(answer)?;
    if screen.json {
        screen.line(answer)?;
        return Ok(sending.exit());
    }
    let or_dash = |text: &Option<String>| Field::new(text.as_deref().unwrap_or("-"));
    let attempt = format!("{} of {}", sending.attempt, sending.delivery);
    screen.facts(&[
        ("event type", Field::new(&sending.event_type)),
        ("outcome", Field::code(&sending.outcome)),
        ("status", Field::new(sending.status())),
        ("code", or_dash(&sending.code)),
        ("message", or_dash(&sending.message)),
        ("took", Field::new(format!("{:.1} ms", sending.latency_ms))),
        ("attempt", Field::new(if sending.joined { attempt + " (was under way)" } else { attempt })),
    ])?;
    if let Some(body) = sending.response_body.as_deref().filter(|body| !body.is_empty()) {
        screen.line("")?;
        plain_lines(body).lines().try_for_each(|line| screen.line(format!("  {line}")))?;
    }
    Ok(sending.exit())
}

/// Shows all sendings of a call.
pub(super) fn all(answer: &str, screen: Screen) -> Result<Exit, Failure> {
    let all: Sendings = read(answer)?;
    let exit = if all.sent.iter().any(|sending| sending.exit() == Exit::Failed) { Exit::Failed } else { Exit::Done };
    if screen.json {
        screen.line(answer)?;
        return Ok(exit);
    }
    let mut rows = Vec::new();
    for sending in &all.sent {
        rows.push(vec![
            Field::new(&sending.event_type),
            Field::code(&sending.outcome),
            Field::new(sending.status()),
            Field::new(sending.code.as_deref().unwrap_or("-")),
            Field::new(format!("{:.1}", sending.latency_ms)),
            Field::new(&sending.delivery),
        ]);
    }
    for skipped in &all.skipped {
        let nothing = || Field::new("-");
        let reason = Field::new(&skipped.reason);
        rows.push(vec![
            Field::new(&skipped.event_type),
            Field::code("skipped"),
            nothing(),
            reason,
            nothing(),
            nothing(),
        ]);
    }
    let header = ["EVENT TYPE", "OUTCOME", "STATUS", "CODE", "TOOK (MS)", "DELIVERY"];
    screen.table(&header, rows, "The endpoint subscribes to no event type of the catalogue.")?;
    Ok(exit)
}
