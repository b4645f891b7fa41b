//! What a client asks for reaches the server in the order in which it was asked for.

mod steps;

use std::future::IntoFuture;

use midge_testing::NatsServer;

use steps::{Outcome, connect, soon};

#[tokio::test]
async fn what_is_published_behind_the_end_of_a_member_goes_to_the_other_members() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect(server.url()).await?;
    let mut stays =
        soon(client.queue_subscribe("jobs", "workers").confirmed().into_future()).await?;
    for round in 0..3 {
        let leaves = client.queue_subscribe("jobs", "workers").confirmed();
        let mut leaves = soon(leaves.into_future()).await?;
        match round {
            0 => drop(leaves),
            1 => leaves.unsubscribe(),
            _ => drop(leaves.drain()),
        }
        for number in 0..100u8 {
            client.publish("jobs", [number]).await?;
        }
        soon(client.flush()).await?;
        for number in 0..100u8 {
            let job = stays.try_next().map(|job| job.payload().to_vec());
            assert_eq!(job, Some(vec![number]), "round {round}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_subscription_may_take_the_place_of_another_where_the_server_allows_no_more() -> Outcome {
    let server = NatsServer::builder().config("max_subscriptions: 1").start()?;
    let client = connect(server.url()).await?;
    let mut held = soon(client.subscribe("0").confirmed().into_future()).await?;
    for number in 1..20 {
        let subject = number.to_string();
        held.unsubscribe();
        held = client.subscribe(&*subject).await?;
        client.publish(&*subject, "").await?;
        assert_eq!(soon(held.next()).await.expect("it was subscribed to").subject(), subject);
    }
    assert_eq!(client.last_error(), None);
    Ok(())
}
