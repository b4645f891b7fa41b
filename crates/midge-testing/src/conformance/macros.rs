//! The list of all cases, and the test that each becomes.

/// Makes a test of each case of the suite, for an [`Adapter`](crate::Adapter) of
/// [`midge`](https://docs.rs/midge).
///
/// ```ignore
/// struct Mine;
///
/// impl midge_testing::Adapter for Mine { /* … */ }
///
/// midge_testing::conformance!(Mine);
/// ```
///
/// | room | what its cases are about |
/// |---|---|
/// | `dials` | names, dials and handshakes that fail or never end |
/// | `streams` | bytes few at a time, stuck one way, reset or ended; TLS and WebSocket |
/// | `wakes` | thousands of wake-ups and deadlines, also while a socket is stuck |
/// | `asking` | requests one at a time, while servers go |
/// | `rests` | processor time and threads while nothing happens |
/// | `ends` | drivers cancelled at random, panics, clients dropped in every state |
/// | `slow_readers` | floods, and readers that fall behind |
/// | `jetstream_…` | JetStream of a real nats-server |
/// | `kv_…` | the key-value store of a real nats-server |
/// | `behaviour`, `surface`, `drain`, `kept`, `moves` | the client against a real nats-server |
///
/// A case takes seconds at most. One that hangs fails, even if it blocks the thread that runs it.
///
/// The suite finds faults. These were planted in each adapter, one at a time; so many of its 115
/// cases failed in one run, on tokio's runtime of one thread, on smol's executor, and on threads.
///
/// | planted | tokio | smol | std | found by, among others |
/// |---|---|---|---|---|
/// | a lost wake-up: nobody wakes a task that gave way, or a writer that sleeps | 12 | 23 | 72 | `streams::a_write_that_is_stuck_stops_no_read`, `slow_readers::a_flood_that_is_read_holds_up_no_flush` |
/// | a write that waits until the socket takes it, so that nothing is read meanwhile | 13 | 66 | 12 | `streams::a_write_that_is_stuck_stops_no_read`, `wakes::a_close_ends_a_connection_that_is_stuck_in_time` |
/// | an end of stream that is ignored | 13 | 14 | 26 | `streams::an_end_of_stream_is_noticed_and_the_server_found_again`, `drain::a_close_without_a_server_is_immediate` |
/// | a deadline that is earlier than the one slept for | 14 | | | `wakes::a_deadline_that_is_set_while_the_driver_sleeps_passes_in_time` |
#[macro_export]
macro_rules! conformance {
    ($adapter:ident) => {
        $crate::conformance_cases! { $adapter together
            dials {
                a_name_is_looked_up
                a_name_that_nobody_has_is_said
                a_name_is_left_to_what_dials
                a_dial_that_is_refused_is_said
                a_dial_that_hangs_ends_with_the_connect_timeout
                behind_a_dial_that_hangs_the_next_server_is_found
                dials_that_hang_are_tried_again
                a_server_that_says_nothing_is_left_in_time
                a_server_that_answers_no_ping_is_left_in_time
                a_tls_handshake_that_stalls_ends_in_time
                a_tls_handshake_before_info_that_stalls_ends_in_time
                a_tls_handshake_that_stalls_midway_ends_in_time
                a_websocket_handshake_that_stalls_ends_in_time
                a_websocket_handshake_that_stalls_midway_ends_in_time
                what_is_no_tls_and_no_websocket_is_left_at_once
                a_certificate_that_nobody_trusts_is_said
            }
            streams {
                a_server_that_writes_byte_by_byte_is_read
                messages_pass_a_narrow_link
                messages_pass_a_narrow_link_over_tls
                messages_pass_a_narrow_link_over_websocket
                messages_pass_over_tls
                messages_pass_over_websocket
                a_write_that_is_stuck_stops_no_read
                several_publishers_at_full_speed_each_keep_their_order
                a_reader_that_is_stuck_stops_no_write
                a_reader_with_room_for_one_gets_everything
                an_end_of_stream_is_noticed_and_the_server_found_again
                an_end_of_stream_behind_much_that_is_unread_loses_nothing
                what_the_server_says_before_a_reset_is_read
                a_reset_is_noticed_by_a_write_while_reading_is_stopped
                connections_that_are_reset_again_and_again_are_made_again
                faults_at_random_places_lose_what_was_unknown_and_nothing_else
                a_connection_that_is_cut_while_it_is_stuck_is_made_again
            }
            wakes {
                thousands_of_publishes_each_wake_the_driver
                requests_of_many_tasks_are_all_answered
                a_deadline_that_is_set_while_the_driver_sleeps_passes_in_time
                deadlines_of_many_tasks_pass_in_time
                a_deadline_that_is_set_while_the_socket_is_stuck_passes_in_time
                a_server_that_reads_nothing_and_answers_nothing_is_left
                a_write_deadline_ends_a_connection_that_is_stuck
                a_close_ends_a_connection_that_is_stuck_in_time
            }
            ends {
                a_driver_cancelled_at_any_point_ends_everything
                a_driver_cancelled_at_any_point_of_tls_ends_everything
                a_driver_cancelled_at_any_point_of_websocket_ends_everything
                a_cancelled_driver_closes_its_socket
                a_handler_that_panics_ends_the_connection
                what_is_published_before_a_close_is_written_before_it
                a_close_without_patience_still_writes_what_the_socket_takes
                a_close_over_tls_and_websocket_is_in_good_order
                a_client_given_up_in_a_dial_ends_the_driver
                a_client_given_up_in_a_handshake_ends_the_driver
                a_client_dropped_without_a_server_ends_the_driver
                a_client_dropped_while_it_is_connected_ends_the_driver
                a_client_dropped_behind_what_it_published_delivers_it
                a_client_dropped_while_the_socket_is_stuck_ends_the_driver
                a_client_dropped_in_a_drain_ends_the_driver
                a_client_dropped_right_behind_a_loss_ends_the_driver
            }
            behaviour {
                messages_come_to_who_subscribed_in_order
                one_member_of_a_queue_group_gets_each_message
                headers_arrive_as_they_were_sent
                a_request_gets_the_reply_of_a_responder
                a_request_that_nobody_answers_ends_in_time
                a_message_without_reply_cannot_be_answered
                what_is_not_permitted_ends_its_subscription_and_request
                wrong_credentials_fail_the_connect_and_say_so
                a_server_that_is_not_there_fails_the_connect
                what_speaks_no_nats_is_left_at_once
                a_burst_arrives_whole_though_the_server_falls_silent_behind_it
                unsubscribe_after_gives_so_many_messages_and_ends
                an_unsubscribed_subscription_gives_nothing_more
                a_drained_subscription_gives_all_that_was_sent_before
                a_drain_lets_subscriptions_read_out_and_publishes_arrive
                a_drain_does_not_wait_for_a_subscription_that_was_dropped
                a_subscription_outlives_a_killed_server
                a_client_moves_to_the_servers_that_it_is_given
                a_full_reconnect_buffer_refuses_at_once
                publishing_more_than_there_is_room_waits_and_loses_nothing
                a_flush_means_that_the_server_has_it
                many_tasks_publish_and_many_subscriptions_receive
                the_longest_subject_that_is_not_refused_costs_no_connection
                a_mistake_in_a_reply_subject_is_told_apart_from_one_in_the_subject
            }
            surface {
                a_request_gets_many_replies
                a_server_that_dies_ends_the_replies
                a_request_has_an_inbox_of_its_own
                the_path_of_a_message_is_reported
                a_subscription_is_confirmed_or_denied
                a_handler_answers_and_is_drained
                the_server_tells_who_the_client_is
            }
            drain {
                a_drained_handler_answers_all_that_was_asked
                a_drained_responder_answers_all_that_is_queued
                a_member_whose_subscription_is_drained_in_the_flow_loses_no_job
                a_member_whose_client_is_drained_in_the_flow_loses_no_job
                without_a_server_what_is_queued_stays_readable_and_what_is_kept_is_reported
                without_a_server_a_drain_ends_once_all_is_read_when_nothing_is_kept
                a_server_that_stands_still_ends_a_drain_in_time_and_no_publish_is_forgotten
                a_server_that_is_back_after_half_the_time_gets_what_was_kept
                a_drain_that_loses_its_connection_midway_goes_on_with_what_it_has
                a_drain_that_loses_its_connection_before_the_server_answered_keeps_what_came
                a_server_that_stands_still_dies_and_comes_back_gets_what_was_never_sent
                a_close_without_a_server_is_immediate
                a_close_during_a_drain_without_a_server_is_immediate_too
            }
            jetstream_consume {
                next_gives_messages_one_by_one_and_acks_settle_them
                a_nak_brings_a_message_back_and_a_term_does_not
                only_the_first_answer_that_settles_a_message_is_sent
                a_next_that_is_dropped_loses_no_message
                a_fetch_gives_what_it_asked_for_and_ends
                a_fetch_by_bytes_gives_what_fits
                a_message_behind_heartbeats_comes_at_once_to_a_fetch
                a_fetch_from_nobody_says_so_soon
                consume_gives_everything_in_order
                consume_holds_no_more_than_it_may
                consume_is_drained_and_stopped_from_elsewhere
                what_was_asked_for_ends_with_who_asked
                an_ack_that_fails_says_so
                missed_heartbeats_are_told_once_and_reading_goes_on
                consume_outlives_a_killed_server_with_one_request_out
                after_a_reconnect_the_requests_before_are_forgotten
                consume_ends_when_its_consumer_is_deleted
                consume_waits_for_a_consumer_that_does_not_exist_yet
                consume_keeps_to_the_limits_of_its_consumer
                consume_goes_on_behind_an_abyss_of_heartbeats
                a_consumer_in_a_domain_is_read
            }
            jetstream_groups {
                one_member_of_a_group_is_pinned_and_unpinned
                overflow_and_priority_decide_who_gets_a_message
            }
            jetstream_pace {
                consume_gets_all_of_small_and_large_messages_and_limits_no_bytes
                an_ordered_consumer_gets_all_of_small_and_large_messages
                limits_are_told_to_who_asks_for_more_than_they_allow_and_not_to_others
            }
            jetstream_pull_ends {
                a_closed_client_ends_each_next
                what_reads_when_its_client_closes_or_drains_says_which
                a_drain_waits_for_what_next_gave_until_it_is_settled_or_dropped
                a_next_has_no_options_of_calls_before_it
                a_next_that_is_dropped_beside_other_calls_loses_no_message
                what_dropped_nexts_have_asked_for_stays_asked_for
                what_is_on_its_way_to_dropped_nexts_comes_to_the_next_ones
            }
            jetstream_changes {
                a_push_consumer_that_pushes_elsewhere_is_followed
                a_push_consumer_that_became_a_pull_consumer_ends_as_such
                who_hears_no_heartbeat_of_a_queue_group_misses_none
                a_push_consumer_that_is_paused_is_waited_for
                a_consumer_that_became_one_that_pushes_ends_who_pulls
                a_stream_that_a_restart_has_lost_is_read_again_when_it_is_there
                a_message_that_is_too_large_is_told_once_and_holds_up_nobody_for_ever
                a_stream_that_is_emptied_meanwhile_is_read_on
                one_message_at_a_time_that_is_acked_too_late_comes_again_and_nothing_stalls
                so_many_messages_and_bytes_are_not_exceeded
                who_finds_no_room_at_a_consumer_reads_when_there_is
                a_server_that_stops_says_so
                an_ordered_consumer_that_finds_no_room_tries_until_there_is
                who_has_lost_its_pin_asks_without_it_and_is_pinned_again
                a_standby_helps_when_so_many_acks_are_missing
            }
            jetstream_edges {
                a_fetch_that_does_not_wait_ends_where_nobody_says_that_there_is_no_more
                a_fetch_goes_on_when_its_requests_are_limited
                so_much_is_all_that_there_is
                a_consumer_that_lets_wait_for_less_than_a_second_is_read
                a_member_that_is_pinned_holds_no_more_bytes_than_it_may
                a_pin_is_kept_when_a_reader_without_one_ends
                an_ordered_consumer_with_a_prefix_that_is_no_name_is_refused_at_once
                an_ordered_consumer_of_the_last_messages_needs_no_filter
                an_ordered_consumer_of_one_subject_needs_no_other_permission
                who_may_not_pull_is_told_at_once
            }
            jetstream_care {
                a_consumer_that_is_paused_gives_nothing_until_it_goes_on
                ack_subjects_of_both_forms_are_read_and_answered
                a_consumer_that_is_set_back_has_no_gap_for_who_reads_it
                small_queues_of_a_client_drop_nothing_of_streams
                what_a_reader_would_say_without_a_connection_is_not_said_later
            }
            jetstream_ordered {
                an_ordered_consumer_gives_a_stream_in_order_and_leaves_nothing
                an_ordered_consumer_that_is_deleted_is_made_again_and_misses_nothing
                an_ordered_consumer_takes_over_none_of_the_same_prefix
                an_ordered_consumer_that_cannot_begin_says_so_in_time
                an_ordered_consumer_is_drained_and_stopped_from_elsewhere
                an_ordered_consumer_outlives_killed_servers
                a_stream_that_was_replaced_is_read_from_its_beginning
                a_slow_reader_of_a_pushed_stream_is_not_flooded
                a_push_consumer_is_read_by_a_queue_group_and_outlives_its_server
                a_push_consumer_that_is_deleted_ends_and_a_drained_one_loses_nothing
            }
            jetstream_consumers {
                a_consumer_is_created_updated_and_deleted
                a_consumer_that_is_there_is_bound_and_read
                what_a_server_would_change_is_refused_when_it_is_asked_to_be_pedantic
                every_field_of_a_consumer_reaches_the_server
                a_filter_stands_in_the_subject_of_the_request
                consumers_are_listed_beyond_a_page
                a_consumer_is_paused_and_goes_on
                a_pin_is_taken_away
                a_consumer_is_set_back
                a_consumer_that_contradicts_itself_is_refused_before_it_is_asked_for
            }
            jetstream_direct {
                a_message_is_got_directly
                headers_of_a_message_do_not_pass_for_those_of_the_server
                a_stream_without_direct_gets_is_noticed
                many_messages_are_got_in_pages_and_in_order
                large_messages_are_got_in_pages
                the_last_message_of_each_subject_is_of_one_moment
                messages_go_on_where_the_connection_was_lost
            }
            jetstream_events {
                advisories_tell_of_streams_and_consumers
                what_is_no_advisory_is_told_as_such
                a_republished_message_says_where_it_is_stored
            }
            jetstream_foreign {
                subjects_are_told_beyond_a_page
                names_are_told_beyond_a_page
                a_level_that_is_too_low_is_believed_for_a_while_and_on_its_connection
                an_answer_that_is_none_is_told_with_its_subject
                a_field_that_is_dropped_is_named
                what_is_out_of_use_is_listed
                messages_that_are_lost_on_their_way_are_asked_for_again
                messages_that_are_always_lost_are_given_up
                a_page_without_an_end_ends_in_time
                a_page_that_lost_its_connection_is_asked_for_again
                a_server_that_is_away_for_a_moment_is_asked_again
                a_stream_that_somebody_else_creates_meanwhile_is_updated
            }
            jetstream_levels {
                a_server_of_2_10_does_what_it_can_and_the_rest_is_named
                a_server_of_2_11_does_what_it_can_and_the_rest_is_named
                the_level_is_asked_for_once_a_connection
                the_level_is_that_of_the_domain_in_use
                a_message_with_a_header_that_the_server_is_too_old_for_is_not_sent
                publishes_ask_for_the_level_once_a_connection
                who_has_no_api_publishes_what_the_server_takes
                who_has_the_subjects_of_another_account_publishes_what_the_server_takes
                who_may_not_ask_for_the_level_leaves_it_to_the_server
                what_an_old_server_drops_is_named_and_what_it_refuses_is_told
                a_stream_that_the_server_is_too_old_for_is_listed
                every_version_takes_what_all_know
            }
            jetstream_streams {
                a_stream_is_created_updated_and_deleted
                every_field_of_a_stream_reaches_the_server
                what_a_stream_has_of_others_reaches_the_server
                what_a_server_changes_is_named
                a_text_that_is_empty_is_none
                a_stream_that_contradicts_itself_is_refused_before_it_is_asked_for
                what_is_no_subject_is_refused_before_it_is_asked_for
                lists_are_complete_beyond_a_page
                an_info_tells_subjects_and_deleted_messages
                a_purge_takes_what_it_is_told
                messages_are_got_and_deleted
                what_is_deleted_securely_is_in_no_file
                a_sealed_stream_stays_as_it_is
                an_account_tells_what_it_uses
                a_domain_is_reached_by_its_prefix
                a_domain_behind_a_leaf_is_reached_by_its_prefix
                a_call_ends_in_time_and_is_not_carried_out_later
                a_call_that_finds_no_room_ends_in_time_and_is_not_carried_out_later
            }
            kept {
                a_server_with_a_lower_limit_gets_what_it_takes_and_closes_no_connection
                a_request_that_was_not_sent_reaches_no_server_that_comes_back
                a_request_with_its_own_inbox_that_was_not_sent_reaches_no_server_that_comes_back
                a_request_with_a_given_reply_that_was_not_sent_reaches_no_server_that_comes_back
            }
            kv_batch {
                keys_are_written_together_and_each_has_the_revision_that_is_told
                keys_are_purged_and_given_a_ttl_together
                a_ttl_that_a_key_of_a_batch_cannot_have_is_refused
                a_batch_with_another_revision_writes_nothing_and_names_the_key
                what_cannot_be_written_together_is_refused_before_it_is_sent
                a_batch_waits_for_a_place_among_the_open_ones
                a_batch_whose_commit_has_no_answer_is_not_sent_again
            }
            kv_buckets {
                a_bucket_is_created_opened_updated_and_deleted
                what_differs_in_a_bucket_is_named
                buckets_are_listed_beyond_a_page
                every_option_of_a_bucket_reaches_the_server
                the_status_of_a_bucket_is_all_that_it_was_asked_to_be
                limit_markers_are_switched_on_later_and_not_off
                a_wrong_revision_is_told_alike_by_either_code
                what_is_no_bucket_is_told_and_not_listed
                a_mirror_is_read_here_and_written_there
                a_mirror_without_direct_gets_is_read_here_too
                all_that_a_bucket_does_goes_through_a_mirror
                a_bucket_gathers_the_keys_of_others
                a_bucket_in_a_domain_behind_a_leaf_is_used
                a_bucket_of_another_account_is_used_by_its_prefix
                an_old_server_is_told_what_it_lacks
            }
            kv_entries {
                a_key_is_put_got_updated_and_deleted
                what_cannot_be_a_key_or_value_is_refused_before_it_is_sent
                create_takes_the_place_of_a_marker_and_keeps_its_ttl
                create_keeps_its_ttl_over_every_kind_of_marker
                markers_of_the_server_are_operations
                a_revision_is_the_same_however_it_is_read
                a_purge_leaves_one_marker
                with_a_history_a_key_lives_as_long_as_a_marker
                histories_and_keys_are_listed
                what_is_left_of_deleted_keys_is_purged
                markers_that_are_younger_than_an_age_stay
                changes_of_many_tasks_are_all_made
                headers_of_a_value_do_not_pass_for_those_of_the_server
                keys_that_match_are_deleted_and_purged
                what_is_named_by_a_wildcard_costs_no_key_its_value
            }
            kv_limits {
                a_value_that_is_too_large_with_its_headers_is_refused_as_the_server_would
                a_batch_in_which_one_is_too_large_is_refused_as_the_server_would
                a_marker_that_is_too_large_is_refused_as_the_server_would
            }
            kv_watch {
                a_watch_of_an_empty_bucket_has_an_end_of_what_was_there
                a_watch_gives_what_is_there_and_then_what_comes
                whatever_deletes_a_key_is_ignored_where_that_is_asked_for
                a_watch_from_a_revision_to_come_waits_for_it
                a_watch_of_updates_outlives_killed_servers
                a_watch_that_began_on_nothing_gives_every_revision_behind_a_lost_consumer
                a_watch_from_a_revision_goes_on_behind_what_it_gave
                a_consumer_that_is_lost_midway_leaves_one_end_behind_all_keys
                what_goes_while_it_waits_does_not_put_off_the_end
                a_watch_whose_consumer_stands_still_is_given_another
                a_watch_is_stopped_from_elsewhere_and_leaves_nothing
            }
            kv_cache {
                a_cache_has_what_is_there_and_is_kept_current
                a_cache_waits_for_a_revision_and_says_why_it_does_not_come
                a_cache_of_some_keys_waits_for_their_revisions_alone
                a_cache_says_how_long_it_has_heard_nothing_and_waits_on
                a_cache_outlives_a_killed_server
                what_went_without_a_marker_is_found_when_the_consumer_was_lost
                a_cache_does_not_give_what_is_older_than_the_ttl_of_its_bucket
                a_cache_of_a_bucket_that_was_replaced_has_the_keys_of_the_new_one
            }
            kv_reads {
                many_keys_are_got_at_once
                many_keys_are_got_one_by_one_where_they_are_too_many
                many_keys_are_got_that_are_more_than_a_server_sends_at_once
                a_bucket_without_direct_gets_is_read_from_its_leader
                what_decides_a_write_is_read_from_the_leader
                reads_are_direct_unless_they_are_asked_of_the_leader
                a_handle_remembers_every_kind_of_write
                a_handle_reads_what_it_has_written
            }
            kv_views {
                every_call_of_a_view_goes_through_its_codecs
                calls_of_a_view_have_the_options_of_the_bucket
                what_was_written_without_the_codecs_is_an_error_in_its_place
                keys_of_a_view_are_written_together
                a_cache_of_a_view_is_decoded_as_it_is_read
                paths_are_keys_and_a_cache_is_read_through_a_view
                values_are_json_of_a_type
            }
            moves {
                a_publisher_that_moves_loses_no_message_and_knows_it
                a_member_of_a_queue_group_leaves_a_lame_duck_and_loses_nothing
            }
            asking {
                between_two_requests_the_server_goes_and_each_is_answered_or_fails_truly
                behind_many_requests_the_end_of_the_server_is_noticed_though_nobody_asks
                over_tls_many_requests_are_answered_before_and_behind_a_loss
                over_websocket_many_requests_are_answered_before_and_behind_a_loss
            }
            jetstream_batches {
                a_batch_is_stored_whole_by_its_commit
                a_batch_that_is_refused_stores_nothing
                a_batch_with_a_gap_stores_nothing
                a_lost_connection_ends_a_batch
                counters_are_added_to_and_read
                many_counters_are_read_at_once
                fast_ingest_stores_everything_in_order
                fast_ingest_ends_at_a_message_that_is_refused
                fast_ingest_tells_of_a_gap_or_ends_before_it
                a_lost_connection_ends_fast_ingest
                fast_ingest_whose_stream_goes_midway_ends_in_time
                an_old_server_is_told_before_anything_is_sent
            }
            jetstream_publish {
                a_publish_is_acknowledged_by_its_stream
                expectations_are_checked_by_the_stream
                a_publish_that_no_stream_takes_is_sent_again_twice
                a_publish_is_not_sent_again_after_a_lost_connection
                a_publish_is_not_sent_again_after_a_timeout
                a_publish_that_contradicts_itself_is_not_sent
                a_message_expires_and_one_that_never_does_stays
                an_increment_tells_what_the_counter_came_to
                a_publisher_stores_everything_once_and_in_order
                a_publisher_tells_of_each_message_if_it_shall
                a_message_that_fails_is_reported_with_its_content
                a_chain_refuses_headers_that_it_would_overwrite
                behind_a_503_messages_are_stored_in_between_and_that_is_told
                behind_a_503_a_chain_waits_and_keeps_the_order
                behind_a_503_one_by_one_keeps_the_order
                a_chain_tells_what_others_have_moved
                a_publisher_outlives_a_killed_server_and_stores_everything_once
                a_publisher_asks_its_stream_for_how_long_ids_are_known
                a_publisher_that_may_not_ask_sends_again_within_two_minutes
                a_full_window_waits_and_a_server_that_stands_still_is_told
                a_window_that_is_full_of_bytes_waits
                a_publisher_that_may_have_no_acks_says_so
                a_publisher_rests_while_the_outbound_queue_is_full
                a_publisher_ends_with_its_connection_and_hides_nothing
            }
            jetstream_schedules {
                a_schedule_publishes_when_it_is_due_and_can_be_cancelled
                a_schedule_publishes_the_last_message_of_its_source
                what_a_schedule_publishes_expires_and_takes_the_place_of_what_was_there
                a_time_zone_says_when_a_pattern_is_due
                patterns_are_taken_and_refused_as_by_the_server
            }
        }
        $crate::conformance_cases! { $adapter alone
            rests {
                a_connection_without_traffic_rests
                a_connection_that_cannot_write_rests
                a_connection_that_must_not_read_rests
                a_connection_that_waits_for_its_next_attempt_rests
                a_dial_that_hangs_rests
                connections_that_have_closed_leave_nothing_that_runs
            }
            slow_readers {
                a_flood_that_is_read_holds_up_no_flush
                a_million_messages_pass_a_slower_reader
                a_reader_that_stops_costs_its_neighbour_one_hold
            }
        }
    };
}

/// Makes a test of each case whose servers are a cluster of three that die and come back, for the same
/// [`Adapter`](crate::Adapter) as [`conformance!`](crate::conformance!). They take half a minute each,
/// and are run one at a time.
#[macro_export]
macro_rules! cluster_conformance {
    ($adapter:ident) => {
        $crate::conformance_cases! { $adapter in_a_cluster
            cluster_buckets {
                a_bucket_is_where_its_placement_says
                a_watch_sees_every_revision_once_across_a_rolling_restart
            }
            cluster_consume {
                consume_and_ordered_outlive_a_rolling_restart_and_miss_nothing
                a_killed_leader_holds_messages_up_for_seconds_and_a_change_of_leader_for_less
            }
            cluster_kv {
                watches_miss_nothing_and_leave_nothing_while_leaders_step_down
                a_leader_that_steps_down_midway_leaves_one_end_behind_all_that_was_there
                batches_are_stored_whole_or_not_at_all_while_leaders_step_down
                what_comes_behind_the_loss_of_all_that_a_bucket_held_is_seen
            }
            cluster_management {
                a_replicated_stream_is_managed_while_its_leader_dies_and_comes_back
            }
            cluster_publish {
                while_leaders_are_killed_all_that_is_acknowledged_is_stored_once
                while_leaders_are_killed_a_chain_is_stored_once_and_in_order
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($adapter:ident $how:ident $($room:ident { $($case:ident)* })*) => {
        $(mod $room {
            use super::$adapter;
            use $crate::conformance::cases::$room;
            $(
                #[test]
                fn $case() -> $crate::conformance::Outcome {
                    $crate::conformance::$how::<$adapter, _>($room::$case::<$adapter>)
                }
            )*
        })*
    };
}
