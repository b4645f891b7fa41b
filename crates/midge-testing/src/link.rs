//! A wire between a client and a server that a test makes long, stops, cuts, or leaves to chance.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::chaos::{Chaos, Course, Fault, Faults};
use crate::recording::Recording;

/// Bytes of one read, and of one piece that travels.
const PIECE: usize = 64 * 1024;
/// What a piece costs in memory besides its bytes, at most.
const PIECE_COST: usize = 64;
/// Bytes that travel in one direction of one connection, unless the test says otherwise.
const CAPACITY: usize = 64 << 20;
/// How long the server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Direction {
    const BOTH: [Direction; 2] = [Direction::ToServer, Direction::ToClient];

    /// The place of the end that is read from; the other one is written to.
    fn from(self) -> usize {
        self as usize
    }

    fn to(self) -> usize {
        1 - self as usize
    }
}

/// A TCP proxy on the loopback interface in front of one server.
///
/// What is read from one end is written to the other after the latency, in order; there is no
/// limit to bandwidth. The end of a stream travels like bytes do. A reset is passed on at once,
/// and what travels is lost with it. Connecting takes no time: a client that the server does not
/// take is accepted and reset.
///
/// At most [`LinkBuilder::capacity`] bytes travel in one direction of one connection; then that
/// direction reads no more, as if it were stalled.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use midge_testing::{Link, Peer, ScriptedServer};
///
/// let server = ScriptedServer::start(|mut listener| {
///     let mut client = listener.accept()?;
///     client.expect("PING")?;
///     client.send("PONG\r\n")
/// })?;
/// let link = Link::to(&server.url()).latency(Duration::from_millis(20)).start()?;
///
/// let mut client = Peer::connect(&link.url())?;
/// let began = Instant::now();
/// client.send("PING\r\n")?;
/// client.expect("PONG")?;
/// assert!(began.elapsed() >= Duration::from_millis(40));
/// # server.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// One thread accepts, and one serves each connection. Dropping the link resets all connections.
#[derive(Debug)]
pub struct Link {
    port: u16,
    shared: Arc<Shared>,
    waker: UnixStream,
    acceptor: Option<JoinHandle<()>>,
}

/// How a [`Link`] is made. Made by [`Link::to`].
#[derive(Debug, Clone)]
#[must_use = "nothing listens until `start`"]
pub struct LinkBuilder {
    server: String,
    latency: Duration,
    capacity: usize,
    recording: Option<Recording>,
}

/// What the threads of a link share.
#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    latency: Duration,
    capacity: usize,
    recording: Option<Recording>,
    orders: Mutex<Orders>,
    /// A connection is gone.
    gone: Condvar,
}

/// What the test wants. Reading is done with this locked, so that an order that was given holds.
#[derive(Debug, Default)]
struct Orders {
    stalled: [bool; 2],
    over: bool,
    /// Connections so far; the next one has this number.
    accepted: u64,
    /// Connections with a lower number are to be reset.
    cut_below: u64,
    /// Connections with a lower number are to be ended, by direction.
    ended_below: [u64; 2],
    chaos: Option<Chaos>,
    faults: Faults,
    /// The number of each connection that lives, and what wakes its thread.
    living: Vec<(u64, UnixStream)>,
}

impl Orders {
    fn wake_all(&self) {
        for (_, waker) in &self.living {
            wake(waker);
        }
    }

    fn is_cut(&self, number: u64) -> bool {
        self.over || number < self.cut_below
    }
}

impl LinkBuilder {
    /// How much later bytes arrive, each way. Default: not at all.
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// Bytes that travel at most, in each direction of each connection. The memory of the link
    /// stays below three times that. Default: 64 MiB.
    pub fn capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes;
        self
    }

    /// Records what passes; one recording may be that of several links.
    pub fn record(mut self, recording: &Recording) -> Self {
        self.recording = Some(recording.clone());
        self
    }

    /// Listens on a free port of `127.0.0.1`.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if the address of the server does not resolve, or nothing can listen.
    pub fn start(self) -> io::Result<Link> {
        let address = self.server.split_once("://").map_or(&*self.server, |(_, rest)| rest);
        let server = address.to_socket_addrs()?.next().ok_or(ErrorKind::NotFound)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let (waker, woken) = UnixStream::pair()?;
        let shared = Arc::new(Shared {
            server,
            latency: self.latency,
            capacity: self.capacity,
            recording: self.recording,
            orders: Mutex::default(),
            gone: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || accept(&accepting, &listener, &woken))?;
        Ok(Link { port, shared, waker, acceptor: Some(acceptor) })
    }
}

impl Link {
    /// A link to the server at `address`: a host and port, or a URL, whose scheme is ignored.
    pub fn to(address: &str) -> LinkBuilder {
        LinkBuilder {
            server: address.to_owned(),
            latency: Duration::ZERO,
            capacity: CAPACITY,
            recording: None,
        }
    }

    /// Where clients connect to: `nats://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections that were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.lock().accepted
    }

    /// Stops reading from the end where `direction` begins, on all connections and on later ones:
    /// once this returns no byte is read, so that the buffers of the system fill. What travels
    /// already arrives.
    pub fn stall(&self, direction: Direction) {
        self.shared.lock().stalled[direction.from()] = true;
    }

    /// Reads again after [`Link::stall`].
    pub fn resume(&self, direction: Direction) {
        let mut orders = self.shared.lock();
        orders.stalled[direction.from()] = false;
        orders.wake_all();
    }

    /// Resets all connections (RST at both ends) and returns when they are gone. What travels is
    /// lost. Later connections are served.
    pub fn cut(&self) {
        let mut orders = self.shared.lock();
        let below = orders.accepted;
        orders.cut_below = below;
        orders.wake_all();
        while orders.living.iter().any(|(number, _)| *number < below) {
            orders = self.shared.gone.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends this direction of all connections: no further byte is read, and behind what travels
    /// comes the end of the stream (FIN). The other direction goes on.
    pub fn half_close(&self, direction: Direction) {
        let mut orders = self.shared.lock();
        orders.ended_below[direction.from()] = orders.accepted;
        orders.wake_all();
    }

    /// Disturbs all connections, from where they are, and later ones from their beginning.
    pub fn unleash(&self, chaos: Chaos) {
        let mut orders = self.shared.lock();
        orders.chaos = Some(chaos);
        orders.wake_all();
    }

    /// Disturbs nothing any more: what was held up passes. What was cut or ended stays so.
    pub fn calm(&self) {
        let mut orders = self.shared.lock();
        orders.chaos = None;
        orders.wake_all();
    }

    /// The faults so far that came by [`Link::unleash`].
    pub fn faults(&self) -> Faults {
        self.shared.lock().faults
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        wake(&self.waker);
        self.cut();
        if let Some(acceptor) = self.acceptor.take() {
            // It does not panic; and a second panic here would hide the first one.
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// ---- accepting -------------------------------------------------------------------------------

fn accept(shared: &Arc<Shared>, listener: &TcpListener, woken: &UnixStream) {
    loop {
        let mut ready = [PollFd::new(listener, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
        let waited = poll(&mut ready, None);
        if shared.lock().over || waited.is_err_and(|errno| errno != Errno::INTR) {
            return;
        }
        if let Ok((client, _)) = listener.accept() {
            // A connection that cannot be served is reset, and its client sees that.
            let _ = serve(shared, client);
        }
    }
}

fn serve(shared: &Arc<Shared>, client: TcpStream) -> io::Result<()> {
    let (waker, woken) = UnixStream::pair()?;
    waker.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    // It counts before the server can see it: an order that is given then is for it, too.
    let mut orders = shared.lock();
    let living = Living { number: orders.accepted, shared: Arc::clone(shared) };
    orders.accepted += 1;
    orders.living.push((living.number, waker));
    drop(orders);
    let mut ends = Ends::new(client)?;
    ends.add(TcpStream::connect_timeout(&shared.server, PATIENCE)?)?;
    let thread = std::thread::Builder::new().name(format!("link {}", living.number));
    thread.spawn(move || Wire::new(living.number, ends, woken).run(&living.shared))?;
    Ok(())
}

/// A connection that is counted until this is dropped.
struct Living {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for Living {
    fn drop(&mut self) {
        self.shared.lock().living.retain(|(number, _)| *number != self.number);
        self.shared.gone.notify_all();
    }
}

// ---- one connection --------------------------------------------------------------------------

/// The two sockets of a connection, the client's first. They are reset when this is dropped,
/// unless both streams have ended.
#[derive(Debug)]
struct Ends(Vec<TcpStream>);

impl Ends {
    fn new(client: TcpStream) -> io::Result<Ends> {
        let mut ends = Ends(Vec::new());
        ends.add(client)?;
        Ok(ends)
    }

    fn add(&mut self, end: TcpStream) -> io::Result<()> {
        rustix::net::sockopt::set_socket_linger(&end, Some(Duration::ZERO))?;
        end.set_nonblocking(true)?;
        end.set_nodelay(true)?;
        self.0.push(end);
        Ok(())
    }

    /// Both streams have ended: what is still in the sockets is to arrive.
    fn part_in_peace(&self) {
        for end in &self.0 {
            // If that fails the end is gone.
            let _ = rustix::net::sockopt::set_socket_linger(end, None);
        }
    }
}

/// What travels in one direction.
#[derive(Debug, Default)]
struct Flight {
    pieces: VecDeque<Piece>,
    /// Memory of the pieces in bytes.
    size: usize,
    /// Nothing more is read.
    ended: bool,
    /// The end of the stream was handed on.
    arrived: bool,
}

/// Bytes that arrive together; none are the end of the stream.
#[derive(Debug)]
struct Piece {
    due: Instant,
    bytes: Vec<u8>,
    written: usize,
}

impl Flight {
    fn depart(&mut self, bytes: &[u8], latency: Duration) {
        self.ended |= bytes.is_empty();
        self.size += bytes.len() + PIECE_COST;
        let due = Instant::now() + latency;
        self.pieces.push_back(Piece { due, bytes: bytes.to_vec(), written: 0 });
    }

    /// Writes what is due and the socket takes.
    fn arrive(&mut self, mut to: &TcpStream) -> io::Result<()> {
        while let Some(piece) = self.pieces.front_mut().filter(|piece| piece.due <= Instant::now())
        {
            if piece.bytes.is_empty() {
                to.shutdown(Shutdown::Write)?;
                self.arrived = true;
            }
            while piece.written < piece.bytes.len() {
                match to.write(&piece.bytes[piece.written..]) {
                    Ok(count) => piece.written += count,
                    Err(error) if is_passing(&error) => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            self.size -= piece.bytes.len() + PIECE_COST;
            self.pieces.pop_front();
        }
        Ok(())
    }
}

/// One connection and the thread that serves it.
#[derive(Debug)]
struct Wire {
    number: u64,
    ends: Ends,
    woken: UnixStream,
    flights: [Flight; 2],
    courses: [Option<Course>; 2],
    scratch: Vec<u8>,
}

impl Wire {
    fn new(number: u64, ends: Ends, woken: UnixStream) -> Wire {
        let (flights, courses) = Default::default();
        Wire { number, ends, woken, flights, courses, scratch: vec![0; PIECE] }
    }

    /// Serves the connection until it is over. An error of either end resets the other.
    fn run(mut self, shared: &Shared) {
        while self.step(shared).is_ok() {
            if self.flights.iter().all(|flight| flight.arrived) {
                return self.ends.part_in_peace();
            }
        }
    }

    fn step(&mut self, shared: &Shared) -> io::Result<()> {
        let orders = shared.lock();
        self.steer(&orders);
        let (wanted, timeout) = self.wants(&orders, shared);
        drop(orders);
        let ready = self.wait(wanted, timeout)?;
        while matches!(self.woken.read(&mut self.scratch), Ok(1..)) {}
        for direction in Direction::BOTH {
            if ready[direction.to()].is_empty() && self.flight(direction).pieces.is_empty() {
                continue;
            }
            self.flights[direction.from()].arrive(&self.ends.0[direction.to()])?;
        }
        let mut orders = shared.lock();
        if orders.is_cut(self.number) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        // An order that was given while this waited holds for what is read now.
        self.steer(&orders);
        for direction in Direction::BOTH {
            let place = direction.from();
            if self.number < orders.ended_below[place] && !self.flights[place].ended {
                self.flights[place].depart(&[], shared.latency);
            }
            let readable = ready[place].intersects(!PollFlags::OUT);
            if readable && self.reads(direction, &orders, shared) {
                let fault = self.read(direction, shared)?;
                if let Some(fault) = fault {
                    orders.faults.count(fault);
                    self.suffer(fault, direction, shared.latency)?;
                }
            }
        }
        Ok(())
    }

    /// Begins and ends what [`Link::unleash`] and [`Link::calm`] say.
    fn steer(&mut self, orders: &Orders) {
        for direction in Direction::BOTH {
            let course = &mut self.courses[direction.from()];
            match orders.chaos {
                None => *course = None,
                Some(chaos) => {
                    course.get_or_insert_with(|| Course::new(chaos, self.number, direction));
                }
            }
        }
    }

    fn suffer(&mut self, fault: Fault, direction: Direction, latency: Duration) -> io::Result<()> {
        match fault {
            Fault::Cut => {
                // The bytes before this place are to arrive.
                self.flights[direction.from()].arrive(&self.ends.0[direction.to()])?;
                Err(ErrorKind::ConnectionAborted.into())
            }
            Fault::HalfClose => {
                self.flights[direction.from()].depart(&[], latency);
                Ok(())
            }
            Fault::Stall | Fault::Trickle => Ok(()),
        }
    }

    fn flight(&self, direction: Direction) -> &Flight {
        &self.flights[direction.from()]
    }

    fn reads(&self, direction: Direction, orders: &Orders, shared: &Shared) -> bool {
        let flight = self.flight(direction);
        !flight.ended
            && flight.size < shared.capacity
            && !orders.stalled[direction.from()]
            && self.held_until(direction).is_none()
    }

    fn held_until(&self, direction: Direction) -> Option<Instant> {
        self.courses[direction.from()].as_ref()?.held_until(Instant::now())
    }

    /// What to wait for at each end, and for how long.
    fn wants(&self, orders: &Orders, shared: &Shared) -> ([PollFlags; 2], Option<Duration>) {
        let mut wanted = [PollFlags::empty(); 2];
        let mut timeout: Option<Duration> = None;
        let mut wait_until = |until: Instant| {
            let wait = until.saturating_duration_since(Instant::now());
            timeout = Some(timeout.map_or(wait, |other| wait.min(other)));
        };
        let now = Instant::now();
        for direction in Direction::BOTH {
            if let Some(until) = self.held_until(direction) {
                wait_until(until);
            } else if self.reads(direction, orders, shared) {
                wanted[direction.from()] |= PollFlags::IN;
            }
            match self.flight(direction).pieces.front().map(|piece| piece.due) {
                Some(due) if due > now => wait_until(due),
                Some(_) => wanted[direction.to()] |= PollFlags::OUT,
                None => {}
            }
        }
        (wanted, timeout)
    }

    fn wait(
        &self,
        wanted: [PollFlags; 2],
        timeout: Option<Duration>,
    ) -> io::Result<[PollFlags; 2]> {
        let timeout = timeout.map(|left| Timespec::try_from(left).unwrap_or_default());
        let mut fds = vec![PollFd::new(&self.woken, PollFlags::IN)];
        // One of which nothing is wanted would report its own end again and again.
        for (end, wanted) in self.ends.0.iter().zip(wanted) {
            if !wanted.is_empty() {
                fds.push(PollFd::new(end, wanted));
            }
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut found = fds[1..].iter().map(PollFd::revents);
        Ok(wanted.map(
            |wanted| {
                if wanted.is_empty() { wanted } else { found.next().unwrap_or(wanted) }
            },
        ))
    }

    fn read(&mut self, direction: Direction, shared: &Shared) -> io::Result<Option<Fault>> {
        let place = direction.from();
        let course = &mut self.courses[place];
        let allowance = course.as_mut().map_or(PIECE as u64, Course::allowance);
        let most = usize::try_from(allowance).unwrap_or(PIECE).clamp(1, PIECE);
        match (&self.ends.0[place]).read(&mut self.scratch[..most]) {
            Ok(count) => {
                let bytes = &self.scratch[..count];
                if let Some(recording) = &shared.recording {
                    recording.note(shared.server.port(), self.number, direction, bytes);
                }
                self.flights[place].depart(bytes, shared.latency);
                let course = course.as_mut().filter(|_| count > 0);
                Ok(course.and_then(|course| course.passed(count as u64, Instant::now())))
            }
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Full is as good: then it will wake.
fn wake(mut waker: &UnixStream) {
    let _ = waker.write(&[0]);
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
