//! CloudEvents 1.0 over HTTP, in its three forms. What becomes of an event's attributes:
//!
//! | attribute | becomes |
//! |---|---|
//! | `source` and `id` | the idempotency key, both of them; `source` also the label `ce-source` |
//! | `type`, `subject`, `time` | the same, `occurred_at` for `time` |
//! | `data`, `data_base64` | the payload's bytes; none: the JSON `null` |
//! | `datacontenttype` | the payload's media type; none: `application/json` |
//! | `dataschema` | the label `ce-dataschema` |
//! | `correlationid` (extension) | the correlation id |
//! | `deliverat` (extension) | the time before which it is not delivered |
//! | any other extension | a label of its name |

use std::{borrow::Cow, fmt};

use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use engate_model::{
    FieldError, Invalid, Timestamp,
    event::{NAME_BYTES_MAX, check_name},
    invalid::Complaints,
};
use ring::digest::{SHA256, digest};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{
    extract::media_type,
    intake::{Intake, check_all, placed, require_count},
    problem::Problem,
};
use crate::{
    accept::NewEvent,
    media_type::{JSON, is_json},
};

/// Media type of one event in structured form.
pub(crate) const STRUCTURED: &str = "application/cloudevents+json";
/// Media type of several.
pub(crate) const BATCH: &str = "application/cloudevents-batch+json";
/// What attribute headers of the binary form begin with.
const PREFIX: &str = "ce-";
/// The one version there is.
const VERSION: &str = "1.0";
/// Attributes of one event at most, extensions included.
const ATTRIBUTES_MAX: usize = 80;

/// Whether headers carry an event in binary form.
pub(crate) fn is_binary(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PREFIX))
}

/// An event's attributes by name, each once, and its data.
#[derive(Debug, Default)]
struct Attributes {
    named: Vec<(String, String)>,
    payload: Option<Vec<u8>>,
}

/// Members of a JSON object in order, values as spelled.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CloudEvent, which is an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if members.len() > ATTRIBUTES_MAX || members.iter().any(|(n, _)| *n == name) {
                        return Err(serde::de::Error::custom(format!("{name} is one too many or comes twice")));
                    }
                    members.push((Cow::Owned(name), value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Reads the structured and the batch form.
pub(crate) fn read_structured(bytes: &[u8], many: bool, payload_bytes_max: usize) -> Result<Intake, Problem> {
    let read = if many {
        serde_json::from_slice::<Vec<Members<'_>>>(bytes)
    } else {
        serde_json::from_slice::<Members<'_>>(bytes).map(|one| vec![one])
    };
    let all = read.map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::from(Invalid::field("body", error.to_string())),
        _ => Problem::of("invalid_json", error.to_string()),
    })?;
    require_count(many, all.len())?;
    let mut complaints = Complaints::default();
    let mut events = Vec::with_capacity(all.len());
    for (index, members) in all.into_iter().enumerate() {
        let event = attributes(members).and_then(new_event);
        let place = |error: FieldError| FieldError { field: placed(many, index, &error.field), ..error };
        let event = event.map_err(|Invalid(errors)| Invalid(errors.into_iter().map(place).collect()));
        events.extend(complaints.take(event));
    }
    let events = complaints.finish(events)?;
    check_all(&events, many, payload_bytes_max)?;
    Ok(Intake { events, many })
}

/// Reads the binary form: attributes are headers, the body is the data.
pub(crate) fn read_binary(headers: &HeaderMap, body: &Bytes, payload_bytes_max: usize) -> Result<Intake, Problem> {
    let mut complaints = Complaints::default();
    let mut found = Attributes::default();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(PREFIX) else { continue };
        if found.named.iter().any(|(known, _)| known == name) {
            complaints.add(name, "comes twice; send one header of each name");
        }
        match String::from_utf8(percent_decoded(value.as_bytes())) {
            Ok(value) => found.named.push((name.to_owned(), value)),
            Err(_) => complaints.add(name, "must be UTF-8, percent-encoded beyond ASCII"),
        }
    }
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok());
    if let Some(content_type) = content_type {
        found.named.push(("datacontenttype".to_owned(), content_type.to_owned()));
    }
    if !body.is_empty() {
        found.payload = Some(body.to_vec());
        let media_type = media_type(headers);
        if media_type.is_empty() {
            found.named.push(("datacontenttype".to_owned(), "application/octet-stream".to_owned()));
        } else if is_json(&media_type)
            && let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body)
        {
            complaints.add("data", format!("the content type says JSON, but: {error}"));
        }
    }
    let found = complaints.finish(found)?;
    let events = vec![new_event(found)?];
    check_all(&events, false, payload_bytes_max)?;
    Ok(Intake { events, many: false })
}

/// Takes a JSON object apart into attributes and data.
fn attributes(Members(members): Members<'_>) -> Result<Attributes, Invalid> {
    let mut complaints = Complaints::default();
    let mut found = Attributes::default();
    let (mut data, mut data_base64) = (None, None);
    for (name, value) in members {
        match (name.as_ref(), serde_json::from_str::<Value>(value.get())) {
            ("data", _) => data = Some(value),
            (_, Ok(Value::Null)) => {}
            ("data_base64", Ok(Value::String(text))) => data_base64 = Some(text),
            ("data_base64", _) => complaints.add("data_base64", "must be a text"),
            (_, Ok(Value::String(text))) => found.named.push((name.into_owned(), text)),
            (name, Ok(value @ (Value::Bool(_) | Value::Number(_)))) if !is_core(name) => {
                found.named.push((name.to_owned(), value.to_string()));
            }
            (name, _) if is_core(name) => complaints.add(name, "must be a text"),
            (name, _) => complaints.add(name, "must be a text, a number, true or false"),
        }
    }
    if data.is_some() && data_base64.is_some() {
        complaints.add("data_base64", "comes beside data; send one of them");
    }
    found.payload = match (data, data_base64) {
        (Some(data), _) => complaints.take(payload_of(data, found.get("datacontenttype"))),
        (None, Some(text)) => {
            let decoded = STANDARD.decode(&text);
            complaints.take(decoded.map_err(|_| Invalid::field("data_base64", "must be base64")))
        }
        (None, None) => None,
    };
    complaints.finish(found)
}

/// The bytes of `data`: as spelled where it is JSON, the text itself where the content type says that it is not.
fn payload_of(data: &RawValue, content_type: Option<&str>) -> Result<Vec<u8>, Invalid> {
    let media_type = content_type.map(|text| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    if media_type.is_none_or(|media_type| is_json(&media_type)) {
        return Ok(data.get().as_bytes().to_vec());
    }
    let text = serde_json::from_str::<String>(data.get());
    text.map(String::into_bytes)
        .map_err(|_| Invalid::field("data", "must be a text, as datacontenttype is no JSON; or send data_base64"))
}

/// Attributes that the specification itself defines.
fn is_core(name: &str) -> bool {
    matches!(name, "specversion" | "id" | "source" | "type" | "subject" | "time" | "datacontenttype" | "dataschema")
}

impl Attributes {
    fn get(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn required(&self, name: &str, complaints: &mut Complaints) -> String {
        let value = self.get(name).unwrap_or_default();
        if value.is_empty() {
            complaints.add(name, "is required");
        }
        value.to_owned()
    }
}

fn new_event(found: Attributes) -> Result<NewEvent, Invalid> {
    let mut complaints = Complaints::default();
    if found.get("specversion") != Some(VERSION) {
        complaints.add("specversion", format!("must be \"{VERSION}\""));
    }
    let (id, source) = (found.required("id", &mut complaints), found.required("source", &mut complaints));
    if source.contains(|c: char| c.is_whitespace() || c.is_control()) {
        complaints.add("source", "must be a URI reference");
    }
    if id.chars().any(char::is_control) {
        complaints.add("id", "must not hold control characters");
    }
    let mut time = |name: &str| {
        let read = Timestamp::parse(found.get(name)?).map_err(|message| Invalid::field(name, message));
        complaints.take(read)
    };
    let (occurred_at, deliver_at) = (time("time"), time("deliverat"));
    let mut labels = vec![("ce-source".to_owned(), source.clone())];
    for (name, value) in &found.named {
        match name.as_str() {
            "dataschema" => labels.push(("ce-dataschema".to_owned(), value.clone())),
            "correlationid" | "deliverat" => {}
            name if is_core(name) => {}
            name if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) => {
                complaints.add(name, "is no attribute: names have lower-case letters and digits only");
            }
            name => labels.push((name.to_owned(), value.clone())),
        }
    }
    let event_type = found.required("type", &mut complaints);
    let content_type = found.get("datacontenttype").unwrap_or(JSON).to_owned();
    complaints.take(check_name("datacontenttype", &content_type));
    let event = NewEvent {
        event_type,
        subject: found.get("subject").map(str::to_owned),
        correlation_id: found.get("correlationid").map(str::to_owned),
        idempotency_key: Some(key(&source, &id)),
        content_type: if found.payload.is_none() { JSON.to_owned() } else { content_type },
        payload: found.payload.unwrap_or_else(|| b"null".to_vec()),
        occurred_at,
        deliver_at,
        labels,
    };
    complaints.finish(event)
}

/// `source` and `id` as one key. A source has no space, so the space between keeps pairs apart; a pair too long
/// for a key goes by its hash.
fn key(source: &str, id: &str) -> String {
    let key = format!("{source} {id}");
    if key.len() <= NAME_BYTES_MAX {
        return key;
    }
    let hash = digest(&SHA256, key.as_bytes());
    hash.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// Undoes percent-encoding; what is no encoding stays.
fn percent_decoded(value: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high * 16 + low);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => decoded.push(*first),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> NewEvent {
        read_structured(json.as_bytes(), false, 1_000).unwrap().events.remove(0)
    }

    #[test]
    fn attributes_find_their_places() {
        let event = one(r#"{"specversion":"1.0","id":"7","source":"/erp","type":"bill.paid","subject":"c1",
                "time":"2026-01-31T09:00:00-03:00","dataschema":"http://s","correlationid":"k","tries":3,"urgent":true,
                "nothing":null,"data":{"b":1.50,"a":2}}"#);
        assert_eq!((event.event_type.as_str(), event.subject.as_deref()), ("bill.paid", Some("c1")));
        assert_eq!(event.idempotency_key.as_deref(), Some("/erp 7"));
        assert_eq!(event.payload, br#"{"b":1.50,"a":2}"#);
        assert_eq!(event.occurred_at.unwrap().to_string(), "2026-01-31T12:00:00.000000Z");
        assert_eq!(event.correlation_id.as_deref(), Some("k"));
        let labels: Vec<_> = event.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(labels, ["ce-source=/erp", "ce-dataschema=http://s", "tries=3", "urgent=true"]);
    }

    #[test]
    fn data_is_json_text_or_bytes_by_its_content_type() {
        let with = |data: &str| one(&format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t",{data}}}"#));
        assert_eq!(with(r#""datacontenttype":"text/plain","data":"a\nb""#).payload, b"a\nb");
        assert_eq!(with(r#""data":"a\nb""#).payload, br#""a\nb""#);
        let bytes = with(r#""datacontenttype":"image/png","data_base64":"AP8=""#);
        assert_eq!((bytes.payload, bytes.content_type.as_str()), (vec![0, 255], "image/png"));
        let none = with(r#""datacontenttype":"text/plain""#);
        assert_eq!((none.payload, none.content_type.as_str()), (b"null".to_vec(), JSON));
    }

    #[test]
    fn every_fault_is_named_by_place_and_attribute() {
        let problem =
            read_structured(br#"[{"specversion":"0.3","id":"1","source":"a b","type":7,"Bad":"x"}]"#, true, 9);
        assert_eq!(problem.unwrap_err().fields(), ["[0].type"]);
        let problem = read_structured(br#"{"specversion":"0.3","id":"1","source":"a b","Bad":"x"}"#, false, 9);
        assert_eq!(problem.unwrap_err().fields(), ["specversion", "source", "Bad", "type"]);
        assert_eq!(read_structured(b"[]", true, 9).unwrap_err().fields(), ["body"]);
        assert_eq!(read_structured(b"[1]", true, 9).unwrap_err().status().as_u16(), 422);
        assert_eq!(read_structured(b"{", false, 9).unwrap_err().status().as_u16(), 400);
    }

    #[test]
    fn the_binary_form_takes_any_bytes_and_decodes_headers() {
        let headers = |content_type: &str| {
            let pairs = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "s"), ("ce-type", "t")];
            let more = [("ce-subject", "a%C3%A7%25%2"), ("content-type", content_type), ("authorization", "x")];
            let pairs = pairs.into_iter().chain(more);
            pairs.map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect::<HeaderMap>()
        };
        let body = Bytes::from_static(&[0, 159, 146, 150]);
        let event = read_binary(&headers("application/x-thing; v=1"), &body, 9).unwrap().events.remove(0);
        assert_eq!(event.payload, body);
        assert_eq!(event.content_type, "application/x-thing; v=1");
        assert_eq!(event.subject.as_deref(), Some("aç%%2"));
        assert_eq!(event.labels.len(), 1);
        assert_eq!(read_binary(&headers("application/json"), &body, 9).unwrap_err().fields(), ["data"]);
        assert_eq!(read_binary(&headers("text/plain"), &body, 3).unwrap_err().status().as_u16(), 413);
    }

    #[test]
    fn id_and_source_both_matter_and_long_pairs_still_fit() {
        assert_ne!(key("a", "b"), key("a", "c"));
        assert_ne!(key("a", "b"), key("c", "b"));
        assert_ne!(key("a", "b c"), key("a b", "d"));
        let long = key("s", &"x".repeat(300));
        assert!(long.len() <= NAME_BYTES_MAX && long.starts_with("sha256:"));
    }
}
