//! Settings of a tenant: the parameters that an operator turns, by dotted key, the module first (seeds V4 and V5).

use engate_model::{Zone, invalid::Complaints, token::Principal};
use engate_store::{MODULE_SWITCH, USE_WEBHOOKS};
use serde_json::{Map, Value};

use super::{VerbError, demand::Demand};
use crate::{
    engine::Engine,
    language::{Language, Locale},
};

/// Modules that may have a switch of their own.
const MODULES_MAX: usize = 200;
/// The zone in which days are meant.
const TIMEZONE: &str = "locale.timezone";
/// The language of what people read.
const LANGUAGE: &str = "locale.language";

/// Holds all jobs back.
pub(crate) const JOBS_PAUSED: &str = "jobs.paused";

/// One setting that there is.
#[derive(Debug)]
pub(crate) struct KnownSetting {
    /// Its dotted key; the module comes first.
    pub(crate) key: &'static str,
    /// A short key that means the same.
    pub(crate) short: Option<&'static str>,
    kind: Kind,
}

/// What a setting's value is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// On unless said otherwise.
    Switch,
    /// Off unless said otherwise.
    OffSwitch,
    Zone,
    Language,
}

/// Every setting that there is, beside the switches of single modules.
pub(crate) const KNOWN: &[KnownSetting] = &[
    KnownSetting { key: USE_WEBHOOKS, short: Some("use_webhooks"), kind: Kind::Switch },
    KnownSetting { key: TIMEZONE, short: None, kind: Kind::Zone },
    KnownSetting { key: LANGUAGE, short: None, kind: Kind::Language },
    KnownSetting { key: JOBS_PAUSED, short: None, kind: Kind::OffSwitch },
];

impl Kind {
    fn default(self) -> Value {
        match self {
            Self::Switch => Value::Bool(true),
            Self::OffSwitch => Value::Bool(false),
            Self::Zone => Value::String(Zone::default().to_string()),
            Self::Language => Value::String(Language::default().tag().to_owned()),
        }
    }

    /// What is wrong with a value.
    fn complaint(self, value: &Value) -> Option<String> {
        let text = value.as_str().unwrap_or_default();
        match self {
            Self::Switch | Self::OffSwitch => (!value.is_boolean()).then(|| "must be true or false".to_owned()),
            Self::Zone => text.parse::<Zone>().err(),
            Self::Language => Language::from_tag(text).is_none().then(|| "must be pt-BR or en".to_owned()),
        }
    }
}

/// The setting of that key, and its full key.
fn known(key: &str) -> Option<(String, Kind)> {
    if let Some(known) = KNOWN.iter().find(|known| key == known.key || known.short == Some(key)) {
        return Some((known.key.to_owned(), known.kind));
    }
    let module = key.strip_suffix(MODULE_SWITCH)?;
    let named = !module.is_empty() && module.len() <= 64 && !module.contains('.');
    (named && engate_model::event::check_key("key", module).is_ok()).then(|| (key.to_owned(), Kind::Switch))
}

impl Engine {
    /// Every setting with its present value, under its dotted key and its short one.
    pub(crate) async fn setting_list(&self, principal: &Principal) -> Result<Map<String, Value>, VerbError> {
        Ok(with_defaults(self.store.setting_list(principal.tenant).await?))
    }

    /// How a caller reads where they do not say it.
    pub(crate) async fn locale(&self, principal: &Principal) -> Result<Locale, VerbError> {
        let stored = self.store.setting_list(principal.tenant).await?;
        let text = |key: &str| stored.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.as_str());
        // What is stored was checked; a zone that a later version no longer knows is as good as none.
        Ok(Locale {
            zone: text(TIMEZONE).and_then(|name| name.parse().ok()).unwrap_or_default(),
            language: text(LANGUAGE).and_then(Language::from_tag).unwrap_or_default(),
        })
    }

    /// Sets the settings given and leaves the others; all of them or, where one is wrong, none.
    pub(crate) async fn setting_put(
        &self,
        principal: &Principal,
        given: &Map<String, Value>,
        demand: &Demand<Map<String, Value>>,
    ) -> Result<Map<String, Value>, VerbError> {
        demand.settle(|| Box::pin(self.setting_change(principal, given, demand))).await
    }

    async fn setting_change(
        &self,
        principal: &Principal,
        given: &Map<String, Value>,
        demand: &Demand<Map<String, Value>>,
    ) -> Result<Map<String, Value>, VerbError> {
        let wanted = checked(given)?;
        let stored = self.store.setting_list(principal.tenant).await?;
        demand.check(&with_defaults(stored.clone()))?;
        let new = wanted.iter().filter(|(key, _)| !stored.iter().any(|(name, _)| name == key)).count();
        if stored.len() + new > KNOWN.len() + MODULES_MAX {
            let field = wanted.first().map(|(key, _)| key.clone()).unwrap_or_default();
            let detail = format!("at most {MODULES_MAX} modules may have a switch of their own; reuse one");
            return Err(VerbError::field(field, detail));
        }
        let wanted: Vec<_> = wanted
            .into_iter()
            .filter(|(key, value)| !stored.iter().any(|(name, present)| name == key && present == value))
            .collect();
        if !wanted.is_empty() {
            self.store.setting_put(&self.actor(principal), principal.tenant, &stored, &wanted).await?;
        }
        self.views.follow_change(&self.store, principal.tenant).await;
        self.setting_list(principal).await
    }
}

/// What was put, over what counts where nothing was; under both keys where there are two.
fn with_defaults(stored: Vec<(String, Value)>) -> Map<String, Value> {
    let mut settings: Map<_, _> = KNOWN.iter().map(|known| (known.key.to_owned(), known.kind.default())).collect();
    settings.extend(stored);
    for (short, key) in KNOWN.iter().filter_map(|known| Some((known.short?, known.key))) {
        if let Some(value) = settings.get(key).cloned() {
            settings.insert(short.to_owned(), value);
        }
    }
    settings
}

/// The settings that `given` names by their full keys, each once.
fn checked(given: &Map<String, Value>) -> Result<Vec<(String, Value)>, VerbError> {
    let mut complaints = Complaints::default();
    let mut wanted: Vec<(String, Value)> = Vec::new();
    for (key, value) in given {
        let Some((full, kind)) = known(key) else {
            let keys: Vec<_> = KNOWN.iter().map(|known| known.key).collect();
            complaints
                .add(key, format!("there is no such setting; there is {} and MODULE{MODULE_SWITCH}", keys.join(", ")));
            continue;
        };
        if let Some(complaint) = kind.complaint(value) {
            complaints.add(key, complaint);
        }
        match wanted.iter().find(|(other, _)| *other == full) {
            Some((_, other)) if other != value => complaints.add(key, format!("says something else than {full}")),
            Some(_) => {}
            None => wanted.push((full, value.clone())),
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
                wanted.first().map(|(key, value)| (key.as_str(), value.clone())),
                Some((USE_WEBHOOKS, json!(false)))
            );
        }
        let both = json!({"use_webhooks": true, "service_desk.use_webhooks": true});
        assert_eq!(checked(both.as_object().unwrap()).unwrap().len(), 1);
    }

    #[test]
    fn v5_a_module_has_a_switch_of_its_own() {
        let given =
            json!({"billing.use_webhooks": false, "locale.timezone": "America/Manaus", "locale.language": "en"});
        assert_eq!(checked(given.as_object().unwrap()).unwrap().len(), 3);
        assert_eq!(blamed(json!({"a.b.use_webhooks": false})), ["a.b.use_webhooks"]);
        assert_eq!(blamed(json!({".use_webhooks": false})), [".use_webhooks"]);
        assert_eq!(blamed(json!({"locale.timezone": "Brazil", "locale.language": "fr"})).len(), 2);
    }

    #[test]
    fn unknown_keys_wrong_types_and_contradictions_are_named() {
        assert_eq!(blamed(json!({"nope": 1, "use_webhooks": "no"})), ["nope", "use_webhooks"]);
        let VerbError::Invalid(invalid) = checked(json!({"locale.timezon": "a"}).as_object().unwrap()).unwrap_err()
        else {
            panic!("it is refused for its name");
        };
        let told = &invalid.0.first().unwrap().message;
        for known in KNOWN {
            assert!(told.contains("no such setting") && told.contains(known.key), "{told}");
        }
        assert_eq!(blamed(json!({"bill.use_webhooks": "no", "jobs.paused": null})).len(), 2);
        assert_eq!(
            blamed(json!({"use_webhooks": true, "service_desk.use_webhooks": false})),
            ["service_desk.use_webhooks"]
        );
    }
}
