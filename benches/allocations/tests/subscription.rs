//! What a subscription and an idle connection keep in memory, on the client's side and counted
//! exactly: what the allocator was asked for, without what it adds.

use midge_allocations::{Server, live, pay, run};

/// Who is booked for what a test measures.
const WHO: usize = 1;

fn kept() -> usize {
    usize::try_from(live(WHO)).expect("nothing is freed twice")
}

/// Tables hold no more than an eighth of empty places.
#[test]
fn a_subscription_takes_at_most_320_bytes_of_heap() {
    const SUBSCRIPTIONS: usize = 10_000;
    run(async |client| {
        let mut subscriptions = Vec::with_capacity(SUBSCRIPTIONS);
        pay(Some(WHO));
        let before = kept();
        for number in 0..SUBSCRIPTIONS {
            let subject = format!("orders.{number:05}.*");
            subscriptions.push(client.subscribe(subject).await.unwrap());
            if number % 100 == 0 {
                client.flush().await.unwrap();
            }
        }
        client.flush().await.unwrap();
        let heap = (kept() - before).div_ceil(SUBSCRIPTIONS);
        pay(None);
        assert!(heap <= 320, "{heap} bytes");
    });
}

/// Also what the runtime has for its task and its socket, but for what it makes with the first one.
#[test]
fn an_idle_connection_takes_at_most_10_kilobytes() {
    let servers = [(); 2].map(|()| Server::start().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let first = midge_tokio::connect(servers[0].url()).await.unwrap();
        pay(Some(WHO));
        let before = kept();
        let client = midge_tokio::connect(servers[1].url()).await.unwrap();
        client.flush().await.unwrap();
        let heap = kept() - before;
        pay(None);
        assert!(heap <= 9_900, "{heap} bytes");
        client.close().await;
        first.close().await;
    });
    let [_, _] = servers.map(Server::join);
}
