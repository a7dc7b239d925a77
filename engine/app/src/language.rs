//! The words that people read: of states, columns and answers, in the seeds' Portuguese and in English. Times as each
//! writes them.

use engate_model::{Timestamp, Zone, delivery::DeliveryState, listing::Column};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A language that listings are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) enum Language {
    /// The Portuguese of Brazil.
    #[default]
    #[serde(rename = "pt-BR")]
    Portuguese,
    /// English.
    #[serde(rename = "en")]
    English,
}

/// How somebody reads: language and time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Locale {
    /// The language.
    pub(crate) language: Language,
    /// Where days begin.
    pub(crate) zone: Zone,
}

impl Language {
    /// Its tag, as in `<html lang>`.
    pub(crate) const fn tag(self) -> &'static str {
        self.pick("pt-BR", "en")
    }

    /// Reads a tag.
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        [Self::Portuguese, Self::English].into_iter().find(|language| language.tag() == tag)
    }

    /// The text in this language.
    pub(crate) const fn pick(self, portuguese: &'static str, english: &'static str) -> &'static str {
        match self {
            Self::Portuguese => portuguese,
            Self::English => english,
        }
    }

    /// A state as people read it.
    pub(crate) const fn state(self, state: DeliveryState) -> &'static str {
        let (portuguese, english) = match state {
            DeliveryState::Pending => ("Pendente", "Pending"),
            DeliveryState::Delivering => ("Em envio", "Delivering"),
            DeliveryState::Succeeded => ("Integrado", "Succeeded"),
            DeliveryState::Failed => ("Falhou", "Failed"),
            DeliveryState::Superseded => ("Substituído", "Superseded"),
            DeliveryState::Skipped => ("Ignorado", "Skipped"),
            DeliveryState::Cancelled => ("Cancelado", "Cancelled"),
            DeliveryState::Parked => ("Retido", "Parked"),
        };
        self.pick(portuguese, english)
    }

    /// How the last attempt ended, as people read it (the seed's column *Sucesso*).
    pub(crate) const fn success(self, success: Option<bool>) -> &'static str {
        match success {
            Some(true) => self.pick("Sim", "Yes"),
            Some(false) => self.pick("Não", "No"),
            None => self.pick("Pendente", "Pending"),
        }
    }

    /// A column's heading; the seven of the seed are spelled as it spells them.
    pub(crate) const fn heading(self, column: Column) -> &'static str {
        let (portuguese, english) = match column {
            Column::Id => ("Id", "Id"),
            Column::Code => ("Código", "Code"),
            Column::Event => ("Evento", "Event"),
            Column::EventType => ("Webhook", "Webhook"),
            Column::Subject => ("Assunto", "Subject"),
            Column::Endpoint => ("Endpoint", "Endpoint"),
            Column::Integrator => ("Integrador", "Integrator"),
            Column::State => ("Situação", "State"),
            Column::Success => ("Sucesso", "Success"),
            Column::Reason => ("Motivo", "Reason"),
            Column::Attempts => ("Tentativas de envio", "Attempts"),
            Column::CreatedAt => ("Data/Hora da Criação", "Created at"),
            Column::LastAttemptAt => ("Data/Hora da última tentativa", "Last attempt at"),
            Column::IntegratedAt => ("Data/Hora da integração", "Integrated at"),
            Column::NextAttemptAt => ("Data/Hora da próxima tentativa", "Next attempt at"),
            Column::CorrelationId => ("Correlação", "Correlation id"),
        };
        self.pick(portuguese, english)
    }
}

impl Locale {
    /// A time as a clock on the wall shows it.
    pub(crate) fn time(self, at: Timestamp) -> String {
        let format = self.language.pick("%d/%m/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S");
        self.zone.local(at).map_or_else(|| at.to_string(), |local| local.format(format).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_wall() {
        let at = Timestamp::parse("2026-11-21T01:02:03.999Z").unwrap();
        let locale = Locale::default();
        assert_eq!(locale.time(at), "20/11/2026 22:02:03");
        let english = Locale { language: Language::English, zone: "UTC".parse().unwrap() };
        assert_eq!(english.time(at), "2026-11-21 01:02:03");
        assert_eq!(Language::from_tag("en"), Some(Language::English));
        assert_eq!(Language::from_tag("fr"), None);
    }
}
