//! What goes out: the same facts in the partner's words. The fields' order here is their order in the body.

use engate_sdk::Problem;
use serde::Serialize;

use crate::format;
use crate::invoice::{Address, Customer, Item, Paid};

/// The one currency that the partner takes.
const CURRENCY: &str = "BRL";

#[derive(Serialize)]
pub(crate) struct Notice<'a> {
    documento: &'a str,
    emissao: String,
    valor: String,
    moeda: &'a str,
    cliente: Cliente<'a>,
    itens: Vec<ItemNotice<'a>>,
}

#[derive(Serialize)]
struct Cliente<'a> {
    nome: &'a str,
    #[serde(flatten)]
    documento: Documento,
    #[serde(skip_serializing_if = "Option::is_none")]
    endereco: Option<Endereco<'a>>,
}

/// One of two fields: `cpf` or `cnpj`.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Documento {
    Cpf(String),
    Cnpj(String),
}

#[derive(Serialize)]
struct Endereco<'a> {
    municipio: &'a str,
    uf: &'a str,
    cep: String,
}

#[derive(Serialize)]
struct ItemNotice<'a> {
    codigo: &'a str,
    descricao: &'a str,
    quantidade: i64,
    total: String,
}

impl<'a> Notice<'a> {
    pub(crate) fn of(paid: &'a Paid, utc_offset_minutes: i64) -> Result<Self, Problem> {
        let invoice = &paid.invoice;
        if invoice.currency != CURRENCY {
            let message = format!("only {CURRENCY} is taken, not {}", invoice.currency);
            return Err(Problem::new("unsupported_currency", message));
        }
        Ok(Self {
            documento: &invoice.number,
            emissao: format::local_time(&invoice.issued_at, utc_offset_minutes)
                .ok_or_else(|| invalid("invoice.issued_at is not a time such as 2025-02-20T12:30:00Z"))?,
            valor: format::money(invoice.amount_cents.into()),
            moeda: &invoice.currency,
            cliente: Cliente::of(&paid.customer)?,
            itens: paid.items.iter().map(ItemNotice::of).collect(),
        })
    }
}

impl<'a> Cliente<'a> {
    fn of(customer: &'a Customer) -> Result<Self, Problem> {
        let document = &customer.document;
        let documento = match document.chars().count() {
            11 => Documento::Cpf(format::masked("###.###.###-##", document)),
            14 => Documento::Cnpj(format::masked("##.###.###/####-##", document)),
            _ => return Err(invalid("customer.document has neither 11 nor 14 digits")),
        };
        Ok(Self { nome: &customer.name, documento, endereco: customer.address.as_ref().map(Endereco::of) })
    }
}

impl<'a> Endereco<'a> {
    fn of(address: &'a Address) -> Self {
        Self { municipio: &address.city, uf: &address.state, cep: format::masked("#####-###", &address.zip) }
    }
}

impl<'a> ItemNotice<'a> {
    fn of(item: &'a Item) -> Self {
        Self {
            codigo: &item.sku,
            descricao: &item.description,
            quantidade: item.quantity,
            // In 128 bits no product of two 64-bit numbers overflows.
            total: format::money(i128::from(item.quantity) * i128::from(item.unit_cents)),
        }
    }
}

fn invalid(message: &str) -> Problem {
    Problem::new("invalid_payload", message)
}
