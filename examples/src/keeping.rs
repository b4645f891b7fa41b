//! The key-value store: keys that get values, are watched, listed and deleted.

use std::io::{Write, stdout};

use midge::Client;
use midge::jetstream::{JetStream, Storage};
use midge::kv::{
    BucketConfig, CreateError, KeyValue, PathKeys, PlainValues, UpdateError, WatchItem,
};

use crate::Failure;

/// Runs the examples on a bucket of their own. The server needs JetStream.
///
/// # Errors
///
/// The first call that fails.
pub async fn keeping(client: &Client) -> Result<(), Failure> {
    let js = JetStream::new(client.clone());
    let config =
        BucketConfig { history: 5, storage: Storage::Memory, ..BucketConfig::new("profiles") };
    let profiles = js.create_key_value(config).await?;
    values(&profiles).await?;
    watching(&profiles).await?;
    lists(&profiles).await?;
    copies(&profiles).await?;
    forms(&profiles).await?;
    buckets(&js).await?;
    js.delete_key_value("profiles").await?;
    Ok(())
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
        let value = String::from_utf8_lossy(entry.value());
        writeln!(stdout(), "                   {}: {value}", entry.key())?;
    }
    for _ in 0..3 {
        let change = profiles.change("visits", |entry| {
            let before = entry.map(|entry| String::from_utf8_lossy(entry.value()).into_owned());
            let visits = before.and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
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
                let value = String::from_utf8_lossy(entry.value());
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
    for entry in profiles.history("hello.world").await?.all().await? {
        let value = String::from_utf8_lossy(entry.value());
        writeln!(
            stdout(),
            "                   {}: {} {value}",
            entry.revision(),
            entry.operation()
        )?;
    }
    let many = profiles.get_many(["sue.color", "bob.color", "visits"]).await?;
    let values = many.iter().map(|entry| match entry {
        Some(entry) => String::from_utf8_lossy(entry.value()).into_owned(),
        None => "nothing".to_owned(),
    });
    writeln!(stdout(), "                   {}", values.collect::<Vec<_>>().join(", "))?;
    profiles.purge("hello.world").await?;
    let status = profiles.status().await?;
    writeln!(stdout(), "                   {} revisions are kept", status.values)?;
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
        let value = String::from_utf8_lossy(entry.value());
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
    Ok(())
}
