//! Examples in the API's description, put together from its schemas: an example that a schema declares is taken as it
//! is, what it lacks is composed field by field, and a field that nobody gave an example is named by the test below.

use serde_json::{Map, Value, json};

use super::{
    meanings::{MEANINGS, Meaning},
    problem::PROBLEM_JSON,
};
use crate::media_type::is_json;

/// Schemas nest no deeper than this.
const DEPTH_MAX: usize = 16;
/// What a time looks like.
const TIME: &str = "2026-01-31T12:00:00.000000Z";
/// Stands where nobody gave an example; the test finds it.
const MISSING: &str = "MISSING";

/// Examples of texts by field name; with a dot, of one schema's field.
const TEXTS: &[(&str, &str)] = &[
    ("Delivery.id", "dlv_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"),
    ("Delivery.reason", "partner_busy"),
    ("DeliveryView.id", "dlv_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"),
    ("EventView.id", "evt_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"),
    ("EventView.type", "bill.paid"),
    ("Attempt.trigger", "event"),
    ("HealthView.status", "ok"),
    ("HealthView.database", "ok"),
    ("HealthView.workers", "ok"),
    ("HealthView.version", "0.1.0"),
    ("PluginVersion.state", "ready"),
    ("PluginTriedVerdict.by", "plugin"),
    ("PluginTryEvent.type", "bill.paid"),
    ("addresses_not_granted", "https://partner.example"),
    ("attempt", "1"),
    ("base", "gsan@1.2.0"),
    ("body", "{\"ok\":true}"),
    ("body_encoding", "utf8"),
    ("candidate", "gsan@1.3.0"),
    ("channel", "stable"),
    ("client", "billing"),
    ("code", "busy"),
    ("content_type", "application/json"),
    ("correlation_id", "order-7"),
    ("created_by", "billing"),
    ("delivery", "dlv_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"),
    ("description", "Boletins"),
    ("digest", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("encoding", "json"),
    ("endpoint", "ep_0192f0c1a2b37c4d8e5f60718293a4b5"),
    ("endpoint_url", "https://partner.example/hook"),
    ("event", "evt_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"),
    ("event_type", "bill.paid"),
    ("field", "url"),
    ("header_names", "x-ref"),
    ("headers", "content-type"),
    ("hosts", "https://api.example.com"),
    ("idempotency_key", "bill-7"),
    ("integrator_name", "Operador Nacional do Sistema"),
    ("integrator", "int_0192f0c1a2b37c4d8e5f60718293a4b5"),
    ("key", "bill.paid"),
    ("labels", "uf"),
    ("log", "shaped 1 transaction"),
    ("memo", "7"),
    ("message", "busy, try again"),
    ("method", "POST"),
    ("name", "gsan"),
    ("outcome", "success"),
    ("payload_encoding", "json"),
    ("plugin", "gsan@1.2.0"),
    ("plugin_digest", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
    ("purpose", "signs download links"),
    ("reason", "no_match"),
    ("reference", "P-77"),
    ("reveal", "sintegre-link"),
    ("secrets", "sintegre-link"),
    ("secrets_missing", "sintegre-link"),
    ("skip", "nothing to send"),
    ("slug", "ons"),
    ("subject", "7"),
    ("text", "{\"ok\":true}"),
    ("tenant", "ten_0192f0c1a2b37c4d8e5f60718293a4b5"),
    ("title", "Conta paga"),
    ("type", "bill.paid"),
    ("url", "https://partner.example/hook"),
    ("version", "1.2.0"),
    ("what", "request.body"),
];

/// Examples of numbers by field name.
const NUMBERS: &[(&str, u32)] = &[
    ("attempts", 1),
    ("code", 1_042),
    ("deliveries", 1),
    ("depth", 3),
    ("in_flight", 1),
    ("number", 1),
    ("payload_bytes", 17),
    ("size_bytes", 61_440),
    ("status", 200),
    ("total", 1),
];

/// Examples of a path's parts by name, where no answer of the same path shows one.
const PARTS: &[(&str, &str)] = &[
    ("channel", "stable"),
    ("endpoint", "ep_0192f0c1a2b37c4d8e5f60718293a4b5"),
    ("file", "swagger-ui.css"),
    ("id", "dif_0192f0c1a2b37c4d8e5f60718293a4b5"),
    ("key", "bill.paid"),
    ("name", "sintegre-link"),
    ("record", "qua_0192f0c1a2b37c4d8e5f60718293a4b5"),
    ("run", "run_0192f0c1a2b37c4d8e5f60718293a4b5"),
    ("track", "trk_0192f0c1a2b37c4d8e5f60718293a4b5"),
    ("version", "1.2.0"),
];

/// The code that stands for each status where a response's description names none.
const USUAL: &[(&str, &str)] = &[
    ("400", "invalid_json"),
    ("401", "unauthorized"),
    ("403", "forbidden"),
    ("404", "not_found"),
    ("405", "method_not_allowed"),
    ("408", "request_timeout"),
    ("409", "conflict"),
    ("410", "link_expired"),
    ("412", "precondition_failed"),
    ("413", "payload_too_large"),
    ("415", "unsupported_media_type"),
    ("422", "invalid"),
    ("429", "rate_limited"),
    ("431", "headers_too_large"),
    ("500", "internal"),
    ("502", "plugin_fault"),
    ("503", "unavailable"),
];

/// Puts an example on every JSON body, refusal and part of a path that has none.
pub(super) fn fill(document: &mut Value) {
    let Some(mut paths) = document.get_mut("paths").map(Value::take) else { return };
    let schemas = document.pointer("/components/schemas").cloned().unwrap_or_default();
    let composer = Composer { schemas: &schemas };
    for operations in paths.as_object_mut().into_iter().flat_map(Map::values_mut) {
        for operation in operations.as_object_mut().into_iter().flat_map(Map::values_mut) {
            composer.bodies(operation);
        }
    }
    let shown = paths.clone();
    for (path, operations) in paths.as_object_mut().into_iter().flatten() {
        for operation in operations.as_object_mut().into_iter().flat_map(Map::values_mut) {
            for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
                let is_part = parameter.get("in").is_some_and(|at| at == "path");
                let name = parameter.get("name").and_then(Value::as_str).map(str::to_owned);
                if let (true, Some(name), Some(parameter)) = (is_part, name, parameter.as_object_mut()) {
                    parameter.entry("example").or_insert_with(|| part(&shown, path, &name));
                }
            }
        }
    }
    if let Some(place) = document.get_mut("paths") {
        *place = paths;
    }
}

/// What stands in a path for `{name}`: what the resource there shows of itself.
fn part(paths: &Value, path: &str, name: &str) -> Value {
    let marker = format!("{{{name}}}");
    let resource = path.split_once(&marker).map(|(before, _)| format!("{before}{marker}")).unwrap_or_default();
    let shown = paths
        .get(&resource)
        .and_then(|operations| operations.pointer("/get/responses/200/content/application~1json/example"));
    let fields = [name, "id", "slug", "name", "key"];
    let shown = fields.into_iter().find_map(|field| shown.and_then(|shown| shown.get(field)).filter(|v| v.is_string()));
    let usual = || PARTS.iter().find(|(part, _)| *part == name).map_or(MISSING, |(_, text)| text);
    shown.cloned().unwrap_or_else(|| json!(usual()))
}

struct Composer<'d> {
    schemas: &'d Value,
}

impl Composer<'_> {
    fn bodies(&self, operation: &mut Value) {
        let body = operation.pointer_mut("/requestBody/content").and_then(Value::as_object_mut);
        body.into_iter().flatten().for_each(|(media_type, content)| self.content(media_type, content));
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for (status, response) in responses.into_iter().flatten() {
            let about = response.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
            let contents = response.get_mut("content").and_then(Value::as_object_mut);
            for (media_type, content) in contents.into_iter().flatten() {
                if media_type == PROBLEM_JSON {
                    problems(status, &about, content);
                } else {
                    self.content(media_type, content);
                }
            }
        }
    }

    fn content(&self, media_type: &str, content: &mut Value) {
        let is_json = is_json(media_type);
        let has_one = content.get("example").is_some() || content.get("examples").is_some();
        let Some(schema) = content.get("schema").cloned() else { return };
        if is_json
            && !has_one
            && let Some(content) = content.as_object_mut()
        {
            content.insert("example".to_owned(), self.compose(&schema, "", "", DEPTH_MAX));
        }
    }

    /// A value of `schema`, the field `field` of the component `component`.
    fn compose(&self, schema: &Value, component: &str, field: &str, depth: usize) -> Value {
        if depth == 0 {
            return json!(MISSING);
        }
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
            let schema = self.schemas.get(name).cloned().unwrap_or_default();
            // A list's items are described within it.
            let name = name.strip_prefix("Listing_").unwrap_or(name);
            return self.compose(&schema, name, field, depth - 1);
        }
        let mut declared = schema.get("example").cloned().or_else(|| first(schema.get("examples")));
        if let Some(example) = declared.as_mut() {
            self.complete(schema, component, example, depth);
            return declared.unwrap_or_default();
        }
        if let Some(value) = schema.get("const").cloned().or_else(|| first(schema.get("enum"))) {
            return value;
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            let whole = parts.iter().map(|part| self.compose(part, component, field, depth - 1));
            let fields = whole.filter_map(|part| part.as_object().cloned()).flatten();
            return Value::Object(fields.collect());
        }
        for word in ["oneOf", "anyOf"] {
            let forms = schema.get(word).and_then(Value::as_array).into_iter().flatten();
            if let Some(form) = forms.into_iter().find(|form| form.get("type").is_none_or(|kind| kind != "null")) {
                return self.compose(form, component, field, depth - 1);
            }
        }
        self.of_type(schema, component, field, depth)
    }

    fn of_type(&self, schema: &Value, component: &str, field: &str, depth: usize) -> Value {
        let kinds = match schema.get("type") {
            Some(Value::String(kind)) => vec![kind.as_str()],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let may_be_null = kinds.contains(&"null");
        let text = || {
            let own = format!("{component}.{field}");
            TEXTS.iter().find(|(name, _)| *name == own).or_else(|| TEXTS.iter().find(|(name, _)| *name == field))
        };
        match kinds.into_iter().find(|kind| *kind != "null") {
            Some("object") => {
                let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
                let fields =
                    fields.map(|(name, field)| (name.clone(), self.compose(field, component, name, depth - 1)));
                Value::Object(fields.collect())
            }
            Some("array") => {
                let tuple = schema.get("prefixItems").and_then(Value::as_array);
                let items = tuple.map_or_else(|| schema.get("items").into_iter().collect(), |all| all.iter().collect());
                let items: Vec<&Value> = items;
                // A pair may be described as two of a kind.
                let least =
                    schema.get("minItems").and_then(Value::as_u64).and_then(|least| usize::try_from(least).ok());
                let count = least.unwrap_or_default().max(items.len());
                let items = items.iter().cycle().take(count);
                items.map(|item| self.compose(item, component, field, depth - 1)).collect()
            }
            Some("integer" | "number") => {
                let usual = NUMBERS.iter().find(|(name, _)| *name == field).map(|(_, number)| json!(number));
                usual
                    .as_ref()
                    .or_else(|| schema.get("default"))
                    .or_else(|| schema.get("minimum"))
                    .cloned()
                    .unwrap_or_else(|| json!(1))
            }
            Some("boolean") => schema.get("default").cloned().unwrap_or(json!(false)),
            Some("string") if schema.get("format").is_some_and(|format| format == "date-time") => json!(TIME),
            Some("string") => match text() {
                Some((_, text)) => json!(text),
                None if may_be_null => Value::Null,
                None => json!(format!("{MISSING} {component}.{field}")),
            },
            // Anything goes, such as a payload.
            _ => json!({}),
        }
    }

    /// Adds what a declared example lacks of the fields that its schema requires.
    fn complete(&self, schema: &Value, component: &str, example: &mut Value, depth: usize) {
        let Some(fields) = example.as_object_mut() else { return };
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if let Some(field) = schema.get("properties").and_then(|all| all.get(name)) {
                fields.entry(name).or_insert_with(|| self.compose(field, component, name, depth - 1));
            }
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            let part = match part.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
                Some(name) => self.schemas.get(name).unwrap_or(part),
                None => part,
            };
            for name in part.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
                if let Some(field) = part.get("properties").and_then(|all| all.get(name)) {
                    fields.entry(name).or_insert_with(|| self.compose(field, component, name, depth - 1));
                }
            }
        }
    }
}

fn first(list: Option<&Value>) -> Option<Value> {
    list?.as_array()?.first().cloned()
}

/// One example per code that a refusal's description names, else of the status' usual one.
fn problems(status: &str, about: &str, content: &mut Value) {
    let named = about.split('`').skip(1).step_by(2);
    let named: Vec<_> = named.filter_map(|code| MEANINGS.iter().find(|meaning| meaning.code == code)).collect();
    let usual = || USUAL.iter().find(|(usual, _)| *usual == status).map(|(_, code)| *code);
    let usual = MEANINGS.iter().filter(|meaning| named.is_empty() && usual().is_some_and(|code| code == meaning.code));
    let examples: Map<_, _> = named.iter().copied().chain(usual).map(|meaning| example(status, meaning)).collect();
    if let Some(content) = content.as_object_mut()
        && !examples.is_empty()
    {
        content.insert("examples".to_owned(), Value::Object(examples));
    }
}

fn example(status: &str, meaning: &Meaning) -> (String, Value) {
    let mut value = json!({
        "type": format!("/docs/problems#{}", meaning.code),
        "title": meaning.title,
        "status": status.parse::<u16>().unwrap_or_default(),
        "detail": meaning.cure.replace('`', ""),
        "code": meaning.code,
    });
    if meaning.code == "invalid"
        && let Some(fields) = value.as_object_mut()
    {
        let errors = json!([{"field": "url", "message": "must begin with http:// or https://"}]);
        fields.insert("detail".to_owned(), json!("url: must begin with http:// or https://"));
        fields.insert("errors".to_owned(), errors);
    }
    (meaning.code.to_owned(), json!({ "summary": meaning.title, "value": value }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{contract::contract, schema};

    /// Every JSON body of every route with the place it has in the description.
    fn contents() -> Vec<(String, Value)> {
        let mut all = Vec::new();
        for (path, operations) in contract().value["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let mut add = |what: &str, content: &Value| {
                    for (media_type, content) in content.as_object().into_iter().flatten() {
                        if is_json(media_type) {
                            all.push((format!("{method} {path} {what} {media_type}"), content.clone()));
                        }
                    }
                };
                add("request", &operation["requestBody"]["content"]);
                for (status, response) in operation["responses"].as_object().unwrap() {
                    add(status, &response["content"]);
                }
            }
        }
        all
    }

    #[test]
    fn every_route_has_examples_that_fit_its_schemas() {
        let mut complaints = Vec::new();
        for (name, content) in contents() {
            let several = content["examples"].as_object().into_iter().flatten().map(|(_, one)| one["value"].clone());
            let examples: Vec<_> = content.get("example").cloned().into_iter().chain(several).collect();
            if examples.is_empty() {
                complaints.push(format!("{name} has no example"));
            }
            for example in examples {
                let text = example.to_string();
                if let Some(at) = text.find(MISSING) {
                    let field = text[at..].split('"').next().unwrap();
                    complaints.push(format!("{name}: give {field} an example, there or in TEXTS"));
                }
                let schema = content["schema"].clone();
                if let Err(invalid) = schema::check_inline(&format!("example of {name}"), || schema, &example) {
                    complaints.push(format!("{name}: {invalid} in {text}"));
                }
            }
        }
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }

    #[test]
    fn every_part_of_a_path_has_an_example() {
        for (path, operations) in contract().value["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|p| p["in"] == "path")
                {
                    let example = parameter["example"].as_str().unwrap_or_default();
                    assert!(!example.is_empty() && example != MISSING, "{method} {path} {}", parameter["name"]);
                }
            }
        }
    }

    #[test]
    fn every_refusal_is_documented_with_its_code() {
        for (path, operations) in contract().value["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let at = format!("{method} {path}");
                let responses = operation["responses"].as_object().unwrap();
                let has = |status: &str| assert!(responses.contains_key(status), "{at} does not say {status}");
                ["500", "503"].iter().for_each(|status| has(status));
                if path.contains('{') {
                    has("404");
                }
                if operation.get("requestBody").is_some() {
                    ["400", "408", "413", "415"].iter().for_each(|status| has(status));
                }
                let refusals = responses.iter().filter(|(status, _)| status.starts_with(['4', '5']));
                for (status, response) in refusals {
                    let content = response["content"].as_object();
                    let explained = content.is_some_and(|content| {
                        content.iter().all(|(kind, content)| kind != PROBLEM_JSON || content.get("examples").is_some())
                    });
                    assert!(explained, "{at} {status} has no example");
                }
            }
        }
    }
}
