//! The producer's event: a publication.

use std::collections::BTreeMap;

use engate_sdk::{Event, Problem};
use serde_json::value::RawValue;

use crate::file::File;
use crate::period::{Frequency, Period};

/// What was published, complete and checked.
#[derive(Debug)]
pub(crate) struct Product {
    pub(crate) name: String,
    pub(crate) process: String,
    pub(crate) macro_process: String,
    pub(crate) period: Period,
    pub(crate) file: File,
}

impl Product {
    /// Reads the payload; what it leaves out comes from the catalogue, which the engine hands over as labels.
    pub(crate) fn read(event: &Event) -> Result<Self, Problem> {
        let fields = Fields { event, members: event.json()? };
        Ok(Self {
            name: fields.text_or_label("nome", "event-type.title")?,
            process: fields.text_or_label("processo", "event-type.process")?,
            macro_process: fields.text_or_label("macro_processo", "event-type.macro-process")?,
            period: Period::around(
                &fields.required("referencia", "the reference date, as YYYY-MM-DD")?,
                Frequency::parse(&fields.required("periodicidade", "diaria, semanal or mensal")?)?,
            )?,
            file: File::parse(&fields.required("arquivo", "a path below files.root, or an absolute URL")?)?,
        })
    }
}

/// The payload's members. Those that nobody asks for are left alone.
struct Fields<'a> {
    event: &'a Event,
    members: BTreeMap<String, &'a RawValue>,
}

impl Fields<'_> {
    fn required(&self, field: &str, what: &str) -> Result<String, Problem> {
        self.text(field)?.ok_or_else(|| {
            Problem::new(&format!("missing_{field}"), format!("the payload has no `{field}`: give {what}"))
        })
    }

    fn text_or_label(&self, field: &str, label: &str) -> Result<String, Problem> {
        let of_catalogue = || self.event.label(label).filter(|text| !text.trim().is_empty()).map(str::to_owned);
        self.text(field)?.or_else(of_catalogue).ok_or_else(|| {
            let message = format!(
                "neither the payload has `{field}` nor the event type `{}` has it in the catalogue (`{label}`): fill one in",
                self.event.event_type
            );
            Problem::new(&format!("missing_{field}"), message)
        })
    }

    /// A blank text counts as none.
    fn text(&self, field: &str) -> Result<Option<String>, Problem> {
        let Some(value) = self.members.get(field) else {
            return Ok(None);
        };
        let text: Option<String> = serde_json::from_str(value.get()).map_err(|_| {
            let shown: String = value.get().chars().take(100).collect();
            Problem::new(
                &format!("invalid_{field}"),
                format!("`{field}` must be a text, but is {shown}: put it in quotes"),
            )
        })?;
        Ok(text.filter(|text| !text.trim().is_empty()))
    }
}
