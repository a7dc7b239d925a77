//! SINtegre: tells a partner that a product of the electric system's operator was published.
//!
//! The producer's event names the product, its period and its file; the partner's POST gets display text, first and last
//! instant, and a link that needs no authentication. The link is minted for this recipient and this attempt.

mod file;
mod link;
mod notification;
mod period;
mod product;
mod settings;
#[cfg(test)]
mod tests;

use engate_sdk::{Context, Event, Integrator, InterpretWhen, Manifest, Plan, Problem, Request};

use crate::file::File;
use crate::product::Product;
use crate::settings::Settings;

/// The name under which the engine holds the links' key.
const LINK_SECRET: &str = "sintegre-link";

struct Sintegre;

impl Integrator for Sintegre {
    fn describe() -> Manifest {
        Manifest::new("sintegre", env!("CARGO_PKG_VERSION"))
            .title("SINtegre")
            .config_schema(include_str!("config.schema.json"))
            // 20X is success and anything else is an error, to be sent again: what the engine says anyway.
            .interpret(InterpretWhen::Never)
            .secret(LINK_SECRET, "signs the download links")
    }

    fn transform(event: &Event, context: &Context) -> Result<Plan, Problem> {
        let product = Product::read(event)?;
        let settings: Settings = engate_sdk::config::all()?;
        let url = match &product.file {
            File::Elsewhere(url) => url.clone(),
            File::Below(path) => link::mint(path, &product.name, &settings, context)?,
        };
        let body = notification::body(&product, &url, settings.names)?;
        let request = Request::post(&context.endpoint.url).body("application/json; charset=utf-8", body);
        Ok(request.into())
    }
}

engate_sdk::export!(Sintegre);
