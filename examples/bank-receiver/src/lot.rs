//! What the bank sends, and what becomes of it: the payments as GSAN's transactions.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::amount;

/// Longest number of a lot, in bytes.
const NUMBER_BYTES_MAX: usize = 64;

/// A lot that can be taken.
pub(crate) struct Lot<'a> {
    /// The bank's own number of it.
    pub(crate) number: String,
    /// Its payments; at least one.
    pub(crate) transactions: Vec<Transaction<'a>>,
}

/// One payment in GSAN's words. The fields' order here is their order in the event.
#[derive(Debug, Serialize)]
pub(crate) struct Transaction<'a> {
    /// As the bank spelled it.
    idtransaction: &'a RawValue,
    idcliente: &'a RawValue,
    /// The bank's digits with a point.
    valorpago: Box<RawValue>,
}

/// Why a lot cannot be taken, in the bank's words.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

#[derive(Deserialize)]
struct Body<'a> {
    lote: String,
    #[serde(borrow)]
    pagamentos: Vec<Payment<'a>>,
}

#[derive(Deserialize)]
struct Payment<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    cliente: &'a RawValue,
    valor: String,
}

impl<'a> Lot<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// Names what is wrong, as the bank wants it.
    pub(crate) fn read(body: &'a str) -> Result<Self, Rejection> {
        let Body { lote, pagamentos } =
            serde_json::from_str(body).map_err(|error| rejection("corpo_invalido", error.to_string()))?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/');
        if lote.is_empty() || lote.len() > NUMBER_BYTES_MAX || !lote.bytes().all(plain) {
            return Err(rejection("lote_invalido", "lote: de 1 a 64 letras, algarismos e - . _ /"));
        }
        if pagamentos.is_empty() {
            return Err(rejection("lote_vazio", "pagamentos: ao menos um"));
        }
        let transactions = pagamentos.iter().enumerate().map(|(index, payment)| payment.transaction(index));
        Ok(Self { number: lote, transactions: transactions.collect::<Result<_, _>>()? })
    }
}

impl<'a> Payment<'a> {
    fn transaction(&self, index: usize) -> Result<Transaction<'a>, Rejection> {
        let invalid = |what: &str| rejection("pagamento_invalido", format!("pagamentos[{index}].{what}"));
        if !self.id.get().bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid("id: um número inteiro, sem aspas"));
        }
        if !self.cliente.get().starts_with('"') || self.cliente.get() == "\"\"" {
            return Err(invalid("cliente: um texto"));
        }
        let valorpago = amount::number(&self.valor).and_then(|number| RawValue::from_string(number).ok());
        let valorpago = valorpago.ok_or_else(|| invalid("valor: um texto como \"1.234,56\""))?;
        Ok(Transaction { idtransaction: self.id, idcliente: self.cliente, valorpago })
    }
}

fn rejection(code: &'static str, message: impl Into<String>) -> Rejection {
    Rejection { code, message: message.into() }
}
