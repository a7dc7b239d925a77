//! The event's payload, checked and put into the object that the partner expects.

use engate_sdk::{Event, Problem};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The one event type there is; also the member that carries the list.
pub(crate) const EVENT_TYPE: &str = "client-transaction";

/// One paid bill. The values stay as the producer spelled them: 10.50 is not 10.5.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "an object {idtransaction, idcliente, valorpago}")]
struct Transaction<'a> {
    #[serde(borrow)]
    idtransaction: &'a RawValue,
    #[serde(borrow)]
    idcliente: &'a RawValue,
    #[serde(borrow)]
    valorpago: &'a RawValue,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "client-transaction")]
    transactions: Vec<Transaction<'a>>,
}

/// The request's body; none where there is nothing to tell.
pub(crate) fn body(event: &Event) -> Result<Option<String>, Problem> {
    let items: Vec<&RawValue> = event.json()?;
    if items.is_empty() {
        return Ok(None);
    }
    let transactions = items.iter().enumerate().map(|(index, item)| Transaction::read(index, item));
    let body = Body { transactions: transactions.collect::<Result<_, _>>()? };
    serde_json::to_string(&body)
        .map(Some)
        .map_err(|error| Problem::new("invalid_body", format!("the transactions have no JSON form: {error}")))
}

impl<'a> Transaction<'a> {
    fn read(index: usize, item: &'a RawValue) -> Result<Self, Problem> {
        let invalid = |what: &str| Problem::new("invalid_transaction", format!("{EVENT_TYPE}[{index}]: {what}"));
        if !item.get().starts_with('{') {
            return Err(invalid("must be an object {idtransaction, idcliente, valorpago}"));
        }
        let transaction: Self = serde_json::from_str(item.get()).map_err(|error| invalid(&error.to_string()))?;
        if !is_integer(transaction.idtransaction) {
            return Err(invalid("`idtransaction` must be a whole number, such as 1, without quotes"));
        }
        if !is_text(transaction.idcliente) {
            return Err(invalid("`idcliente` must be a text, such as \"01400-2\", in quotes"));
        }
        if !is_number(transaction.valorpago) {
            return Err(invalid("`valorpago` must be a number, such as 10.50, without quotes"));
        }
        Ok(transaction)
    }
}

/// JSON writes nothing else that begins so.
fn is_number(value: &RawValue) -> bool {
    value.get().starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

fn is_integer(value: &RawValue) -> bool {
    is_number(value) && !value.get().contains(['.', 'e', 'E'])
}

fn is_text(value: &RawValue) -> bool {
    value.get().starts_with('"') && value.get() != "\"\""
}
