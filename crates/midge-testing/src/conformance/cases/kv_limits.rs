//! What is too large for a bucket: told here as a real nats-server would decide.

use std::time::Duration;

use midge::jetstream::{AtomicBatchError, ErrorCode, JetPublishError};
use midge::kv::{
    BucketConfig, CreateError, DeleteError, KeyValue, PutError, TooLarge, UpdateError,
    WriteBatchError,
};

use super::kv_buckets::{bucket, memory};
use crate::NatsServer;
use crate::conformance::steps::soon;
use crate::conformance::{Adapter, Outcome};

const LIMIT: u32 = 400;
const MINUTE: Duration = Duration::from_secs(60);

/// What became of a write.
#[derive(Debug, PartialEq)]
enum Fate {
    Stored,
    Refused(TooLarge),
    RefusedByServer,
}

fn published(error: &JetPublishError) -> Fate {
    let code = error.refusal().map(|refusal| refusal.err_code);
    assert_eq!(code, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM), "{error}");
    Fate::RefusedByServer
}

fn put(error: &PutError) -> Fate {
    match error {
        PutError::TooLarge(error) => Fate::Refused(*error),
        PutError::Publish(error) => published(error),
        error => panic!("{error}"),
    }
}

trait Told {
    fn fate(&self) -> Fate;
}

impl Told for PutError {
    fn fate(&self) -> Fate {
        put(self)
    }
}

impl Told for UpdateError {
    fn fate(&self) -> Fate {
        match self {
            Self::Put(error) => put(error),
            error => panic!("{error}"),
        }
    }
}

impl Told for CreateError {
    fn fate(&self) -> Fate {
        match self {
            Self::Put(error) => put(error),
            error => panic!("{error}"),
        }
    }
}

impl Told for DeleteError {
    fn fate(&self) -> Fate {
        match self {
            Self::TooLarge(error) => Fate::Refused(*error),
            Self::Publish(error) => published(error),
            error => panic!("{error}"),
        }
    }
}

impl Told for WriteBatchError {
    fn fate(&self) -> Fate {
        match self {
            Self::TooLarge { error, .. } => Fate::Refused(*error),
            Self::Batch(AtomicBatchError::Refused(error)) => {
                // Of one that waits for no word, the server says at the end that it lacks.
                let codes = [
                    ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM,
                    ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH,
                ];
                assert!(codes.contains(&error.err_code), "{error}");
                Fate::RefusedByServer
            }
            error => panic!("{error}"),
        }
    }
}

fn fate<T, E: Told>(written: Result<T, E>) -> Fate {
    written.map_or_else(|error| error.fate(), |_| Fate::Stored)
}

/// A bucket by two handles: one knows its limit, and one is older than that.
async fn limited<A: Adapter>(limit: u32) -> Outcome<(NatsServer, KeyValue, KeyValue)> {
    let config = BucketConfig {
        history: 2,
        allow_atomic: true,
        limit_marker_ttl: Some(MINUTE),
        ..memory("b")
    };
    let (server, older) = bucket::<A>(config).await?;
    let knowing = give(&older, limit).await?;
    Ok((server, knowing, older))
}

/// Gives the bucket another limit, and the handle that knows it.
async fn give(kv: &KeyValue, limit: u32) -> Outcome<KeyValue> {
    let max_value_size = Some(limit);
    let config = BucketConfig { max_value_size, ..soon(kv.status()).await?.config };
    Ok(soon(kv.stream().context().update_key_value(config)).await?)
}

/// A value that fits to the byte is stored, and with one more both refuse it. Gives the size of the
/// headers.
async fn assert_alike(
    knowing: &KeyValue,
    older: &KeyValue,
    write: impl AsyncFn(&KeyValue, &[u8]) -> Fate,
) -> usize {
    let value = vec![b'x'; LIMIT as usize + 1];
    let sent = || knowing.stream().context().client().statistics().out_messages;
    let Fate::Refused(told) = write(knowing, &value).await else { panic!("it is too large") };
    assert_eq!((told.size, told.limit), (value.len(), LIMIT as usize));
    let most = LIMIT as usize - told.headers;
    let before = sent();
    let refused = write(knowing, &value[..=most]).await;
    assert!(matches!(refused, Fate::Refused(TooLarge { size, .. }) if size == most + 1));
    assert_eq!(sent(), before, "nothing was sent");
    assert_eq!(write(older, &value[..=most]).await, Fate::RefusedByServer, "{told}");
    assert_eq!(write(knowing, &value[..most]).await, Fate::Stored, "{told}");
    told.headers
}

pub async fn a_value_that_is_too_large_with_its_headers_is_refused_as_the_server_would<
    A: Adapter,
>() -> Outcome {
    let (_server, kv, older) = limited::<A>(LIMIT).await?;
    let write = async |kv: &KeyValue, value: &[u8]| fate(soon(kv.put("put", value)).await);
    assert_eq!(assert_alike(&kv, &older, write).await, 0, "what is put has none");
    let write = async |kv: &KeyValue, value: &[u8]| fate(soon(kv.create("new", value)).await);
    let created = assert_alike(&kv, &older, write).await;
    assert!(created > 0);
    // Where there is a history, the server makes a time of one second as long as that of markers,
    // which is a byte more in the header, and looks at the size before.
    for (key, ttl) in [("brief", 1), ("minute", 60), ("long", 100_000)] {
        let ttl = Duration::from_secs(ttl);
        let write =
            async |kv: &KeyValue, value: &[u8]| fate(soon(kv.create(key, value).ttl(ttl)).await);
        assert!(assert_alike(&kv, &older, write).await > created);
    }
    let mut last = 0;
    for _ in 0..10 {
        last = soon(kv.put("updated", "x")).await?;
    }
    let write =
        async |kv: &KeyValue, value: &[u8]| fate(soon(kv.update("updated", value, last)).await);
    assert_eq!(assert_alike(&kv, &older, write).await, created + 1, "the revision has two digits");

    // A marker that is in the way is found out, and then its revision counts.
    soon(kv.put("gone", "x")).await?;
    soon(kv.delete("gone")).await?;
    let most = vec![b'x'; LIMIT as usize - created];
    let refused = fate(soon(kv.create("gone", &most)).await);
    let Fate::Refused(told) = refused else { panic!("{refused:?}") };
    assert_eq!((told.size, told.headers), (most.len(), created + 1));
    soon(kv.create("gone", &most[1..])).await?;
    Ok(())
}

pub async fn a_batch_in_which_one_is_too_large_is_refused_as_the_server_would<A: Adapter>()
-> Outcome {
    let (_server, kv, older) = limited::<A>(LIMIT).await?;
    let put = async |kv: &KeyValue, value: &[u8]| {
        fate(soon(kv.batch().put("a", value).put("b", "")).await)
    };
    let put = assert_alike(&kv, &older, put).await;
    let last = async |kv: &KeyValue, value: &[u8]| {
        fate(soon(kv.batch().put("a", "").put("b", value)).await)
    };
    assert!(assert_alike(&kv, &older, last).await > put, "it commits");
    let created = async |kv: &KeyValue, value: &[u8]| {
        fate(soon(kv.batch().delete("a").create("new", value).ttl(MINUTE).purge("b")).await)
    };
    assert!(assert_alike(&kv, &older, created).await > put);

    // As by itself: the marker in the way counts, and nothing is stored.
    for _ in 0..10 {
        soon(kv.put("gone", "x")).await?;
    }
    let marker = soon(kv.delete("gone")).await?;
    let told = fate(soon(kv.batch().create("gone", vec![0; LIMIT as usize])).await);
    let Fate::Refused(told) = told else { panic!("{told:?}") };
    let most = vec![b'x'; LIMIT as usize - told.headers];
    let again = fate(soon(kv.batch().create("gone", &most)).await);
    assert!(matches!(again, Fate::Refused(again) if again.headers == told.headers + 1));
    let left = soon(kv.get("gone").with_markers()).await?.expect("the marker is left");
    assert_eq!(left.revision(), marker);
    soon(kv.batch().create("gone", &most[1..])).await?;
    Ok(())
}

pub async fn a_marker_that_is_too_large_is_refused_as_the_server_would<A: Adapter>() -> Outcome {
    let (_server, mut kv, older) = limited::<A>(1).await?;
    for key in ["deleted", "deleted at", "purged", "purged at"].map(|key| key.replace(' ', ".")) {
        let revision = soon(kv.put(&key, "x")).await?;
        let remove = async |kv: &KeyValue| {
            fate(match &*key {
                "deleted" => soon(kv.delete(&key)).await,
                "deleted.at" => soon(kv.delete(&key).expect_revision(revision)).await,
                "purged" => soon(kv.purge(&key)).await,
                _ => soon(kv.purge(&key).expect_revision(revision).ttl(MINUTE)).await,
            })
        };
        let Fate::Refused(told) = remove(&kv).await else { panic!("{key} is too large") };
        assert_eq!((told.size, told.limit), (0, 1));
        kv = give(&kv, told.headers as u32 - 1).await?;
        assert!(matches!(remove(&kv).await, Fate::Refused(_)), "{key}");
        assert_eq!(remove(&older).await, Fate::RefusedByServer, "{key}");
        assert!(soon(kv.get(&key)).await?.is_some());
        kv = give(&kv, told.headers as u32).await?;
        assert_eq!(remove(&kv).await, Fate::Stored, "{key}");
        kv = give(&kv, 1).await?;
    }
    Ok(())
}
