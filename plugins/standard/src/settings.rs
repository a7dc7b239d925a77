//! The settings, as `config.schema.json` has them.

use serde::Deserialize;

/// All of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Settings {
    pub(crate) format: Format,
    /// CloudEvents' `source`; none: the producer's own, or [`SOURCE`](crate::cloudevent::SOURCE).
    pub(crate) source: Option<String>,
    /// Template of the message's headline, where the format has one.
    pub(crate) title: Option<String>,
    /// Template of the message.
    pub(crate) text: Option<String>,
}

/// What is sent, and how the answer is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Format {
    /// One JSON envelope.
    #[default]
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// The payload as it is, the envelope in headers.
    #[serde(rename = "cloudevents-binary")]
    CloudEventsBinary,
    /// An incoming webhook of Slack.
    #[serde(rename = "slack")]
    Slack,
    /// A webhook of Microsoft Teams: a workflow, or an incoming webhook.
    #[serde(rename = "teams")]
    Teams,
}
