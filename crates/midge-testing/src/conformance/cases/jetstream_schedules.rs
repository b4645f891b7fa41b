//! Messages that a stream of a real nats-server publishes itself, by a schedule.

use std::time::{Duration, SystemTime};

use midge::jetstream::{ErrorCode, JetPublishError, JetStream, Schedule};
use serde_json::json;

use super::jetstream_publish::{jetstream, refusal};
use crate::conformance::steps::soon;
use crate::conformance::streams_by_hand::create;
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};

pub async fn a_schedule_publishes_when_it_is_due_and_can_be_cancelled<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let more = json!({ "allow_msg_schedules": true, "allow_msg_ttl": true });
    create(js.client(), "JOBS", "jobs.>", more).await?;
    // What a stream publishes itself is in the stream only.
    let due = async |count: u64| {
        let subject = "$JS.API.DIRECT.GET.JOBS.jobs.due";
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let message = js.client().request(subject, "").await?;
            let header = |name: &str| Some(message.headers()?.get(name)?.to_owned());
            seen.extend(header("Nats-Sequence"));
            if message.status().is_none() && seen.len() as u64 >= count {
                return Outcome::Ok((message.payload().to_vec(), header("Nats-Scheduler")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let past = Schedule::at(SystemTime::UNIX_EPOCH, "jobs.due");
    soon(js.publish("jobs.one", "once").schedule(&past)).await?;
    assert_eq!(soon(due(1)).await?, (b"once".to_vec(), Some("jobs.one".to_owned())));

    let every = Schedule::every(Duration::from_secs(1), "jobs.due").ttl(Duration::from_secs(60));
    soon(js.publish("jobs.two", "again").schedule(&every)).await?;
    assert_eq!(soon(due(3)).await?.0, b"again");
    soon(js.publish("jobs.log", "two is over").cancel_schedule("jobs.two")).await?;
    let last = soon(js.client().request("$JS.API.DIRECT.GET.JOBS.jobs.two", "")).await?;
    assert_eq!(last.status().map(|status| status.code), Some(404));

    let cron = Schedule::cron("0 0 5 * * mon-fri", "jobs.due").time_zone("Europe/Berlin").rollup();
    soon(js.publish("jobs.three", "").schedule(&cron)).await?;
    Ok(())
}

pub async fn a_schedule_publishes_the_last_message_of_its_source<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "JOBS", "jobs.>", json!({ "allow_msg_schedules": true })).await?;
    soon(js.publish("jobs.state", "old")).await?;
    soon(js.publish("jobs.state", "new").header("A", "b")).await?;
    let every = Schedule::every(Duration::from_secs(1), "jobs.due").source("jobs.state");
    soon(js.publish("jobs.sample", "unused").schedule(&every)).await?;
    let due = async || loop {
        let due = js.client().request("$JS.API.DIRECT.GET.JOBS.jobs.due", "").await?;
        if due.status().is_none() {
            return Outcome::Ok(due);
        }
        sleep(Duration::from_millis(20)).await;
    };
    let due = soon(due()).await?;
    assert_eq!(due.payload(), b"new");
    assert_eq!(due.headers().and_then(|headers| headers.get("A")), Some("b"));
    Ok(())
}

/// What is in a stream on one subject, when it begins as wanted: its payloads, and the lifetime that
/// the last one has.
async fn until_first(
    js: &JetStream,
    subject: &str,
    wanted: &str,
) -> Outcome<(Vec<String>, Option<String>)> {
    let stream = js.stream("JOBS")?;
    loop {
        let mut payloads = Vec::new();
        let mut ttl = None;
        let mut messages = stream.direct_batch().subject(subject).messages();
        while let Some(message) = messages.next().await {
            // There is none yet.
            let Ok(message) = message else { break };
            payloads.push(String::from_utf8_lossy(&message.payload).into_owned());
            ttl = message.headers.get("Nats-TTL").map(ToOwned::to_owned);
        }
        if payloads.first().is_some_and(|first| first == wanted) {
            return Ok((payloads, ttl));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

pub async fn what_a_schedule_publishes_expires_and_takes_the_place_of_what_was_there<A: Adapter>()
-> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let more = json!({ "allow_msg_schedules": true, "allow_msg_ttl": true,
        "allow_rollup_hdrs": true, "allow_direct": true });
    create(js.client(), "JOBS", "jobs.>", more).await?;
    for old in ["old", "older"] {
        soon(js.publish("jobs.due", old)).await?;
        soon(js.publish("jobs.other", old)).await?;
    }
    let each = Schedule::cron("* * * * * *", "jobs.due").ttl(Duration::from_secs(60)).rollup();
    soon(js.publish("jobs.each", "new").schedule(&each)).await?;
    let (left, ttl) = soon(until_first(&js, "jobs.due", "new")).await?;
    assert_eq!((left, ttl.as_deref()), (vec!["new".to_owned()], Some("60")));
    let (left, _) = soon(until_first(&js, "jobs.other", "old")).await?;
    assert_eq!(left, ["old", "older"], "a rollup is of its subject");

    let never = Schedule::at(SystemTime::UNIX_EPOCH, "jobs.kept").never_expires();
    soon(js.publish("jobs.once", "kept").schedule(&never)).await?;
    let (kept, ttl) = soon(until_first(&js, "jobs.kept", "kept")).await?;
    assert_eq!((kept.len(), ttl.as_deref()), (1, Some("never")));
    Ok(())
}

pub async fn a_time_zone_says_when_a_pattern_is_due<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let more = json!({ "allow_msg_schedules": true, "allow_direct": true });
    create(js.client(), "JOBS", "jobs.>", more).await?;
    // Each second of this hour in Tokyo, and of the next, which may begin meanwhile.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let there = (now / 3600 + 9) % 24;
    let pattern = format!("* * {there},{} * * *", (there + 1) % 24);
    for (name, zone) in [("utc", "UTC"), ("tokyo", "Asia/Tokyo")] {
        let schedule = Schedule::cron(&pattern, &format!("jobs.due.{name}")).time_zone(zone);
        soon(js.publish(format!("jobs.{name}"), name).schedule(&schedule)).await?;
    }
    soon(until_first(&js, "jobs.due.tokyo", "tokyo")).await?;
    let utc = soon(js.stream("JOBS")?.direct_last("jobs.due.utc")).await;
    assert!(utc.is_err(), "it is another hour there: {utc:?}");
    let nowhere = Schedule::cron(&pattern, "jobs.due").time_zone("Europe/Nowhere");
    let refused = refusal(soon(js.publish("jobs.x", "").schedule(&nowhere)).await)?;
    assert_eq!(refused, ErrorCode::MESSAGE_SCHEDULES_TIME_ZONE_INVALID);
    Ok(())
}

/// What is refused here, the server would refuse, and it takes what is not.
pub async fn patterns_are_taken_and_refused_as_by_the_server<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "JOBS", "jobs.>", json!({ "allow_msg_schedules": true })).await?;
    for pattern in [
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@midnight",
        "@hourly",
        "0 0/15 8-17 ? jan-MAR,12 Mon-Fri",
        "*/5 * * * * *",
        "0,30 59 23 31 12 0-6",
        "1,,5, 0 0 1 * *",
        "0 0 0 29 feb ?",
    ] {
        let cron = Schedule::cron(pattern, "jobs.due").time_zone("America/New_York");
        let taken = soon(js.publish("jobs.cron", "").schedule(&cron)).await;
        assert!(taken.is_ok(), "{pattern:?}: {taken:?}");
    }
    let later = SystemTime::now() + Duration::from_secs(3600);
    for schedule in [
        Schedule::at(later, "jobs.due"),
        Schedule::every(Duration::from_secs(1), "jobs.due"),
        Schedule::every(Duration::new(3600, 1), "jobs.due"),
        Schedule::every(Duration::from_secs(365 * 24 * 3600), "jobs.due"),
    ] {
        let taken = soon(js.publish("jobs.other", "").schedule(&schedule)).await;
        assert!(taken.is_ok(), "{schedule:?}: {taken:?}");
    }
    for wrong in [
        "@reboot",
        "@every 999ms",
        "0 5 * * *",
        "0 0 5 * * 7",
        "60 0 5 * * 6",
        "0 0 24 * * *",
        "0 0 0 0 * *",
        "0 0 0 1 13 *",
        "0 0 0 1 * * *",
        "0 0 0 1 * mon-sun",
        "0 0 0 1 * 5-1",
        "*/0 0 0 1 * *",
        "1,a 0 0 1 * *",
        "a 0 0 1 * *",
        "-1 0 0 1 * *",
    ] {
        let raw = js.publish("jobs.raw", "").header("Nats-Schedule", wrong);
        let refused = soon(raw.header("Nats-Schedule-Target", "jobs.due")).await;
        let refused = refusal(refused).map_err(|error| format!("{wrong:?}: {error}"))?;
        assert_eq!(refused, ErrorCode::MESSAGE_SCHEDULES_PATTERN_INVALID, "{wrong:?}");
        let here = soon(js.publish("jobs.raw", "").schedule(&Schedule::cron(wrong, "jobs.due")));
        let here = here.await.expect_err("it is refused here");
        assert!(matches!(here, JetPublishError::Headers(_)), "{wrong:?}: {here:?}");
    }
    Ok(())
}
