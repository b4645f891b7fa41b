//! Buckets seen through codecs of keys and values, on a real nats-server.

use std::time::Duration;

use midge::Json;
use midge::json::ReadJson;
use midge::kv::{
    Base64Keys, Base64Values, BucketConfig, ChangeError, CodingError, CreateError, DeleteError,
    PathKeys, PlainValues, UpdateError, View, ViewEntry, ViewError, ViewWatch, ViewWatchItem,
    WriteBatchError,
};

use super::kv_buckets::{bucket, memory};
use crate::conformance::steps::{HOUR, soon};
use crate::conformance::{Adapter, Outcome};

type Coded = View<Base64Keys, Base64Values>;

fn text(entry: &ViewEntry<midge::Bytes>) -> (&str, Option<&[u8]>) {
    (&entry.key, entry.value.as_deref())
}

async fn given(watch: &mut ViewWatch<Base64Keys, Base64Values>) -> ViewEntry<midge::Bytes> {
    match soon(watch.next()).await {
        Some(Ok(ViewWatchItem::Entry(entry))) => entry,
        other => panic!("an entry, not {other:?}"),
    }
}

pub async fn every_call_of_a_view_goes_through_its_codecs<A: Adapter>() -> Outcome {
    let config = BucketConfig {
        history: 10,
        limit_marker_ttl: Some(Duration::from_secs(60)),
        ..memory("b")
    };
    let (_server, kv) = bucket::<A>(config).await?;
    let view: Coded = kv.view(Base64Keys, Base64Values);
    assert_eq!(soon(view.put("Zoë M.mail", b"zoe")).await?, 1);
    assert_eq!(soon(kv.keys()).await?.all().await?, ["Wm_DqyBN.bWFpbA"]);
    let stored = soon(kv.get("Wm_DqyBN.bWFpbA")).await?.expect("it was put");
    assert_eq!(stored.value(), b"em9l");
    let entry = soon(view.get("Zoë M.mail")).await?.expect("it was put");
    assert_eq!(text(&entry), ("Zoë M.mail", Some(&b"zoe"[..])));
    assert_eq!(entry.entry.key(), "Wm_DqyBN.bWFpbA");

    let exists = soon(view.create("Zoë M.mail", b"no", None)).await.expect_err("it has a value");
    assert!(
        matches!(exists.bucket(), Some(CreateError::Exists { key, revision: 1 }) if key == "Zoë M.mail"),
        "{exists:?}"
    );
    assert_eq!(soon(view.create("Al.mail", b"al", Some(Duration::from_secs(60)))).await?, 2);
    assert_eq!(soon(view.update("Al.mail", b"al 2", 2)).await?, 3);
    let wrong = soon(view.update("Al.mail", b"al 3", 2)).await.expect_err("it is revision 3");
    assert!(
        matches!(wrong.bucket(), Some(UpdateError::WrongRevision { key, .. }) if key == "Al.mail"),
        "{wrong:?}"
    );
    let longer = |entry: Option<ViewEntry<midge::Bytes>>| {
        let value = entry.and_then(|entry| entry.value).unwrap_or_default();
        Some([&value[..], b"!"].concat())
    };
    assert_eq!(soon(view.change("Al.mail", longer)).await?, Some(4));
    let at = soon(view.get_as("Al.mail", |get| get.at(3))).await?.expect("it is kept");
    assert_eq!(text(&at), ("Al.mail", Some(&b"al 2"[..])));

    let many = soon(view.get_many(["Al.mail", "nobody.mail", "Zoë M.mail"])).await?;
    let many: Vec<_> = many.into_iter().collect::<Result<_, _>>()?;
    let many: Vec<_> = many.iter().map(|entry| entry.as_ref().map(text)).collect();
    let (al, zoe) = (("Al.mail", Some(&b"al 2!"[..])), ("Zoë M.mail", Some(&b"zoe"[..])));
    assert_eq!(many, [Some(al), None, Some(zoe)]);

    let mut watch = soon(view.watch("*.mail")).await?;
    assert_eq!(text(&given(&mut watch).await), zoe);
    assert_eq!(text(&given(&mut watch).await), al);
    assert_eq!(soon(watch.next()).await, Some(Ok(ViewWatchItem::InitialEnd)));
    soon(view.put("Al.phone", b"1")).await?;
    let refused = soon(view.delete("Al.mail", Some(3))).await.expect_err("it is revision 4");
    assert!(
        matches!(refused.bucket(), Some(DeleteError::WrongRevision { key, .. }) if key == "Al.mail"),
        "{refused:?}"
    );
    soon(view.delete("Al.mail", Some(4))).await?;
    soon(view.purge("Zoë M.mail", None)).await?;
    assert_eq!(text(&given(&mut watch).await), ("Al.mail", None));
    assert_eq!(text(&given(&mut watch).await), ("Zoë M.mail", None));
    watch.stop();
    assert_eq!(soon(watch.next()).await, None);
    let mut meta =
        soon(view.watch_as(["Al.*"], |watch| watch.meta_only().ignore_deletes())).await?;
    assert_eq!(text(&given(&mut meta).await), ("Al.phone", None));

    assert_eq!(soon(view.keys()).await?.all().await?, ["Al.phone"]);
    assert!(soon(view.keys_of(["*.mail"])).await?.all().await?.is_empty());
    let history = soon(view.history("Al.mail")).await?;
    let history: Vec<_> = history.into_iter().collect::<Result<_, _>>()?;
    let history: Vec<_> = history.iter().map(text).collect();
    let both = soon(view.history_of(["Zoë M.*", "Al.phone"])).await?;
    let both: Vec<_> = both.into_iter().collect::<Result<_, _>>()?;
    let both: Vec<_> = both.iter().map(text).collect();
    assert_eq!(both, [("Al.phone", Some(&b"1"[..])), ("Zoë M.mail", None)]);
    let of = |value| ("Al.mail", value);
    assert_eq!(history, [of(Some(&b"al"[..])), of(Some(b"al 2")), of(Some(b"al 2!")), of(None)]);

    let empty = soon(view.put("a..b", b"x")).await;
    assert!(
        matches!(&empty, Err(ViewError::Coding(CodingError::EncodeKey { key, .. })) if key == "a..b"),
        "{empty:?}"
    );
    Ok(())
}

pub async fn calls_of_a_view_have_the_options_of_the_bucket<A: Adapter>() -> Outcome {
    let minute = Duration::from_secs(60);
    let (server, kv) =
        bucket::<A>(BucketConfig { limit_marker_ttl: Some(minute), ..memory("b") }).await?;
    let view: Coded = kv.view(Base64Keys, Base64Values);
    let first = soon(view.create_as("Zoë", b"1", |create| create.ttl(minute))).await?;
    let last = |key: &str| format!("$KV.b.{}", view.encode_key(key).expect("it has a form"));
    let ttl = soon(kv.stream().last_message(&last("Zoë"))).await?;
    assert_eq!(ttl.headers.get("Nats-TTL"), Some("60"));
    let purge = view.purge_as("Zoë", |purge| purge.expect_revision(first).ttl(minute));
    soon(purge).await?;
    let ttl = soon(kv.stream().last_message(&last("Zoë"))).await?;
    assert_eq!(ttl.headers.get("Nats-TTL"), Some("60"));
    let never = soon(view.change_within(0, "Zoë", |_| Some(b"2".to_vec()))).await;
    let never = never.expect_err("it was not tried");
    assert!(
        matches!(never.bucket(), Some(ChangeError::Contended { key, attempts: 0 }) if key == "Zoë"),
        "{never:?}"
    );

    // A server that stands still answers nothing: each call ends by its own time.
    let js = kv.stream().context().clone().with_timeout(10 * minute);
    let view: Coded = soon(js.open_key_value("b")).await?.view(Base64Keys, Base64Values);
    server.pause()?;
    let brief = Duration::from_millis(50);
    let put = view.put_as("a", b"1", |put| put.timeout(brief));
    assert!(soon(put).await.is_err_and(|error| error.bucket().is_some()));
    let create = view.create_as("a", b"1", |create| create.timeout(brief));
    assert!(soon(create).await.is_err_and(|error| error.bucket().is_some()));
    let update = view.update_as("a", b"1", 1, |update| update.timeout(brief));
    assert!(soon(update).await.is_err_and(|error| error.bucket().is_some()));
    let delete = view.delete_as("a", |delete| delete.timeout(brief));
    assert!(soon(delete).await.is_err_and(|error| error.bucket().is_some()));
    let purge = view.purge_as("a", |purge| purge.timeout(brief));
    assert!(soon(purge).await.is_err_and(|error| error.bucket().is_some()));
    server.resume()?;
    Ok(())
}

pub async fn what_was_written_without_the_codecs_is_an_error_in_its_place<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    let view: Coded = kv.view(Base64Keys, Base64Values);
    soon(view.put("first", b"1")).await?;
    soon(kv.put("no/base64", "x")).await?;
    soon(kv.put(&view.encode_key("second")?, "no base64")).await?;
    soon(view.put("third", b"3")).await?;

    let mut keys = soon(view.keys()).await?;
    assert_eq!(soon(keys.next()).await, Some(Ok("first".to_owned())));
    let wrong = soon(keys.next()).await.expect("the list goes on").expect_err("it is no base64");
    let ViewError::Coding(CodingError::DecodeKey { bucket, stored, revision, .. }) = &wrong else {
        panic!("{wrong:?}")
    };
    assert_eq!((bucket.as_str(), stored.as_str(), *revision), ("b", "no/base64", 2));
    for key in ["second", "third"] {
        assert_eq!(soon(keys.next()).await, Some(Ok(key.to_owned())));
    }
    assert_eq!(soon(keys.next()).await, None);

    let is_wrong_value = |error: &CodingError| matches!(error, CodingError::DecodeValue { key, revision: 3, .. } if key == "second");
    let mut watch = soon(view.watch(">")).await?;
    assert_eq!(given(&mut watch).await.key, "first");
    let key = soon(watch.next()).await;
    assert!(matches!(key, Some(Err(ViewError::Coding(CodingError::DecodeKey { .. })))), "{key:?}");
    let value = soon(watch.next()).await;
    let Some(Err(ViewError::Coding(error))) = value else { panic!("{value:?}") };
    assert!(is_wrong_value(&error), "{error}");
    assert_eq!(given(&mut watch).await.key, "third");
    assert_eq!(soon(watch.next()).await, Some(Ok(ViewWatchItem::InitialEnd)));

    let got = soon(view.get("second")).await;
    assert!(matches!(&got, Err(ViewError::Coding(error)) if is_wrong_value(error)), "{got:?}");
    let many = soon(view.get_many(["first", "second"])).await?;
    assert!(many[0].is_ok() && many[1].as_ref().is_err_and(is_wrong_value), "{many:?}");
    let history = soon(view.history(">")).await?;
    assert_eq!(history.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
    let changed = soon(view.change("second", |_| Some(b"new".to_vec()))).await;
    assert!(matches!(&changed, Err(ViewError::Coding(error)) if is_wrong_value(error)));
    assert_eq!(soon(kv.get(&view.encode_key("second")?)).await?.map(|e| e.revision()), Some(3));
    Ok(())
}

pub async fn keys_of_a_view_are_written_together<A: Adapter>() -> Outcome {
    let config = BucketConfig {
        allow_atomic: true,
        history: 5,
        limit_marker_ttl: Some(Duration::from_secs(60)),
        max_value_size: Some(300),
        ..memory("b")
    };
    let (_server, kv) = bucket::<A>(config).await?;
    let view: Coded = kv.view(Base64Keys, Base64Values);
    let first = soon(view.put("Zoë", b"1")).await?;
    let al = soon(view.put("Al", b"1")).await?;
    let purged = soon(view.put("purged", b"1")).await?;
    let minute = Duration::from_secs(60);
    let batch = view.batch().update("Zoë", b"2", first).create("new one", b"2").ttl(minute);
    let batch = batch.put("put", b"2").delete("deleted").delete_at("Al", al).purge("x");
    let revisions = soon(batch.purge_at("purged", purged).timeout(minute)).await?;
    let mut keys: Vec<_> = revisions.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["Al", "Zoë", "deleted", "new one", "purged", "put", "x"]);
    for (key, revision) in &revisions {
        let history = soon(view.history(key)).await?;
        let last = history.into_iter().next_back().ok_or("it was written")??;
        assert_eq!((&last.key, last.entry.revision()), (key, *revision));
    }
    let new = soon(view.get("new one")).await?.expect("it was created");
    assert_eq!(text(&new), ("new one", Some(&b"2"[..])));

    // Errors name the keys of the caller.
    let wrong = soon(view.batch().put("put", b"3").update("Zoë", b"3", first)).await;
    let Err(ViewError::Bucket(WriteBatchError::WrongRevision { differing, .. })) = wrong else {
        panic!("{wrong:?}")
    };
    assert_eq!((&*differing[0].key, differing[0].expected), ("Zoë", first));
    let twice = soon(view.batch().put("Zoë", b"3").delete("Zoë")).await.expect_err("it is twice");
    assert!(matches!(twice.bucket(), Some(WriteBatchError::Twice { key }) if key == "Zoë"));
    let large = soon(view.batch().put("Zoë", &[0; 300])).await.expect_err("it is encoded");
    assert!(
        matches!(large.bucket(), Some(WriteBatchError::TooLarge { key, error }) if key == "Zoë" && error.size == 400),
        "{large:?}"
    );
    let ttl = soon(view.batch().put("Zoë", b"3").ttl(minute)).await.expect_err("it has none");
    assert!(matches!(ttl.bucket(), Some(WriteBatchError::Ttl { key }) if key == "Zoë"));
    // What has no form in the bucket: nothing of the batch is sent.
    let before = kv.stream().context().client().statistics().out_messages;
    let empty = soon(view.batch().put("put", b"3").put("a..b", b"3").put("..", b"3")).await;
    assert!(
        matches!(&empty, Err(ViewError::Coding(CodingError::EncodeKey { key, .. })) if key == "a..b"),
        "{empty:?}"
    );
    assert_eq!(kv.stream().context().client().statistics().out_messages, before);
    Ok(())
}

pub async fn a_cache_of_a_view_is_decoded_as_it_is_read<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    let view: Coded = kv.view(Base64Keys, Base64Values);
    for key in ["Zoë.mail", "Al.mail", "Al.phone"] {
        soon(view.put(key, key.as_bytes())).await?;
    }
    let all = soon(view.cache()).await?;
    let mail = soon(view.cache_of(["*.mail"])).await?;
    soon(all.completed()).await?;
    soon(mail.completed()).await?;
    let zoe = mail.get("Zoë.mail")?.expect("it was there");
    assert_eq!(text(&zoe), ("Zoë.mail", Some("Zoë.mail".as_bytes())));
    assert_eq!((mail.get("Al.phone")?, mail.keys().len(), all.keys().len()), (None, 2, 3));
    assert!(mail.get("a..b").is_err(), "it has no form in the bucket");

    soon(kv.put("no/base64", "x")).await?;
    let last = soon(kv.put(&view.encode_key("odd")?, "no base64")).await?;
    soon(all.clone().wait_for(last)).await?;
    assert!(
        matches!(all.get("odd"), Err(CodingError::DecodeValue { ref key, .. }) if key == "odd")
    );
    let decoded = |is_ok: &[bool]| is_ok.iter().filter(|is_ok| **is_ok).count();
    let entries: Vec<_> = all.entries().iter().map(Result::is_ok).collect();
    let keys: Vec<_> = all.keys().iter().map(Result::is_ok).collect();
    assert_eq!((entries.len(), decoded(&entries)), (5, 3));
    assert_eq!((keys.len(), decoded(&keys)), (5, 4), "of one the value alone is wrong");
    assert_eq!(all.stored().keys().len(), 5);
    assert!(all.status().is_current(HOUR));
    all.stop();
    assert!(!all.status().is_current(HOUR));
    Ok(())
}

pub async fn paths_are_keys_and_a_cache_is_read_through_a_view<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    let files = kv.view(PathKeys, PlainValues);
    for path in ["/etc/hosts", "/etc/ssl/certs", "home/notes"] {
        soon(files.put(path, path.as_bytes())).await?;
    }
    assert_eq!(soon(kv.keys_of(["_root_.etc.>"])).await?.all().await?.len(), 2);
    assert_eq!(soon(files.keys_of(["/etc/*"])).await?.all().await?, ["/etc/hosts"]);
    let some = soon(files.keys_of(["/etc/ssl/*", "home/>"])).await?.all().await?;
    assert_eq!(some, ["/etc/ssl/certs", "home/notes"]);
    let many = soon(files.get_many(["home/notes", "/home/notes", "/etc/hosts"])).await?;
    let many: Vec<_> = many.into_iter().collect::<Result<_, _>>()?;
    let many: Vec<_> = many.iter().map(|entry| entry.as_ref().map(|entry| &*entry.key)).collect();
    assert_eq!(many, [Some("home/notes"), None, Some("/etc/hosts")]);
    let mut watch = soon(files.watch_as(["/etc/>", "home/notes"], |watch| watch)).await?;
    for wanted in ["/etc/hosts", "/etc/ssl/certs", "home/notes"] {
        let Some(Ok(ViewWatchItem::Entry(entry))) = soon(watch.next()).await else {
            panic!("{wanted} is there")
        };
        assert_eq!((&*entry.key, entry.value.as_deref()), (wanted, Some(wanted.as_bytes())));
    }
    assert_eq!(soon(watch.next()).await, Some(Ok(ViewWatchItem::InitialEnd)));
    let cache = soon(kv.cache_of([files.encode_filter("/etc/>")?])).await?;
    soon(cache.completed()).await?;
    let entry = cache.get(&files.encode_key("/etc/ssl/certs")?).expect("it was there");
    let entry = files.decode(entry)?;
    assert_eq!(
        (&*entry.key, entry.value.as_deref()),
        ("/etc/ssl/certs", Some(&b"/etc/ssl/certs"[..]))
    );
    assert_eq!(cache.keys().len(), 2);
    Ok(())
}

pub async fn values_are_json_of_a_type<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 5, ..memory("b") }).await?;
    let visits = kv.typed::<(u64, String)>();
    soon(visits.put("sue", &(1, "Mon".to_owned()))).await?;
    let stored = soon(kv.get("sue")).await?.expect("it was put");
    assert_eq!(stored.value(), br#"[1,"Mon"]"#);
    let next = |entry: Option<ViewEntry<(u64, String)>>| {
        let (visits, day) = entry.and_then(|entry| entry.value).unwrap_or_default();
        Some((visits + 1, day))
    };
    soon(visits.change("sue", next)).await?;
    let entry = soon(visits.get("sue")).await?.expect("it was put");
    assert_eq!(entry.value, Some((2, "Mon".to_owned())));

    soon(kv.put("bob", Json::new(&[1, 2])?)).await?;
    let bob = soon(kv.get("bob")).await?.expect("it was put");
    assert_eq!(bob.json::<Vec<u8>>()?, [1, 2]);
    let error = bob.json::<String>().expect_err("it is a list");
    assert_eq!((error.key(), error.revision()), ("bob", 3));
    let error = soon(visits.get("bob")).await.expect_err("it is of another type");
    let ViewError::Coding(CodingError::DecodeValue { key, revision, .. }) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((key.as_str(), *revision), ("bob", 3));
    assert!(error.to_string().starts_with("revision 3 of \"bob\" cannot be decoded"), "{error}");
    Ok(())
}
