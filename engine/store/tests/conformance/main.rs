//! What every verb of the store promises, run on SQLite and, where it answers, on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod accepting;
mod accessing;
mod auditing;
mod claiming;
mod configuration;
mod finishing;
mod harness;
mod holding;
mod inbounds;
mod keyed_calls;
mod listing;
mod opening;
mod ordering;
mod orders;
mod plugins;
mod recovering;
mod retaining;
mod running;
mod syncing;
mod versions;
mod wizards;

macro_rules! conformance {
    ($($room:ident: $($case:ident),+;)+) => {
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let subject = super::harness::Subject::sqlite().await;
                    super::$room::$case(&subject).await;
                    subject.clean().await;
                }
            )+)+
        }
        mod postgres {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let Some(subject) = super::harness::Subject::postgres().await else { return };
                    super::$room::$case(&subject).await;
                    subject.clean().await;
                }
            )+)+
        }
    };
}

conformance! {
    accepting:
        an_accepted_event_is_there_when_the_answer_comes,
        a_stale_catalog_writes_nothing,
        a_repeat_gets_the_first_answer_and_another_body_a_conflict,
        an_array_is_all_or_nothing_and_leaves_no_key,
        of_many_at_once_under_one_key_one_is_new,
        one_bad_item_never_fails_its_neighbours,
        codes_are_unique_and_those_of_the_rows,
        old_idempotency_keys_are_forgotten;
    accessing:
        calls_are_recorded_with_others_commits_and_listed,
        a_call_that_brings_events_is_written_with_them_or_not_at_all,
        what_waits_is_written_when_the_store_closes,
        calls_without_a_token_add_up_by_minute_and_source,
        old_calls_are_forgotten;
    auditing:
        entries_are_linked_without_a_gap,
        whatever_is_done_to_a_chain_shows,
        many_who_link_at_once_make_one_chain,
        what_is_forgotten_leaves_a_chain_that_can_be_checked,
        an_entry_is_written_with_its_events_or_not_at_all,
        entries_are_found_by_what_is_known_of_them;
    finishing:
        a_success_is_recorded_with_its_attempt,
        a_retry_waits_and_then_succeeds,
        a_lost_lease_writes_nothing,
        a_try_finished_twice_at_once_counts_once,
        what_plugins_keep_is_written_with_the_try,
        finishes_and_accepts_of_many_tasks_all_arrive;
    claiming:
        the_longest_due_come_first_and_each_endpoint_gets_its_share,
        two_claimers_never_get_the_same,
        heads_name_every_endpoint_with_waiting_work,
        a_dead_nodes_work_is_reclaimed_and_its_late_finish_refused,
        a_restart_under_the_same_name_resumes_at_once,
        released_work_is_due_at_once,
        what_was_parked_for_a_reason_goes_on_by_that_reason,
        a_delivery_whose_event_is_gone_is_given_up;
    holding:
        a_paused_queue_stands_still_until_it_is_resumed,
        what_is_put_back_follows_the_endpoints_row,
        failures_are_written_down_and_told_once,
        facts_are_written_with_the_try_or_not_at_all,
        a_challenge_counts_for_the_settings_it_was_answered_under;
    listing:
        deliveries_are_filtered_paged_and_counted,
        events_are_paged_both_ways,
        a_retry_by_hand_is_due_now_and_says_so,
        only_what_waits_is_cancelled,
        depths_count_what_waits;
    ordering:
        in_a_fifo_line_the_next_waits_for_the_one_before,
        o21_in_a_latest_line_the_newest_supersedes_what_waits,
        of_an_array_the_last_of_each_key_goes,
        o21_a_dead_nodes_old_version_is_not_sent_again,
        what_is_set_aside_or_cancelled_lets_the_next_one_go,
        a_change_of_the_ordering_holds_for_what_is_there,
        o21_whoever_comes_at_once_one_of_a_line_moves,
        o18_the_newest_version_is_taken_and_older_failures_are_superseded;
    versions:
        o21_a_delivery_that_is_made_supersedes_nothing_newer,
        o21_a_delivery_that_is_made_supersedes_what_is_older,
        o21_what_is_accepted_while_an_older_one_is_made_counts_as_newer,
        o15_o18_the_last_that_was_not_skipped_counts;
    orders:
        v26_v37_any_filter_order_and_page_is_what_memory_would_give,
        pages_go_on_where_they_were_whatever_is_written_meanwhile,
        a_search_that_takes_too_long_is_told_so;
    recovering:
        a_recovery_comes_back_as_it_was_put_and_belongs_to_its_tenant,
        a_step_sets_one_due_and_moves_on_or_does_nothing,
        what_a_recovery_cannot_try_again_is_counted_by_why,
        a_trial_is_left_out_and_takes_no_place_of_what_happened,
        however_much_is_passed_over_a_recovery_gets_on,
        of_two_starts_at_once_one_is_the_last_that_may_be,
        of_two_nodes_one_sets_each_delivery_due,
        a_recovery_is_due_by_its_rate_until_it_is_over,
        a_deleted_tenants_recoveries_are_over,
        so_many_recoveries_run_and_old_ones_are_forgotten;
    running:
        a_tick_makes_its_runs_and_moves_the_job_on_once,
        two_schedulers_and_ten_thousand_fires_make_no_duplicate,
        overlapping_runs_are_left_out_kept_waiting_or_take_the_others_place,
        a_run_is_held_under_a_lease_and_a_late_holder_is_refused,
        a_run_whose_nodes_keep_falling_silent_is_given_up,
        failures_in_a_row_pause_a_job_and_a_success_counts_them_anew,
        runs_of_a_backfill_wait_for_each_other_and_hold_up_no_other,
        what_starts_too_late_is_left_out_and_a_stopped_run_says_so,
        jobs_change_by_one_hand_at_a_time_and_go_with_their_runs,
        the_jobs_of_a_deleted_tenant_end_with_it_and_none_comes_behind,
        old_runs_are_forgotten_by_age_and_number;
    configuration:
        tenants_and_settings,
        a_client_holds_one_live_token,
        the_last_admin_token_stays,
        a_deleted_tenant_keeps_nothing_that_opens_a_door,
        what_is_done_to_a_tenant_stands_in_both_chains,
        event_types_of_the_engine_stay,
        event_types_come_with_their_endpoint_or_not_at_all,
        integrators_with_endpoints_stay,
        endpoints_come_back_as_they_were_put,
        a_deleted_endpoint_cancels_what_waits_and_keeps_its_history,
        a_partner_that_says_stop_disables_its_endpoint,
        secrets_are_write_only_and_sealed,
        the_catalog_is_one_revision_of_everything,
        a_catalog_read_again_reads_only_what_changed,
        every_change_is_audited_once_with_its_actor;
    plugins:
        a_version_never_changes,
        a_channel_waits_for_the_compilation,
        channels_point_and_remember,
        development_versions_number_themselves_and_old_ones_go,
        settings_default_and_round_trip;
    inbounds:
        inbounds_come_back_as_they_were_put,
        a_name_belongs_to_one_tenant_of_all,
        what_receivers_keep_is_written_with_the_events_or_not_at_all;
    retaining:
        old_events_go_and_what_is_needed_stays,
        the_newest_of_each_subject_stays_through_any_number_of_rounds,
        old_attempts_and_deliveries_go_but_the_last_of_each_type,
        partitions_are_dropped_whole_and_keep_what_has_to_stay,
        what_lost_its_event_is_not_tried_again;
    keyed_calls:
        a_key_means_one_call_of_one_client_for_a_day,
        of_many_under_one_key_one_makes_the_call,
        what_is_kept_of_a_call_is_sealed;
    syncing:
        a_step_of_a_track_is_written_whole_or_not_at_all,
        a_run_that_was_overtaken_writes_nothing,
        what_was_sent_is_found_in_its_epoch_and_forgotten_by_its_stamp,
        records_are_found_and_forgotten_close_together_or_far_apart,
        what_is_refused_waits_until_it_is_taken_or_given_up,
        a_track_is_set_back_approved_and_begun_anew;
    wizards:
        a_wizard_comes_back_as_it_was_put_and_one_hand_changes_it,
        wizards_belong_to_their_tenant_and_are_listed_newest_first,
        what_a_wizard_waits_for_is_due_in_its_order,
        there_are_so_many_wizards_and_no_more,
        what_a_wizard_knows_is_sealed;
    opening:
        data_survives_opening_again,
        the_wrong_key_is_told_at_once,
        a_newer_schema_is_refused_with_the_cure,
        many_may_open_at_once,
        values_the_database_refuses_are_a_data_error,
        a_closed_store_answers_that_it_is_closed;
}
