//! Every error code of JetStream's API.

use core::fmt;

use serde::{Deserialize, Serialize};

/// What JetStream refused something for (ADR-7). The numbers are stable, the texts beside them are
/// not: decide by the number.
///
/// A code that this version of Midge has no name for is kept as it came. Constants can be matched:
///
/// ```
/// use midge_jetstream::ErrorCode;
///
/// fn is_gone(code: ErrorCode) -> bool {
///     matches!(code, ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND)
/// }
///
/// assert!(is_gone(ErrorCode(10059)));
/// assert_eq!(ErrorCode(10059).name(), Some("STREAM_NOT_FOUND"));
/// assert_eq!(ErrorCode(19999).to_string(), "19999");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(pub u16);

macro_rules! codes {
    ($($(#[$doc:meta])* $number:literal $name:ident,)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($number);)*

            /// Every code that has a name, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name of the constant, if there is one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

impl ErrorCode {
    /// Whether the last sequence, of the stream or the subject, is another than the expected one:
    /// servers say so by two codes.
    #[must_use]
    pub const fn is_wrong_last_sequence(self) -> bool {
        matches!(self, Self::STREAM_WRONG_LAST_SEQUENCE | Self::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
    }

    /// Whether JetStream is not there: not enabled on the server, or for the account.
    #[must_use]
    pub const fn is_not_enabled(self) -> bool {
        matches!(self, Self::NOT_ENABLED | Self::NOT_ENABLED_FOR_ACCOUNT)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}({})", self.0),
            None => write!(f, "ErrorCode({})", self.0),
        }
    }
}

codes! {
    /// The account has no room left for what was asked.
    10002 ACCOUNT_RESOURCES_EXCEEDED,
    /// The request is malformed or contradicts itself.
    10003 BAD_REQUEST,
    /// The cluster is not complete, or has no leader that answers.
    10004 CLUSTER_INCOMPLETE,
    /// No servers of the cluster fit the placement.
    10005 CLUSTER_NO_PEERS,
    /// The server takes part in no cluster of JetStream.
    10006 CLUSTER_NOT_ACTIVE,
    /// The asset has no servers assigned to it.
    10007 CLUSTER_NOT_ASSIGNED,
    /// The cluster of JetStream has no leader.
    10008 CLUSTER_NOT_AVAILABLE,
    /// Only the leader answers this request.
    10009 CLUSTER_NOT_LEADER,
    /// This needs a server in a cluster.
    10010 CLUSTER_REQUIRED,
    /// Tags of the placement cannot be used where there is no cluster.
    10011 CLUSTER_TAGS,
    /// The consumer could not be created.
    10012 CONSUMER_CREATE,
    /// Another consumer has the name.
    10013 CONSUMER_NAME_EXIST,
    /// No such consumer.
    10014 CONSUMER_NOT_FOUND,
    /// The delivery subject of a snapshot cannot be used.
    10015 SNAPSHOT_DELIVER_SUBJECT_INVALID,
    /// The subject of the request lacks the durable name.
    10016 CONSUMER_DURABLE_NAME_NOT_IN_SUBJECT,
    /// The durable name differs from the one in the subject.
    10017 CONSUMER_DURABLE_NAME_NOT_MATCH_SUBJECT,
    /// The configuration lacks the durable name.
    10018 CONSUMER_DURABLE_NAME_NOT_SET,
    /// A durable name in the subject of the request for an ephemeral consumer.
    10019 CONSUMER_EPHEMERAL_WITH_DURABLE_IN_SUBJECT,
    /// A durable name in the configuration of an ephemeral consumer.
    10020 CONSUMER_EPHEMERAL_WITH_DURABLE_NAME,
    /// The external API prefix overlaps with subjects of the stream.
    10021 STREAM_EXTERNAL_API_OVERLAP,
    /// The external delivery prefix overlaps with subjects of the stream.
    10022 STREAM_EXTERNAL_DELIVER_PREFIX_OVERLAP,
    /// The server lacks memory or storage for this.
    10023 INSUFFICIENT_RESOURCES,
    /// The external delivery prefix cannot be used.
    10024 STREAM_INVALID_EXTERNAL_DELIVERY_SUBJ,
    /// The request is not the JSON expected; since 2.12 also when it has a field that the server does not know.
    10025 INVALID_JSON,
    /// The account or stream has all the consumers that it may have.
    10026 MAXIMUM_CONSUMERS_LIMIT,
    /// The account has all the streams that it may have.
    10027 MAXIMUM_STREAMS_LIMIT,
    /// The memory set aside for JetStream is used up.
    10028 MEMORY_RESOURCES_EXCEEDED,
    /// The consumer of the mirror could not be set up on its origin.
    10029 MIRROR_CONSUMER_SETUP_FAILED,
    /// The mirror takes smaller messages than its origin has.
    10030 MIRROR_MAX_MESSAGE_SIZE_TOO_BIG,
    /// A mirror cannot have sources.
    10031 MIRROR_WITH_SOURCES,
    /// A mirror starts at a sequence or at a time, not both.
    10032 MIRROR_WITH_START_SEQ_AND_TIME,
    /// A mirror cannot have several filters.
    10033 MIRROR_WITH_SUBJECT_FILTERS,
    /// A mirror cannot have subjects of its own.
    10034 MIRROR_WITH_SUBJECTS,
    /// No such account.
    10035 NO_ACCOUNT,
    /// The cluster does not support this.
    10036 CLUSTER_UNSUPPORTED_FEATURE,
    /// No message is there.
    10037 NO_MESSAGE_FOUND,
    /// The request must have no payload.
    10038 NOT_EMPTY_REQUEST,
    /// JetStream is not enabled for the account.
    10039 NOT_ENABLED_FOR_ACCOUNT,
    /// The server is no member of the cluster of the stream.
    10040 CLUSTER_PEER_NOT_MEMBER,
    /// Consensus failed.
    10041 RAFT_GENERAL,
    /// The subscription for a restore could not be made.
    10042 RESTORE_SUBSCRIBE_FAILED,
    /// No message has the sequence.
    10043 SEQUENCE_NOT_FOUND,
    /// No such server in the cluster.
    10044 CLUSTER_SERVER_NOT_MEMBER,
    /// The consumer of a source could not be set up on its origin.
    10045 SOURCE_CONSUMER_SETUP_FAILED,
    /// The stream takes smaller messages than its source has.
    10046 SOURCE_MAX_MESSAGE_SIZE_TOO_BIG,
    /// The storage set aside for JetStream is used up.
    10047 STORAGE_RESOURCES_EXCEEDED,
    /// The stream could not be assigned to servers.
    10048 STREAM_ASSIGNMENT,
    /// The stream could not be created.
    10049 STREAM_CREATE,
    /// The stream could not be deleted.
    10050 STREAM_DELETE,
    /// The stream failed.
    10051 STREAM_GENERAL,
    /// The configuration of the stream is invalid.
    10052 STREAM_INVALID_CONFIG,
    /// The configuration of the stream exceeds limits.
    10053 STREAM_LIMITS,
    /// The message is bigger than the stream takes.
    10054 STREAM_MESSAGE_EXCEEDS_MAXIMUM,
    /// The configuration of a mirror cannot be changed so.
    10055 STREAM_MIRROR_NOT_UPDATABLE,
    /// The name in the configuration differs from the one in the subject.
    10056 STREAM_MISMATCH,
    /// The message could not be deleted.
    10057 STREAM_MSG_DELETE_FAILED,
    /// Another stream has the name, with another configuration.
    10058 STREAM_NAME_EXIST,
    /// No such stream.
    10059 STREAM_NOT_FOUND,
    /// Another stream than the expected one listens on the subject.
    10060 STREAM_NOT_MATCH,
    /// Replicas cannot be changed so.
    10061 STREAM_REPLICAS_NOT_UPDATABLE,
    /// The stream could not be restored.
    10062 STREAM_RESTORE,
    /// The sequence expected is not one of the stream.
    10063 STREAM_SEQUENCE_NOT_MATCH,
    /// The snapshot failed.
    10064 STREAM_SNAPSHOT,
    /// Another stream listens on one of the subjects.
    10065 STREAM_SUBJECT_OVERLAP,
    /// The stream of a template could not be created.
    10066 STREAM_TEMPLATE_CREATE,
    /// The template could not be deleted.
    10067 STREAM_TEMPLATE_DELETE,
    /// No such template.
    10068 STREAM_TEMPLATE_NOT_FOUND,
    /// The stream could not be updated.
    10069 STREAM_UPDATE,
    /// The last message has another id than the expected one.
    10070 STREAM_WRONG_LAST_MSG_ID,
    /// The last sequence is another than the expected one.
    10071 STREAM_WRONG_LAST_SEQUENCE,
    /// No temporary storage.
    10072 TEMP_STORAGE_FAILED,
    /// The name of the template differs from the one in the subject.
    10073 TEMPLATE_NAME_NOT_MATCH_SUBJECT,
    /// More than one replica needs a cluster.
    10074 STREAM_REPLICAS_NOT_SUPPORTED,
    /// The servers could not be assigned anew.
    10075 PEER_REMAP,
    /// JetStream is not enabled on the server.
    10076 NOT_ENABLED,
    /// The message could not be stored.
    10077 STREAM_STORE_FAILED,
    /// The request has no configuration of a consumer.
    10078 CONSUMER_CONFIG_REQUIRED,
    /// The delivery subject must not have wildcards.
    10079 CONSUMER_DELIVER_TO_WILDCARDS,
    /// A push consumer has no `max_waiting`.
    10080 CONSUMER_PUSH_MAX_WAITING,
    /// The delivery subject is one of the stream, which makes a cycle.
    10081 CONSUMER_DELIVER_CYCLE,
    /// `max_ack_pending` needs an acknowledgement policy.
    10082 CONSUMER_MAX_PENDING_ACK_POLICY_REQUIRED,
    /// The heartbeat is shorter than the server allows.
    10083 CONSUMER_SMALL_HEARTBEAT,
    /// A pull consumer on such a stream needs explicit acknowledgement.
    10084 CONSUMER_PULL_REQUIRES_ACK,
    /// A pull consumer needs a durable name.
    10085 CONSUMER_PULL_NOT_DURABLE,
    /// A pull consumer has no rate limit.
    10086 CONSUMER_PULL_WITH_RATE_LIMIT,
    /// `max_waiting` is negative.
    10087 CONSUMER_MAX_WAITING_NEGATIVE,
    /// Heartbeats in the configuration are for push consumers.
    10088 CONSUMER_HEARTBEAT_REQUIRES_PUSH,
    /// Flow control is for push consumers.
    10089 CONSUMER_FLOW_CONTROL_REQUIRES_PUSH,
    /// A direct consumer is a push consumer.
    10090 CONSUMER_DIRECT_REQUIRES_PUSH,
    /// A direct consumer is ephemeral.
    10091 CONSUMER_DIRECT_REQUIRES_EPHEMERAL,
    /// Consumers and mappings do not go together.
    10092 CONSUMER_ON_MAPPED,
    /// The filter covers nothing of what the stream stores.
    10093 CONSUMER_FILTER_NOT_SUBSET,
    /// A policy of the consumer is invalid.
    10094 CONSUMER_INVALID_POLICY,
    /// The sampling frequency is invalid.
    10095 CONSUMER_INVALID_SAMPLING,
    /// The stream is invalid.
    10096 STREAM_INVALID,
    /// The headers of the message are bigger than may be.
    10097 STREAM_HEADER_EXCEEDS_MAXIMUM,
    /// On a work queue a consumer acknowledges explicitly.
    10098 CONSUMER_WORK_QUEUE_REQUIRES_EXPLICIT_ACK,
    /// On a work queue only one consumer may be without a filter.
    10099 CONSUMER_WORK_QUEUE_MULTIPLE_UNFILTERED,
    /// On a work queue the filters of consumers must not overlap.
    10100 CONSUMER_WORK_QUEUE_CONSUMER_NOT_UNIQUE,
    /// On a work queue a consumer delivers all.
    10101 CONSUMER_WORK_QUEUE_CONSUMER_NOT_DELIVER_ALL,
    /// The name of the consumer is too long.
    10102 CONSUMER_NAME_TOO_LONG,
    /// The durable name is invalid.
    10103 CONSUMER_BAD_DURABLE_NAME,
    /// The state of the consumer could not be stored.
    10104 CONSUMER_STORE_FAILED,
    /// A consumer of the name exists and is in use.
    10105 CONSUMER_EXISTING_ACTIVE,
    /// The consumer in place has another name.
    10106 CONSUMER_REPLACEMENT_WITH_DIFFERENT_NAME,
    /// The description of the consumer is too long.
    10107 CONSUMER_DESCRIPTION_TOO_LONG,
    /// Flow control needs heartbeats.
    10108 CONSUMER_WITH_FLOW_CONTROL_NEEDS_HEARTBEATS,
    /// The stream is sealed.
    10109 STREAM_SEALED,
    /// The purge failed.
    10110 STREAM_PURGE_FAILED,
    /// The roll-up failed.
    10111 STREAM_ROLLUP_FAILED,
    /// The delivery subject is invalid.
    10112 CONSUMER_INVALID_DELIVER_SUBJECT,
    /// The account requires `max_bytes` of every stream.
    10113 STREAM_MAX_BYTES_REQUIRED,
    /// `max_batch` is negative.
    10114 CONSUMER_MAX_REQUEST_BATCH_NEGATIVE,
    /// `max_expires` is below a millisecond.
    10115 CONSUMER_MAX_REQUEST_EXPIRES_TOO_SMALL,
    /// `max_deliver` must be above the number of steps of `backoff`.
    10116 CONSUMER_MAX_DELIVER_BACKOFF,
    /// The stream has more subjects than an info lists.
    10117 STREAM_INFO_MAX_SUBJECTS,
    /// The stream is offline.
    10118 STREAM_OFFLINE,
    /// The consumer is offline.
    10119 CONSUMER_OFFLINE,
    /// The account has no limits for this number of replicas.
    10120 NO_LIMITS,
    /// `max_ack_pending` is above what the stream or the account allows.
    10121 CONSUMER_MAX_PENDING_ACK_EXCESS,
    /// `max_bytes` is above what the account allows for one stream.
    10122 STREAM_MAX_STREAM_BYTES_EXCEEDED,
    /// A stream cannot be moved and scaled in one update.
    10123 STREAM_MOVE_AND_SCALE,
    /// The stream is being moved already.
    10124 STREAM_MOVE_IN_PROGRESS,
    /// `max_batch` is above the limit.
    10125 CONSUMER_MAX_REQUEST_BATCH_EXCEEDED,
    /// A consumer cannot have more replicas than its stream.
    10126 CONSUMER_REPLICAS_EXCEEDS_STREAM,
    /// A consumer's name must not have slashes.
    10127 CONSUMER_NAME_CONTAINS_PATH_SEPARATORS,
    /// A stream's name must not have slashes.
    10128 STREAM_NAME_CONTAINS_PATH_SEPARATORS,
    /// Nothing is being reconfigured.
    10129 STREAM_RECONFIGURE_NOT_IN_PROGRESS,
    /// A stream of the name exists, so none can be restored.
    10130 STREAM_NAME_EXIST_RESTORE_FAILED,
    /// The filter in the subject of the request differs from the one in the configuration.
    10131 CONSUMER_CREATE_FILTER_SUBJECT_MISMATCH,
    /// Durable name and name differ.
    10132 CONSUMER_CREATE_DURABLE_AND_NAME_MISMATCH,
    /// The number of replicas is negative.
    10133 REPLICAS_COUNT_CANNOT_BE_NEGATIVE,
    /// The consumer must have as many replicas as its stream.
    10134 CONSUMER_REPLICAS_SHOULD_MATCH_STREAM,
    /// The metadata are too long.
    10135 CONSUMER_METADATA_LENGTH,
    /// One filter and several filters were given.
    10136 CONSUMER_DUPLICATE_FILTER_SUBJECTS,
    /// A consumer with several filters is created by the request without a filter in its subject.
    10137 CONSUMER_MULTIPLE_FILTERS_NOT_ALLOWED,
    /// The filters overlap.
    10138 CONSUMER_OVERLAPPING_SUBJECT_FILTERS,
    /// One of several filters is empty.
    10139 CONSUMER_EMPTY_FILTER,
    /// Two sources are the same.
    10140 SOURCE_DUPLICATE_DETECTED,
    /// The name of a source is invalid.
    10141 SOURCE_INVALID_STREAM_NAME,
    /// The name of the origin is invalid.
    10142 MIRROR_INVALID_STREAM_NAME,
    /// A mirror cannot have a first sequence.
    10143 MIRROR_WITH_FIRST_SEQ,
    /// A source has one filter and several transforms.
    10144 SOURCE_MULTIPLE_FILTERS_NOT_ALLOWED,
    /// The filter of a source is invalid.
    10145 SOURCE_INVALID_SUBJECT_FILTER,
    /// The destination of a source's transform is invalid.
    10146 SOURCE_INVALID_TRANSFORM_DESTINATION,
    /// The filters of a source overlap.
    10147 SOURCE_OVERLAPPING_SUBJECT_FILTERS,
    /// Asked to be created, the consumer exists with another configuration.
    10148 CONSUMER_ALREADY_EXISTS,
    /// Asked to be updated, the consumer does not exist.
    10149 CONSUMER_DOES_NOT_EXIST,
    /// A mirror has one filter and several transforms.
    10150 MIRROR_MULTIPLE_FILTERS_NOT_ALLOWED,
    /// The filter of the mirror is invalid.
    10151 MIRROR_INVALID_SUBJECT_FILTER,
    /// The filters of the mirror overlap.
    10152 MIRROR_OVERLAPPING_SUBJECT_FILTERS,
    /// `inactive_threshold` is above the limit of the stream.
    10153 CONSUMER_INACTIVE_THRESHOLD_EXCESS,
    /// The destination of the mirror's transform is invalid.
    10154 MIRROR_INVALID_TRANSFORM_DESTINATION,
    /// The source of the stream's transform is invalid.
    10155 STREAM_TRANSFORM_INVALID_SOURCE,
    /// The destination of the stream's transform is invalid.
    10156 STREAM_TRANSFORM_INVALID_DESTINATION,
    /// Asked to be pedantic, the server would have to change the configuration.
    10157 PEDANTIC,
    /// A message of the same id is being stored.
    10158 STREAM_DUPLICATE_MESSAGE_CONFLICT,
    /// A priority policy needs a group.
    10159 CONSUMER_PRIORITY_POLICY_WITHOUT_GROUP,
    /// The priority group of a pull is not one of the consumer.
    10160 CONSUMER_INVALID_PRIORITY_GROUP,
    /// The name of a priority group is empty.
    10161 CONSUMER_EMPTY_GROUP_NAME,
    /// The name of a priority group is invalid.
    10162 CONSUMER_INVALID_GROUP_NAME,
    /// The last sequence of the subject is not known yet.
    10163 STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_NOT_READY,
    /// The last sequence is another than the expected one: as `STREAM_WRONG_LAST_SEQUENCE`, from clusters and batches.
    10164 STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
    /// The TTL of a message is invalid: whole seconds, at least one, or never.
    10165 MESSAGE_TTL_INVALID,
    /// The stream does not allow a TTL of messages.
    10166 MESSAGE_TTL_DISABLED,
    /// Too many messages wait to be stored.
    10167 STREAM_TOO_MANY_REQUESTS,
    /// The stream is no counter.
    10168 MESSAGE_INCR_DISABLED,
    /// On a counter every message has an increment.
    10169 MESSAGE_INCR_MISSING,
    /// An increment has no payload.
    10170 MESSAGE_INCR_PAYLOAD,
    /// The increment is no whole number.
    10171 MESSAGE_INCR_INVALID,
    /// The counter holds a value that is no number.
    10172 MESSAGE_COUNTER_BROKEN,
    /// A mirror cannot be a counter.
    10173 MIRROR_WITH_COUNTERS,
    /// The stream does not allow atomic batches.
    10174 ATOMIC_PUBLISH_DISABLED,
    /// A message of a batch lacks its number.
    10175 ATOMIC_PUBLISH_MISSING_SEQ,
    /// The batch has a gap, or was given up.
    10176 ATOMIC_PUBLISH_INCOMPLETE_BATCH,
    /// A header cannot be used in a batch.
    10177 ATOMIC_PUBLISH_UNSUPPORTED_HEADER_BATCH,
    /// A push consumer has no priority groups.
    10178 CONSUMER_PUSH_WITH_PRIORITY_GROUP,
    /// The id of the batch is invalid.
    10179 ATOMIC_PUBLISH_INVALID_BATCH_ID,
    /// The first sequence asked for is not reached.
    10180 STREAM_MIN_LAST_SEQ,
    /// The acknowledgement policy is invalid.
    10181 CONSUMER_ACK_POLICY_INVALID,
    /// The replay policy is invalid.
    10182 CONSUMER_REPLAY_POLICY_INVALID,
    /// `ack_wait` is negative.
    10183 CONSUMER_ACK_WAIT_NEGATIVE,
    /// A step of `backoff` is negative.
    10184 CONSUMER_BACK_OFF_NEGATIVE,
    /// The request requires a higher API level than the server has.
    10185 REQUIRED_API_LEVEL,
    /// A mirror cannot have schedules.
    10186 MIRROR_WITH_MSG_SCHEDULES,
    /// A source cannot have schedules.
    10187 SOURCE_WITH_MSG_SCHEDULES,
    /// The stream does not allow schedules.
    10188 MESSAGE_SCHEDULES_DISABLED,
    /// The schedule is invalid.
    10189 MESSAGE_SCHEDULES_PATTERN_INVALID,
    /// The target of a schedule is invalid.
    10190 MESSAGE_SCHEDULES_TARGET_INVALID,
    /// The TTL of a schedule is invalid.
    10191 MESSAGE_SCHEDULES_TTL_INVALID,
    /// The roll-up of a schedule is invalid.
    10192 MESSAGE_SCHEDULES_ROLLUP_INVALID,
    /// The expected last sequence of a subject cannot be checked so.
    10193 STREAM_EXPECTED_LAST_SEQ_PER_SUBJECT_INVALID,
    /// The stream is offline, with a reason.
    10194 STREAM_OFFLINE_REASON,
    /// The consumer is offline, with a reason.
    10195 CONSUMER_OFFLINE_REASON,
    /// Priority groups need a priority policy.
    10196 CONSUMER_PRIORITY_GROUP_WITH_POLICY_NONE,
    /// `priority_timeout` needs the policy of a pinned client.
    10197 CONSUMER_PINNED_TTL_WITHOUT_PRIORITY_POLICY_NONE,
    /// A mirror cannot take atomic batches.
    10198 MIRROR_WITH_ATOMIC_PUBLISH,
    /// The batch is too large.
    10199 ATOMIC_PUBLISH_TOO_LARGE_BATCH,
    /// The commit of the batch is invalid.
    10200 ATOMIC_PUBLISH_INVALID_BATCH_COMMIT,
    /// A message of the batch has the id of one that is stored.
    10201 ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE,
    /// Another change of members is under way.
    10202 CLUSTER_SERVER_MEMBER_CHANGE_INFLIGHT,
    /// The source of a schedule is invalid.
    10203 MESSAGE_SCHEDULES_SOURCE_INVALID,
    /// The sequence to reset to is invalid.
    10204 CONSUMER_INVALID_RESET,
    /// The stream does not allow fast batches.
    10205 BATCH_PUBLISH_DISABLED,
    /// The reply subject of a fast batch is invalid.
    10206 BATCH_PUBLISH_INVALID_PATTERN,
    /// The id of the fast batch is invalid.
    10207 BATCH_PUBLISH_INVALID_BATCH_ID,
    /// The fast batch is not known, or not any more.
    10208 BATCH_PUBLISH_UNKNOWN_BATCH_ID,
    /// A mirror cannot take fast batches.
    10209 MIRROR_WITH_BATCH_PUBLISH,
    /// Too many atomic batches are open.
    10210 ATOMIC_PUBLISH_TOO_MANY_INFLIGHT,
    /// Too many fast batches are open.
    10211 BATCH_PUBLISH_TOO_MANY_INFLIGHT,
    /// The scheduler of a message is invalid.
    10212 MESSAGE_SCHEDULES_SCHEDULER_INVALID,
    /// The mirror's durable consumer is not set up as it must be.
    10213 MIRROR_DURABLE_CONSUMER_CFG_INVALID,
    /// The mirror's consumer must acknowledge by flow control.
    10214 MIRROR_CONSUMER_REQUIRES_ACK_FC,
    /// The source's durable consumer is not set up as it must be.
    10215 SOURCE_DURABLE_CONSUMER_CFG_INVALID,
    /// Two sources share a durable consumer.
    10216 SOURCE_DURABLE_CONSUMER_DUPLICATE_DETECTED,
    /// The source's consumer must acknowledge by flow control.
    10217 SOURCE_CONSUMER_REQUIRES_ACK_FC,
    /// Acknowledgement by flow control is for push consumers.
    10218 CONSUMER_ACK_FC_REQUIRES_PUSH,
    /// Acknowledgement by flow control needs flow control.
    10219 CONSUMER_ACK_FC_REQUIRES_FC,
    /// Acknowledgement by flow control needs `max_ack_pending`.
    10220 CONSUMER_ACK_FC_REQUIRES_MAX_ACK_PENDING,
    /// Acknowledgement by flow control has no `ack_wait`.
    10221 CONSUMER_ACK_FC_REQUIRES_NO_ACK_WAIT,
    /// Acknowledgement by flow control has no `max_deliver`.
    10222 CONSUMER_ACK_FC_REQUIRES_NO_MAX_DELIVER,
    /// The time zone of a schedule is invalid.
    10223 MESSAGE_SCHEDULES_TIME_ZONE_INVALID,
    /// The cluster could not be rescued.
    10224 CLUSTER_RESCUE,
    /// The consumer belongs to a stream of the same name that is gone.
    10225 CONSUMER_STREAM_IDENTITY_MISMATCH,
    /// The stream is being reconfigured already.
    10226 STREAM_RECONFIGURE_IN_PROGRESS,
    /// A message must not carry the header of a source.
    10227 MESSAGE_SOURCE_HDR_NOT_ALLOWED,
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn the_codes_are_the_table_of_the_server() {
        assert_eq!(ErrorCode::ALL.len(), 226);
        let numbers = ErrorCode::ALL.iter().map(|code| code.0);
        assert!(numbers.eq((10_002..=10_227).collect::<alloc::vec::Vec<_>>()));
    }

    #[test]
    fn a_code_without_a_name_is_kept() {
        let code: ErrorCode = serde_json::from_str("12345").unwrap();
        assert_eq!((code, code.name()), (ErrorCode(12_345), None));
        assert_eq!(serde_json::to_string(&code).unwrap(), "12345");
        assert_eq!(format!("{code:?}"), "ErrorCode(12345)");
        assert_eq!(format!("{:?}", ErrorCode::STREAM_SEALED), "STREAM_SEALED(10109)");
    }
}
