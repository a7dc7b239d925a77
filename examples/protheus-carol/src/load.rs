//! What the users of the "Protheus" do all day: new rows, changes, deletions of both kinds, many rows with one stamp, and
//! (on PostgreSQL) transactions that stay open for a while and commit late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::AssertSqlSafe;

use crate::{
    Error,
    protheus::{Kind, Protheus, TABLES, Table},
};

/// Pause between two of a user's actions.
const PAUSE: Duration = Duration::from_millis(5);
/// Rows that one statement changes together: they get stamps that are equal or nearly so.
const TOGETHER: i64 = 200;
/// How long a late transaction stays open.
const HELD: Duration = Duration::from_secs(3);

/// What was done so far.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) inserts: AtomicU64,
    pub(crate) updates: AtomicU64,
    pub(crate) soft_deletes: AtomicU64,
    pub(crate) hard_deletes: AtomicU64,
    pub(crate) ties: AtomicU64,
    pub(crate) late_commits: AtomicU64,
}

impl Done {
    /// In a line, for people.
    pub(crate) fn line(&self) -> String {
        let of = |count: &AtomicU64| count.load(Relaxed);
        format!(
            "{} inserted, {} changed, {} deleted softly, {} for good, {} with a stamp in common, {} late commits",
            of(&self.inserts),
            of(&self.updates),
            of(&self.soft_deletes),
            of(&self.hard_deletes),
            of(&self.ties),
            of(&self.late_commits)
        )
    }
}

/// One user on one company's tables.
pub(crate) struct User {
    pub(crate) protheus: Protheus,
    pub(crate) company: String,
    /// The first number for new rows; no other user makes rows from there on.
    pub(crate) next: i64,
    /// Rows that were there before.
    pub(crate) rows: i64,
    pub(crate) seed: u64,
}

impl User {
    /// Works until told to stop.
    pub(crate) async fn work(mut self, done: Arc<Done>, stop: Arc<AtomicBool>) -> Result<(), Error> {
        let mut chance = StdRng::seed_from_u64(self.seed);
        while !stop.load(Relaxed) {
            let [customers, orders] = &TABLES;
            let table = if chance.random_bool(0.5) { customers } else { orders };
            let number = chance.random_range(1..=self.rows);
            self.act(table, number, chance.random_range(0..100), &done).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn act(&mut self, table: &Table, number: i64, dice: u32, done: &Done) -> Result<(), Error> {
        let name = table.name(&self.company);
        let amount = table.own().last().unwrap_or_default();
        match dice {
            0..=24 => {
                let mut transaction = self.protheus.pool.begin().await?;
                self.protheus.insert(&mut transaction, table, &self.company, self.next).await?;
                transaction.commit().await?;
                self.next += 1;
                done.inserts.fetch_add(1, Relaxed);
            }
            25..=79 => {
                let sql = format!("UPDATE {name} SET {amount} = {amount} + 1 WHERE R_E_C_N_O_ = {number}");
                done.updates.fetch_add(self.change(sql).await?, Relaxed);
            }
            80..=87 => {
                let sql = format!("UPDATE {name} SET D_E_L_E_T_ = '*' WHERE R_E_C_N_O_ = {number}");
                done.soft_deletes.fetch_add(self.change(sql).await?, Relaxed);
            }
            88..=90 => {
                // What was deleted softly is taken back now and then.
                let sql = format!("UPDATE {name} SET D_E_L_E_T_ = ' ' WHERE R_E_C_N_O_ = {number}");
                done.updates.fetch_add(self.change(sql).await?, Relaxed);
            }
            91..=94 => {
                let sql = format!("DELETE FROM {name} WHERE R_E_C_N_O_ = {number}");
                done.hard_deletes.fetch_add(self.change(sql).await?, Relaxed);
            }
            95..=97 => {
                let (from, to) = (number, number + TOGETHER);
                let sql = format!("UPDATE {name} SET {amount} = {amount} + 1 WHERE R_E_C_N_O_ BETWEEN {from} AND {to}");
                done.ties.fetch_add(self.change(sql).await?, Relaxed);
            }
            // SQLite has one writer: a transaction held open there would stop everybody.
            _ if self.protheus.kind == Kind::Postgres => self.commit_late(&name, amount, number, done).await?,
            _ => {}
        }
        Ok(())
    }

    async fn change(&self, sql: String) -> Result<u64, Error> {
        Ok(sqlx::query(AssertSqlSafe(sql)).execute(&self.protheus.pool).await?.rows_affected())
    }

    /// The stamp is set when the row is written, and others see it only after the commit: by then the sync's watermark
    /// has passed it.
    async fn commit_late(&self, name: &str, amount: &str, number: i64, done: &Done) -> Result<(), Error> {
        let mut transaction = self.protheus.pool.begin().await?;
        let sql = format!("UPDATE {name} SET {amount} = {amount} + 1 WHERE R_E_C_N_O_ = {number}");
        let changed = sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await?.rows_affected();
        tokio::time::sleep(HELD).await;
        transaction.commit().await?;
        done.late_commits.fetch_add(changed, Relaxed);
        Ok(())
    }
}
