//! Carries deliveries out.
//!
//! Who acts here: `dispatch` takes turns over the lanes and starts one task per attempt; `attempt` makes one
//! try (transform, send, interpret, decide); `poller` fetches what is due from the store; `pacer` lets lanes go on that
//! rest by a rate; `circuits` heeds what attempts say of their endpoints; `lease` keeps this node's claim on what it
//! holds. What none of them does: decide (that is the model's) or know SQL.

mod attempt;
mod circuits;
mod dispatch;
mod lease;
mod pacer;
mod poller;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use engate_model::{
    EndpointId, Timestamp,
    circuit::{CircuitRules, Failing},
    delivery::{Attempt, Delivery, Trigger},
    event::Event,
    lanes::{LaneRules, Lanes, Pace},
};
use engate_store::{ClaimedDelivery, NodeSerial};
use tokio::sync::{Notify, RwLock, oneshot};
use tokio_util::task::TaskTracker;

/// What a job takes beside its event's payload, about.
const JOB_BYTES: usize = 1 << 10;

/// A delivery in hand.
pub(crate) struct Job {
    delivery: Delivery,
    event: Arc<Event>,
    trigger: Trigger,
    /// Whether it is in a line of an endpoint that keeps an order.
    in_line: bool,
    /// Under which of this node's serials it was taken; a result under another is refused by the store.
    serial: NodeSerial,
    /// Who waits for its attempt, where someone does.
    answer: Option<oneshot::Sender<Attempt>>,
}

impl Job {
    /// A delivery that was just written down.
    pub(crate) fn of_event(delivery: Delivery, event: Arc<Event>, in_line: bool, serial: NodeSerial) -> Self {
        Self { delivery, event, trigger: Trigger::Event, in_line, serial, answer: None }
    }

    /// A delivery that someone waits for, who gets the attempt once it is written down. Nothing comes where it could not
    /// be made.
    pub(crate) fn awaited(claimed: ClaimedDelivery, serial: NodeSerial) -> (Self, oneshot::Receiver<Attempt>) {
        let (answer, attempt) = oneshot::channel();
        (Self { answer: Some(answer), ..Self::of_claim(claimed, serial) }, attempt)
    }

    /// Memory it takes, about. An event's payload counts for each of its deliveries, since any may be its last holder.
    fn bytes(&self) -> usize {
        self.event.payload.len() + JOB_BYTES
    }

    fn of_claim(claimed: ClaimedDelivery, serial: NodeSerial) -> Self {
        let ClaimedDelivery { delivery, event, trigger, in_line } = claimed;
        Self { delivery, event, trigger, in_line, serial, answer: None }
    }
}

/// Dropped, it makes the worker compare its lanes with the store.
pub(crate) struct Doubt<'a>(&'a Worker);

impl<'a> Doubt<'a> {
    /// From here on lanes and store may differ.
    pub(crate) const fn of(worker: &'a Worker) -> Self {
        Self(worker)
    }

    /// Lanes and store agree.
    pub(crate) fn settle(self) {
        std::mem::forget(self);
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        self.0.suspect();
    }
}

/// What is in a lane.
pub(crate) struct LaneDepth {
    /// Whose lane.
    pub(crate) endpoint: EndpointId,
    /// Deliveries that wait in it.
    pub(crate) queued: u64,
    /// When the event of the oldest of them was taken.
    pub(crate) oldest_at: Option<Timestamp>,
    /// Attempts under way.
    pub(crate) in_flight: u32,
}

/// The lanes and this node's hold on what is in them.
pub(crate) struct Worker {
    lanes: Mutex<Lanes<Job>>,
    /// Endpoints with more due in the store than their lane had room for.
    backlogged: Mutex<HashSet<EndpointId>>,
    in_flight: AtomicUsize,
    in_flight_max: usize,
    tasks: TaskTracker,
    /// Wakes the poller before its time.
    wake: Notify,
    /// Wakes the lease keeper before its time.
    doubt: Notify,
    /// Wakes the pacer before its time.
    pace: Notify,
    /// When the pacer looks again by itself, microseconds.
    paced_until: AtomicI64,
    serial: Mutex<Option<NodeSerial>>,
    /// Tells attempts of lines that the serial changed.
    serial_changed: Notify,
    /// Held by attempts of lines while they are under way.
    of_lines: RwLock<()>,
    lease_until: AtomicI64,
    suspect: AtomicBool,
    stopping: AtomicBool,
}

impl Worker {
    /// No lanes yet, and no lease.
    pub(crate) fn new(
        queued_max: usize,
        queued_bytes_max: usize,
        in_flight_max: usize,
        circuits: CircuitRules,
    ) -> Self {
        Self {
            lanes: Mutex::new(Lanes::new(queued_max, queued_bytes_max).with_circuit_rules(circuits)),
            backlogged: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            in_flight_max,
            tasks: TaskTracker::new(),
            wake: Notify::new(),
            doubt: Notify::new(),
            pace: Notify::new(),
            paced_until: AtomicI64::new(i64::MAX),
            serial: Mutex::new(None),
            serial_changed: Notify::new(),
            of_lines: RwLock::new(()),
            lease_until: AtomicI64::new(i64::MIN),
            suspect: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// Keeps up to `wanted` places in the endpoint's lane, and says under which serial; none where there is no
    /// room or this node holds no lease.
    pub(crate) fn reserve(
        &self,
        endpoint: EndpointId,
        rules: LaneRules,
        wanted: usize,
        now: Timestamp,
    ) -> Option<(NodeSerial, usize)> {
        if self.stopping.load(Ordering::Acquire) {
            return None;
        }
        let serial = (*self.serial())?;
        let places = self.lanes().reserve(endpoint, rules, wanted, now);
        (places > 0).then_some((serial, places))
    }

    /// Gives reserved places back.
    pub(crate) fn leave(&self, endpoint: EndpointId, places: usize, now: Timestamp) {
        self.lanes().leave(endpoint, places, now);
    }

    /// Something went wrong between store and memory: what this node holds in the store may not be what it has
    /// in its lanes. It will take a new serial, by which everything it held is given back and fetched again.
    pub(crate) fn suspect(&self) {
        self.suspect.store(true, Ordering::Release);
        self.doubt.notify_one();
    }

    /// An endpoint was edited by someone who knows why: it counts as sound.
    pub(crate) fn edited(&self, endpoint: EndpointId, rules: LaneRules, now: Timestamp) {
        let mut lanes = self.lanes();
        lanes.set_rules(endpoint, rules);
        lanes.forgive(endpoint, now);
    }

    /// Someone wants deliveries to go to an endpoint, however it failed: it counts as sound.
    pub(crate) fn forgive(&self, endpoint: EndpointId, now: Timestamp) {
        self.lanes().forgive(endpoint, now);
    }

    /// Whether the endpoint is left alone because it is down.
    pub(crate) fn is_shut(&self, endpoint: EndpointId) -> bool {
        self.lanes().is_shut(endpoint)
    }

    /// Someone wants a try at an endpoint: where it is left alone, one may go now.
    pub(crate) fn probe_now(&self, endpoint: EndpointId, now: Timestamp) {
        self.lanes().probe_now(endpoint, now);
    }

    /// Endpoints that fail by what is written down, and how.
    pub(crate) fn failing(&self) -> HashMap<EndpointId, Failing> {
        self.lanes().failing().collect()
    }

    /// There may be due work in the store: look now.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Lets the background parts notice that the engine stops.
    pub(crate) fn wake_for_stop(&self) {
        self.wake.notify_one();
        self.doubt.notify_one();
        self.pace.notify_one();
    }

    /// Every lane with anything in it.
    pub(crate) fn depths(&self) -> Vec<LaneDepth> {
        let lanes = self.lanes();
        let depths = lanes.depths().map(|(endpoint, queue, in_flight)| LaneDepth {
            endpoint,
            queued: u64::try_from(queue.len()).unwrap_or(u64::MAX),
            oldest_at: queue.map(|job| job.delivery.created_at).min(),
            in_flight,
        });
        depths.collect()
    }

    /// Queued in all lanes, and under way.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.lanes().queued(), self.in_flight.load(Ordering::Relaxed))
    }

    /// This node's serial, if it holds a lease and takes work.
    pub(crate) fn serial_to_take(&self) -> Option<NodeSerial> {
        if self.stopping.load(Ordering::Acquire) { None } else { *self.serial() }
    }

    /// Carries an attempt of a line on for as long as this node holds `serial`, and breaks it off then: another node may
    /// go on with the line, and nothing older may reach the partner after that.
    async fn while_held<T>(
        &self,
        serial: NodeSerial,
        now: impl Fn() -> Timestamp,
        attempt: impl Future<Output = T>,
    ) -> Option<T> {
        let _under_way = self.of_lines.read().await;
        tokio::select! {
            biased;
            () = self.until_lost(serial, now) => None,
            done = attempt => Some(done),
        }
    }

    async fn until_lost(&self, serial: NodeSerial, now: impl Fn() -> Timestamp) {
        loop {
            let changed = self.serial_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = now();
            if !self.holds(serial, now) {
                return;
            }
            let left = Timestamp::from_micros(self.lease_until.load(Ordering::Acquire)).since(now);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    /// Has attempts of lines broken off whose serial is no longer this node's, and waits until they are.
    async fn break_off_lines(&self) {
        self.serial_changed.notify_waiters();
        drop(self.of_lines.write().await);
    }

    /// An attempt under `serial` was not made, or broken off, because the lease had run out. If nobody else has ended it
    /// the lease may go on, and the delivery would stay in hand for ever: a new serial gives it back.
    fn let_lapse(&self, serial: NodeSerial) {
        let still_ours = *self.serial() == Some(serial);
        if still_ours {
            self.suspect();
        }
    }

    fn holds(&self, serial: NodeSerial, now: Timestamp) -> bool {
        *self.serial() == Some(serial) && now.as_micros() < self.lease_until.load(Ordering::Acquire)
    }

    fn next(&self, now: Timestamp) -> Option<(EndpointId, Job)> {
        if self.in_flight.load(Ordering::Relaxed) >= self.in_flight_max {
            return None;
        }
        let mut lanes = self.lanes();
        let next = lanes.take(now);
        if next.is_some() {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
        } else if lanes.next_at().is_some_and(|at| at.as_micros() < self.paced_until.load(Ordering::Relaxed)) {
            self.pace.notify_one();
        }
        next
    }

    /// When a lane may go on without anything else happening; the pacer looks again then.
    fn next_pace(&self) -> Option<Timestamp> {
        let lanes = self.lanes();
        let next = lanes.next_at();
        // Under the lock, so that whoever puts a lane to rest meanwhile compares with this.
        self.paced_until.store(next.map_or(i64::MAX, Timestamp::as_micros), Ordering::Relaxed);
        next
    }

    fn finished(&self, endpoint: EndpointId, pace: Pace, now: Timestamp) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let short = {
            let mut lanes = self.lanes();
            lanes.finished(endpoint, pace, now);
            lanes.is_short(endpoint)
        };
        if short && self.backlogged().remove(&endpoint) {
            self.wake();
        }
    }

    /// The store may hold more for that endpoint: wake the poller once its lane has run short.
    fn wake_when_short(&self, endpoint: EndpointId) {
        self.backlogged().insert(endpoint);
    }

    fn backlogged(&self) -> std::sync::MutexGuard<'_, HashSet<EndpointId>> {
        self.backlogged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, Lanes<Job>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn serial(&self) -> std::sync::MutexGuard<'_, Option<NodeSerial>> {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what is under way, `patience` at most; true when all of it ended.
    async fn settle(&self, patience: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait()).await.is_ok()
    }
}
