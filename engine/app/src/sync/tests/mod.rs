//! The suite of faults: whatever happens, the target ends as the source is. Each case is a function that tells what was
//! lost, so that planted mistakes can be put through the same cases.

mod cases;
mod dying;
mod fed;
mod more;
mod planted;
mod rig;
mod target;

macro_rules! suite {
    ($($database:ident $kind:ident: $($room:ident::$case:ident),+;)+) => {$(
        mod $database {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let Some(rig) = super::rig::Rig::new(super::rig::Kind::$kind).await else { return };
                    super::$room::$case(&rig).await.unwrap();
                    rig.clean().await;
                }
            )+
        }
    )+};
}

suite! {
    sqlite Sqlite:
        dying::c1_killed_before_a_page_is_sent,
        dying::c2_killed_before_the_answer,
        dying::c3_killed_before_the_checkpoint,
        dying::c4_killed_in_the_initial_load,
        dying::c5_killed_between_the_last_page_and_the_end,
        cases::c6_a_thousand_rows_of_one_stamp,
        cases::c7_a_transaction_is_open_over_three_passes,
        cases::c8_the_clocks_of_source_and_engine_differ,
        cases::c9_rows_from_before_there_were_stamps,
        cases::c10_deletes_soft_and_hard_and_a_key_that_comes_back,
        cases::c11_the_target_fails_at_random,
        cases::c12_a_lease_is_stolen_in_mid_page,
        cases::c13_one_bad_row_in_ten_thousand,
        cases::c14_columns_are_added_widened_and_dropped,
        cases::c15_a_hundred_passes_without_a_change_send_nothing,
        cases::c16_a_row_changes_while_its_page_is_in_flight,
        more::rows_that_are_rejected_one_by_one_are_set_aside_and_replayed,
        more::pages_that_are_too_large_are_halved_and_the_next_are_smaller,
        more::a_full_quarantine_stops_the_stream,
        more::streams_fail_alone,
        more::a_stopped_run_goes_on_where_it_was,
        more::a_long_load_that_is_written_to_misses_nothing,
        more::p26_a_change_of_one_column_sends_the_whole_record;
    postgres Postgres:
        dying::c1_killed_before_a_page_is_sent,
        dying::c2_killed_before_the_answer,
        dying::c3_killed_before_the_checkpoint,
        dying::c4_killed_in_the_initial_load,
        dying::c5_killed_between_the_last_page_and_the_end,
        cases::c6_a_thousand_rows_of_one_stamp,
        cases::c7_a_transaction_is_open_over_three_passes,
        cases::c8_the_clocks_of_source_and_engine_differ,
        cases::c9_rows_from_before_there_were_stamps,
        cases::c10_deletes_soft_and_hard_and_a_key_that_comes_back,
        cases::c11_the_target_fails_at_random,
        cases::c12_a_lease_is_stolen_in_mid_page,
        cases::c13_one_bad_row_in_ten_thousand,
        cases::c14_columns_are_added_widened_and_dropped,
        cases::c15_a_hundred_passes_without_a_change_send_nothing,
        cases::c16_a_row_changes_while_its_page_is_in_flight,
        more::a_long_load_that_is_written_to_misses_nothing;
    mariadb MariaDb:
        dying::c1_killed_before_a_page_is_sent,
        dying::c2_killed_before_the_answer,
        dying::c3_killed_before_the_checkpoint,
        cases::c6_a_thousand_rows_of_one_stamp,
        cases::c7_a_transaction_is_open_over_three_passes,
        cases::c9_rows_from_before_there_were_stamps,
        cases::c10_deletes_soft_and_hard_and_a_key_that_comes_back;
}
