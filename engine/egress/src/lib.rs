//! The only part of Engate that dials out.
//!
//! Who acts here: [`Egress`] sends one request at a time for whoever asks, and owns the connections, the trust in
//! certificates and the [`Guard`]. The [`Guard`] says what may be called: it judges a URL as text when an endpoint
//! is registered, and every address a name resolves to each time a connection is made. Nobody else resolves a
//! name, follows a redirect or reads a proxy from the environment.
//!
//! What this crate never does: it keeps nothing, retries nothing, reads no wall clock and judges no response. What
//! it hands back is the response or a typed failure, with the request as it went on the wire, secrets masked.

mod address;
mod auth;
mod clients;
mod config;
mod failure;
mod guard;
mod headers;
mod identity;
mod oauth;
mod probe;
mod request;
mod resolve;
mod send;
mod signing;

pub use auth::check_auth;
pub use config::{ConfigError, EgressConfig, parse_allow};
pub use guard::{Denied, Guard, Target, URL_BYTES_MAX};
pub use headers::{check_headers, is_reserved_header};
pub use identity::{CertificateFacts, certificate_facts};
pub use request::{Outbound, SignInput};
pub use resolve::{Lookup, Resolved};
pub use send::{Egress, Failed, Received};
pub use signing::{check_signing_secret, generate_signing_secret};
