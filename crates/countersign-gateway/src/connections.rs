//! The connections that are open, at most so many: the one that has rested longest makes room for one
//! more. Whoever opens connections and sends nothing shuts out nobody but itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A request is under way.
const AT_WORK: u64 = 0;
/// It has to end.
const LEAVING: u64 = u64::MAX;

/// All connections of one listener.
#[derive(Debug, Clone)]
pub(crate) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    room: Arc<Semaphore>,
    /// Counts up whenever one comes to rest: an order, and no time.
    rests: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
}

/// One of them. It travels with its requests, so that the guard can say whose it is.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Since which count it rests, [`AT_WORK`] or [`LEAVING`].
    resting: AtomicU64,
    /// Whether a caller of ours was met on it.
    met: AtomicBool,
    leave: Notify,
}

/// The room of one connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    all: Connections,
    number: u64,
    connection: Arc<Connection>,
    _room: OwnedSemaphorePermit,
}

impl Connections {
    /// None yet, and at most `max`.
    pub(crate) fn new(max: usize) -> Self {
        let room = Arc::new(Semaphore::new(max));
        Self(Arc::new(Inner { room, rests: AtomicU64::new(1), open: Mutex::default() }))
    }

    /// Room for one more. `None` if requests are under way on all of them.
    pub(crate) async fn seat(&self) -> Option<Seat> {
        let room = Arc::clone(&self.0.room);
        let room = match Arc::clone(&room).try_acquire_owned() {
            Ok(room) => room,
            // The one that leaves is woken at once and gives up its room.
            Err(_full) if self.make_room() => room.acquire_owned().await.ok()?,
            Err(_full) => return None,
        };
        let number = self.0.rests.fetch_add(1, Relaxed);
        let connection = Arc::new(Connection {
            resting: AtomicU64::new(number),
            met: AtomicBool::new(false),
            leave: Notify::new(),
        });
        self.open().insert(number, Arc::clone(&connection));
        Some(Seat { all: self.clone(), number, connection, _room: room })
    }

    /// Has the connection end that has rested longest, first of all one on which nobody was met.
    /// Where a request has begun it is never that one.
    pub(crate) fn make_room(&self) -> bool {
        let open = self.open();
        loop {
            let resting = open.values().filter_map(|connection| {
                let since = connection.resting.load(Relaxed);
                let rests = since != AT_WORK && since != LEAVING;
                rests.then_some((connection.met.load(Relaxed), since, connection))
            });
            let Some((_, since, first)) = resting.min_by_key(|(met, since, _)| (*met, *since))
            else {
                return false;
            };
            if first.resting.compare_exchange(since, LEAVING, Relaxed, Relaxed).is_ok() {
                first.leave.notify_one();
                return true;
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Resolves when the connection has to end.
    pub(crate) async fn leave(&self) {
        self.connection.leave.notified().await;
    }

    /// The connection, for its requests.
    pub(crate) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }

    /// Its connections' common order.
    pub(crate) fn all(&self) -> Connections {
        self.all.clone()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.all.open().remove(&self.number);
    }
}

impl Connection {
    /// A request has begun.
    pub(crate) fn work(&self) {
        self.resting.store(AT_WORK, Relaxed);
    }

    /// Its answer is made. Writing it is rest: who does not read it holds up nobody else.
    pub(crate) fn rest(&self, all: &Connections) {
        self.resting.store(all.0.rests.fetch_add(1, Relaxed), Relaxed);
    }

    /// A caller of ours is on it.
    pub(crate) fn meet(&self) {
        self.met.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(out) => Some(out),
            Poll::Pending => None,
        }
    }

    fn told(seat: &Seat) -> bool {
        now(seat.leave()).is_some()
    }

    #[test]
    fn the_longest_idle_makes_room_and_first_of_all_a_stranger() {
        let all = Connections::new(3);
        let mut seats: Vec<_> = (0..3).map(|_| now(all.seat()).unwrap().unwrap()).collect();
        seats[0].connection.meet();
        assert_eq!(now(all.seat()).map(|seat| seat.is_some()), None, "it waits for who leaves");
        assert_eq!(seats.iter().map(told).collect::<Vec<_>>(), [false, true, false]);
        drop(seats.remove(1));
        seats.push(now(all.seat()).unwrap().unwrap());
        seats[1].connection.work();
        seats[2].connection.work();
        assert!(all.make_room() && told(&seats[0]), "whoever was met, if nobody else rests");
        assert!(!all.make_room(), "requests are under way on the others");
        assert!(now(all.seat()).unwrap().is_none());
        seats[2].connection.rest(&all);
        assert!(all.make_room() && told(&seats[2]));
    }
}
