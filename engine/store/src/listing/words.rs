//! Free search: a word may mean several things, and for each of them there is an index. So what one word takes is put
//! together from a listing for each of its meanings, narrowed to that, instead of looking at every row for all of them.

use engate_model::{
    delivery::Delivery,
    listing::{Column, Sort, SortKey, SortValue, folded},
};

use super::{
    access::Scope,
    by_text::LETTERS,
    filter::{Meaning, SuccessFilter},
    lister::Lister,
    near::Best,
    values::{narrow_attempts, narrowed_to},
};
use crate::error::StoreError;

impl Lister {
    /// The first rows of all meanings together.
    pub(super) async fn by_meanings(
        &mut self,
        meanings: &[Scope],
        keys: &[SortKey],
        after: Option<&[SortValue]>,
        limit: usize,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut best =
            Best { sort: Sort::by(keys.iter().copied()), names: self.names.clone(), limit, rows: Vec::new() };
        for meaning in meanings {
            best.add(self.rows(meaning, keys, after, limit).await?);
        }
        Ok(best.rows)
    }

    /// What together is the same as `scope`: a part for each meaning of the longest of its words, which may have rows in
    /// common; none where it has no words, or no index knows that one.
    pub(super) async fn meanings(&mut self, scope: &Scope) -> Result<Option<Vec<Scope>>, StoreError> {
        let length = |meanings: &Vec<Meaning>| {
            let text = |meaning: &Meaning| if let Meaning::Text(text) = meaning { text.chars().count() } else { 0 };
            meanings.iter().map(text).max().unwrap_or_default()
        };
        let longest = scope.filter.words.iter().enumerate().max_by_key(|(_, meanings)| length(meanings));
        let Some((n, meanings)) = longest.filter(|_| self.has_texts()) else { return Ok(None) };
        let mut base = scope.clone();
        base.filter.words.remove(n);
        let mut parts = Vec::new();
        for meaning in meanings {
            match meaning {
                Meaning::Text(text) if text.chars().count() >= LETTERS => {
                    self.text_parts(&base, text, &mut parts).await?
                }
                Meaning::Text(_) => return Ok(None),
                other => parts.extend(base.meant(other)),
            }
        }
        Ok(Some(parts))
    }

    /// Where a text may stand: in what the index of texts has, in the type's key, in the reason.
    async fn text_parts(&mut self, base: &Scope, text: &str, parts: &mut Vec<Scope>) -> Result<(), StoreError> {
        parts.push(Scope { text: Some(text.to_owned()), ..base.clone() });
        let holding = |values: Vec<SortValue>| {
            let texts = values.into_iter().filter_map(|value| match value {
                SortValue::Text(value) => Some(value),
                _ => None,
            });
            texts.filter(|value| folded(value).contains(text)).collect::<Vec<_>>()
        };
        let types = holding(self.values(base, Column::EventType).await?);
        parts.extend((!types.is_empty()).then(|| base.meant(&Meaning::EventTypes(types))).flatten());
        let mut reasons = holding(self.values(base, Column::Reason).await?);
        reasons.sort_unstable();
        reasons.dedup();
        for reason in reasons {
            let wanted = Some(Some(reason));
            if base.reason.is_none() || base.reason == wanted {
                parts.push(Scope { reason: wanted, ..base.clone() });
            }
        }
        Ok(())
    }
}

impl Scope {
    /// The same where a word means that; none where that takes nothing.
    fn meant(&self, meaning: &Meaning) -> Option<Self> {
        let mut scope = self.clone();
        let filter = &mut scope.filter;
        match meaning {
            Meaning::Text(text) => scope.text = Some(text.clone()),
            Meaning::Codes(first, last) => scope.codes = Some((*first, *last)),
            Meaning::Attempts(number) => narrow_attempts(filter, *number)?,
            Meaning::Time(Column::CreatedAt, from, before) => {
                filter.created_from = filter.created_from.max(Some(*from));
                filter.created_before = Some(filter.created_before.map_or(*before, |given| given.min(*before)));
            }
            Meaning::Time(Column::IntegratedAt, from, before) => {
                filter.integrated_from = filter.integrated_from.max(Some(*from));
                filter.integrated_before = Some(filter.integrated_before.map_or(*before, |given| given.min(*before)));
            }
            Meaning::Time(Column::NextAttemptAt, from, before) => scope.due = Some((*from, *before)),
            Meaning::Time(_, from, before) => scope.attempted = Some((*from, *before)),
            Meaning::Integrators(ids) => filter.integrators = narrowed_to(&filter.integrators, ids)?,
            Meaning::EventTypes(keys) => filter.event_types = narrowed_to(&filter.event_types, keys)?,
            Meaning::States(states) => filter.states = narrowed_to(&filter.states, states)?,
            Meaning::Success(success) => {
                filter.success = narrowed_to::<SuccessFilter>(&filter.success, &[*success])?;
            }
            Meaning::Delivery(id) => filter.ids = narrowed_to(&filter.ids, &[*id])?,
            Meaning::Endpoint(id) => filter.endpoints = narrowed_to(&filter.endpoints, &[*id])?,
            Meaning::Event(id) => {
                if filter.event.is_some_and(|given| given != *id) {
                    return None;
                }
                filter.event = Some(*id);
            }
        }
        Some(scope)
    }
}
