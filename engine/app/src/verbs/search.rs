//! What the words of a quick search may mean (seed V27): anything that a listing shows.

use std::ops::RangeInclusive;

use engate_model::{
    DeliveryId, EndpointId, EventId, IntegratorId, Invalid,
    delivery::DeliveryState,
    listing::{Column, folded},
    token::Principal,
};
use engate_store::{Meaning, SuccessFilter};

use super::VerbError;
use crate::{engine::Engine, language::Locale};

/// Words that one search may have.
const WORDS_MAX: usize = 8;
/// Years, the present one and the next included, in which a day without a year is looked for.
const YEARS: i32 = 10;
/// Years of which one has any day there is, and its clock any time of that day.
const ANY_YEARS: RangeInclusive<i32> = 2_023..=2_024;
/// Columns that show a time.
const TIMES: [Column; 4] = [Column::CreatedAt, Column::LastAttemptAt, Column::IntegratedAt, Column::NextAttemptAt];

/// Names that stand for ids and keys in a listing.
struct Names {
    integrators: Vec<(IntegratorId, [String; 2])>,
    types: Vec<(String, [String; 3])>,
}

impl Engine {
    /// For each word what it may mean.
    pub(super) async fn search(
        &self,
        principal: &Principal,
        text: &str,
        locale: Locale,
    ) -> Result<Vec<Vec<Meaning>>, VerbError> {
        let words = words(text, locale);
        if words.len() > WORDS_MAX {
            return Err(VerbError::Invalid(Invalid::field("q", format!("may have at most {WORDS_MAX} words"))));
        }
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let integrators = self.store.integrator_list(principal.tenant).await?.into_iter();
        let types = self.store.event_type_list(principal.tenant).await?.into_iter();
        let names = Names {
            integrators: integrators.map(|one| (one.id, [folded(&one.name), folded(&one.slug)])).collect(),
            types: types
                .map(|one| (one.key, [folded(&one.title), folded(&one.macro_process), folded(&one.process)]))
                .collect(),
        };
        let year = locale.zone.local(self.now()).map_or(2_026, |now| chrono::Datelike::year(&now));
        Ok(words.into_iter().map(|word| meanings(&word, &names, locale, year)).collect())
    }
}

/// The words of a search. A date and the time behind it are one word, since they are shown as one: what is looked for is
/// that second or minute.
fn words(text: &str, locale: Locale) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace().map(folded).filter(|word| !word.is_empty()) {
        let both = words.last().map(|before| format!("{before} {word}"));
        match both.filter(|both| !locale.zone.meant_by(both, ANY_YEARS).is_empty()) {
            Some(both) => {
                words.pop();
                words.push(both);
            }
            None => words.push(word),
        }
    }
    words
}

fn meanings(word: &str, names: &Names, locale: Locale, year: i32) -> Vec<Meaning> {
    let mut meanings = Vec::new();
    for (from, before) in locale.zone.meant_by(word, year + 2 - YEARS..=year + 1) {
        meanings.extend(TIMES.map(|column| Meaning::Time(column, from, before)));
    }
    meanings.extend(numbers(word));
    meanings.extend(word.parse::<DeliveryId>().ok().map(Meaning::Delivery));
    meanings.extend(word.parse::<EventId>().ok().map(Meaning::Event));
    meanings.extend(word.parse::<EndpointId>().ok().map(Meaning::Endpoint));
    let named = |(_, names): &&(IntegratorId, [String; 2])| names.iter().any(|name| name.contains(word));
    let mut integrators: Vec<_> = names.integrators.iter().filter(named).map(|(id, _)| *id).collect();
    integrators.extend(word.parse::<IntegratorId>());
    if !integrators.is_empty() {
        meanings.push(Meaning::Integrators(integrators));
    }
    let titled = |(_, titles): &&(String, [String; 3])| titles.iter().any(|title| title.contains(word));
    let types: Vec<_> = names.types.iter().filter(titled).map(|(key, _)| key.clone()).collect();
    if !types.is_empty() {
        meanings.push(Meaning::EventTypes(types));
    }
    let read = |text: &str| folded(text).contains(word);
    let states = DeliveryState::ALL.into_iter();
    let states: Vec<_> = states.filter(|state| read(locale.language.state(*state)) || read(state.code())).collect();
    if !states.is_empty() {
        meanings.push(Meaning::States(states));
    }
    let ends = [SuccessFilter::Yes, SuccessFilter::No, SuccessFilter::Pending].into_iter();
    // Short words would be found in any text otherwise.
    let ends = ends.filter(|end| folded(locale.language.success(end.success())) == word);
    meanings.extend(ends.map(Meaning::Success));
    meanings.push(Meaning::Text(word.to_owned()));
    meanings
}

/// A number is a code that begins with it, or a number of attempts.
fn numbers(word: &str) -> Vec<Meaning> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let Some(number) = word.parse::<i64>().ok().filter(|_| digits) else { return Vec::new() };
    let attempts = u32::try_from(number).ok().map(Meaning::Attempts);
    let mut codes = vec![Meaning::Codes(number, number)];
    let (mut first, mut last) = (number, number);
    // No code begins with a zero.
    while !word.starts_with('0') {
        let Some((next, end)) = first.checked_mul(10).zip(last.checked_mul(10).and_then(|n| n.checked_add(9))) else {
            break;
        };
        (first, last) = (next, end);
        codes.push(Meaning::Codes(first, last));
    }
    if word.starts_with('0') && word.len() > 1 {
        codes.clear();
    }
    codes.into_iter().chain(attempts).collect()
}

#[cfg(test)]
mod tests {
    use engate_model::Timestamp;

    use super::*;

    fn meant(word: &str) -> Vec<Meaning> {
        let names = Names {
            integrators: vec![(IntegratorId::MIN, ["operador nacional".into(), "ons".into()])],
            types: vec![("carga".into(), ["carga diaria".into(), "operacao".into(), String::new()])],
        };
        meanings(word, &names, Locale::default(), 2026)
    }

    #[test]
    fn v27_a_word_may_mean_anything_that_is_shown() {
        assert!(meant("opera").contains(&Meaning::Integrators(vec![IntegratorId::MIN])));
        assert!(meant("opera").contains(&Meaning::EventTypes(vec!["carga".into()])));
        assert!(meant("integrado").contains(&Meaning::States(vec![DeliveryState::Succeeded])));
        assert!(meant("failed").contains(&Meaning::States(vec![DeliveryState::Failed])), "the code too");
        assert!(meant("nao").contains(&Meaning::Success(SuccessFilter::No)));
        assert!(!meant("n").iter().any(|meaning| matches!(meaning, Meaning::Success(_))));
        let dates = meant("21/11").iter().filter(|meaning| matches!(meaning, Meaning::Time(..))).count();
        assert_eq!(dates, 4 * usize::try_from(YEARS).unwrap());
        assert!(meant("x").contains(&Meaning::Text("x".into())));
    }

    #[test]
    fn v27_a_date_and_the_time_behind_it_are_one_word() {
        let split = |text: &str| words(text, Locale::default());
        assert_eq!(split("21/11/2026 10:11:12"), ["21/11/2026 10:11:12"]);
        assert_eq!(split("  Opera\t2026-11-21  10:11 não "), ["opera", "2026-11-21 10:11", &folded("não")]);
        assert_eq!(split("29/02 10:11"), ["29/02 10:11"]);
        assert_eq!(split("21/11/2026 10:11 10:12"), ["21/11/2026 10:11", "10:12"]);
        for apart in ["11/2026 10:11", "10:11 21/11/2026", "a 10:11", "21/11/2026 10"] {
            assert_eq!(split(apart).len(), 2, "{apart}");
        }
        let (from, before) = (Timestamp::parse("2026-11-21T13:11:12Z"), Timestamp::parse("2026-11-21T13:11:13Z"));
        let second = TIMES.map(|column| Meaning::Time(column, from.clone().unwrap(), before.clone().unwrap()));
        for word in ["21/11/2026 10:11:12", "2026-11-21 10:11:12", "2026-11-21t13:11:12z"] {
            let mut expected = second.to_vec();
            expected.push(Meaning::Text(word.into()));
            assert_eq!(meant(word), expected, "{word}");
        }
    }

    #[test]
    fn v27_a_number_is_the_beginning_of_a_code() {
        let codes =
            |word: &str| numbers(word).into_iter().filter(|m| matches!(m, Meaning::Codes(..))).collect::<Vec<_>>();
        let found = codes("12");
        assert_eq!(found[..3], [Meaning::Codes(12, 12), Meaning::Codes(120, 129), Meaning::Codes(1_200, 1_299)]);
        assert!(found.len() < 20);
        assert_eq!(codes("007"), []);
        assert_eq!(codes("1a"), []);
        assert_eq!(codes("99999999999999999999"), []);
    }
}
