//! The key-value store: keys that get values, are watched, listed and deleted.
//!
//! What the README of nats.js shows of it is here:
//!
//! | there | here |
//! |---|---|
//! | `new Kvm(js)`, `kvm.create` with options, `kvm.open`, `kvm.list`, `kv.destroy` | [`keeping`], [`buckets`] |
//! | `kv.create`, `kv.put`, `kv.update`, `kv.get`, a revision, what an entry has, its text and JSON, a key with dots | [`values`] |
//! | `kv.watch` of all, of some, with options, its operations, `stop` | [`watching`] |
//! | `kv.keys` with and without filters, `kv.history`, `kv.delete`, `kv.purge`, `kv.status` | [`lists`] |
//! | a TTL of a key and of a marker, `purgeDeletes`, `purgeBucket` | [`lifetimes`] |
//! | keys that are deleted by a pattern | [`copies`] |
//! | codecs | [`forms`] |

use std::io::{Write, stdout};
use std::time::Duration;

use midge::jetstream::{JetStream, Listed, Storage};
use midge::json::ReadJson;
use midge::kv::{
    BucketConfig, CreateError, Entry, KeyValue, PathKeys, PlainValues, UpdateError, WatchItem,
};
use midge::{Client, Json};

use crate::Failure;

/// Runs the examples on a bucket of their own. The server needs JetStream.
///
/// # Errors
///
/// The first call that fails.
pub async fn keeping(client: &Client) -> Result<(), Failure> {
    let js = JetStream::new(client.clone()).with_timeout(Duration::from_secs(10));
    let config =
        BucketConfig { history: 5, storage: Storage::Memory, ..BucketConfig::new("profiles") };
    let profiles = js.create_key_value(config).await?;
    values(&profiles).await?;
    watching(&profiles).await?;
    lists(&profiles).await?;
    copies(&profiles).await?;
    forms(&profiles).await?;
    lifetimes(&js).await?;
    buckets(&js).await?;
    Ok(())
}

fn text(entry: &Entry) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(entry.value())
}

/// Values that are put, created, and changed only if nobody else has changed them.
///
/// # Errors
///
/// The first call that fails.
pub async fn values(profiles: &KeyValue) -> Result<(), Failure> {
    let revision = profiles.create("hello.world", "hi").await?;
    if let Err(CreateError::Exists { key, revision }) =
        profiles.create("hello.world", "hallo").await
    {
        writeln!(stdout(), "a value            {key} exists with revision {revision}")?;
    }
    profiles.put("hello.world", "world").await?;
    if let Err(UpdateError::WrongRevision { key, expected, .. }) =
        profiles.update("hello.world", "late", revision).await
    {
        writeln!(stdout(), "                   {key} is not at revision {expected} any more")?;
    }
    if let Some(entry) = profiles.get("hello.world").await? {
        let (bucket, key, value) = (entry.bucket(), entry.key(), text(&entry));
        let (revision, operation, size) = (entry.revision(), entry.operation(), entry.size());
        let is_dated = entry.created().unix_nanos() > 0;
        writeln!(
            stdout(),
            "                   {bucket} {key}: {value}, {operation}, revision {revision}, \
             {size} bytes, dated: {is_dated}"
        )?;
    }
    if let Some(entry) = profiles.get("hello.world").at(revision).await? {
        writeln!(stdout(), "                   at revision {revision}: {}", text(&entry))?;
    }
    profiles.put("sue.age", Json::new(&42)?).await?;
    if let Some(entry) = profiles.get("sue.age").await? {
        writeln!(stdout(), "                   sue is {}", entry.json::<u8>()?)?;
    }
    profiles.delete("sue.age").await?;
    let gone = profiles.get("sue.age").await?;
    let marker = profiles.get("sue.age").with_markers().await?.map(|entry| entry.operation());
    writeln!(stdout(), "                   deleted: {}, {marker:?}", gone.is_none())?;
    profiles.purge_deletes(Duration::ZERO).await?;
    for _ in 0..3 {
        let change = profiles.change("visits", |entry| {
            let visits = entry.and_then(|entry| text(entry).parse::<u32>().ok()).unwrap_or(0);
            Some((visits + 1).to_string())
        });
        change.await?;
    }
    Ok(())
}

/// First what there is, then what comes.
///
/// # Errors
///
/// The first call that fails.
pub async fn watching(profiles: &KeyValue) -> Result<(), Failure> {
    let mut watch = profiles.watch_all().await?;
    while let Some(item) = watch.next().await {
        match item? {
            WatchItem::Entry(entry) => {
                let value = text(&entry);
                let (key, operation) = (entry.key(), entry.operation());
                writeln!(stdout(), "a watch            {operation} {key} {value}")?;
                if !entry.is_put() {
                    watch.stop();
                }
            }
            WatchItem::InitialEnd => {
                writeln!(stdout(), "                   that is what there was")?;
                profiles.put("sue.color", "blue").await?;
                profiles.delete("hello.world").await?;
            }
        }
    }
    // Some keys; nothing of what there is; no values.
    let watch = profiles.watch_many(["*.color", "visits"]).updates_only().meta_only();
    let mut watch = watch.await?;
    profiles.purge("sue.color").await?;
    profiles.put("sue.color", "blue").await?;
    while let Some(item) = watch.next().await {
        if let WatchItem::Entry(entry) = item? {
            let (operation, key, size) = (entry.operation(), entry.key(), entry.size());
            writeln!(stdout(), "                   {operation} {key}, {size} bytes")?;
            if entry.is_put() {
                watch.stop();
            }
        }
    }
    // What came behind a revision that is known, but for what was deleted.
    let mut watch = profiles.watch_all().from_revision(3).ignore_deletes().await?;
    while let Some(WatchItem::Entry(entry)) = watch.next().await.transpose()? {
        writeln!(stdout(), "                   from 3 on: {} {}", entry.revision(), entry.key())?;
    }
    Ok(())
}

/// Keys, histories, many values at once.
///
/// # Errors
///
/// The first call that fails.
pub async fn lists(profiles: &KeyValue) -> Result<(), Failure> {
    let keys = profiles.keys().await?.all().await?;
    writeln!(stdout(), "lists              keys: {}", keys.join(", "))?;
    let colors = profiles.keys_of(["*.color"]).await?.all().await?;
    writeln!(stdout(), "                   colors: {}", colors.join(", "))?;
    for entry in profiles.history("hello.world").await?.all().await? {
        let (revision, operation, value) = (entry.revision(), entry.operation(), text(&entry));
        let newer = entry.delta();
        writeln!(stdout(), "                   {revision}: {operation} {value}, then {newer}")?;
    }
    let many = profiles.get_many(["sue.color", "bob.color", "visits"]).await?;
    let values = many.iter().map(|entry| match entry {
        Some(entry) => text(entry).into_owned(),
        None => "nothing".to_owned(),
    });
    writeln!(stdout(), "                   {}", values.collect::<Vec<_>>().join(", "))?;
    profiles.purge("hello.world").await?;
    let left = profiles.history("hello.world").await?.all().await?;
    let left: Vec<_> = left.iter().map(|entry| entry.operation().to_string()).collect();
    writeln!(stdout(), "                   purged: {}", left.join(", "))?;
    let status = profiles.status().await?;
    let (values, history, ttl) = (status.values, status.config.history, status.config.ttl);
    writeln!(
        stdout(),
        "                   {values} revisions are kept, {history} of a key, for {ttl:?}, {}",
        status.backing_store()
    )?;
    Ok(())
}

/// Keys and markers that go by themselves.
///
/// # Errors
///
/// The first call that fails.
pub async fn lifetimes(js: &JetStream) -> Result<(), Failure> {
    let config = BucketConfig {
        storage: Storage::Memory,
        limit_marker_ttl: Some(Duration::from_secs(60)),
        ..BucketConfig::new("sessions")
    };
    let sessions = js.create_key_value(config).await?;
    let mut watch = sessions.watch("sue").updates_only().await?;
    sessions.create("sue", "here").ttl(Duration::from_secs(1)).await?;
    while let Some(item) = watch.next().await {
        if let WatchItem::Entry(entry) = item? {
            writeln!(stdout(), "lifetimes          {} {}", entry.operation(), entry.key())?;
            if !entry.is_put() {
                watch.stop();
            }
        }
    }
    sessions.put("bob", "here").await?;
    sessions.purge("bob").ttl(Duration::from_secs(3_600)).await?;
    sessions.delete("tom").await?;
    let young = sessions.purge_deletes(Duration::from_secs(30 * 60)).await?;
    let all = sessions.purge_deletes(Duration::ZERO).await?;
    writeln!(stdout(), "                   cleared away: {young}, then {all}")?;
    sessions.put("bob", "here").await?;
    let purged = sessions.stream().purge().await?;
    writeln!(stdout(), "                   and {purged} without a marker")?;
    js.delete_key_value("sessions").await?;
    Ok(())
}

/// A copy in memory, which is kept current while nobody asks.
///
/// # Errors
///
/// The first call that fails.
pub async fn copies(profiles: &KeyValue) -> Result<(), Failure> {
    let cache = profiles.cache_of(["*.color"]).await?;
    cache.completed().await?;
    writeln!(stdout(), "a copy             {}", cache.keys().join(", "))?;
    let revision = profiles.put("bob.color", "red").await?;
    cache.wait_for(revision).await?;
    if let Some(entry) = cache.get("bob.color") {
        let value = text(&entry);
        writeln!(stdout(), "                   {}: {value}", entry.key())?;
    }
    let deleted = profiles.delete_matching("*.color").await?;
    let left = profiles.keys_of(["*.color", "visits"]).await?.all().await?;
    writeln!(stdout(), "                   {deleted} are deleted, left: {}", left.join(", "))?;
    Ok(())
}

/// Keys and values in another form than the bucket has them in.
///
/// # Errors
///
/// The first call that fails.
pub async fn forms(profiles: &KeyValue) -> Result<(), Failure> {
    let files = profiles.view(PathKeys, PlainValues);
    files.put("/home/sue/notes", b"buy milk").await?;
    for entry in files.history("/home/>").await? {
        let entry = entry?;
        writeln!(stdout(), "another form       {} is {}", entry.key, entry.entry.key())?;
    }
    let scores = profiles.typed::<Vec<u32>>();
    scores.put("sue.scores", &vec![3, 4]).await?;
    let change = scores.change("sue.scores", |entry| {
        let mut scores = entry.and_then(|entry| entry.value).unwrap_or_default();
        scores.push(5);
        Some(scores)
    });
    change.await?;
    let entry = scores.get("sue.scores").await?;
    let scores = entry.and_then(|entry| entry.value).unwrap_or_default();
    writeln!(stdout(), "                   sum of {scores:?}: {}", scores.iter().sum::<u32>())?;
    Ok(())
}

/// The buckets that there are, and one that is there already.
///
/// # Errors
///
/// The first call that fails.
pub async fn buckets(js: &JetStream) -> Result<(), Failure> {
    let config = BucketConfig::new("profiles");
    let (profiles, differences) = js.create_or_open_key_value(config).await?;
    writeln!(stdout(), "buckets            {}: {differences}", profiles.name())?;
    let mut names = js.key_value_names();
    while let Some(name) = names.next().await {
        let status = js.open_key_value(&name?).await?.status().await?;
        writeln!(
            stdout(),
            "                   {}: {} revisions",
            status.config.bucket,
            status.values
        )?;
    }
    let mut all = js.key_values();
    while let Some(bucket) = all.next().await {
        if let Listed::Found(status) = bucket? {
            let (storage, replicas) = (status.config.storage, status.config.replicas);
            writeln!(stdout(), "                   in {storage:?}, replicas: {replicas}")?;
        }
    }
    js.delete_key_value("profiles").await?;
    let gone = js.open_key_value("profiles").await.is_err();
    writeln!(stdout(), "                   it is deleted: {gone}")?;
    Ok(())
}
