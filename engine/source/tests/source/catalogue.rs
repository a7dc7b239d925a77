use engate_model::{sink::ColumnKind, sync::Partition};
use engate_source::SourceError;

use crate::harness::{Kind, Subject, stream};

pub(crate) async fn tables_are_found_with_keys_watermarks_and_marks(t: &Subject) {
    let times = t.times();
    t.run(&format!(
        "CREATE TABLE sa1010 (a1_filial char(4) NOT NULL, a1_cod varchar(6) NOT NULL, a1_nome varchar(40), a1_saldo \
         decimal(15,2), a1_data date, d_e_l_e_t_ char(1) NOT NULL, r_e_c_n_o_ bigint NOT NULL PRIMARY KEY, created_at \
         {times}, s_t_a_m_p_ {times}, UNIQUE (a1_filial, a1_cod)); CREATE TABLE other (x int)"
    ))
    .await;
    let tables = t.source.discover("SA").await.unwrap();
    assert!(!tables.truncated);
    let [table] = tables.items.as_slice() else { panic!("{tables:?}") };
    assert_eq!(table.name, "sa1010");
    assert_eq!(table.primary_key, ["r_e_c_n_o_"]);
    assert_eq!(table.unique_keys, [["a1_filial", "a1_cod"]]);
    assert_eq!(table.watermarks[0], "s_t_a_m_p_");
    assert_eq!(table.soft_deletes, ["d_e_l_e_t_"]);
    let kinds: Vec<_> = table.columns.iter().map(|column| column.shape.kind).collect();
    let time = if t.kind == Kind::Sqlite { ColumnKind::Text } else { ColumnKind::Timestamp };
    use ColumnKind as K;
    assert_eq!(kinds, [K::Text, K::Text, K::Text, K::Decimal, K::Date, K::Text, K::Integer, time, time]);
    let size = |name: &str| table.column(name).map(|column| (column.shape.size, column.shape.scale)).unwrap();
    assert_eq!(size("A1_NOME"), (Some(40), None));
    assert_eq!(size("a1_saldo"), (Some(15), Some(2)));
    assert_eq!(t.source.discover("").await.unwrap().items.len(), 2);
    assert_eq!(t.source.describe("SA1010").await.unwrap(), *table);
}

pub(crate) async fn names_are_looked_up_in_any_spelling_and_never_run(t: &Subject) {
    let (times, quote) = (t.times(), t.pick("\"", "`", "\""));
    t.run(
        &format!(
            "CREATE TABLE {quote}Odd \"'{quote}{quote} name{quote} ({quote}K ey{quote} int NOT NULL PRIMARY KEY, \
         {quote}S_T_A_M_P_{quote} {times})"
        )
        .replace("\"'", if quote == "`" { "\"'" } else { "\"\"'" }),
    )
    .await;
    let found = t.source.discover("").await.unwrap().items;
    let name = found[0].name.clone();
    assert!(name.contains('\'') && name.contains('"'), "{name}");
    let plan = t.plan(&stream(&name.to_lowercase(), &["k EY"])).await;
    assert_eq!(plan.shape().key, ["K ey"]);
    assert!(t.all(&plan, false, engate_model::sync::Position::Start, 10).await.is_empty());
    for wrong in ["nope", "x; DROP TABLE y", "\"", "`", "a.b.c"] {
        assert_eq!(t.source.describe(wrong).await.unwrap_err().code(), "source_no_table", "{wrong}");
    }
    let unknown = t.source.plan(&stream(&name, &["K ey\" OR 1=1"]), &Partition::new()).await.unwrap_err();
    assert!(matches!(unknown, SourceError::NoColumn { .. }), "{unknown}");
}

pub(crate) async fn what_would_lose_rows_is_refused(t: &Subject) {
    let times = t.times();
    t.run(&format!(
        "CREATE TABLE free (id int, \"S_T_A_M_P_\" {times}); CREATE TABLE no_stamp (id int NOT NULL PRIMARY KEY); CREATE \
         TABLE rounded (id double precision NOT NULL PRIMARY KEY, \"S_T_A_M_P_\" {times}); CREATE TABLE empty_key (id \
         varchar(9), \"S_T_A_M_P_\" {times}, UNIQUE (id)); INSERT INTO empty_key (id) VALUES (NULL); CREATE TABLE text_time \
         (id int NOT NULL PRIMARY KEY, \"S_T_A_M_P_\" varchar(20)); INSERT INTO text_time VALUES (1, '{}')",
        t.pick("10:30", "10:30", "2026-01-01 00:00:00")
    ).replace('"', t.pick("\"", "`", "\"")))
    .await;
    let refusal = async |table: &str| t.source.plan(&stream(table, &["id"]), &Partition::new()).await.unwrap_err();
    for (table, says) in
        [("free", "nothing keeps two rows"), ("no_stamp", "no column S_T_A_M_P_"), ("rounded", "rounded")]
    {
        let error = refusal(table).await;
        assert_eq!(error.code(), "source_unfit");
        assert!(error.to_string().contains(says) && error.to_string().contains(table), "{error}");
    }
    assert!(refusal("empty_key").await.to_string().contains("nothing keeps two rows"));
    if t.kind == Kind::Sqlite {
        t.run("CREATE TABLE null_key (id text PRIMARY KEY, s_t_a_m_p_ text); INSERT INTO null_key VALUES (NULL, NULL)")
            .await;
        assert!(refusal("null_key").await.to_string().contains("is NULL in some rows"));
        t.run("CREATE TABLE mixed (id int NOT NULL PRIMARY KEY, s_t_a_m_p_ timestamp); INSERT INTO mixed VALUES (1, 17), (2, \
               '2026-01-01 00:00:00'); CREATE TABLE clock (id int NOT NULL PRIMARY KEY, s_t_a_m_p_ text); INSERT INTO clock \
               VALUES (1, '10:30')").await;
        for table in ["mixed", "clock"] {
            assert!(refusal(table).await.to_string().contains("several kinds"), "{table}");
        }
    } else {
        assert!(refusal("text_time").await.to_string().contains("a watermark is a column of times"));
    }
}
