//! A storm over streams: publishers and consumers in a cluster to which everything happens.
//!
//! | what must hold | who looks at it |
//! |---|---|
//! | what was acknowledged is stored where the ack says, and nothing is stored twice, or only when the stream has forgotten the first | `Book::judge` |
//! | what a publisher was told is not stored is not | `Book::judge` |
//! | each message that a publisher takes has one outcome, which it tells in time, and gives back one that failed | `Book::told`, `Book::settled` |
//! | what a publisher is not told to have moved is stored in the order in which it was given, also where a full stream refuses some | `Book::judge_full` |
//! | what a full work queue has taken reaches its readers at least once | `Book::judge` |
//! | a chained publisher's messages are stored as they were given, unless one is stored of which it said that it cannot tell | `Book::judge` |
//! | every stored message reaches each durable consumer's readers at least once, unless a limit of the stream or a purge takes it away | `Book::judge` |
//! | an ordered consumer gives every message once, in order, and without gaps but for what a limit or a purge has taken away | `Book::ordered` |
//! | one that begins with the last message of each subject gives those, and then every message | `Book::ordered`, `Book::judge` |
//! | an ordered reader has left behind at most one consumer | `Book::judge_leftovers` |
//! | no reader ends by itself | `roles` |
//! | after the last fault no reader is without messages for longer than [`FLOW`], while there are any | `Book::judge` |
//! | calls of the API stay below [`most_calls`] in every second | `Book::judge_calls` |

mod book;
mod roles;
mod weather;

use std::time::Duration;

use midge::ConnectOptions;
use midge::jetstream::{
    AckPolicy, ConsumerConfig, Discard, JetStream, PublishOrder, Retention, StreamConfig,
};
use midge_proto::Instant;

use crate::server::ServerOptions;
use crate::{Failure, Link, Outcome, Rng, Sim, World};
use book::Book;
pub use book::StreamTally;
use roles::Role;

/// How long a reader may be without messages after the last fault, while there are any: the longest
/// wait between two attempts is 4.5 s, and the way there and back is added. Two heartbeats, by which it
/// finds that the last request was lost, are within it, and so is a call that the last fault has
/// swallowed: the next one waits from when it was made.
const FLOW: Duration = Duration::from_secs(5);
/// How long a reader still has then for the rest.
const CATCH_UP: Duration = Duration::from_secs(60);
const ACK_WAIT: Duration = Duration::from_secs(2);
/// Where the chance of a plan begins, apart from that of the run.
const SALT: u64 = 0x7374_7265;
/// The time for a call.
const CALL: Duration = Duration::from_secs(1);

/// The stream that everybody publishes to, and that of one chained publisher.
const SHARED: &str = "S";
const CHAIN: &str = "C";
/// A work queue that is full at times, and takes nothing then.
const FULL: &str = "F";
/// The durable consumers of the shared stream.
const WORK: &str = "work";
const BATCHES: &str = "batches";
/// That of the work queue.
const QUEUE: &str = "queue";

/// For how long a stream knows the ids of its messages, or for as long as it has them.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// A durable consumer that pushes, with flow control.
const PUSHED: &str = "pushed";
/// What push consumers send at first without a confirmation, so that it matters.
const FLOW_WINDOW: usize = 2048;

/// What a storm is like.
#[derive(Clone, Debug)]
struct Plan {
    link: Link,
    servers: usize,
    calm: Instant,
    route_delay: Duration,
    roles: Vec<Role>,
    /// What the shared stream keeps at most.
    limits: StreamConfig,
    /// The work queue that is full at times, if there is one.
    full: Option<StreamConfig>,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ SALT);
        let mut link = Link { short: rng.one_in(2), ..Link::default() };
        if rng.one_in(3) {
            link.latency = Duration::from_millis(20);
            link.jitter = Duration::from_millis(60);
        }
        let mut roles = vec![Role::Publish, Role::Consume, Role::Ordered];
        let more = [Role::Publish, Role::Window, Role::Chain, Role::Consume, Role::Fetch];
        roles.extend(more.into_iter().filter(|_| !rng.one_in(3)));
        let more = [Role::Ordered, Role::OrderedPush, Role::Push, Role::LastOfEach];
        roles.extend(more.into_iter().filter(|_| rng.one_in(2)));
        let mut limits = StreamConfig { subjects: vec!["s.>".into()], ..StreamConfig::new(SHARED) };
        match rng.index(8) {
            0 => limits.max_msgs = Some(1 + rng.below(100)),
            1 => limits.max_bytes = Some(500 + rng.below(5000)),
            2 => limits.max_msgs_per_subject = Some(1 + rng.below(10)),
            3 => {
                let age = rng.between(Duration::from_secs(1), Duration::from_secs(10));
                limits.max_age = Some(age);
            }
            _ => {}
        }
        let calm = rng.between(Duration::from_secs(2), Duration::from_secs(20));
        let servers = [1, 3, 3, 5][rng.index(4)];
        let route_delay = rng.between(Duration::ZERO, Duration::from_millis(20));
        if let Some(age) = limits.max_age
            && rng.one_in(2)
        {
            // Full until messages are too old.
            limits.discard = Discard::New;
            limits.max_msgs = Some(10 + rng.below(50));
            limits.max_age = Some(age.min(Duration::from_secs(2)));
        }
        let full = rng.one_in(2).then(|| Self::full(&mut rng, &mut roles));
        if rng.one_in(3) {
            roles.push(Role::Purge);
        }
        Self { link, servers, calm: Instant::ZERO + calm, route_delay, roles, limits, full }
    }

    /// A work queue with little room, and those who fill it and empty it.
    fn full(rng: &mut Rng, roles: &mut Vec<Role>) -> StreamConfig {
        let orders = [PublishOrder::Sent, PublishOrder::Chained, PublishOrder::OneByOne];
        let order = orders[rng.index(3)];
        roles.extend([Role::Fill(order), Role::Empty]);
        // To a chain, the messages of others are in between.
        if order != PublishOrder::Chained {
            roles.push(Role::Offer);
        }
        let mut full = StreamConfig {
            subjects: vec!["f.>".into()],
            retention: Retention::WorkQueue,
            discard: Discard::New,
            ..StreamConfig::new(FULL)
        };
        match rng.index(3) {
            0 => full.max_msgs = Some(1 + rng.below(20)),
            1 => full.max_bytes = Some(200 + rng.below(2000)),
            _ => {
                full.max_msgs_per_subject = Some(1 + rng.below(5));
                full.discard_new_per_subject = true;
            }
        }
        full
    }
}

/// Calls of the API in one second, at most, beside one for each message that is read: what readers
/// do when they lose their connection or their consumer several times in it.
fn most_calls(readers: usize) -> usize {
    20 * readers
}

/// One storm over streams, all of which `seed` decides, with as many of its last lines of
/// [trace](Sim::trace).
///
/// # Errors
///
/// [`Failure`] when what was acknowledged is not stored, something is stored twice, a reader misses
/// a message, an ordered one has a gap or a message twice, or messages do not flow in time after
/// the last fault.
pub fn stream_storm(seed: u64, trace: usize) -> Result<Outcome<StreamTally>, Failure> {
    let plan = Plan::new(seed);
    Sim::new(seed)
        .link(plan.link.clone())
        .trace(trace)
        .limit(Duration::from_secs(600))
        .run(|world| run(world, plan))
}

async fn run(world: World, plan: Plan) -> StreamTally {
    world.cluster(|cluster, _| cluster.set_route_delay(plan.route_delay));
    for _ in 0..plan.servers {
        let options = world.server_options();
        world.add_server(ServerOptions {
            jetstream: true,
            ping_interval: Duration::from_secs(2),
            write_deadline: Duration::from_secs(4),
            lame_duck_duration: Duration::from_secs(2),
            lame_duck_grace: Duration::from_millis(500),
            ..options
        });
    }
    // The servers find each other.
    world.sleep(plan.route_delay * 2).await;
    let window = plan.limits.max_age.unwrap_or(Duration::MAX).min(DUPLICATE_WINDOW);
    let book = Book::new(&world, window);
    let js = connect(&world, "founder").await;
    world.cluster(|cluster, _| cluster.set_flow_window(FLOW_WINDOW));
    found(&js, &plan).await;
    for (index, role) in plan.roles.iter().enumerate() {
        let js = connect(&world, &format!("{role:?} {index}")).await;
        drop(world.spawn(role.play(world.clone(), book.clone(), js, index)));
    }
    weather::rage(&world, plan.calm).await;
    book.it_is_calm();
    // A client of its own, for which nothing has gone wrong.
    let js = connect(&world, "pulse").await;
    roles::pulse(&world, &book, &js, world.now() + FLOW * 2).await;
    book.publish_no_more();
    book.all_read(world.now() + CATCH_UP).await;
    book.judge()
}

async fn found(js: &JetStream, plan: &Plan) {
    let num_replicas = u32::try_from(plan.servers).unwrap_or(u32::MAX);
    if let Some(full) = &plan.full {
        let full = StreamConfig { num_replicas, ..full.clone() };
        let full = js.create_stream(full).await.expect("nothing goes wrong yet");
        let config = ConsumerConfig {
            ack_policy: AckPolicy::Explicit,
            ack_wait: Some(ACK_WAIT),
            ..ConsumerConfig::durable(QUEUE)
        };
        full.create_consumer(config).await.expect("nothing goes wrong yet");
    }
    let chain = StreamConfig { subjects: vec!["c.>".into()], ..StreamConfig::new(CHAIN) };
    let chain = StreamConfig { num_replicas, ..chain };
    js.create_stream(chain).await.expect("nothing goes wrong yet");
    let shared = StreamConfig { num_replicas, ..plan.limits.clone() };
    let stream = js.create_stream(shared).await.expect("nothing goes wrong yet");
    for durable in [WORK, BATCHES, PUSHED] {
        let pushes = durable == PUSHED;
        let config = ConsumerConfig {
            ack_policy: AckPolicy::Explicit,
            ack_wait: Some(ACK_WAIT),
            deliver_subject: pushes.then(|| "pushes".into()),
            flow_control: pushes,
            idle_heartbeat: pushes.then_some(Duration::from_millis(500)),
            ..ConsumerConfig::durable(durable)
        };
        stream.create_consumer(config).await.expect("nothing goes wrong yet");
    }
}

/// A client that is quick to find out that its connection is lost.
async fn connect(world: &World, name: &str) -> JetStream {
    let options = ConnectOptions::new(world.urls())
        .name(name)
        .retry_first_connect(true)
        .max_attempts(None)
        .ping_interval(Duration::from_millis(500))
        .max_pings_out(1)
        .connect_timeout(Duration::from_millis(500))
        .reconnect_wait(Duration::from_millis(10), Duration::from_millis(100))
        .reconnect_jitter(Duration::from_millis(50), Duration::from_millis(50))
        .request_timeout(CALL);
    let client = world.connect(options).await.expect("it tries until it is connected");
    JetStream::new(client).with_timeout(CALL)
}
