//! The "Protheus": two of its tables for each company, as DBAccess makes them, on SQLite or PostgreSQL.
//!
//! Customers (SA1) and sales orders (SC5) have their own columns and those of every Protheus table: `D_E_L_E_T_` (`*` on a
//! row that is deleted but still there), `R_E_C_N_O_` (the row's number), `S_T_A_M_P_` (when it was last written, UTC,
//! kept by a trigger). The stamp is added after the first rows are there, so theirs is NULL until they are touched.
//! On PostgreSQL names are in lower case, as DBAccess writes them there.

use sqlx::{AnyPool, any::AnyPoolOptions};

use crate::Error;

/// Connections of the load and of the comparison.
const CONNECTIONS_MAX: u32 = 8;

/// A table of Protheus, without the company's part of its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    /// What Protheus calls it.
    pub(crate) alias: &'static str,
    /// What the target calls it.
    pub(crate) target: &'static str,
    /// Its own columns; the first ones are the key.
    pub(crate) columns: &'static [(&'static str, &'static str)],
}

/// Customers and sales orders.
pub(crate) const TABLES: [Table; 2] = [
    Table {
        alias: "SA1",
        target: "protheus_sa1",
        columns: &[
            ("A1_FILIAL", "VARCHAR(2)"),
            ("A1_COD", "VARCHAR(6)"),
            ("A1_LOJA", "VARCHAR(2)"),
            ("A1_NOME", "VARCHAR(40)"),
            ("A1_EST", "VARCHAR(2)"),
            ("A1_LC", "DOUBLE PRECISION"),
        ],
    },
    Table {
        alias: "SC5",
        target: "protheus_sc5",
        columns: &[
            ("C5_FILIAL", "VARCHAR(2)"),
            ("C5_NUM", "VARCHAR(6)"),
            ("C5_CLIENTE", "VARCHAR(6)"),
            ("C5_LOJACLI", "VARCHAR(2)"),
            ("C5_EMISSAO", "VARCHAR(8)"),
            ("C5_FRETE", "DOUBLE PRECISION"),
        ],
    },
];

impl Table {
    /// Its name in the database of a company: `SA1010` is `SA1` of company 01.
    pub(crate) fn name(&self, company: &str) -> String {
        format!("{}{company}0", self.alias)
    }

    /// What the target calls the rows of a company, one of `companies`.
    pub(crate) fn target_of(&self, company: &str, companies: usize) -> String {
        if companies > 1 { format!("{}_{company}", self.target) } else { self.target.to_owned() }
    }

    /// Names of its own columns.
    pub(crate) fn own(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|(name, _)| *name)
    }
}

/// Which database it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// The database with its tables.
#[derive(Clone)]
pub(crate) struct Protheus {
    pub(crate) pool: AnyPool,
    pub(crate) kind: Kind,
}

impl Protheus {
    /// Opens the database and makes the tables of `companies` with `rows` rows each, half of them before the stamp
    /// was there.
    pub(crate) async fn make(url: &str, companies: &[String], rows: u32) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let kind = if url.starts_with("postgres") { Kind::Postgres } else { Kind::Sqlite };
        let pool = AnyPoolOptions::new().max_connections(if kind == Kind::Sqlite { 1 } else { CONNECTIONS_MAX });
        let protheus = Self { pool: pool.connect(url).await?, kind };
        if kind == Kind::Sqlite {
            sqlx::raw_sql("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 10000;").execute(&protheus.pool).await?;
        }
        for company in companies {
            for table in &TABLES {
                protheus.make_table(table, company, rows).await?;
            }
        }
        Ok(protheus)
    }

    async fn make_table(&self, table: &Table, company: &str, rows: u32) -> Result<(), Error> {
        let name = table.name(company);
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|(name, kind)| format!("{name} {kind} NOT NULL DEFAULT {}", empty(kind)))
            .collect();
        let columns = columns.join(", ");
        self.run(&format!("DROP TABLE IF EXISTS {name}")).await?;
        self.run(&format!(
            "CREATE TABLE {name} ({columns}, D_E_L_E_T_ VARCHAR(1) NOT NULL DEFAULT ' ', R_E_C_N_O_ BIGINT PRIMARY KEY)"
        ))
        .await?;
        let mut transaction = self.pool.begin().await?;
        for number in 1..=rows / 2 {
            self.insert(&mut transaction, table, company, i64::from(number)).await?;
        }
        transaction.commit().await?;
        self.stamp(&name).await?;
        let mut transaction = self.pool.begin().await?;
        for number in rows / 2 + 1..=rows {
            self.insert(&mut transaction, table, company, i64::from(number)).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Adds `S_T_A_M_P_` and the trigger that keeps it, as DBAccess does it; rows that are there keep NULL.
    async fn stamp(&self, name: &str) -> Result<(), Error> {
        match self.kind {
            Kind::Sqlite => {
                self.run(&format!("ALTER TABLE {name} ADD COLUMN S_T_A_M_P_ TIMESTAMP")).await?;
                for event in ["INSERT", "UPDATE"] {
                    self.run(&format!(
                        "CREATE TRIGGER {name}_{event} AFTER {event} ON {name} BEGIN UPDATE {name} SET S_T_A_M_P_ = \
                         strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE R_E_C_N_O_ = NEW.R_E_C_N_O_; END"
                    ))
                    .await?;
                }
            }
            Kind::Postgres => {
                self.run(&format!("ALTER TABLE {name} ADD COLUMN S_T_A_M_P_ TIMESTAMP")).await?;
                self.run(
                    "CREATE OR REPLACE FUNCTION protheus_stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                     NEW.s_t_a_m_p_ = clock_timestamp() AT TIME ZONE 'UTC'; RETURN NEW; END $$",
                )
                .await?;
                self.run(&format!(
                    "CREATE TRIGGER {name}_stamp BEFORE INSERT OR UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION \
                     protheus_stamp()"
                ))
                .await?;
            }
        }
        // The order in which a sync reads.
        self.run(&format!("CREATE INDEX {name}_STAMP ON {name} (S_T_A_M_P_, R_E_C_N_O_)")).await
    }

    /// Puts the row of that number in, its values made from the number.
    pub(crate) async fn insert(
        &self,
        transaction: &mut sqlx::Transaction<'static, sqlx::Any>,
        table: &Table,
        company: &str,
        number: i64,
    ) -> Result<(), Error> {
        let names: Vec<_> = table.own().collect();
        let places: Vec<_> = (1..=names.len()).map(|place| format!("${place}")).collect();
        let (places, recno) = (places.join(", "), names.len() + 1);
        let sql = format!(
            "INSERT INTO {} ({}, R_E_C_N_O_) VALUES ({places}, ${recno})",
            table.name(company),
            names.join(", ")
        );
        let branch = format!("{:02}", number % 3 + 1);
        let (code, shop) = (format!("{:06}", number % 1_000_000), "01".to_owned());
        let query = sqlx::query(sqlx::AssertSqlSafe(sql));
        #[expect(clippy::cast_precision_loss, reason = "a made-up amount")]
        let amount = (number % 10_000) as f64 + 0.25;
        let query = if table.alias == "SA1" {
            let name = format!("Cliente nº {number} São João");
            query.bind(branch).bind(code).bind(shop).bind(name).bind("SP".to_owned()).bind(amount)
        } else {
            let day = format!("202501{:02}", number % 28 + 1);
            query.bind(branch).bind(code.clone()).bind(code).bind(shop).bind(day).bind(amount)
        };
        query.bind(number).execute(&mut **transaction).await?;
        Ok(())
    }

    /// Runs a statement of our own.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), Error> {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&self.pool).await?;
        Ok(())
    }
}

fn empty(kind: &str) -> &'static str {
    if kind.starts_with("VARCHAR") { "' '" } else { "0" }
}
