use engate_model::{
    Secret, WizardId,
    wizard::{Handover, Progress, WIZARDS_MAX, Welcome, Wizard, WizardSecrets, provisioning::Provisioning},
};
use engate_store::StoreError;

use crate::harness::{Subject, actor, at, sqlite_path, unique};

fn wizard(t: &Subject, millis: i64) -> Wizard {
    let id = WizardId::new(at(millis), unique());
    let progress = Progress::default();
    Wizard { id, tenant: t.tenant, progress, revision: 1, created_at: at(millis), updated_at: at(millis) }
}

fn secrets() -> WizardSecrets {
    let handover = Handover { client_id: "protheus".into(), client_secret: Secret::new("told-this-once") };
    WizardSecrets {
        client_secret: Some(Secret::new("secret-of-rac")),
        connector_key: Some(Secret::new("key-of-carol")),
        handover: Some(handover),
    }
}

pub(crate) async fn a_wizard_comes_back_as_it_was_put_and_one_hand_changes_it(t: &Subject) {
    let made = wizard(t, 1);
    t.store.wizard_create(&actor(), &made).await.unwrap();
    assert_eq!(t.store.wizard_get(t.tenant, made.id).await.unwrap(), Some((made.clone(), WizardSecrets::default())));
    let welcome = Welcome { connection: "protheus".into(), urls: [].into() };
    let progress = Progress { welcome: Some(welcome), ..Progress::default() };
    let changed = Wizard { progress, updated_at: at(5), ..made.clone() };
    let update =
        async |wizard: &Wizard| t.store.wizard_update(&actor(), Some("wizard.step"), wizard, &secrets(), &[]).await;
    update(&changed).await.unwrap();
    let (read, kept) = t.store.wizard_get(t.tenant, made.id).await.unwrap().unwrap();
    assert_eq!((&read, read.revision), (&Wizard { revision: 2, ..changed.clone() }, 2));
    assert_eq!(kept, secrets());
    // Whoever read it before the change writes nothing.
    assert!(matches!(update(&changed).await, Err(StoreError::Stale { .. })));
    update(&read).await.unwrap();
    assert_eq!(t.store.wizard_list(t.tenant).await.unwrap().len(), 1);
    t.store.wizard_delete(&actor(), t.tenant, made.id).await.unwrap();
    assert_eq!(t.store.wizard_get(t.tenant, made.id).await.unwrap(), None);
    assert!(matches!(update(&read).await, Err(StoreError::NotFound { .. })));
    let again = t.store.wizard_delete(&actor(), t.tenant, made.id).await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })));
}

pub(crate) async fn wizards_belong_to_their_tenant_and_are_listed_newest_first(t: &Subject) {
    let made = [wizard(t, 1), wizard(t, 2), wizard(t, 3)];
    for one in &made {
        t.store.wizard_create(&actor(), one).await.unwrap();
    }
    let listed: Vec<_> = t.store.wizard_list(t.tenant).await.unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(listed, [made[2].id, made[1].id, made[0].id]);
    let other = engate_model::TenantId::new(at(9), unique());
    assert_eq!(t.store.wizard_get(other, made[0].id).await.unwrap(), None);
    assert_eq!(t.store.wizard_list(other).await.unwrap(), []);
    let foreign = t.store.wizard_delete(&actor(), other, made[0].id).await;
    assert!(matches!(foreign, Err(StoreError::NotFound { .. })));
    let stolen = Wizard { tenant: other, ..made[0].clone() };
    let stolen = t.store.wizard_update(&actor(), None, &stolen, &secrets(), &[]).await;
    assert!(matches!(stolen, Err(StoreError::NotFound { .. })));
    assert_eq!(t.store.wizard_get(t.tenant, made[0].id).await.unwrap().unwrap().0.revision, 1);
}

pub(crate) async fn what_a_wizard_waits_for_is_due_in_its_order(t: &Subject) {
    let mut ids = Vec::new();
    for (n, next_at) in (0..).zip([Some(at(300)), None, Some(at(100)), Some(at(900))]) {
        let mut one = wizard(t, n);
        t.store.wizard_create(&actor(), &one).await.unwrap();
        let provisioning = Provisioning { next_at, ..Provisioning::requested("C-1", at(0)) };
        one.progress.provisioning = Some(provisioning);
        t.store.wizard_update(&actor(), None, &one, &secrets(), &[]).await.unwrap();
        ids.push(one.id);
    }
    let due = async |now, limit| -> Vec<_> {
        t.store.wizard_due(at(now), limit).await.unwrap().into_iter().map(|(one, _)| one.id).collect()
    };
    assert_eq!(due(50, 10).await, []);
    assert_eq!(due(500, 10).await, [ids[2], ids[0]]);
    assert_eq!(due(500, 1).await, [ids[2]], "the longest due first");
    assert_eq!(due(900, 10).await, [ids[2], ids[0], ids[3]], "at its instant it is due");
}

pub(crate) async fn there_are_so_many_wizards_and_no_more(t: &Subject) {
    for n in 0..WIZARDS_MAX {
        t.store.wizard_create(&actor(), &wizard(t, i64::try_from(n).unwrap())).await.unwrap();
    }
    let more = t.store.wizard_create(&actor(), &wizard(t, 100_000)).await;
    assert!(matches!(more, Err(StoreError::Conflict { .. })), "{more:?}");
}

pub(crate) async fn what_a_wizard_knows_is_sealed(t: &Subject) {
    let one = wizard(t, 1);
    t.store.wizard_create(&actor(), &one).await.unwrap();
    t.store.wizard_update(&actor(), None, &one, &secrets(), &[]).await.unwrap();
    if t.is_sqlite() {
        let path = sqlite_path(&t.database);
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file).unwrap()).collect();
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(holds(b"wizard.create"), "the files are searched where they are");
        assert!(!holds(b"told-this-once") && !holds(b"secret-of-rac") && !holds(b"key-of-carol"));
    }
}
