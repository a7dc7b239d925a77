use std::collections::BTreeSet;

use engate_model::sync::{PageSize, Partition, Position, SoftDelete, StreamSpec};
use engate_source::{Connection, ConnectionOptions, Scan};
use serde_json::{Value, json};

use crate::harness::{Kind, Subject, instant, stream};

const MORE: PageSize = PageSize { rows: 10_000, bytes: 8 << 20 };

pub(crate) async fn the_clock_is_the_sources_own(t: &Subject) {
    let ours = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let theirs = t.source.clock().await.unwrap();
    // All of them run on this machine, in whatever zone.
    assert!(u64::try_from(theirs.as_secs()).unwrap().abs_diff(ours) < 60, "{theirs}");
}

pub(crate) async fn nothing_is_ever_written(t: &Subject) {
    // The driver's own sessions are told so: whoever goes past this crate's reads is refused by the database.
    let times = t.times();
    t.run(&format!("CREATE TABLE w (id int NOT NULL PRIMARY KEY, s_t_a_m_p_ {times}); INSERT INTO w VALUES (1, NULL)"))
        .await;
    t.run(t.pick(
        "CREATE FUNCTION eats() RETURNS int LANGUAGE sql AS 'DELETE FROM w RETURNING 1'; SELECT 1",
        "CREATE FUNCTION eats() RETURNS int MODIFIES SQL DATA BEGIN DELETE FROM w; RETURN 1; END",
        "SELECT 1",
    ))
    .await;
    if t.kind != Kind::Sqlite {
        let error = t.source.probe("SELECT eats()").await.unwrap_err();
        assert_eq!(error.code(), "source_refused", "{error}");
    }
    let error = t.source.probe("DELETE FROM w").await.unwrap_err();
    assert_eq!(error.code(), "source_refused", "{error}");
    let plan = t.plan(&stream("w", &["id"])).await;
    assert_eq!(t.all(&plan, false, Position::Start, 10).await.len(), 1);
    let nowhere = Connection::open("postgres://ana:senha-secreta@127.0.0.1:1/x", ConnectionOptions::default()).unwrap();
    let error = nowhere.clock().await.unwrap_err();
    assert!(error.retryable() && !error.to_string().contains("senha"), "{error}");
    assert!(!format!("{nowhere:?}").contains("senha"));
}

pub(crate) async fn records_are_whole_and_keep_their_spelling(t: &Subject) {
    let (times, bytes) = (t.times(), t.pick("bytea", "varbinary(9)", "blob"));
    t.run(&format!(
        "CREATE TABLE r (id bigint NOT NULL PRIMARY KEY, code char(6), name varchar(40), price decimal(15,2), born date, at \
         {times}, raw {bytes}, doc {}, yes {}, s_t_a_m_p_ {times})",
        t.pick("jsonb", "longtext", "json"),
        t.pick("boolean", "int", "boolean")
    ))
    .await;
    let (raw, yes) = (t.pick("'\\x00ff'", "X'00ff'", "X'00ff'"), t.pick("true", "1", "1"));
    t.run(&format!(
        "INSERT INTO r VALUES (9007199254740993, 'AB', 'Zé \"x\"  ', 1234567890123.50, '2026-02-28', '2026-01-31 \
         23:59:59.5', {raw}, '{{\"a\": [1, 2.50]}}', {yes}, '2026-01-31 12:00:00'), (2, NULL, NULL, NULL, NULL, NULL, NULL, \
         NULL, NULL, NULL)"
    ))
    .await;
    let plan = t.plan(&stream("r", &["id"])).await;
    let rows = t.all(&plan, false, Position::Start, 1).await;
    assert_eq!(rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["2", "9007199254740993"]);
    let null: Value = serde_json::from_str(&rows[0].data).unwrap();
    assert_eq!(null.as_object().unwrap().values().filter(|value| value.is_null()).count(), 9);
    let full = &rows[1];
    assert_eq!(full.stamp, Some(instant("2026-01-31T12:00:00Z")));
    assert!(
        full.data.starts_with(
            "{\"id\":9007199254740993,\"code\":\"AB\",\"name\":\"Zé \\\"x\\\"  \",\"price\":1234567890123.5"
        )
    );
    let value: Value = serde_json::from_str(&full.data).unwrap();
    assert_eq!(value["born"], json!("2026-02-28"));
    assert_eq!(value["raw"], json!("AP8="));
    if t.kind != Kind::Sqlite {
        assert!(full.data.contains("\"price\":1234567890123.50,"), "{}", full.data);
        let at = t.pick("\"2026-01-31T23:59:59.5Z\"", "\"2026-01-31T23:59:59.500000Z\"", "");
        assert!(full.data.contains(at), "{}", full.data);
    }
    if t.kind != Kind::MariaDb {
        assert_eq!((&value["doc"], &value["yes"]), (&json!({"a": [1, 2.50]}), &json!(true)));
        assert!(full.data.contains("{\"a\":[1,2.50]}"));
    }
    let again = t.all(&plan, false, Position::Start, 10).await;
    assert_eq!(again, rows, "the same rows have the same hashes");
    t.run("UPDATE r SET name = 'Zé \"x\" '  WHERE id <> 2").await;
    assert_ne!(t.all(&plan, false, Position::Start, 10).await[1].hash, full.hash, "one blank less is another record");
    let some = StreamSpec { columns: Some(vec!["PRICE".into(), "name".into()]), ..stream("r", &["id"]) };
    let plan = t.plan(&some).await;
    let names: Vec<_> = plan.shape().columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["id", "name", "price"], "in the order of the table, the key among them");
}

/// A table of `count` rows: every third without a stamp, the others in ties of `tie`.
async fn filled(t: &Subject, count: u32, tie: u32) {
    let times = t.times();
    t.run(&format!("CREATE TABLE f (id int NOT NULL PRIMARY KEY, v int, s_t_a_m_p_ {times})")).await;
    let rows: Vec<_> = (0..count)
        .map(|n| {
            let second = n / tie;
            let stamp = format!("'2026-01-01 {:02}:{:02}:{:02}.003'", second / 3600, second / 60 % 60, second % 60);
            // Keys in another order than stamps.
            format!("({}, {n}, {})", (n * 7919) % count, if n % 3 == 0 { "NULL" } else { &stamp })
        })
        .collect();
    t.run(&format!("INSERT INTO f VALUES {}", rows.join(","))).await;
}

pub(crate) async fn rows_without_a_stamp_are_read_by_the_key(t: &Subject) {
    filled(t, 300, 10).await;
    let plan = t.plan(&stream("f", &["id"])).await;
    let all = t.all(&plan, false, Position::Start, 7).await;
    assert_eq!(all.len(), 300);
    assert_eq!(all.iter().filter(|row| row.stamp.is_none()).count(), 100);
    assert_eq!(all.iter().map(|row| &row.key).collect::<BTreeSet<_>>().len(), 300);
    assert_eq!(t.all(&plan, true, Position::Start, 7).await.len(), 200);
}

pub(crate) async fn a_thousand_rows_of_one_stamp_are_read_in_pages_of_a_hundred(t: &Subject) {
    filled(t, 1_500, 1_500).await;
    let plan = t.plan(&stream("f", &["id"])).await;
    let from = Position::Stamp(instant("2026-01-01T00:00:00.003Z"));
    let all = t.all(&plan, true, from, 100).await;
    assert_eq!(all.len(), 1_000);
    assert_eq!(all.iter().map(|row| &row.key).collect::<BTreeSet<_>>().len(), 1_000);
    let later = Position::Stamp(instant("2026-01-01T00:00:00.003001Z"));
    assert!(t.all(&plan, true, later, 100).await.is_empty());
}

pub(crate) async fn composite_keys_go_on_in_the_databases_own_order(t: &Subject) {
    let times = t.times();
    t.run(&format!(
        "CREATE TABLE c (branch char(4) NOT NULL, code varchar(9) NOT NULL, item decimal(5,0) NOT NULL, s_t_a_m_p_ {times}, \
         PRIMARY KEY (branch, code, item))"
    ))
    .await;
    let mut rows = Vec::new();
    for branch in ["", "01", "0101"] {
        for code in ["a", "B", "é", "z'", "Z z"] {
            rows.extend(
                (1..=12).map(|n| {
                    format!("('{branch}', '{}', {n}, '2026-01-01 00:00:0{}')", code.replace('\'', "''"), n % 3)
                }),
            );
        }
    }
    // Large and small letters are the same to MariaDB's usual collation.
    t.run(&format!("INSERT INTO c VALUES {}", rows.join(","))).await;
    let plan = t.plan(&stream("c", &["branch", "code", "item"])).await;
    for by_stamp in [false, true] {
        let whole = t.all(&plan, by_stamp, Position::Start, 10_000).await;
        assert_eq!(whole.len(), 180);
        for rows in [1, 7, 60] {
            assert_eq!(t.all(&plan, by_stamp, Position::Start, rows).await, whole, "{by_stamp} {rows}");
        }
    }
    let wanted = [r#"["01","z'","12"]"#, r#"["","é","1"]"#, r#"["9","x","1"]"#].map(str::to_owned);
    let page = t.source.rows_of(&plan, &wanted);
    let keys: BTreeSet<_> = page.await.unwrap().into_iter().map(|row| row.key).collect();
    assert_eq!(keys, [r#"["01","z'","12"]"#.to_owned(), r#"["","é","1"]"#.to_owned()].into());
    assert_eq!(plan.gone(r#"["01","z'","12"]"#).unwrap(), r#"{"branch":"01","code":"z'","item":12}"#);
}

pub(crate) async fn a_collation_decides_what_comes_next(t: &Subject) {
    let times = t.times();
    let collation = t.pick("COLLATE \"und-x-icu\"", "COLLATE utf8mb4_unicode_ci", "COLLATE NOCASE");
    t.run(&format!("CREATE TABLE k (id varchar(20) {collation} NOT NULL PRIMARY KEY, s_t_a_m_p_ {times})")).await;
    let words = ["a", "B", "c", "D", "e", "Éa", "f", "_x", "-y", "10", "9", "zebra", "Zulu", "ä1"];
    let rows: Vec<_> = words.iter().map(|word| format!("('{word}', '2026-01-01 00:00:00')")).collect();
    t.run(&format!("INSERT INTO k VALUES {}", rows.join(","))).await;
    let plan = t.plan(&stream("k", &["id"])).await;
    let mut bytes: Vec<_> = words.map(str::to_owned).to_vec();
    bytes.sort();
    for by_stamp in [false, true] {
        let all: Vec<_> = t.all(&plan, by_stamp, Position::Start, 1).await.into_iter().map(|row| row.key).collect();
        assert_ne!(all, bytes, "the order is not that of bytes");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), words.len());
    }
}

pub(crate) async fn p30_a_uuid_identifies_what_the_primary_key_puts_in_order(t: &Subject) {
    let (times, uuid) = (t.times(), t.pick("uuid", "uuid", "text"));
    t.run(&format!(
        "CREATE TABLE u (recno int NOT NULL PRIMARY KEY, id {uuid} NOT NULL, d_e_l_e_t_ char(1), s_t_a_m_p_ {times}); CREATE \
         TABLE v (id {uuid} NOT NULL PRIMARY KEY, s_t_a_m_p_ {times})"
    ))
    .await;
    let one = "0190a6b2-0000-7000-8000-0000000000aa";
    t.run(&format!(
        "INSERT INTO u VALUES (1, '{one}', '*', '2026-01-01 00:00:00'), (7, '{one}', ' ', '2026-01-01 00:00:01'); INSERT INTO v \
         VALUES ('{one}', '2026-01-01 00:00:00'), ('ffffffff-0000-7000-8000-000000000000', '2026-01-01 00:00:00'), \
         ('00000000-0000-7000-8000-000000000000', NULL)"
    ))
    .await;
    let mark = SoftDelete { column: "D_E_L_E_T_".into(), value: "*".into() };
    let plan = t.plan(&StreamSpec { soft_delete: Some(mark), ..stream("u", &["id"]) }).await;
    assert!(!plan.identity_is_unique());
    let rows = t.all(&plan, false, Position::Start, 1).await;
    assert!(rows.iter().all(|row| row.key == one));
    assert_eq!(
        rows.iter().map(|row| (row.order[0].as_str(), row.deleted)).collect::<Vec<_>>(),
        [("1", true), ("7", false)]
    );
    assert_eq!(t.source.rows_of(&plan, &[one.to_owned()]).await.unwrap().len(), 2);
    let plan = t.plan(&stream("v", &["id"])).await;
    assert!(plan.identity_is_unique());
    assert_eq!(t.all(&plan, false, Position::Start, 1).await.len(), 3);
    assert_eq!(t.all(&plan, true, Position::Start, 1).await.len(), 2);
}

pub(crate) async fn a_range_of_stamps_is_read_and_no_more(t: &Subject) {
    filled(t, 300, 10).await;
    let plan = t.plan(&stream("f", &["id"])).await;
    let position = Position::Stamp(instant("2026-01-01T00:00:10Z"));
    let scan = Scan { by_stamp: true, position: &position, reach: instant("2026-01-01T00:00:12.003Z") };
    let page = t.source.page(&plan, scan, MORE).await.unwrap();
    let stamps: BTreeSet<_> = page.rows.iter().map(|row| row.stamp.unwrap().to_string()).collect();
    let second = |n: u32| format!("2026-01-01T00:00:{n}.003000Z");
    assert_eq!(stamps, (10..=12).map(second).collect());
    assert!(!page.more);
    assert_eq!(t.source.largest_stamp(&plan).await.unwrap(), Some(instant("2026-01-01T00:00:29.003Z")));
}

pub(crate) async fn how_many_rows_there_are_is_counted_or_estimated(t: &Subject) {
    filled(t, 900, 3).await;
    t.run(t.pick("ANALYZE f", "ANALYZE TABLE f", "SELECT 1")).await;
    let plan = t.plan(&stream("f", &["id"])).await;
    let told = t.source.expected(&plan).await.unwrap().unwrap();
    assert_eq!(told.counted, t.kind == Kind::Sqlite);
    // Statistics are near enough for a table of this size.
    let near = if told.counted { 900..=900 } else { 450..=1_350 };
    assert!(near.contains(&told.rows), "{told:?}");
    let part = StreamSpec { partition_columns: [("n".to_owned(), "id".to_owned())].into(), ..stream("f", &["id"]) };
    let partition = [("n".to_owned(), "7".to_owned())].into();
    let plan = t.source.plan(&part, &partition).await.unwrap();
    let told = t.source.expected(&plan).await.unwrap();
    match t.kind {
        Kind::MariaDb => assert_eq!(told, None, "its statistics know nothing of a part"),
        Kind::Sqlite | Kind::Postgres => assert_eq!(told.unwrap().rows, 1),
    }
}

pub(crate) async fn pages_are_bounded_in_bytes(t: &Subject) {
    let times = t.times();
    t.run(&format!("CREATE TABLE b (id int NOT NULL PRIMARY KEY, v text, s_t_a_m_p_ {times})")).await;
    let long = "x".repeat(10_000);
    let rows: Vec<_> = (0..20).map(|n| format!("({n}, '{long}', NULL)")).collect();
    t.run(&format!("INSERT INTO b VALUES {}", rows.join(","))).await;
    let plan = t.plan(&stream("b", &["id"])).await;
    let scan = Scan { by_stamp: false, position: &Position::Start, reach: instant("2100-01-01T00:00:00Z") };
    let page = t.source.page(&plan, scan, PageSize { rows: 500, bytes: 45_000 }).await.unwrap();
    assert_eq!((page.rows.len(), page.more), (4, true));
    let page = t.source.page(&plan, scan, PageSize { rows: 500, bytes: 1 }).await.unwrap();
    assert_eq!((page.rows.len(), page.more), (1, true), "one row always goes");
}

pub(crate) async fn partitions_are_columns_and_tables(t: &Subject) {
    let times = t.times();
    for company in ["01", "02", "03"] {
        t.run(&format!(
            "CREATE TABLE sa1{company}0 (filial char(4) NOT NULL, cod int NOT NULL, s_t_a_m_p_ {times}, PRIMARY KEY (filial, \
             cod)); INSERT INTO sa1{company}0 VALUES ('01', 1, NULL), ('01', 2, NULL), ('02', 3, '2026-01-01 00:00:00')"
        ))
        .await;
    }
    let columns = [("branch".to_owned(), "filial".to_owned())].into();
    let spec = StreamSpec { partition_columns: columns, ..stream("SA1{company}0", &["filial", "cod"]) };
    let partition: Partition = [("company".to_owned(), "03".to_owned()), ("branch".to_owned(), "01".to_owned())].into();
    let plan = t.source.plan(&spec, &partition).await.unwrap();
    assert!(plan.table().ends_with("sa1030"));
    assert_eq!(t.all(&plan, false, Position::Start, 1).await.len(), 2);
    let evil: Partition = [("company".into(), "03".into()), ("branch".into(), "01' OR '1'='1".into())].into();
    let plan = t.source.plan(&spec, &evil).await.unwrap();
    assert!(t.all(&plan, false, Position::Start, 10).await.is_empty());
}

pub(crate) async fn keys_are_asked_for_and_marks_are_seen(t: &Subject) {
    filled(t, 300, 10).await;
    t.run("ALTER TABLE f ADD COLUMN gone char(1); UPDATE f SET gone = '*' WHERE id < 5").await;
    let mark = SoftDelete { column: "gone".into(), value: "*".into() };
    let plan = t.plan(&StreamSpec { soft_delete: Some(mark), ..stream("f", &["id"]) }).await;
    let wanted: Vec<_> = (0..600).map(|n| n.to_string()).collect();
    let rows = t.source.rows_of(&plan, &wanted).await.unwrap();
    assert_eq!(rows.len(), 300);
    assert_eq!(rows.iter().filter(|row| row.deleted).count(), 5);
}
