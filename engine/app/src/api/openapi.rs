//! The API's description: put together from the routes, served at `/openapi.json`, and the schemas that requests
//! are checked against (see [`schema`](super::schema)).

use axum::{
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Value, json};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        Components, Info, License, OpenApi, SecurityRequirement, Tag,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    contract::contract,
    problem::{ProblemBody, ProblemField},
    routes::Routes,
};

/// Name of the security scheme in the description.
const SCHEME: &str = "token";

/// What a reader of the description should know first.
const ABOUT: &str = "Engate takes facts in once, keeps them safe, and delivers them to partners through plugins.\n\n\
Every call but the public ones carries `Authorization: Bearer TOKEN`. Times are RFC 3339 in UTC. Refusals are \
`application/problem+json` with a stable `code`; a field that is not known is a 422 that names it. Lists answer \
`{items, total, next}` and take `limit` (at most 500) and `cursor`; pages follow each other without gap or overlap \
whatever is entered or deleted meanwhile.\n\n\
What can be read and edited has an `ETag`: sent back as `If-Match` it lets an edit through only if nobody else was first \
(else 412), as `If-None-Match` it saves reading again (304). Actions (POST) take an `Idempotency-Key`: a repeat within 24 \
hours gets the first answer and does nothing.";

/// The nouns, in the order people meet them.
const TAGS: &[(&str, &str)] = &[
    ("events", "Facts, as producers send them"),
    ("deliveries", "One event for one endpoint, with its attempts"),
    ("endpoints", "Registered URLs of integrators"),
    ("integrators", "Partner companies"),
    ("event types", "The catalogue"),
    ("inbounds", "Where partners call"),
    ("jobs", "What runs when, and its runs"),
    ("wizards", "Setting up, step by step"),
    ("plugins", "What shapes requests and judges responses"),
    ("secrets", "Values plugins may use and nobody can read back"),
    ("settings", "Switches of the tenant"),
    ("tokens", "Clients' keys"),
    ("tenants", "Whose data it is"),
    ("audit", "Who did what"),
    ("files", "Signed links"),
    ("health", "Whether the engine works"),
];

/// Puts the description of all routes together.
pub(super) fn put_together() -> Value {
    let mut value = serde_json::to_value(document(super::routes())).unwrap_or_default();
    portable(&mut value);
    refer_to_items(&mut value);
    super::conditional::describe(&mut value);
    super::examples::fill(&mut value);
    value
}

/// Says what generators of clients stumble over in the way that they know: a pair of equal things is a list of two, and
/// bytes are binary and no list of numbers.
fn portable(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Array(parts)) = fields.get("prefixItems")
                && let Some(first) = parts.first().cloned()
                && parts.iter().all(|part| *part == first)
            {
                let count = json!(parts.len());
                fields.remove("prefixItems");
                fields.insert("items".to_owned(), first);
                fields.insert("minItems".to_owned(), count.clone());
                fields.insert("maxItems".to_owned(), count);
            }
            for (name, field) in fields.iter_mut() {
                if let (true, Some(schema)) = (name.contains('/') && !name.ends_with("json"), field.get_mut("schema"))
                    && schema.get("type").is_some_and(|kind| kind == "array")
                {
                    *schema = json!({ "type": "string", "format": "binary" });
                }
                portable(field);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(portable),
        _ => {}
    }
}

/// Lists refer to what they list, which their schemas would repeat: a generated client then has one type for both.
fn refer_to_items(document: &mut Value) {
    let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) else { return };
    let names: Vec<_> = schemas.keys().filter_map(|name| name.strip_prefix("Listing_").map(str::to_owned)).collect();
    for name in names.into_iter().filter(|name| schemas.contains_key(name)).collect::<Vec<_>>() {
        let list = schemas.get_mut(&format!("Listing_{name}"));
        if let Some(items) = list.and_then(|list| list.pointer_mut("/properties/items/items")) {
            *items = json!({ "$ref": format!("#/components/schemas/{name}") });
        }
    }
}

/// The description as utoipa has it.
fn document(routes: Routes) -> OpenApi {
    let mut components = Components::new();
    components.schemas.extend(routes.schemas);
    components.schemas.insert(ProblemBody::name().into_owned(), ProblemBody::schema());
    components.schemas.insert(ProblemField::name().into_owned(), ProblemField::schema());
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some("A token's value, as `engate token create` prints it once.".to_owned());
    components.add_security_scheme(SCHEME, SecurityScheme::Http(bearer));
    let mut info = Info::new("Engate", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    info.license = Some(License::new("Apache-2.0"));
    let mut document = OpenApi::new(info, routes.paths);
    document.components = Some(components);
    document.security = Some(vec![SecurityRequirement::new(SCHEME, Vec::<String>::new())]);
    let tag = |(name, about): &(&str, &str)| {
        let mut tag = Tag::new(*name);
        tag.description = Some((*about).to_owned());
        tag
    };
    document.tags = Some(TAGS.iter().map(tag).collect());
    document
}

/// The description of this API, OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses((status = 200, description = "OpenAPI 3.1", body = Value)))]
pub(crate) async fn openapi_json() -> impl IntoResponse {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], contract().text.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use super::*;
    use crate::api::schema;

    /// What may hold anything: a plugin's own configuration, a payload.
    fn is_free(schema: &Value) -> bool {
        schema
            .as_object()
            .is_some_and(|schema| schema.keys().all(|key| matches!(key.as_str(), "description" | "example")))
    }

    fn resolve(schema: &Value) -> &Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => contract().value.pointer(reference.trim_start_matches('#')).unwrap(),
            None => schema,
        }
    }

    fn is(schema: &Value, name: &str) -> bool {
        let kind = &schema["type"];
        kind == name || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == name))
    }

    /// Walks a request's schema and complains of what has no bound.
    fn walk(at: &str, schema: &Value, complaints: &mut Vec<String>, depth: usize) {
        let schema = resolve(schema);
        if is_free(schema) || depth == 0 {
            return;
        }
        for word in ["oneOf", "anyOf", "allOf"] {
            for part in schema[word].as_array().into_iter().flatten() {
                walk(at, part, complaints, depth - 1);
            }
        }
        let mut complain = |what: &str| complaints.push(format!("{at}: {what}"));
        // An object without named fields is a plugin's own, and goes by the plugin's schema.
        if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
            complain("takes unknown fields");
        }
        let bounded = ["maxLength", "enum", "format", "const"].iter().any(|word| schema.get(word).is_some());
        if is(schema, "string") && !bounded {
            complain("is a text without a bound");
        }
        if is(schema, "integer") && (schema.get("minimum").is_none() || schema.get("maximum").is_none()) {
            complain("is a number without bounds");
        }
        if is(schema, "array") && schema.get("maxItems").is_none() {
            complain("is a list without a bound");
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{at}.{name}"), field, complaints, depth - 1);
        }
        if schema.get("items").is_some() {
            walk(&format!("{at}[]"), &schema["items"], complaints, depth - 1);
        }
        if schema["additionalProperties"].is_object() {
            walk(&format!("{at}.*"), &schema["additionalProperties"], complaints, depth - 1);
        }
    }

    fn operations() -> impl Iterator<Item = (String, &'static Value)> {
        let paths = contract().value["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap();
            methods.iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
        })
    }

    #[test]
    fn every_request_is_bounded_and_closed() {
        let mut complaints = Vec::new();
        for (name, operation) in operations() {
            for (media_type, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
                // A CloudEvent has extensions; other types are bytes.
                if media_type == "application/json" {
                    walk(&name, &content["schema"], &mut complaints, 12);
                }
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if parameter["in"] == "query" {
                    let at = format!("{name}?{}", parameter["name"]);
                    walk(&at, &parameter["schema"], &mut complaints, 12);
                }
            }
        }
        assert_eq!(complaints, Vec::<String>::new());
    }

    #[test]
    fn every_schema_compiles() {
        let schemas = contract().value.pointer("/components/schemas").unwrap().as_object().unwrap();
        for name in schemas.keys() {
            let judged = schema::check_component(name, &Value::Null);
            let fields = judged.err().map(|invalid| invalid.to_string()).unwrap_or_default();
            assert!(!fields.contains("cannot be checked"), "{name}: {fields}");
        }
    }

    #[test]
    fn names_are_given_once() {
        let mut schemas: HashMap<String, Value> = HashMap::new();
        for (name, schema) in crate::api::routes().schemas {
            let schema = serde_json::to_value(schema).unwrap();
            let known = schemas.entry(name.clone()).or_insert_with(|| schema.clone());
            assert_eq!(*known, schema, "two schemas are named {name}");
        }
        let mut ids = HashSet::new();
        for (name, operation) in operations() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{name}: its operation id is taken");
        }
    }

    #[test]
    fn pairs_and_bytes_are_told_as_generators_know_them() {
        let mut value = json!({ "a": { "prefixItems": [{ "type": "string" }, { "type": "string" }], "items": false },
            "content": { "application/wasm": { "schema": { "type": "array", "items": { "type": "integer" } } } } });
        portable(&mut value);
        let pair = json!({ "items": { "type": "string" }, "minItems": 2, "maxItems": 2 });
        assert_eq!(value["a"], pair);
        assert_eq!(value["content"]["application/wasm"]["schema"], json!({ "type": "string", "format": "binary" }));
        assert!(!contract().value.to_string().contains("prefixItems"));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|field| references(field, found));
                }
                Value::Array(items) => items.iter().for_each(|item| references(item, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(&contract().value, &mut found);
        for reference in found {
            assert!(contract().value.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_operation_is_described_and_tagged() {
        let tags: HashSet<_> = TAGS.iter().map(|(name, _)| *name).collect();
        let mut without = BTreeMap::new();
        for (name, operation) in operations() {
            let described = operation["summary"].is_string() || operation["description"].is_string();
            let tagged =
                operation["tags"].as_array().is_some_and(|t| t.iter().all(|t| tags.contains(t.as_str().unwrap())));
            if !described || !tagged || operation["responses"].as_object().is_none_or(serde_json::Map::is_empty) {
                without.insert(name, operation["tags"].clone());
            }
        }
        assert_eq!(without, BTreeMap::new());
    }
}
