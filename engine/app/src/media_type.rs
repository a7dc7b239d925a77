//! What a media type says of a body.

/// Media type of what is JSON and nothing more special.
pub(crate) const JSON: &str = "application/json";

/// Whether a media type, in lower case and without parameters, means JSON: `application/json`, and what is written in it
/// (RFC 6839), `application/cloudevents+json` or `model/gltf+json`.
pub(crate) fn is_json(media_type: &str) -> bool {
    media_type == JSON || media_type.ends_with("+json")
}
