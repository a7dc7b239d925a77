//! Which days a product covers, and how they are written.

use engate_sdk::Problem;
use engate_sdk::time::{Date, Weekday};

/// How often the product is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frequency {
    Daily,
    Weekly,
    Monthly,
}

/// The days from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Period {
    frequency: Frequency,
    first: Date,
    last: Date,
}

impl Frequency {
    pub(crate) fn parse(periodicidade: &str) -> Result<Self, Problem> {
        match periodicidade {
            "diaria" => Ok(Self::Daily),
            "semanal" => Ok(Self::Weekly),
            "mensal" => Ok(Self::Monthly),
            other => {
                let message = format!("`periodicidade` is {other:?}: it is diaria, semanal or mensal");
                Err(Problem::new("invalid_periodicidade", message))
            }
        }
    }
}

impl Period {
    /// The day, week or month that the reference date lies in.
    pub(crate) fn around(referencia: &str, frequency: Frequency) -> Result<Self, Problem> {
        let invalid = |what: &str| {
            let message =
                format!("`referencia` is {referencia:?}, {what}: give a date as YYYY-MM-DD, such as 2025-02-20");
            Problem::new("invalid_referencia", message)
        };
        let date = Date::parse(referencia).ok_or_else(|| invalid("which is no date"))?;
        let (first, last) = match frequency {
            Frequency::Daily => (date, date),
            Frequency::Weekly => week_of(date).ok_or_else(|| invalid("whose week is not in the calendar"))?,
            Frequency::Monthly => (date.first_of_month(), date.last_of_month()),
        };
        Ok(Self { frequency, first, last })
    }

    /// Local time without offset, as the receivers know it: `2025-02-20T00:00:00`.
    pub(crate) fn first_instant(&self) -> String {
        format!("{}T00:00:00", self.first)
    }

    /// Local time without offset: `2025-02-20T23:59:59`.
    pub(crate) fn last_second(&self) -> String {
        format!("{}T23:59:59", self.last)
    }

    /// The text for people: `20/02/2025` for a day, `09/2025` for a month, the first day's date for a week.
    pub(crate) fn display(&self) -> String {
        let (year, month, day) = (self.first.year(), self.first.month(), self.first.day());
        match self.frequency {
            Frequency::Daily | Frequency::Weekly => format!("{day:02}/{month:02}/{year:04}"),
            Frequency::Monthly => format!("{month:02}/{year:04}"),
        }
    }
}

/// The operating week of the Brazilian grid: Saturday to Friday.
fn week_of(date: Date) -> Option<(Date, Date)> {
    let days_since_saturday = match date.weekday() {
        Weekday::Saturday => 0,
        Weekday::Sunday => 1,
        Weekday::Monday => 2,
        Weekday::Tuesday => 3,
        Weekday::Wednesday => 4,
        Weekday::Thursday => 5,
        Weekday::Friday => 6,
    };
    let first = date.plus_days(-days_since_saturday)?;
    Some((first, first.plus_days(6)?))
}
