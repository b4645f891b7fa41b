//! How often the API level is asked for.

use std::task::Poll;
use std::time::Duration;

use midge::jetstream::{FeatureError, JetPublishError, JetStream};

use crate::api::Api;
use crate::rig::Task;

/// A server of some level, on which one publishes what needs the level 1.
struct Server {
    api: Api,
    js: JetStream,
    level: u32,
    stored: u64,
}

impl Server {
    fn of_level(level: u32) -> Self {
        let api = Api::new();
        let js = api.jetstream();
        Self { api, js, level, stored: 0 }
    }

    /// Whether a message is stored, and how often the level was asked for.
    fn publish(&mut self) -> (bool, usize) {
        let mut asked = 0;
        let mut publish = Task::new(self.js.publish("s", "").ttl(Duration::from_secs(1)));
        loop {
            match publish.poll() {
                Poll::Ready(Ok(ack)) => return (ack.seq == self.stored, asked),
                Poll::Ready(Err(JetPublishError::Feature(FeatureError::Level(_)))) => {
                    return (false, asked);
                }
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => {}
            }
            for request in self.api.asked() {
                let answer = if request.subject == "$JS.API.INFO" {
                    asked += 1;
                    format!(r#"{{"api":{{"level":{}}}}}"#, self.level)
                } else {
                    self.stored += 1;
                    format!(r#"{{"stream":"S","seq":{}}}"#, self.stored)
                };
                self.api.answer(&request, &answer);
            }
        }
    }
}

#[test]
fn a_level_that_is_too_low_is_asked_for_once_in_five_seconds() {
    let mut server = Server::of_level(0);
    assert_eq!(server.publish(), (false, 1));
    for _ in 0..100 {
        assert_eq!(server.publish(), (false, 0));
    }
    server.api.rig.sleep(Duration::from_millis(4_999));
    assert_eq!(server.publish(), (false, 0));
    server.api.rig.sleep(Duration::from_millis(1));
    assert_eq!(server.publish(), (false, 1), "others may have been replaced");
    assert_eq!(server.publish(), (false, 0));
    server.level = 1;
    server.api.rig.sleep(Duration::from_secs(5));
    assert_eq!(server.publish(), (true, 1));
    server.api.rig.sleep(Duration::from_secs(60));
    assert_eq!(server.publish(), (true, 0), "enough is enough as long as it is connected");
    assert_eq!(server.stored, 2);
}

#[test]
fn what_was_told_on_another_connection_is_not_believed() {
    let mut server = Server::of_level(0);
    assert_eq!(server.publish(), (false, 1));
    server.api.rig.cut();
    server.level = 1;
    server.api.rig.sleep(Duration::from_secs(3));
    server.api.rig.greet();
    assert_eq!(server.publish(), (true, 1));
    server.api.rig.cut();
    server.level = 0;
    server.api.rig.sleep(Duration::from_secs(3));
    server.api.rig.greet();
    assert_eq!(server.publish(), (false, 1), "nor one that was enough");
}
