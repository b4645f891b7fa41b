//! Who is asked for the keys of a bucket, and many keys at once, on a real nats-server.

use midge::HeaderMap;
use midge::jetstream::{JetStream, StreamConfig};
use midge::kv::{BucketConfig, ChangeError, Entry, GetError, GetManyError, WriteBatchError};
use midge::{Client, Subscription};

use super::kv_buckets::{bucket, memory};
use super::kv_entries::{SECOND, marked, until_gone, value};
use crate::NatsServer;
use crate::conformance::steps::{connect, impatient, soon};
use crate::conformance::tasks::spawn;
use crate::conformance::{Adapter, Outcome};

pub async fn many_keys_are_got_at_once<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(marked("b")).await?;
    let large = vec![b'x'; 500_000];
    let key = |number: usize| format!("k.{number}");
    for number in 0..2_500 {
        let value = if number % 100 == 0 { large.clone() } else { number.to_string().into() };
        soon(kv.put(&key(number), value)).await?;
    }
    soon(kv.delete("k.5")).await?;
    soon(kv.purge("k.6")).await?;
    soon(kv.create("brief", "x").ttl(SECOND)).await?;
    until_gone(&kv, "brief").await?;
    let mut asked: Vec<String> = (0..2_600).map(key).collect();
    asked.push("brief".into());
    asked.push("k.1".into());
    asked.reverse();
    let got = soon(kv.get_many(&asked)).await?;
    assert_eq!(got.len(), asked.len());
    for (asked, entry) in asked.iter().zip(&got) {
        let number = asked.strip_prefix("k.").and_then(|number| number.parse::<usize>().ok());
        match (number, entry) {
            (None | Some(5 | 6 | 2_500..), entry) => assert!(entry.is_none(), "{asked}"),
            (Some(number), Some(entry)) => {
                assert_eq!(entry.key(), asked);
                let wanted = if number % 100 == 0 { large.len() } else { number.to_string().len() };
                assert_eq!(entry.value().len(), wanted);
            }
            (Some(_), None) => panic!("{asked} is missing"),
        }
    }
    assert!(soon(kv.get_many(["none"])).await? == [None]);
    assert!(soon(kv.get_many(Vec::<String>::new())).await?.is_empty());
    Ok(())
}

/// The test answers in place of a server that gives fewer keys at a time.
pub async fn many_keys_are_got_one_by_one_where_they_are_too_many<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    let js = kv.stream().context().clone();
    soon(kv.get_many(["k.0"])).await?;
    soon(js.delete_key_value("b")).await?;
    let client = js.client().clone();
    let mut asks = soon(client.subscribe("$JS.API.DIRECT.GET.KV_b.>")).await?;
    let mut pages = soon(client.subscribe("$JS.API.DIRECT.GET.KV_b")).await?;
    soon(client.flush()).await?;
    let answering = spawn::<A, _>(async move {
        let page = pages.next().await.expect("all are asked for at once");
        let mut too_many = HeaderMap::new();
        too_many.set_status(413, "Too Many Results").expect("it is a status");
        let reply = page.reply().expect("it waits for an answer");
        client.publish(reply, "").headers(&too_many).await.expect("it waits");
        let mut headers = HeaderMap::new();
        for _ in 0..100 {
            let ask = asks.next().await.expect("each is asked for");
            let reply = ask.reply().expect("it waits for an answer");
            let subject = ask.subject().strip_prefix("$JS.API.DIRECT.GET.KV_b.");
            let subject = subject.expect("it was subscribed to");
            headers.clear();
            if subject.ends_with('7') {
                headers.set_status(404, "Message Not Found").expect("it is a status");
            } else {
                let time = "2026-01-01T00:00:00Z";
                let pairs =
                    [("Nats-Subject", subject), ("Nats-Sequence", "1"), ("Nats-Time-Stamp", time)];
                for (name, value) in pairs {
                    headers.append(name, value).expect("it is a header");
                }
            }
            client.publish(reply, subject).headers(&headers).await.expect("it waits");
        }
    });
    let keys: Vec<String> = (0..100).map(|number| format!("k.{number}")).collect();
    let got = soon(kv.get_many(&keys)).await?;
    soon(answering).await;
    for (key, entry) in keys.iter().zip(got) {
        let wanted = (!key.ends_with('7')).then(|| format!("$KV.b.{key}").into_bytes());
        assert_eq!(entry.map(|entry| entry.value().to_vec()), wanted, "{key}");
    }
    Ok(())
}

/// Servers send no more at a time than one client may leave unread; they are asked for the rest.
pub async fn many_keys_are_got_that_are_more_than_a_server_sends_at_once<A: Adapter>() -> Outcome {
    let server = NatsServer::builder().jetstream(true).config("max_pending: 4MB").start()?;
    let js = JetStream::new(connect::<A>(impatient(&server.url())).await?);
    let kv = soon(js.create_key_value(marked("b"))).await?;
    let value = vec![b'x'; 250_000];
    let keys: Vec<String> = (0..60).map(|number| format!("k.{number}")).collect();
    for key in &keys {
        soon(kv.put(key, &value)).await?;
    }
    soon(kv.delete("k.10")).await?;
    soon(kv.purge("k.20")).await?;
    soon(kv.create("brief", "x").ttl(SECOND)).await?;
    until_gone(&kv, "brief").await?;
    let mut asks = soon(js.client().subscribe("$JS.API.DIRECT.GET.KV_b")).await?;
    soon(js.client().flush()).await?;
    let asked = keys.iter().map(String::as_str).chain(["brief", "never"]);
    let got = soon(kv.get_many(asked)).await?;
    for (place, entry) in got.iter().enumerate() {
        let entry = entry.as_ref().map(|entry| (entry.key(), entry.value().len()));
        let wanted = match place {
            10 | 20 | 60.. => None,
            place => Some((&*keys[place], value.len())),
        };
        assert_eq!(entry, wanted);
    }
    soon(js.client().publish("$JS.API.DIRECT.GET.KV_b", "end")).await?;
    let mut count = 0;
    while soon(asks.next()).await.expect("the end comes").payload() != b"end" {
        count += 1;
    }
    assert!(count >= 4, "15 MB by 4 MB at most: {count}");
    Ok(())
}

pub async fn a_bucket_without_direct_gets_is_read_from_its_leader<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    let js = kv.stream().context();
    soon(kv.put("k", "v")).await?;
    soon(kv.put("gone", "v")).await?;
    soon(kv.delete("gone")).await?;
    let config = StreamConfig { allow_direct: false, ..soon(kv.stream().info()).await?.config };
    soon(js.update_stream(config)).await?;
    // A handle that is older knows nothing of it, and says which bucket it is.
    let get = soon(kv.get("k")).await;
    assert!(matches!(get, Err(GetError::NoResponders { ref bucket }) if bucket == "b"), "{get:?}");
    let many = soon(kv.get_many(["k"])).await;
    let Err(GetManyError::Get(GetError::NoResponders { bucket })) = many else {
        panic!("{many:?}")
    };
    assert_eq!(bucket, "b");

    let kv = soon(js.open_key_value("b")).await?;
    assert_eq!(value(&kv, "k").await?.as_deref(), Some(&b"v"[..]));
    assert!(soon(kv.get("k").at(2)).await?.is_none());
    let many = soon(kv.get_many(["none", "k", "gone"])).await?;
    let many: Vec<_> = many.iter().map(|entry| entry.as_ref().map(Entry::revision)).collect();
    assert_eq!(many, [None, Some(1), None]);
    Ok(())
}

/// What is asked of the API until its end is told.
async fn asked(asks: &mut Subscription, client: &Client) -> Outcome<Vec<String>> {
    soon(client.publish("$JS.API.end", "")).await?;
    let mut asked = Vec::new();
    loop {
        match soon(asks.next()).await.expect("the end comes").subject() {
            "$JS.API.end" => return Ok(asked),
            subject => asked.push(subject.to_owned()),
        }
    }
}

/// Others may be behind, and what they say would be tried in vain.
pub async fn what_decides_a_write_is_read_from_the_leader<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { allow_atomic: true, ..memory("b") }).await?;
    let client = kv.stream().context().client().clone();
    soon(kv.put("k", "1")).await?;
    soon(kv.delete("k")).await?;
    // What a connection asks once is asked.
    soon(kv.batch().put("other", "1").put("another", "1")).await?;
    let mut asks = soon(client.subscribe("$JS.API.>")).await?;
    soon(client.flush()).await?;
    soon(kv.create("k", "2")).await?;
    soon(kv.create("k", "3")).await.expect_err("it has a value");
    soon(kv.change("k", |_| Some("4"))).await?;
    assert_eq!(asked(&mut asks, &client).await?, ["$JS.API.STREAM.MSG.GET.KV_b"; 3]);

    // Each round, of which there are as many as are asked for: somebody is faster each time.
    let (mut rounds, mut seen) = (0, Vec::new());
    let faster = |entry: Option<&Entry>| {
        rounds += 1;
        seen.push(entry.map(|entry| String::from_utf8_lossy(entry.value()).into_owned()));
        let write = client.publish("$KV.b.k", format!("faster {rounds}"));
        write.try_send().expect("there is room");
        Some("mine")
    };
    let never = soon(kv.change("k", faster).attempts(4)).await;
    assert!(
        matches!(never, Err(ChangeError::Contended { ref key, attempts: 4 }) if key == "k"),
        "{never:?}"
    );
    let found = seen.iter().map(Option::as_deref).collect::<Option<Vec<_>>>();
    assert_eq!(found.as_deref(), Some(&["4", "faster 1", "faster 2", "faster 3"][..]));
    assert_eq!(asked(&mut asks, &client).await?, ["$JS.API.STREAM.MSG.GET.KV_b"; 4]);

    // What a batch names that was refused.
    let batch = kv.batch().update("k", "5", 1).put("other", "5").create("another", "5");
    let refused = soon(batch).await;
    let Err(WriteBatchError::WrongRevision { differing, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(differing.len(), 2);
    assert_eq!(asked(&mut asks, &client).await?, ["$JS.API.STREAM.MSG.GET.KV_b"; 2]);
    Ok(())
}

/// The servers of a cluster answer alike; of what may be asked for, not all may be.
pub async fn reads_are_direct_unless_they_are_asked_of_the_leader<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    let client = kv.stream().context().client().clone();
    let own = kv.read_your_writes();
    let revision = soon(own.put("k", "1")).await?;
    // A connection asks the server what it can do once.
    soon(kv.get_many(["k"])).await?;
    let mut asks = soon(client.subscribe("$JS.API.>")).await?;
    soon(client.flush()).await?;
    soon(kv.get("k")).await?.expect("it was put");
    soon(kv.get("k").at(revision)).await?.expect("it was put");
    soon(own.get("k")).await?.expect("it was put");
    assert_eq!(soon(kv.get_many(["k", "none"])).await?.len(), 2);
    let direct = "$JS.API.DIRECT.GET.KV_b";
    let last = &*format!("{direct}.$KV.b.k");
    assert_eq!(asked(&mut asks, &client).await?, [last, direct, last, direct]);

    soon(kv.get("k").from_leader()).await?.expect("it was put");
    soon(kv.get("k").at(revision).from_leader()).await?.expect("it was put");
    assert_eq!(asked(&mut asks, &client).await?, ["$JS.API.STREAM.MSG.GET.KV_b"; 2]);

    // A replica that lacks a write is one that has it not any more.
    soon(kv.stream().purge()).await?;
    let leader = "$JS.API.STREAM.MSG.GET.KV_b";
    assert_eq!(asked(&mut asks, &client).await?, ["$JS.API.STREAM.PURGE.KV_b"]);
    assert!(soon(own.get("k")).await?.is_none());
    assert_eq!(asked(&mut asks, &client).await?, [last, leader]);
    assert!(soon(own.get("k").at(revision)).await?.is_none());
    assert_eq!(asked(&mut asks, &client).await?, [direct, leader]);
    assert_eq!(soon(own.get_many(["k", "none"])).await?, [None, None]);
    assert_eq!(asked(&mut asks, &client).await?, [direct, leader], "of its key alone");
    assert!(soon(kv.get("k")).await?.is_none() && soon(own.get("none")).await?.is_none());
    let none = &*format!("{direct}.$KV.b.none");
    assert_eq!(asked(&mut asks, &client).await?, [last, none], "others believe it");
    Ok(())
}

/// Read-your-writes knows of them all: what a replica lacks is asked of the leader.
pub async fn a_handle_remembers_every_kind_of_write<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { allow_atomic: true, ..memory("b") }).await?;
    let client = kv.stream().context().client().clone();
    let own = kv.read_your_writes();
    soon(own.put("put", "1")).await?;
    soon(own.create("create", "1")).await?;
    let revision = soon(kv.put("update", "1")).await?;
    soon(own.update("update", "2", revision)).await?;
    soon(own.change("change", |_| Some("1"))).await?;
    soon(own.delete("delete")).await?;
    soon(own.purge("purge")).await?;
    soon(own.batch().put("one", "1").delete("two")).await?;
    soon(kv.put("others", "1")).await?;
    // A replica of which all is missing.
    soon(kv.stream().purge()).await?;
    let mut asks = soon(client.subscribe("$JS.API.STREAM.MSG.GET.KV_b")).await?;
    soon(client.flush()).await?;
    let keys = ["put", "create", "update", "change", "delete", "purge", "one", "two", "others"];
    for key in keys {
        assert!(soon(own.get(key)).await?.is_none());
    }
    soon(client.publish("$JS.API.STREAM.MSG.GET.KV_b", "end")).await?;
    let mut asked = Vec::new();
    loop {
        let ask: serde_json::Value = match soon(asks.next()).await.expect("the end comes") {
            end if end.payload() == b"end" => break,
            ask => serde_json::from_slice(ask.payload())?,
        };
        asked.push(ask["last_by_subj"].as_str().unwrap_or_default().replace("$KV.b.", ""));
    }
    assert_eq!(asked, keys[..8], "all but the one of others");
    Ok(())
}

pub async fn a_handle_reads_what_it_has_written<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(marked("b")).await?;
    let own = kv.read_your_writes();
    soon(own.put("put", "1")).await?;
    let revision = soon(own.create("updated", "1")).await?;
    soon(own.update("updated", "2", revision)).await?;
    soon(own.put("deleted", "1")).await?;
    soon(own.delete("deleted")).await?;
    soon(own.create("gone", "1").ttl(SECOND)).await?;
    // Others may write, and what is newer is as good.
    soon(kv.put("put", "2")).await?;
    until_gone(&kv, "gone").await?;
    let keys = ["put", "updated", "deleted", "gone", "never"];
    let wanted = [Some("2"), Some("2"), None, None, None];
    let many = soon(own.get_many(keys)).await?;
    for ((key, wanted), entry) in keys.iter().zip(wanted).zip(many) {
        assert_eq!(entry.as_ref().map(Entry::value), wanted.map(str::as_bytes), "{key}");
        assert_eq!(value(&own, key).await?.as_deref(), wanted.map(str::as_bytes), "{key}");
    }
    assert!(soon(own.get("deleted").with_markers()).await?.is_some());
    Ok(())
}
