//! What a job runs names endpoints by their ids, which are others in each engine. A file names them as it names endpoints
//! anywhere: by integrator and description.

use engate_model::EndpointId;
use serde_json::Value;

use super::kind::{Kind, name_of};

/// Below `run`, where an endpoint is named.
const PLACES: [&str; 2] = ["/endpoint", "/sink/endpoint"];

/// Names of the endpoints in the place of their ids, where they are among `endpoints`.
pub(super) fn name_endpoints(job: &mut Value, endpoints: &[Value]) {
    each_endpoint(job, |id| {
        let named = endpoints.iter().find(|endpoint| endpoint.get("id").is_some_and(|there| there == id));
        named.map(|endpoint| name_of(Kind::Endpoints, endpoint))
    });
}

/// Ids of the endpoints in the place of their names, where they are among `endpoints`.
pub(super) fn identify_endpoints(job: &mut Value, endpoints: &[Value]) {
    each_endpoint(job, |name| {
        let named = endpoints.iter().find(|endpoint| name_of(Kind::Endpoints, endpoint) == name);
        named.and_then(|endpoint| endpoint.get("id")?.as_str().map(str::to_owned))
    });
}

/// The endpoints that are named, be it by id or by name.
pub(super) fn endpoints_of(job: &Value) -> impl Iterator<Item = &str> {
    PLACES.iter().filter_map(|place| job.get("run")?.pointer(place)?.as_str())
}

/// Whether it is an id, and no name.
pub(super) fn is_id(endpoint: &str) -> bool {
    endpoint.parse::<EndpointId>().is_ok()
}

/// Drops a payload of nothing: left out it says the same, and TOML has no null.
pub(super) fn drop_null_payload(job: &mut Value) {
    let event = job.pointer_mut("/run/event").and_then(Value::as_object_mut);
    if let Some(event) = event.filter(|event| event.get("payload").is_some_and(Value::is_null)) {
        event.remove("payload");
    }
}

fn each_endpoint(job: &mut Value, other: impl Fn(&str) -> Option<String>) {
    let Some(run) = job.get_mut("run") else { return };
    for place in PLACES {
        if let Some(Value::String(endpoint)) = run.pointer_mut(place)
            && let Some(other) = other(endpoint)
        {
            *endpoint = other;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_are_named_and_found_again_wherever_a_job_has_them() {
        let id = format!("ep_{}", "0".repeat(32));
        let endpoints = [json!({"id": id, "integrator": "ons", "description": "Boletins", "url": "https://a.example"})];
        for run in [
            json!({"kind": "engine", "task": "resend_pending", "endpoint": id}),
            json!({"kind": "sync", "sink": {"plugin": "carol", "endpoint": id}}),
        ] {
            let job = json!({"name": "j", "run": run});
            let mut named = job.clone();
            name_endpoints(&mut named, &endpoints);
            assert_eq!(endpoints_of(&named).collect::<Vec<_>>(), ["ons/Boletins"]);
            assert!(is_id(&id) && !is_id("ons/Boletins"));
            identify_endpoints(&mut named, &endpoints);
            assert_eq!(named, job);
        }
        let mut other = json!({"name": "j", "run": {"kind": "sync", "sink": {"event_type": "t"}}});
        name_endpoints(&mut other, &endpoints);
        assert_eq!(endpoints_of(&other).count(), 0);
    }
}
