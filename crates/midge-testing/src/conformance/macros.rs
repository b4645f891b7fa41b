//! The list of all cases, and the test that each becomes.

/// Makes a test of each case of the suite, for an [`Adapter`](crate::Adapter).
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
                a_reader_that_is_stuck_stops_no_write
                a_reader_with_room_for_one_gets_everything
                an_end_of_stream_is_noticed_and_the_server_found_again
                an_end_of_stream_behind_much_that_is_unread_loses_nothing
                what_the_server_says_before_a_reset_is_read
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
