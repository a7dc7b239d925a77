//! Messages for people: Slack's incoming webhooks and Microsoft Teams.

use engate_sdk::{Event, Problem};
use serde::Serialize;

use crate::settings::Settings;
use crate::template::fill;

/// What is said where no template is configured.
const SLACK_TEXT: &str = "*{{title}}* {{subject}}";
const TEAMS_TITLE: &str = "{{title}}";
const TEAMS_TEXT: &str = "{{subject}}";

#[derive(Serialize)]
pub(crate) struct SlackMessage {
    text: String,
}

pub(crate) fn slack(event: &Event, settings: &Settings) -> Result<SlackMessage, Problem> {
    let text = fill(settings.text.as_deref().unwrap_or(SLACK_TEXT), event, slack_escaped);
    if text.is_empty() {
        return Err(empty());
    }
    Ok(SlackMessage { text })
}

/// Slack's three control characters. Without this a value could mention everybody.
fn slack_escaped(value: String) -> String {
    value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A message with one Adaptive Card, <https://adaptivecards.io>: workflows and incoming webhooks both take it.
#[derive(Serialize)]
pub(crate) struct TeamsMessage {
    r#type: &'static str,
    attachments: [Attachment; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    content_type: &'static str,
    content: Card,
}

#[derive(Serialize)]
struct Card {
    #[serde(rename = "$schema")]
    schema: &'static str,
    r#type: &'static str,
    version: &'static str,
    body: Vec<TextBlock>,
}

#[derive(Serialize)]
struct TextBlock {
    r#type: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<&'static str>,
    wrap: bool,
}

pub(crate) fn teams(event: &Event, settings: &Settings) -> Result<TeamsMessage, Problem> {
    let filled =
        |template: &Option<String>, default| fill(template.as_deref().unwrap_or(default), event, |value| value);
    let title = TextBlock::new(filled(&settings.title, TEAMS_TITLE));
    let title = TextBlock { size: Some("Medium"), weight: Some("Bolder"), ..title };
    let text = TextBlock::new(filled(&settings.text, TEAMS_TEXT));
    let body: Vec<_> = [title, text].into_iter().filter(|block| !block.text.is_empty()).collect();
    if body.is_empty() {
        return Err(empty());
    }
    let card = Card {
        schema: "http://adaptivecards.io/schemas/adaptive-card.json",
        r#type: "AdaptiveCard",
        // The oldest that has all of this.
        version: "1.2",
        body,
    };
    let attachment = Attachment { content_type: "application/vnd.microsoft.card.adaptive", content: card };
    Ok(TeamsMessage { r#type: "message", attachments: [attachment] })
}

impl TextBlock {
    fn new(text: String) -> Self {
        Self { r#type: "TextBlock", text, size: None, weight: None, wrap: true }
    }
}

fn empty() -> Problem {
    let message = "the event fills no part of the message: give the setting `text` words of its own";
    Problem::new("empty_message", message)
}
