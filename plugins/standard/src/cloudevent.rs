//! CloudEvents 1.0 over HTTP: <https://github.com/cloudevents/spec>. What the engine took in as a CloudEvent goes
//! out with the same source.

use engate_sdk::{Context, Event, Payload, Problem, Request, encoding, time};
use serde::Serialize;
use serde_json::value::RawValue;

/// The source where neither the settings nor the producer name one.
pub(crate) const SOURCE: &str = "/engate";
const VERSION: &str = "1.0";
/// Media type of the structured form.
const STRUCTURED: &str = "application/cloudevents+json; charset=utf-8";

/// The envelope; the order here is the order in the body.
#[derive(Serialize)]
struct Attributes<'a> {
    specversion: &'a str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: String,
    datacontenttype: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataschema: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    /// Spelled as the producer spelled it.
    Json(&'a RawValue),
    Text(&'a str),
}

impl<'a> Attributes<'a> {
    fn of(event: &'a Event, context: &'a Context, source: Option<&'a str>) -> Self {
        Self {
            specversion: VERSION,
            id: &event.id,
            source: source.or_else(|| event.label("ce-source")).unwrap_or(SOURCE),
            r#type: &event.event_type,
            // The specification wants no empty attributes.
            subject: event.subject.as_deref().filter(|subject| !subject.is_empty()),
            time: time::rfc3339(event.occurred_at),
            datacontenttype: &event.content_type,
            dataschema: event.label("ce-dataschema"),
            correlationid: context.delivery.correlation_id.as_deref().filter(|id| !id.is_empty()),
            data: None,
            data_base64: None,
        }
    }
}

/// One JSON object that holds attributes and data.
pub(crate) fn structured(
    request: Request,
    event: &Event,
    context: &Context,
    source: Option<&str>,
) -> Result<Request, Problem> {
    let mut envelope = Attributes::of(event, context, source);
    match &event.data {
        Payload::Empty => {}
        Payload::Text(_) if is_json(&event.content_type) => envelope.data = Some(Data::Json(event.json()?)),
        Payload::Text(text) => envelope.data = Some(Data::Text(text)),
        Payload::Bytes(bytes) => envelope.data_base64 = Some(encoding::base64(bytes)),
    }
    request.header("content-type", STRUCTURED).json(&envelope)
}

/// Attributes in headers, data as the body.
pub(crate) fn binary(request: Request, event: &Event, context: &Context, source: Option<&str>) -> Request {
    let attributes = Attributes::of(event, context, source);
    let headers = [
        ("ce-specversion", Some(attributes.specversion)),
        ("ce-id", Some(attributes.id)),
        ("ce-source", Some(attributes.source)),
        ("ce-type", Some(attributes.r#type)),
        ("ce-subject", attributes.subject),
        ("ce-time", Some(attributes.time.as_str())),
        ("ce-dataschema", attributes.dataschema),
        ("ce-correlationid", attributes.correlationid),
    ];
    let present = headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
    present
        .fold(request, |request, (name, value)| request.header(name, percent_encoded(value)))
        .body(&event.content_type, event.data.clone())
}

/// Whether the media type is JSON's or one made of it.
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(media_type.as_str(), "application/json" | "text/json") || media_type.ends_with("+json")
}

/// As the HTTP binding has it: what is not printable ASCII, and space, quote and percent, as `%` and hex of its UTF-8.
fn percent_encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push_str(&encoding::hex(&[byte]).to_ascii_uppercase());
        }
    }
    text
}
