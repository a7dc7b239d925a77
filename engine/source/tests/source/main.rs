//! What a source promises, on SQLite and, where they answer, on PostgreSQL and MariaDB.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod administering;
mod catalogue;
mod harness;
mod postgres_plans;
mod reading;
mod sqlite_times;

macro_rules! conformance {
    ($($room:ident: $($case:ident),+;)+) => {
        mod sqlite {
            $($(conformance!(case $room $case sqlite);)+)+
        }
        mod postgres {
            $($(conformance!(case $room $case postgres);)+)+
        }
        mod mariadb {
            $($(conformance!(case $room $case mariadb);)+)+
        }
    };
    (case $room:ident $case:ident $database:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let Some(subject) = super::harness::Subject::$database().await else { return };
            super::$room::$case(&subject).await;
            subject.clean().await;
        }
    };
}

conformance! {
    administering:
        a_watermark_is_added_whole_with_what_keeps_it,
        what_fails_in_the_middle_leaves_nothing_of_its_step;
    catalogue:
        tables_are_found_with_keys_watermarks_and_marks,
        names_are_looked_up_in_any_spelling_and_never_run,
        what_would_lose_rows_is_refused;
    reading:
        the_clock_is_the_sources_own,
        nothing_is_ever_written,
        records_are_whole_and_keep_their_spelling,
        rows_without_a_stamp_are_read_by_the_key,
        a_thousand_rows_of_one_stamp_are_read_in_pages_of_a_hundred,
        composite_keys_go_on_in_the_databases_own_order,
        a_collation_decides_what_comes_next,
        p30_a_uuid_identifies_what_the_primary_key_puts_in_order,
        a_range_of_stamps_is_read_and_no_more,
        how_many_rows_there_are_is_counted_or_estimated,
        pages_are_bounded_in_bytes,
        partitions_are_columns_and_tables,
        keys_are_asked_for_and_marks_are_seen;
}
