//! What comes in: an event of type `invoice.paid`.

use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Paid {
    pub(crate) invoice: Invoice,
    pub(crate) customer: Customer,
    pub(crate) items: Vec<Item>,
}

#[derive(Deserialize)]
pub(crate) struct Invoice {
    pub(crate) number: String,
    /// RFC 3339.
    pub(crate) issued_at: String,
    pub(crate) amount_cents: i64,
    pub(crate) currency: String,
    /// Internal invoices are not for the partner.
    #[serde(default)]
    pub(crate) internal: bool,
}

#[derive(Deserialize)]
pub(crate) struct Customer {
    pub(crate) name: String,
    /// 11 digits for a person, 14 for a company.
    pub(crate) document: String,
    pub(crate) address: Option<Address>,
}

#[derive(Deserialize)]
pub(crate) struct Address {
    pub(crate) city: String,
    pub(crate) state: String,
    pub(crate) zip: String,
}

#[derive(Deserialize)]
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) description: String,
    pub(crate) quantity: i64,
    pub(crate) unit_cents: i64,
}
