//! Requests that come one at a time, whose replies are read by whoever waits for them.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use midge::{Client, RequestError};

use super::streams::with_tls;
use crate::conformance::steps::{
    HOUR, connect, finish, impatient, is_connected, is_disconnected, soon, wait_for,
};
use crate::conformance::tasks::blocking;
use crate::conformance::{Adapter, Outcome};
use crate::{Link, NatsServer, Peer, ScriptError, ScriptedServer};

/// After sixteen in a row drivers leave reading to those who ask.
const IN_A_ROW: usize = 40;
const ROUNDS: usize = 12;

/// A client without keep-alive, which closes at once.
async fn asker<A: Adapter>(server: &ScriptedServer) -> Outcome<Client> {
    let options = impatient(&server.url()).ping_interval(HOUR).linger(Duration::ZERO);
    Ok(connect::<A>(options).await?)
}

/// Does a server's part of a connection, and answers each request by its own payload, up to the one
/// that says `end`. The payloads.
fn answer(peer: &mut Peer) -> Result<Vec<String>, ScriptError> {
    let mut all = Vec::new();
    let mut sid = String::new();
    peer.send(concat!(r#"INFO {"server_id":"S","max_payload":1048576,"headers":true} "#, "\r\n"))?;
    while all.last().is_none_or(|last| last != "end") {
        let line = peer.expect("")?;
        match *line.split(' ').collect::<Vec<_>>() {
            ["SUB", _, number] => number.clone_into(&mut sid),
            ["PUB", _, reply, length] => {
                let payload = peer.expect("")?;
                peer.send(format!("MSG {reply} {sid} {length}\r\n{payload}\r\n"))?;
                all.push(payload);
            }
            ["PING"] => peer.send("PONG\r\n")?,
            _ => {}
        }
    }
    Ok(all)
}

/// The end of the stream comes while nobody asks: the driver has left reading to others, and those
/// are not there.
pub async fn between_two_requests_the_server_goes_and_each_is_answered_or_fails_truly<
    A: Adapter,
>() -> Outcome {
    let (gone, is_gone) = channel();
    let (heard, all_heard) = channel();
    let server = ScriptedServer::start(move |mut listener| {
        for round in 0..ROUNDS {
            let mut peer = listener.accept()?;
            let mut all = answer(&mut peer)?;
            peer.half_close()?;
            let _ = gone.send(round);
            let late = String::from_utf8_lossy(&peer.expect_closed()?).into_owned();
            all.extend(late.split("\r\n").map(ToOwned::to_owned));
            let _ = heard.send(all);
        }
        let mut peer = listener.accept()?;
        answer(&mut peer)?;
        peer.expect_closed().map(|_| ())
    })?;
    let client = asker::<A>(&server).await?;
    let is_gone = Arc::new(Mutex::new(is_gone));
    let mut never_sent = BTreeSet::new();
    for round in 0..=ROUNDS {
        let mut number = 0;
        let mut answered = 0;
        while answered < IN_A_ROW {
            number += 1;
            let text = format!("{round} {number}");
            match soon(client.request("q", &text).timeout(HOUR)).await {
                Ok(reply) => {
                    assert_eq!(reply.payload(), text.as_bytes());
                    answered += 1;
                }
                // The end of the server before; more than a few would be another fault.
                Err(RequestError::NotSent(_)) => drop(never_sent.insert(text)),
                Err(RequestError::Unknown) => {}
                Err(error) => return Err(error.into()),
            }
            assert!(number < IN_A_ROW + 10, "round {round} goes on");
        }
        assert_eq!(soon(client.request("q", "end").timeout(HOUR)).await?.payload(), b"end");
        if round < ROUNDS && round % 2 == 0 {
            // The next request is behind the end; in other rounds it is beside it.
            let gone = Arc::clone(&is_gone);
            let told = blocking(move || {
                let gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
                gone.iter().find(|told| *told == round)
            });
            assert_eq!(soon(told).await, Some(round));
        }
    }
    drop(client);
    finish(server).await?;
    let heard: BTreeSet<String> = all_heard.try_iter().flatten().collect();
    let both: Vec<&String> = heard.intersection(&never_sent).collect();
    assert!(both.is_empty(), "said not to be sent, and heard: {both:?}");
    Ok(())
}

/// Nobody asks any more: the driver has to look by itself.
pub async fn behind_many_requests_the_end_of_the_server_is_noticed_though_nobody_asks<
    A: Adapter,
>() -> Outcome {
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        answer(&mut peer)?;
        peer.half_close()?;
        peer.expect_closed()?;
        let mut peer = listener.accept()?;
        answer(&mut peer)?;
        peer.expect_closed().map(|_| ())
    })?;
    let client = asker::<A>(&server).await?;
    let mut events = client.events();
    for _ in 0..IN_A_ROW {
        soon(client.request("q", "x")).await?;
    }
    soon(client.request("q", "end")).await?;
    let began = Instant::now();
    wait_for(&mut events, is_disconnected).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    wait_for(&mut events, is_connected).await;
    soon(client.request("q", "end")).await?;
    drop(client);
    finish(server).await
}

async fn ask_and_lose(link: &Link, client: &Client, service: &Client) -> Outcome {
    let mut questions = service.subscribe("q").await?;
    soon(service.flush()).await?;
    for round in 0..2 {
        for number in 0..IN_A_ROW {
            let text = format!("{round} {number}");
            let asking = client.request("q", &text);
            let serving = async {
                let question = questions.next().await.expect("the subscription goes on");
                let answer = question.payload().to_vec();
                service.respond(&question, answer).await
            };
            let (reply, responded) = both(asking.into_future(), serving).await;
            responded?;
            assert_eq!(reply?.payload(), text.as_bytes());
        }
        if round == 0 {
            let mut events = client.events();
            link.cut();
            wait_for(&mut events, is_disconnected).await;
            wait_for(&mut events, is_connected).await;
        }
    }
    Ok(())
}

/// Polls both, one beside the other.
async fn both<X: Future, Y: Future>(one: X, other: Y) -> (X::Output, Y::Output) {
    let (mut one, mut other) = (Box::pin(one), Box::pin(other));
    let (mut first, mut second) = (None, None);
    soon(std::future::poll_fn(|context| {
        if first.is_none()
            && let Poll::Ready(output) = one.as_mut().poll(context)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = other.as_mut().poll(context)
        {
            second = Some(output);
        }
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    }))
    .await;
    (first.expect("it is ready"), second.expect("it is ready"))
}

pub async fn over_tls_many_requests_are_answered_before_and_behind_a_loss<A: Adapter>() -> Outcome {
    let (server, tls) = with_tls()?;
    let link = Link::to(&server.url()).start()?;
    let url = format!("tls://localhost:{}", link.port());
    let client = connect::<A>(impatient(&url).tls(tls.clone())).await?;
    let url = format!("tls://localhost:{}", server.port());
    let service = connect::<A>(impatient(&url).tls(tls)).await?;
    ask_and_lose(&link, &client, &service).await
}

pub async fn over_websocket_many_requests_are_answered_before_and_behind_a_loss<A: Adapter>()
-> Outcome {
    let server = NatsServer::builder().websocket(true).start()?;
    let to = server.ws_url().ok_or("the server listens for WebSockets")?;
    let link = Link::to(to.trim_start_matches("ws://")).start()?;
    let client = connect::<A>(impatient(&format!("ws://127.0.0.1:{}", link.port()))).await?;
    let service = connect::<A>(impatient(&server.url())).await?;
    ask_and_lose(&link, &client, &service).await
}
