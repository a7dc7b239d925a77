//! Any filter, any order, any page: the same as sorting everything in memory.

use std::fmt::Write as _;

use engate_model::{
    DeliveryId, EndpointId, EventId, IntegratorId, Timestamp,
    delivery::{Delivery, DeliveryState},
    listing::{Column, Sort, SortKey, folded},
};
use engate_store::{
    DeliveryFilter, Meaning, NodeSerial, Page, SecretKey, Start, Store, StoreOptions, SuccessFilter, Total,
};

use crate::harness::{PATIENCE, Subject, actor, at, unique};

const ROWS: usize = 1_000;
const LISTINGS: usize = 250;
/// On PostgreSQL, where each of a listing's many statements is a journey.
const LISTINGS_POSTGRES: usize = 100;

/// A source of chance that is the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides
    }

    fn odds(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())].clone()
    }

    fn some<T: Clone>(&mut self, percent: usize, of: &[T]) -> Vec<T> {
        if !self.odds(percent) {
            return Vec::new();
        }
        let count = 1 + self.roll(of.len().min(3));
        (0..count).map(|_| self.pick(of)).collect()
    }
}

struct World {
    rows: Vec<Delivery>,
    integrators: Vec<IntegratorId>,
    endpoints: Vec<(EndpointId, IntegratorId)>,
}

/// Names of integrators: in another order than their ids, and two alike.
const NAMES: [&str; 3] = ["Zeta", "Alfa", "Zeta"];
const TYPES: [&str; 4] = ["bill.paid", "order.created", "order.cancelled", "a.rare.one"];
const REASONS: [&str; 4] = ["server_error", "timeout", "Não autorizado", "connect_refused"];
const SUBJECTS: [&str; 7] = ["Operação 7", "operacao", "OPERAÇÃO 12", "01400-2", "100% [a]*?", "ç", "Zürich.1"];

impl World {
    async fn make(t: &Subject, dice: &mut Dice) -> Self {
        let node = t.node("a").await;
        let mut world = Self { rows: Vec::new(), integrators: Vec::new(), endpoints: Vec::new() };
        for n in 0..3 {
            let integrator = IntegratorId::new(at(0), unique());
            let mut row = t.integrator_row(integrator, &format!("i{n}"));
            row.name = NAMES[n].into();
            t.store.integrator_create(&actor(), &row).await.unwrap();
            world.integrators.push(integrator);
            // One integrator has more endpoints than are read as ranges of their own.
            for _ in 0..[1, 3, 11][n] {
                let mut row = t.endpoint_row(EndpointId::new(at(0), unique()));
                row.integrator = integrator;
                t.store.endpoint_create(&actor(), &row).await.unwrap();
                world.endpoints.push((row.id, integrator));
            }
        }
        let events: Vec<_> = (0..ROWS / 3).map(|n| EventId::new(at(i64::try_from(n).unwrap()), unique())).collect();
        for n in 0..ROWS {
            let event = dice_event(dice, &events, n);
            let row = world.row(t, dice, i64::try_from(n).unwrap(), event);
            world.rows.push(row);
        }
        for rows in world.rows.chunks(100) {
            t.meddle(&insert(t, rows, node)).await;
        }
        let last = world.rows.last().unwrap().code;
        t.meddle(&if t.is_sqlite() {
            format!("UPDATE counters SET value = {last} WHERE name = 'delivery_code'")
        } else {
            format!("SELECT setval('delivery_code', {last})")
        })
        .await;
        world
    }

    fn row(&self, t: &Subject, dice: &mut Dice, n: i64, event: EventId) -> Delivery {
        let (endpoint, integrator) = dice.pick(&self.endpoints);
        let state = if dice.odds(60) { DeliveryState::Succeeded } else { dice.pick(&DeliveryState::ALL) };
        // Mostly as the codes are, sometimes of quite another time.
        let millis =
            if dice.odds(3) { dice.roll(2_000_000) } else { usize::try_from(n * 1_000).unwrap() + dice.roll(4_000) };
        let created = Timestamp::from_micros(
            at(i64::try_from(millis).unwrap()).as_micros() + i64::try_from(dice.roll(3)).unwrap(),
        );
        let success = match state {
            DeliveryState::Succeeded => Some(true),
            DeliveryState::Failed => Some(false),
            _ => dice.pick(&[None, Some(false), Some(true)]),
        };
        let late = |dice: &mut Dice| {
            let millis = if dice.odds(80) { dice.roll(1_500) } else { dice.roll(900_000) };
            std::time::Duration::from_millis(u64::try_from(millis).unwrap())
        };
        let attempts = if success.is_none() {
            0
        } else if dice.odds(75) {
            1
        } else {
            2 + dice.roll(5)
        };
        let last = success.map(|_| created.after(late(dice)));
        let integrated = match success {
            Some(true) => last.map(|last| last.after(late(dice))),
            Some(false) if dice.odds(10) => Some(created.after(late(dice))),
            _ => None,
        };
        let types = &TYPES[..if dice.odds(5) { 4 } else { 3 }];
        Delivery {
            id: DeliveryId::new(created, unique()),
            code: n + 1,
            tenant: t.tenant,
            event,
            event_type: dice.pick(types).to_owned(),
            subject: dice.odds(80).then(|| dice.pick(&SUBJECTS).to_owned()),
            endpoint,
            integrator,
            state,
            success,
            reason: (success != Some(true) && dice.odds(80)).then(|| dice.pick(&REASONS).to_owned()),
            attempts: u32::try_from(attempts).unwrap(),
            created_at: created,
            first_attempt_at: last,
            last_attempt_at: last,
            integrated_at: integrated,
            // Some wait behind another of their line and have no time yet.
            next_attempt_at: (state == DeliveryState::Pending && dice.odds(80))
                .then(|| at(i64::try_from(dice.roll(50)).unwrap())),
            correlation_id: dice.odds(30).then(|| format!("corr-{}", dice.roll(20))),
        }
    }

    fn filter(&self, dice: &mut Dice) -> DeliveryFilter {
        let endpoints: Vec<_> = self.endpoints.iter().map(|(id, _)| *id).collect();
        let time = |dice: &mut Dice| at(i64::try_from(dice.roll(1_100_000)).unwrap());
        let once = |dice: &mut Dice, percent| dice.odds(percent).then(|| time(dice));
        let number = |dice: &mut Dice| dice.odds(15).then(|| u32::try_from(dice.roll(4)).unwrap());
        DeliveryFilter {
            ids: if dice.odds(4) { self.rows.iter().step_by(37).map(|row| row.id).collect() } else { Vec::new() },
            states: dice.some(25, &DeliveryState::ALL),
            success: dice.some(20, &[SuccessFilter::Yes, SuccessFilter::No, SuccessFilter::Pending]),
            integrators: dice.some(25, &self.integrators),
            endpoints: dice.some(15, &endpoints),
            event: dice.odds(5).then(|| self.rows[dice.roll(ROWS)].event),
            event_types: dice.some(20, &TYPES.map(str::to_owned)),
            created_from: once(dice, 15),
            created_before: once(dice, 15),
            integrated_from: once(dice, 12),
            integrated_before: once(dice, 12),
            attempts_min: number(dice),
            attempts_max: number(dice),
            words: (0..usize::from(dice.odds(25)) * (1 + dice.roll(2))).map(|_| self.word(dice)).collect(),
        }
    }

    fn word(&self, dice: &mut Dice) -> Vec<Meaning> {
        let row = &self.rows[dice.roll(ROWS)];
        let mut meanings = vec![Meaning::Text(folded(dice.pick(&[
            "operação",
            "OPERA",
            "0140",
            "[a]*?",
            "%",
            "nao",
            ".",
            "corr-1",
            "autoriz",
            "paid",
            "timeout",
            "corr-7",
            "zzz",
        ])))];
        let more = [
            Meaning::Codes(row.code, row.code + 30),
            Meaning::Attempts(row.attempts),
            Meaning::Time(
                dice.pick(&[Column::CreatedAt, Column::LastAttemptAt, Column::IntegratedAt]),
                row.created_at,
                row.created_at.after(std::time::Duration::from_secs(60)),
            ),
            Meaning::Time(Column::NextAttemptAt, at(10), at(30)),
            Meaning::Integrators(vec![row.integrator]),
            Meaning::EventTypes(vec![row.event_type.clone()]),
            Meaning::States(vec![row.state]),
            Meaning::Success(SuccessFilter::No),
            Meaning::Delivery(row.id),
            Meaning::Event(row.event),
            Meaning::Endpoint(row.endpoint),
        ];
        meanings.extend(dice.some(60, &more));
        if dice.odds(20) {
            meanings.remove(0);
        }
        meanings
    }
}

fn dice_event(dice: &mut Dice, events: &[EventId], n: usize) -> EventId {
    if dice.odds(90) { events[n / 3 % events.len()] } else { dice.pick(events) }
}

fn insert(t: &Subject, rows: &[Delivery], node: NodeSerial) -> String {
    let text = |text: &Option<String>| text.as_ref().map_or("NULL".to_owned(), |text| format!("'{text}'"));
    let time = |at: Option<Timestamp>| at.map_or("NULL".to_owned(), |at| at.as_micros().to_string());
    let mut sql = "INSERT INTO deliveries (code, id, tenant_id, event_id, event_type, subject, endpoint_id, integrator_id, \
                   state, success, reason, attempts, created_at, first_attempt_at, last_attempt_at, integrated_at, due_at, \
                   owner, waits_behind, correlation_id) VALUES "
        .to_owned();
    for (n, row) in rows.iter().enumerate() {
        let owner = if row.state == DeliveryState::Delivering { node.get().to_string() } else { "NULL".to_owned() };
        let waits = row.state == DeliveryState::Pending && row.next_attempt_at.is_none();
        let behind = if waits { row.created_at.as_micros().to_string() } else { "NULL".to_owned() };
        let _ = write!(
            sql,
            "{}({}, {}, {}, {}, '{}', {}, {}, {}, '{}', {}, {}, {}, {}, {}, {}, {}, {}, {owner}, {behind}, {})",
            if n == 0 { "" } else { ", " },
            row.code,
            t.literal(row.id),
            t.literal(row.tenant),
            t.literal(row.event),
            row.event_type,
            text(&row.subject),
            t.literal(row.endpoint),
            t.literal(row.integrator),
            row.state.code(),
            row.success.map_or(-1, i64::from),
            text(&row.reason),
            row.attempts,
            time(Some(row.created_at)),
            time(row.first_attempt_at),
            time(row.last_attempt_at),
            time(row.integrated_at),
            time(row.next_attempt_at),
            text(&row.correlation_id),
        );
    }
    sql
}

/// The filter's own words, over again.
fn takes(filter: &DeliveryFilter, row: &Delivery) -> bool {
    fn any<T: PartialEq>(of: &[T], one: &T) -> bool {
        of.is_empty() || of.contains(one)
    }
    let word = |meanings: &Vec<Meaning>| meanings.iter().any(|meaning| means(meaning, row));
    any(&filter.ids, &row.id)
        && any(&filter.states, &row.state)
        && (filter.success.is_empty() || filter.success.iter().any(|success| success.success() == row.success))
        && any(&filter.integrators, &row.integrator)
        && any(&filter.endpoints, &row.endpoint)
        && filter.event.is_none_or(|event| event == row.event)
        && any(&filter.event_types, &row.event_type)
        && filter.created_from.is_none_or(|from| row.created_at >= from)
        && filter.created_before.is_none_or(|before| row.created_at < before)
        && filter.integrated_from.is_none_or(|from| row.integrated_at.is_some_and(|at| at >= from))
        && filter.integrated_before.is_none_or(|before| row.integrated_at.is_some_and(|at| at < before))
        && filter.attempts_min.is_none_or(|min| row.attempts >= min)
        && filter.attempts_max.is_none_or(|max| row.attempts <= max)
        && filter.words.iter().all(word)
}

fn means(meaning: &Meaning, row: &Delivery) -> bool {
    match meaning {
        Meaning::Text(word) => [&row.subject, &row.reason, &row.correlation_id, &Some(row.event_type.clone())]
            .into_iter()
            .flatten()
            .any(|text| folded(text).contains(word.as_str())),
        Meaning::Codes(first, last) => (*first..=*last).contains(&row.code),
        Meaning::Attempts(number) => row.attempts == *number,
        Meaning::Time(column, from, before) => {
            let time = match column {
                Column::CreatedAt => Some(row.created_at),
                Column::LastAttemptAt => row.last_attempt_at,
                Column::IntegratedAt => row.integrated_at,
                _ => row.next_attempt_at,
            };
            time.is_some_and(|at| at >= *from && at < *before)
        }
        Meaning::Integrators(ids) => ids.contains(&row.integrator),
        Meaning::EventTypes(keys) => keys.contains(&row.event_type),
        Meaning::States(states) => states.contains(&row.state),
        Meaning::Success(success) => success.success() == row.success,
        Meaning::Delivery(id) => row.id == *id,
        Meaning::Event(id) => row.event == *id,
        Meaning::Endpoint(id) => row.endpoint == *id,
    }
}

/// What is compared, over again: nothing, then numbers, then texts by their bytes.
fn key(world: &World, row: &Delivery, column: Column) -> (bool, i128, Vec<u8>) {
    let number = |n: i64| (true, i128::from(n), Vec::new());
    let time = |at: Option<Timestamp>| at.map_or((false, 0, Vec::new()), |at| number(at.as_micros()));
    let text = |text: Option<&str>| text.map_or((false, 0, Vec::new()), |text| (true, 0, text.as_bytes().to_vec()));
    let id = |id: &dyn std::fmt::Display| (true, 0, id.to_string().into_bytes());
    match column {
        Column::Id => id(&row.id),
        Column::Code => number(row.code),
        Column::Event => id(&row.event),
        Column::EventType => text(Some(&row.event_type)),
        Column::Subject => text(row.subject.as_deref()),
        Column::Endpoint => id(&row.endpoint),
        Column::Integrator => {
            let at = world.integrators.iter().position(|id| *id == row.integrator).unwrap();
            text(Some(NAMES[at]))
        }
        Column::State => text(Some(row.state.code())),
        Column::Success => number(match row.success {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        }),
        Column::Reason => text(row.reason.as_deref()),
        Column::Attempts => number(i64::from(row.attempts)),
        Column::CreatedAt => time(Some(row.created_at)),
        Column::LastAttemptAt => time(row.last_attempt_at),
        Column::IntegratedAt => time(row.integrated_at),
        Column::NextAttemptAt => time(row.next_attempt_at),
        Column::CorrelationId => text(row.correlation_id.as_deref()),
    }
}

fn expected(world: &World, filter: &DeliveryFilter, keys: &[SortKey]) -> Vec<i64> {
    let mut taken: Vec<&Delivery> = world.rows.iter().filter(|row| takes(filter, row)).collect();
    // A stable sort by the last column first, as one would by hand; the rows come by their codes.
    for sort in keys.iter().rev() {
        taken.sort_by(|a, b| {
            let order = key(world, a, sort.column).cmp(&key(world, b, sort.column));
            if sort.descending { order.reverse() } else { order }
        });
    }
    taken.iter().map(|row| row.code).collect()
}

async fn all_pages(t: &Subject, store: &Store, filter: &DeliveryFilter, sort: &Sort, limit: u32) -> Vec<i64> {
    let (mut codes, mut page) = (Vec::new(), Page { after: None, limit });
    loop {
        let found = store.delivery_list(t.tenant, filter, sort, &page).await.unwrap();
        assert!(found.items.len() <= usize::try_from(limit).unwrap());
        codes.extend(found.items.iter().map(|row| row.code));
        let total = found.total.unwrap();
        page.after = found.next;
        if page.after.is_none() {
            assert_eq!(total, Total { count: u64::try_from(codes.len()).unwrap(), exact: true }, "{filter:?} {sort}");
            return codes;
        }
    }
}

/// A store that sorts next to nothing and so has to use every way it knows.
pub(crate) async fn eager(t: &Subject, sorted_max: u64) -> Store {
    let options = StoreOptions { sorted_max, span_codes: Some(64), page_time_max: PATIENCE, ..StoreOptions::default() };
    Store::open(&t.database, &SecretKey::new([7; 32]), options, at(0)).await.unwrap()
}

async fn extend(store: &Store) -> u32 {
    let mut made = 0;
    // PostgreSQL waits for other databases' transactions too.
    for _ in 0..200 {
        made += store.delivery_span_extend().await.unwrap();
        if made == 15 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    made
}

pub(crate) async fn v26_v37_any_filter_order_and_page_is_what_memory_would_give(t: &Subject) {
    let mut dice = Dice(0x5eed_1234_5678_9abc);
    let world = World::make(t, &mut dice).await;
    let stores = [eager(t, 20_000).await, eager(t, 25).await, eager(t, 0).await];
    let listings = if t.is_sqlite() { LISTINGS } else { LISTINGS_POSTGRES };
    for n in 0..listings {
        if n == listings / 4 {
            assert_eq!(extend(&stores[1]).await, 15, "all but the last 40 codes are in spans");
        }
        let mut keys: Vec<SortKey> = Vec::new();
        for _ in 0..1 + dice.roll(3) {
            let column = if n < 32 { Column::ALL[n % 16] } else { dice.pick(&Column::ALL) };
            if keys.iter().all(|key| key.column != column) {
                keys.push(SortKey { column, descending: dice.odds(50) });
            }
        }
        let filter = if n < 32 { DeliveryFilter::default() } else { world.filter(&mut dice) };
        let (sort, limit) = (Sort::by(keys.clone()), u32::try_from(100 + dice.roll(300)).unwrap());
        let wanted = expected(&world, &filter, &keys);
        for store in &stores {
            let got = all_pages(t, store, &filter, &sort, limit).await;
            assert_eq!(got, wanted, "listing {n}: sort {sort}, {filter:?}");
        }
    }
    for store in stores {
        store.close().await;
    }
    let_go(t).await;
}

/// Nothing stands before what waits behind here; at the end it must not look lost.
async fn let_go(t: &Subject) {
    t.meddle("UPDATE deliveries SET due_at = 1, waits_behind = NULL WHERE waits_behind IS NOT NULL").await;
}

pub(crate) async fn pages_go_on_where_they_were_whatever_is_written_meanwhile(t: &Subject) {
    for n in 0..20 {
        t.waiting_since(t.endpoint, n * 10, 5).await;
    }
    let any = DeliveryFilter::default();
    for text in ["code", "-code", "created_at", "-created_at", "state,-created_at", "subject"] {
        let sort = Sort::parse(text).unwrap();
        let before = all_pages(t, &t.store, &any, &sort, 100).await;
        let first = t.store.delivery_list(t.tenant, &any, &sort, &Page { after: None, limit: 7 }).await.unwrap();
        // New rows at either end and in the middle.
        for taken in [-5, 65, 10_000] {
            let delivery = t.delivery_to(t.endpoint, taken, Start::Pending(at(5)));
            let mut event = t.event(taken);
            event.subject = Some(format!("0{}", unique()));
            t.accept(engate_store::AcceptEvent { event: event.into(), body_hash: [0; 32], deliveries: vec![delivery] })
                .await;
        }
        let mut codes: Vec<i64> = first.items.iter().map(|row| row.code).collect();
        let mut page = Page { after: first.next, limit: 7 };
        while page.after.is_some() {
            let found = t.store.delivery_list(t.tenant, &any, &sort, &page).await.unwrap();
            codes.extend(found.items.iter().map(|row| row.code));
            page.after = found.next;
        }
        let (mut seen, count) = (codes.clone(), codes.len());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count, "{text}: nothing comes twice");
        codes.retain(|code| before.contains(code));
        assert_eq!(codes, before, "{text}: what was there comes once, in its order");
    }
}

pub(crate) async fn a_search_that_takes_too_long_is_told_so(t: &Subject) {
    use engate_store::StoreError;
    assert_eq!(StoreError::TooBroad.code(), "narrow_the_range");
    let mut dice = Dice(7);
    World::make(t, &mut dice).await;
    // A statement that would go on for hours; the bound ends it, and the connection works on.
    let answer = t.store.read_for_ever(std::time::Duration::from_millis(50)).await;
    assert_eq!(answer, Err(StoreError::TooBroad));
    for _ in 0..8 {
        t.store.ping().await.unwrap();
        let any = DeliveryFilter::default();
        let page = t.store.delivery_list(t.tenant, &any, &Sort::default(), &Page { after: None, limit: 5 }).await;
        assert_eq!(page.unwrap().items.len(), 5);
    }
    let_go(t).await;
}
