//! The body that the partner gets.

use engate_sdk::Problem;
use serde::Serialize;

use crate::product::Product;
use crate::settings::Names;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Camel<'a> {
    nome: &'a str,
    processo: &'a str,
    data_produto: &'a str,
    macro_processo: &'a str,
    periodicidade: &'a str,
    periodicidade_final: &'a str,
    url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pascal<'a> {
    data_produto: &'a str,
    macro_processo: &'a str,
    nome: &'a str,
    periodicidade: &'a str,
    periodicidade_final: &'a str,
    processo: &'a str,
    uri: &'a str,
}

/// Compact JSON. Accents go out as they are, in UTF-8.
pub(crate) fn body(product: &Product, url: &str, names: Names) -> Result<String, Problem> {
    let period = &product.period;
    let (data_produto, first, last) = (&period.display(), &period.first_instant(), &period.last_second());
    let text = match names {
        Names::Camel => serde_json::to_string(&Camel {
            nome: &product.name,
            processo: &product.process,
            data_produto,
            macro_processo: &product.macro_process,
            periodicidade: first,
            periodicidade_final: last,
            url,
        }),
        Names::Pascal => serde_json::to_string(&Pascal {
            data_produto,
            macro_processo: &product.macro_process,
            nome: &product.name,
            periodicidade: first,
            periodicidade_final: last,
            processo: &product.process,
            uri: url,
        }),
    };
    text.map_err(|error| Problem::new("invalid_body", format!("the notification has no JSON form: {error}")))
}
