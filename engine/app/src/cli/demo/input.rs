//! Real-looking input, in the words of the systems it comes from: ONS's SINtegre publishes products, GSAN tells of
//! payments.

use std::path::PathBuf;

use serde_json::json;

/// The event type of GSAN's payments, as GSAN spells it.
pub(super) const TRANSACTION: &str = "client-transaction";
/// An amount whose spelling must survive: as a number it would become 10.5.
pub(super) const SPELLED_AMOUNT: &str = "10.50";

/// An entry of the catalogue.
#[derive(Debug)]
pub(super) struct Product {
    /// Its key.
    pub(super) key: &'static str,
    /// What people read.
    pub(super) title: &'static str,
    /// `diaria`, `mensal`; none: no SINtegre product.
    pub(super) frequency: Option<&'static str>,
}

/// What the demo publishes; `examples/demo.toml` enters it into the catalogue.
pub(super) const CATALOG: [Product; 4] = [
    Product {
        key: "sintegre.ipdo",
        title: "IPDO (Informativo Preliminar Diário da Operação)",
        frequency: Some("diaria"),
    },
    Product {
        key: "sintegre.coig",
        title: "COIG - Comunicação de Ocorrência em Instalações de Geração",
        frequency: Some("diaria"),
    },
    Product { key: "sintegre.eolica", title: "Boletim Mensal de Geração Eólica", frequency: Some("mensal") },
    Product { key: TRANSACTION, title: "Pagamento de conta de água", frequency: None },
];

/// One event to hand in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publication {
    /// Key of its type.
    pub(super) event_type: &'static str,
    /// What it is about.
    pub(super) subject: String,
    /// The payload's JSON, numbers as GSAN spells them.
    pub(super) payload: String,
    /// The file it speaks of: path below `files.root`, content.
    pub(super) file: Option<(PathBuf, String)>,
}

/// The events of the opening, in order. Both systems speak.
pub(super) fn opening() -> Vec<Publication> {
    let [ipdo, coig, boletim, _] = &CATALOG;
    let mut publications: Vec<_> = (17..=20).map(|day| published(ipdo, &format!("2025-02-{day}"))).collect();
    publications.push(published(coig, "2025-02-20"));
    publications.push(published(boletim, "2020-08-01"));
    publications.push(paid(r#"[{"idtransaction":1,"idcliente":"01400-2","valorpago":10}]"#, "01400-2"));
    publications.push(paid(
        &format!(r#"[{{"idtransaction":2,"idcliente":"01733-8","valorpago":{SPELLED_AMOUNT}}}]"#),
        "01733-8",
    ));
    publications.push(paid(r#"[{"idtransaction":3,"idcliente":"02015-1","valorpago":134.90}]"#, "02015-1"));
    publications
}

/// The `n`th event of the trickle that follows: two publications, then a payment.
pub(super) fn trickle(n: u32) -> Publication {
    let [ipdo, coig, ..] = &CATALOG;
    let day = n % 28 + 1;
    let (month, year) = (n / 28 % 12 + 1, 2026 + n / 336);
    let date = format!("{year}-{month:02}-{day:02}");
    match n % 3 {
        0 => published(ipdo, &date),
        1 => published(coig, &date),
        _ => {
            let client = format!("{:05}-{}", 1_400 + n, n % 10);
            let cents = n % 90 + 10;
            paid(
                &format!(
                    r#"[{{"idtransaction":{},"idcliente":"{client}","valorpago":{}.{cents}}}]"#,
                    n + 100,
                    n % 200 + 20
                ),
                &client,
            )
        }
    }
}

fn published(product: &Product, date: &str) -> Publication {
    let name = product.key.rsplit('.').next().unwrap_or(product.key);
    let path = format!("{name}/{}_{date}.txt", name.to_uppercase());
    let payload = json!({ "periodicidade": product.frequency, "referencia": date, "arquivo": path });
    Publication {
        event_type: product.key,
        subject: product.key.to_owned(),
        payload: payload.to_string(),
        file: Some((path.into(), format!("{}\nData de referência: {date}\n", product.title))),
    }
}

fn paid(transactions: &str, client: &str) -> Publication {
    Publication { event_type: TRANSACTION, subject: client.to_owned(), payload: transactions.to_owned(), file: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g15_the_amount_is_spelled_as_gsan_does() {
        assert!(opening().iter().any(|publication| publication.payload.contains("\"valorpago\":10.50")));
    }

    #[test]
    fn every_publication_is_json_of_a_known_type_and_products_have_a_file() {
        for publication in opening().into_iter().chain((0..1_000).map(trickle)) {
            let product = CATALOG.iter().find(|product| product.key == publication.event_type).unwrap();
            let payload: serde_json::Value = serde_json::from_str(&publication.payload).unwrap();
            assert_eq!(publication.file.is_some(), product.frequency.is_some());
            if let Some(date) = payload.get("referencia") {
                chrono::NaiveDate::parse_from_str(date.as_str().unwrap(), "%Y-%m-%d").unwrap();
            }
        }
    }
}
