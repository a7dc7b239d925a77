use engate_model::plugin::{CallSettings, Grants, Instances, InterpretWhen, Manifest, World};
use engate_store::{
    AuditFilter, DEVELOPMENT_KEPT, Order, PluginDeleted, PluginSettings, PluginState, PluginVersion, Pushed, StoreError,
};
use serde_json::json;

use crate::harness::{Subject, actor, at};

fn version(t: &Subject, name: &str, version: &str, created: i64) -> PluginVersion {
    PluginVersion {
        tenant: t.tenant,
        name: name.into(),
        version: version.into(),
        digest: format!("{name}-{version}"),
        manifest: Some(Manifest {
            worlds: vec![World::Integrator],
            id: name.into(),
            version: version.into(),
            title: "GSAN".into(),
            config_schema: json!({"type": "object"}),
            event_types: vec![],
            interpret: InterpretWhen::Always,
            hosts: vec![],
            credentials: vec![],
            secrets: vec![],
        }),
        state: PluginState::Ready,
        message: None,
        size_bytes: 4,
        created_at: at(created),
        development: false,
        pending_channel: None,
    }
}

pub(crate) async fn a_version_never_changes(t: &Subject) {
    let first = version(t, "gsan", "1.0.0", 1);
    let push = async |plugin: &PluginVersion| t.store.plugin_push(&actor(), plugin, b"\0asm", None).await.unwrap();
    assert_eq!(push(&first).await, Pushed::Created);
    assert_eq!(push(&first).await, Pushed::Unchanged);
    let other = PluginVersion { digest: "else".into(), ..first.clone() };
    assert_eq!(push(&other).await, Pushed::VersionTaken { digest: first.digest.clone() });
    let failed = PluginVersion {
        state: PluginState::Failed,
        manifest: None,
        message: Some("no export".into()),
        digest: first.digest.clone(),
        ..version(t, "gsan", "1.10.0", 2)
    };
    assert_eq!(push(&failed).await, Pushed::Created);
    push(&version(t, "carol", "0.1.0", 1)).await;
    assert_eq!(t.store.plugin_version_get(t.tenant, "gsan", "1.0.0").await.unwrap().as_ref(), Some(&first));
    assert_eq!(t.store.plugin_versions(t.tenant, "gsan").await.unwrap(), [failed.clone(), first.clone()]);
    let latest: Vec<_> =
        t.store.plugin_list(t.tenant).await.unwrap().into_iter().map(|p| (p.name, p.version)).collect();
    assert_eq!(latest, [("carol".to_owned(), "0.1.0".to_owned()), ("gsan".to_owned(), "1.10.0".to_owned())]);
    assert_eq!(t.store.plugin_component(&first.digest).await.unwrap().as_deref(), Some(&b"\0asm"[..]));
    assert_eq!(t.store.plugin_component("unknown").await.unwrap(), None);
    let delete = async |version| t.store.plugin_delete(&actor(), t.tenant, "gsan", version).await;
    assert_eq!(delete("1.0.0").await.unwrap(), PluginDeleted::Deleted);
    assert!(t.store.plugin_component(&first.digest).await.unwrap().is_some(), "another version has it");
    let mended = PluginVersion { digest: "mended".into(), ..version(t, "gsan", "1.10.0", 3) };
    assert_eq!(push(&mended).await, Pushed::Created, "what was refused was never to be had");
    assert_eq!(t.store.plugin_versions(t.tenant, "gsan").await.unwrap(), std::slice::from_ref(&mended));
    assert_eq!(t.store.plugin_component(&first.digest).await.unwrap(), None);
    assert_eq!(delete("1.10.0").await.unwrap(), PluginDeleted::Deleted);
    assert_eq!(t.store.plugin_component("mended").await.unwrap(), None);
    assert!(matches!(delete("1.10.0").await, Err(StoreError::NotFound { .. })));
}

pub(crate) async fn channels_point_and_remember(t: &Subject) {
    for (number, created) in [("1.0.0", 1), ("1.1.0", 2)] {
        let plugin = version(t, "gsan", number, created);
        t.store.plugin_push(&actor(), &plugin, b"\0asm", (number == "1.0.0").then_some("stable")).await.unwrap();
    }
    let resolve = async |text: &str| {
        let found = t.store.plugin_resolve(t.tenant, &text.parse().unwrap()).await.unwrap();
        found.map(|plugin| plugin.version)
    };
    assert_eq!(resolve("gsan").await.as_deref(), Some("1.0.0"));
    assert_eq!(resolve("gsan@1.1.0").await.as_deref(), Some("1.1.0"));
    assert_eq!(resolve("gsan@next").await, None);
    assert_eq!(resolve("gsan@9.0.0").await, None);
    let set = async |channel, version| t.store.plugin_channel_set(&actor(), t.tenant, "gsan", channel, version).await;
    let revision = t.store.revision_get(t.tenant).await.unwrap();
    assert_eq!(set("stable", "1.1.0").await.unwrap().as_deref(), Some("1.0.0"));
    assert_eq!(t.store.revision_get(t.tenant).await.unwrap(), revision + 1);
    assert_eq!(set("next", "1.1.0").await.unwrap(), None);
    assert_eq!(set("stable", "1.1.0").await.unwrap().as_deref(), Some("1.1.0"));
    assert!(matches!(set("stable", "3.0.0").await, Err(StoreError::NotFound { .. })));
    assert_eq!(resolve("gsan").await.as_deref(), Some("1.1.0"));
    let points = t.store.plugin_channels(t.tenant, "gsan").await.unwrap();
    let points: Vec<_> = points.iter().map(|c| (c.channel.as_str(), c.version.as_str())).collect();
    assert_eq!(points, [("next", "1.1.0"), ("stable", "1.1.0")]);
    let history = t.store.plugin_channel_history(t.tenant, "gsan", "stable").await.unwrap();
    assert_eq!(history.iter().map(|c| c.version.as_str()).collect::<Vec<_>>(), ["1.1.0", "1.0.0"]);
    let answer = t.store.plugin_delete(&actor(), t.tenant, "gsan", "1.0.0").await.unwrap();
    assert_eq!(answer, PluginDeleted::InUse("stable".into()), "a rollback may want it");
}

pub(crate) async fn a_channel_waits_for_the_compilation(t: &Subject) {
    let ready = version(t, "gsan", "1.0.0", 1);
    t.store.plugin_push(&actor(), &ready, b"\0asm", Some("stable")).await.unwrap();
    let next = PluginVersion { state: PluginState::Compiling, ..version(t, "gsan", "1.1.0", 2) };
    t.store.plugin_push(&actor(), &next, b"\0asm", Some("stable")).await.unwrap();
    let resolve = async |text: &str| t.store.plugin_resolve(t.tenant, &text.parse().unwrap()).await.unwrap();
    assert_eq!(resolve("gsan").await.unwrap().version, "1.0.0");
    let waiting = PluginVersion { pending_channel: Some("stable".into()), ..next.clone() };
    assert_eq!(resolve("gsan@1.1.0").await.as_ref(), Some(&waiting));
    assert_eq!(t.store.plugin_push(&actor(), &next, b"\0asm", Some("next")).await.unwrap(), Pushed::Unchanged);
    assert_eq!(t.store.plugin_compiling(at(1)).await.unwrap(), []);
    assert_eq!(t.store.plugin_compiling(at(2)).await.unwrap(), std::slice::from_ref(&waiting));
    let audited = async || {
        let filter = AuditFilter { action: Some("plugin.channel_pending".into()), ..AuditFilter::default() };
        t.store.audit_list(t.tenant, &filter, None, Order::Ascending, 100).await.unwrap().items
    };
    assert!(!t.store.plugin_pending_channel(&actor(), &waiting, "stable").await.unwrap(), "it waits already");
    assert_eq!(audited().await, []);
    assert!(t.store.plugin_pending_channel(&actor(), &waiting, "next").await.unwrap());
    let told = &audited().await[0];
    assert_eq!((told.object.as_str(), told.detail.as_str()), ("gsan@next", r#"{"version":"1.1.0","before":"stable"}"#));
    let waiting = &t.store.plugin_compiling(at(2)).await.unwrap()[0];
    assert_eq!(waiting.pending_channel.as_deref(), Some("next"));

    let revision = t.store.revision_get(t.tenant).await.unwrap();
    let ended = async |state, message, channel| {
        t.store.plugin_compiled(&actor(), waiting, state, message, channel).await.unwrap()
    };
    assert!(ended(PluginState::Ready, None, Some("next")).await);
    assert_eq!(t.store.revision_get(t.tenant).await.unwrap(), revision + 1);
    let now = resolve("gsan@next").await.unwrap();
    assert_eq!((now.version.as_str(), now.state, now.pending_channel), ("1.1.0", PluginState::Ready, None));
    assert!(!ended(PluginState::Failed, Some("late"), None).await, "it has ended already");
    assert_eq!(resolve("gsan@next").await.unwrap().state, PluginState::Ready);
    assert!(!t.store.plugin_pending_channel(&actor(), &next, "stable").await.unwrap());
    assert_eq!(audited().await.len(), 1);
    assert_eq!(resolve("gsan@1.1.0").await.unwrap().pending_channel, None, "nothing is pending any more");

    let other = PluginVersion { state: PluginState::Compiling, ..version(t, "gsan", "1.2.0", 3) };
    t.store.plugin_push(&actor(), &other, b"\0asm", Some("stable")).await.unwrap();
    assert!(t.store.plugin_compiled(&actor(), &other, PluginState::Failed, Some("too large"), None).await.unwrap());
    let failed = resolve("gsan@1.2.0").await.unwrap();
    assert_eq!((failed.state, failed.message.as_deref()), (PluginState::Failed, Some("too large")));
    assert_eq!(resolve("gsan").await.unwrap().version, "1.0.0", "the channel stays where it is");
    assert_eq!(t.store.plugin_compiling(at(9)).await.unwrap(), []);
    let mut digests = t.store.plugin_digests().await.unwrap();
    digests.sort();
    assert_eq!(digests, ["gsan-1.0.0", "gsan-1.1.0", "gsan-1.2.0"]);
}

pub(crate) async fn development_versions_number_themselves_and_old_ones_go(t: &Subject) {
    let release = version(t, "gsan", "1.0.0", 1);
    t.store.plugin_push(&actor(), &release, b"\0asm", Some("stable")).await.unwrap();
    let develop = async |digest: &str, channel: &str| {
        let plugin = PluginVersion { digest: digest.into(), ..release.clone() };
        t.store.plugin_push_development(&actor(), &plugin, digest.as_bytes(), channel).await.unwrap()
    };
    let first = develop("d1", "dev").await;
    assert_eq!((first.version.as_str(), first.created, first.removed.len()), ("1.0.0-dev.1", true, 0));
    let revision = t.store.revision_get(t.tenant).await.unwrap();
    let again = develop("d1", "dev").await;
    assert_eq!((again.version.as_str(), again.created), ("1.0.0-dev.1", false));
    assert_eq!(t.store.revision_get(t.tenant).await.unwrap(), revision, "nothing changed");
    assert_eq!(develop("d2", "dev-ana").await.version, "1.0.0-dev.2");
    let listed = t.store.plugin_list(t.tenant).await.unwrap();
    assert_eq!(
        listed.iter().map(|one| one.version.as_str()).collect::<Vec<_>>(),
        ["1.0.0"],
        "development is nobody's newest"
    );
    let resolved = t.store.plugin_resolve(t.tenant, &"gsan@dev-ana".parse().unwrap()).await.unwrap();
    assert!(resolved.is_some_and(|version| version.development));
    assert_eq!(t.store.plugin_component("d2").await.unwrap().as_deref(), Some(&b"d2"[..]));

    // Some versions later the first is gone with its component; what is in use elsewhere is not.
    develop("d3", "dev").await;
    t.store.plugin_channel_set(&actor(), t.tenant, "gsan", "next", "1.0.0-dev.3").await.unwrap();
    let last = DEVELOPMENT_KEPT + 3;
    let mut removed = Vec::new();
    for n in 4..=last {
        removed.extend(develop(&format!("d{n}"), "dev").await.removed);
    }
    assert_eq!(removed, ["d1"]);
    assert_eq!(t.store.plugin_component("d1").await.unwrap(), None);
    removed.extend(develop("d99", "dev").await.removed);
    assert_eq!(removed, ["d1", "d4"]);
    let versions = t.store.plugin_versions(t.tenant, "gsan").await.unwrap();
    assert_eq!(versions.len(), DEVELOPMENT_KEPT + 3, "with the release, ana's and that of `next`: {versions:?}");
    let points = t.store.plugin_resolve(t.tenant, &"gsan@dev".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((points.version, points.digest.as_str()), (format!("1.0.0-dev.{}", last + 1), "d99"));
    let history = t.store.plugin_channel_history(t.tenant, "gsan", "dev").await.unwrap();
    assert!(history.iter().all(|entry| versions.iter().any(|version| version.version == entry.version)));
}

pub(crate) async fn settings_default_and_round_trip(t: &Subject) {
    let get = async || t.store.plugin_settings_get(t.tenant, "gsan").await.unwrap();
    assert_eq!(get().await, PluginSettings::default());
    let grants =
        Grants { hosts: vec!["https://api.example.com".into()], secrets: vec!["hmac".into()], ..Grants::default() };
    let settings = PluginSettings {
        grants,
        config: Some(json!({"b": 1.50, "a": {}})),
        calls: CallSettings { instances: Some(Instances::Warm), memory_mib: Some(32), ..CallSettings::default() },
    };
    let bare = PluginSettings::default();
    t.store.plugin_settings_put(&actor(), t.tenant, "gsan", &bare, &settings).await.unwrap();
    assert_eq!(get().await, settings);
    let late = t.store.plugin_settings_put(&actor(), t.tenant, "gsan", &bare, &settings).await;
    assert_eq!(late.unwrap_err().code(), "stale");
    let other = PluginSettings { config: Some(json!({"b": 2})), ..settings.clone() };
    t.store.plugin_settings_put(&actor(), t.tenant, "gsan", &settings, &other).await.unwrap();
    let filter = AuditFilter { action: Some("plugin.settings_put".into()), ..AuditFilter::default() };
    let told = t.store.audit_list(t.tenant, &filter, None, Order::Ascending, 100).await.unwrap().items;
    let mut details: Vec<serde_json::Value> =
        told.iter().map(|entry| serde_json::from_str(&entry.detail).unwrap()).collect();
    details.sort_by_key(|detail| detail["old"]["config"].is_null());
    let changed = &details[0];
    assert_eq!(
        (details.len(), &changed["old"]["config"], &changed["new"]["config"]["b"]),
        (2, &json!({"b": 1.50, "a": {}}), &json!(2))
    );
    assert_eq!(changed["old"]["grants"], changed["new"]["grants"]);
    t.store.plugin_settings_put(&actor(), t.tenant, "gsan", &other, &bare).await.unwrap();
    assert_eq!(get().await, bare);
}
