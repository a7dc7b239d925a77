//! Settings of a tenant: the parameters that an operator turns, by dotted key (seeds V4 and V5).

use engate_model::{invalid::Complaints, token::Principal};
use engate_store::USE_WEBHOOKS;
use serde_json::{Map, Value};

use super::VerbError;
use crate::engine::Engine;

/// One setting that there is.
#[derive(Debug)]
pub(crate) struct KnownSetting {
    /// Its dotted key; the module comes first.
    pub(crate) key: &'static str,
    /// A short key that means the same.
    pub(crate) short: &'static str,
    /// Its value where nobody says otherwise; a given value must have the same type.
    default: bool,
}

/// Every setting that there is.
pub(crate) const KNOWN: &[KnownSetting] = &[KnownSetting { key: USE_WEBHOOKS, short: "use_webhooks", default: true }];

impl Engine {
    /// Every setting with its present value, under its dotted key and its short one.
    pub(crate) async fn setting_list(&self, principal: &Principal) -> Result<Map<String, Value>, VerbError> {
        let mut settings = Map::new();
        for known in KNOWN {
            let stored = self.store.setting_get(principal.tenant, known.key).await?;
            let value = stored.unwrap_or(Value::Bool(known.default));
            settings.insert(known.key.to_owned(), value.clone());
            settings.insert(known.short.to_owned(), value);
        }
        Ok(settings)
    }

    /// Sets the settings given and leaves the others; all of them or, where one is wrong, none.
    pub(crate) async fn setting_put(
        &self,
        principal: &Principal,
        given: &Map<String, Value>,
    ) -> Result<Map<String, Value>, VerbError> {
        for (known, value) in checked(given)? {
            let stored = self.store.setting_get(principal.tenant, known.key).await?;
            if stored.is_none_or(|stored| stored != value) {
                self.store.setting_put(&self.actor(principal), principal.tenant, known.key, &value).await?;
            }
        }
        self.views.refresh(&self.store, principal.tenant).await?;
        self.setting_list(principal).await
    }
}

/// The known settings that `given` names, each once.
fn checked(given: &Map<String, Value>) -> Result<Vec<(&'static KnownSetting, Value)>, VerbError> {
    let mut complaints = Complaints::default();
    let mut wanted: Vec<(&'static KnownSetting, Value)> = Vec::new();
    for (key, value) in given {
        let Some(known) = KNOWN.iter().find(|known| key == known.key || key == known.short) else {
            let keys: Vec<_> = KNOWN.iter().map(|known| known.key).collect();
            complaints.add(key, format!("there is no such setting; there is {}", keys.join(", ")));
            continue;
        };
        if !value.is_boolean() {
            complaints.add(key, "must be true or false");
        }
        match wanted.iter().find(|(other, _)| other.key == known.key) {
            Some((_, other)) if other != value => {
                complaints.add(key, format!("says something else than {}", known.key))
            }
            Some(_) => {}
            None => wanted.push((known, value.clone())),
        }
    }
    Ok(complaints.finish(wanted)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn blamed(given: Value) -> Vec<String> {
        match checked(given.as_object().unwrap()).unwrap_err() {
            VerbError::Invalid(invalid) => invalid.0.into_iter().map(|error| error.field).collect(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn both_spellings_name_the_setting() {
        for key in ["use_webhooks", "service_desk.use_webhooks"] {
            let given = json!({key: false});
            let wanted = checked(given.as_object().unwrap()).unwrap();
            assert_eq!(
                wanted.first().map(|(known, value)| (known.key, value.clone())),
                Some((USE_WEBHOOKS, json!(false)))
            );
        }
        let both = json!({"use_webhooks": true, "service_desk.use_webhooks": true});
        assert_eq!(checked(both.as_object().unwrap()).unwrap().len(), 1);
    }

    #[test]
    fn unknown_keys_wrong_types_and_contradictions_are_named() {
        assert_eq!(blamed(json!({"nope": 1, "use_webhooks": "no"})), ["nope", "use_webhooks"]);
        assert_eq!(
            blamed(json!({"use_webhooks": true, "service_desk.use_webhooks": false})),
            ["service_desk.use_webhooks"]
        );
    }
}
