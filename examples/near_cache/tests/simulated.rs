//! What a cache promises while everything goes wrong, in the simulator: hours of it in seconds.
//!
//! The cache measures the age of its entries by the clock of the machine, which stands still beside
//! virtual time. So no entry grows old here: what would only age can mend stays visible.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use midge_sim::server::{ServerId, ServerOptions};
use midge_sim::{Direction, Door, End, Failure, Instant, Outcome, Rng, Sim, World, search};
use midge_std::midge::{Client, ConnectOptions, FlushError};
use near_cache::{Cache, Limits};

const KEYS: [&str; 4] = ["tea", "milk", "salt", "rice"];

/// The source that caches stand before.
#[derive(Clone, Default)]
struct Prices(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    now: BTreeMap<&'static str, u64>,
    /// Those of which everybody can know: `invalidate` has returned.
    told: BTreeMap<&'static str, u64>,
    /// Kept by a cache that could have known better.
    wrong: usize,
}

impl Prices {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    fn now(&self, key: &str) -> u64 {
        self.lock().now.get(key).copied().unwrap_or(0)
    }

    fn raise(&self, key: &'static str) -> u64 {
        let mut books = self.lock();
        let price = books.now.entry(key).or_default();
        *price += 1;
        *price
    }

    fn told(&self, key: &'static str, price: u64) {
        let mut books = self.lock();
        let told = books.told.entry(key).or_default();
        *told = price.max(*told);
    }
}

#[derive(Clone)]
struct Shop {
    world: World,
    prices: Prices,
    client: Client,
    cache: Arc<Cache<u64>>,
}

impl Shop {
    async fn open(world: World, prices: Prices) -> Self {
        let options = ConnectOptions::new(world.urls())
            .retry_first_connect(true)
            .ping_interval(Duration::from_secs(2))
            .connect_timeout(Duration::from_secs(1))
            .reconnect_wait(Duration::from_millis(20), Duration::from_millis(500))
            .flush_timeout(Duration::from_secs(3600));
        let client = world.connect(options).await.expect("it connects in the background");
        let limits = Limits { age: Duration::MAX, ..Limits::default() };
        let cache = loop {
            // A connection may be lost before the server has confirmed the subscription.
            match Cache::new(&client, "prices.changed", limits).await {
                Ok(cache) => break Arc::new(cache),
                Err(_) => world.sleep(Duration::from_millis(10)).await,
            }
        };
        Self { world, prices, client, cache }
    }

    /// Looks at prices, which takes the source a while, and changes some, until it is time.
    async fn trade(self, mut rng: Rng, until: Duration) {
        while self.world.now() - Instant::ZERO < until {
            let key = KEYS[rng.index(KEYS.len())];
            match rng.one_in(5) {
                true => {
                    let price = self.prices.raise(key);
                    self.cache.invalidate(key).await.expect("a server comes back");
                    self.prices.told(key, price);
                }
                false => drop(self.look(key, rng.between(Duration::ZERO, ms(20))).await),
            }
            self.world.sleep(rng.between(Duration::ZERO, ms(100))).await;
        }
    }

    async fn look(&self, key: &str, takes: Duration) -> u64 {
        let load = async {
            let price = self.prices.now(key);
            self.world.sleep(takes).await;
            Ok::<_, std::convert::Infallible>(price)
        };
        let Ok(price) = self.cache.get_or_load(key, load).await;
        price
    }

    /// What everybody was told of, a cache does not keep an older price of, once all that its
    /// server had for it has come.
    async fn audit(&self) {
        let told = self.prices.lock().told.clone();
        while let Err(error) = self.client.flush().await {
            assert!(matches!(error, FlushError::Disconnected(_)), "{error}");
        }
        // The handler runs in the turn in which the answer came, or before.
        for (key, told) in told {
            if self.cache.get(key).is_some_and(|kept| kept < told) {
                self.prices.lock().wrong += 1;
            }
        }
    }

    async fn audits(self, until: Duration) {
        while self.world.now() - Instant::ZERO < until {
            self.audit().await;
            self.world.sleep(ms(50)).await;
        }
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Strikes until it is time; then all is well again.
async fn weather(world: World, servers: Vec<ServerId>, mut rng: Rng, until: Duration) {
    while world.now() - Instant::ZERO < until {
        world.sleep(rng.between(ms(10), ms(1500))).await;
        let (server, other) =
            (servers[rng.index(servers.len())], servers[rng.index(servers.len())]);
        let connections = world.connections();
        let connection = connections.get(rng.index(connections.len()));
        let direction = if rng.one_in(2) { Direction::Up } else { Direction::Down };
        match (rng.index(10), connection) {
            (0, _) => world.kill(server, if rng.one_in(2) { End::Eof } else { End::Reset }),
            (1 | 2, _) => world.start(server),
            (3, _) => world.lame_duck(server),
            (4, _) => world.isolate(server, rng.one_in(2)),
            (5, _) => world.partition(server, other, rng.one_in(2)),
            (6, Some(connection)) => world.cut(*connection),
            (7, Some(connection)) => world.cut_after(*connection, direction, 1 + rng.index(500)),
            (8, Some(connection)) => world.stall(*connection, direction, Some(ms(700))),
            _ => world.set_door(server, [Door::Open, Door::Refusing, Door::Silent][rng.index(3)]),
        }
    }
    for &server in &servers {
        world.isolate(server, false);
        world.set_door(server, Door::Open);
        // A lame duck would end later. Others go on: whoever loses a server forgets everything.
        if world.cluster(|cluster, _| cluster.is_lame_duck(server)) {
            world.kill(server, End::Reset);
        }
        world.start(server);
        for &other in &servers {
            world.partition(server, other, false);
        }
    }
}

/// Three shops in a storm of two minutes. Gives how often a price was found that was wrong for want
/// of an invalidation; in the end none is.
fn storm(sim: Sim, servers: usize) -> Result<Outcome<usize>, Failure> {
    sim.limit(Duration::from_secs(7200)).run(move |world| async move {
        for _ in 0..servers {
            let options = world.server_options();
            let (grace, duration) = (ms(200), ms(1200));
            world.add_server(ServerOptions {
                lame_duck_grace: grace,
                lame_duck_duration: duration,
                ..options
            });
        }
        let prices = Prices::default();
        let mut shops = Vec::new();
        for _ in 0..3 {
            shops.push(Shop::open(world.clone(), prices.clone()).await);
        }
        let until = Duration::from_secs(120);
        let mut tasks =
            vec![world.spawn(weather(world.clone(), world.servers(), world.rng(), until))];
        for shop in &shops {
            tasks.push(world.spawn(shop.clone().trade(world.rng(), until)));
            tasks.push(world.spawn(shop.clone().audits(until)));
        }
        world.join(tasks).await;
        let wrong = prices.lock().wrong;
        assert!(servers > 1 || wrong == 0, "one server, and {wrong} prices were wrong");
        for key in KEYS {
            shops[0].cache.invalidate(key).await.expect("all is well");
            prices.told(key, prices.now(key));
        }
        world.sleep(Duration::from_secs(1)).await;
        for shop in &shops {
            shop.audit().await;
            for key in KEYS {
                let seen = shop.look(key, ms(1)).await;
                assert_eq!(seen, prices.now(key));
                assert_eq!(shop.cache.get(key), Some(seen), "it keeps again");
            }
        }
        assert_eq!(prices.lock().wrong, wrong, "what is invalidated when all is well is heard");
        wrong
    })
}

/// One server loses nothing between its clients: whoever is connected hears, and whoever is not
/// forgets. So no cache is ever wrong, and not only in the end.
#[test]
fn on_one_server_a_cache_is_right() {
    let tried = search(0..40, |sim| storm(sim, 1));
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}

/// A cluster may lose a message between two of its servers, with nobody disconnected. That is what
/// the age of entries is for; here an invalidation when all is well takes its place.
#[test]
fn on_a_cluster_a_cache_is_right_once_all_is_well() {
    let mut wrong = 0;
    let tried = search(0..40, |sim| {
        let outcome = storm(sim, 3)?;
        wrong += outcome.value;
        Ok(outcome)
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(wrong > 0, "the storms are too weak to show that age is needed");
}
