//! Sentences with places for an event's values: `Order {{/order/id}} was paid`.

use std::collections::BTreeMap;

use engate_sdk::{Event, time};
use serde_json::value::RawValue;

/// The label that carries the event type's title in the catalogue.
const TITLE_LABEL: &str = "event-type.title";
/// Longest text that comes out, in characters: chats cut or refuse longer ones.
const TEXT_MAX: usize = 10_000;

/// The template with each `{{...}}` replaced. What the event does not have leaves nothing behind. `escape` is applied to
/// values only: what the operator wrote in the template may be markup.
pub(crate) fn fill(template: &str, event: &Event, escape: impl Fn(String) -> String) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, (place, after))) =
        rest.split_once("{{").and_then(|(before, place)| Some((before, place.split_once("}}")?)))
    {
        text.push_str(before);
        text.push_str(&escape(value(place, event).unwrap_or_default()));
        rest = after;
    }
    text.push_str(rest);
    cut(text.trim())
}

/// What stands for a place; `config.schema.json` has the same names.
fn value(place: &str, event: &Event) -> Option<String> {
    match place {
        "id" => Some(event.id.clone()),
        "type" => Some(event.event_type.clone()),
        "title" => Some(event.label(TITLE_LABEL).unwrap_or(&event.event_type).to_owned()),
        "subject" => event.subject.clone(),
        "time" => Some(time::rfc3339(event.occurred_at)),
        "payload" => event.text().map(str::to_owned),
        pointer => {
            let found = find(serde_json::from_str(event.text()?).ok()?, pointer)?.get();
            // A text without its quotes, nothing for null, anything else as it is spelled.
            Some(
                serde_json::from_str::<Option<String>>(found)
                    .map_or_else(|_| found.to_owned(), Option::unwrap_or_default),
            )
        }
    }
}

/// The value that a JSON Pointer (RFC 6901) names.
fn find<'a>(mut value: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        value = if value.get().starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
            items.get(token.parse::<usize>().ok()?).copied()?
        } else {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
            members.get(&token).copied()?
        };
    }
    Some(value)
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
