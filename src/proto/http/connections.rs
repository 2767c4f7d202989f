//! All connections of a shard: a bounded table, their deadlines, and which of them have something new to say.

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddrV4;

use super::connection::{Connection, Output};
use crate::boot::image::{ImageId, Images};
use crate::boot::register::{Standing, Ticket};
use crate::limits::CONNECTIONS_MAX;
use crate::proto::outbox::Outbox;
use crate::proto::timer::Timers;
use crate::stats::{DropReason, Stats};
use crate::time::Instant;

/// A connection: a slot of the table, and which of those that had the slot. One that is gone is known as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    slot: u32,
    generation: u32,
}

impl ConnectionId {
    /// Its slot, below [`CONNECTIONS_MAX`]: where a driver may keep its socket
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// As one number, for an event's token
    pub fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The opposite of [`ConnectionId::to_u64`]
    pub fn from_u64(number: u64) -> Self {
        // Both halves are 32 bits wide.
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Self { slot: half(number), generation: half(number >> 32) }
    }
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
    /// When its timer rings: not later than the connection's deadline, which mostly moves away before that
    rings_at: Instant,
}

/// The HTTP server of one shard. An id that is gone is answered with [`Output::Close`] and otherwise ignored, so a driver may
/// report what it still had under way.
#[derive(Debug)]
pub struct Http {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    timers: Timers,
    /// Connections whose output changed without an event of their own
    changed: VecDeque<ConnectionId>,
    /// Connections whose response waits for something to be on disk
    awaiting: Vec<ConnectionId>,
    stopping: bool,
    /// Connections ask before they send: their wire has a bound
    asks: bool,
}

impl Http {
    /// No connections
    pub fn new(now: Instant) -> Self {
        Self {
            slots: Vec::with_capacity(CONNECTIONS_MAX),
            vacant: Vec::with_capacity(CONNECTIONS_MAX),
            timers: Timers::new(CONNECTIONS_MAX, now),
            changed: VecDeque::with_capacity(CONNECTIONS_MAX),
            awaiting: Vec::new(),
            stopping: false,
            asks: false,
        }
    }

    /// How many connections there are
    pub fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Whether there is none
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A connection was accepted; `None`: there is no room for it, or the server is stopping, and the driver closes it
    pub fn on_accept(&mut self, now: Instant, peer: SocketAddrV4, stats: &mut Stats) -> Option<ConnectionId> {
        if self.stopping {
            return None;
        }
        if self.len() == CONNECTIONS_MAX {
            stats.drop(DropReason::ConnectionsFull);
            return None;
        }
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None, rings_at: Instant::FAR });
            u32::try_from(self.slots.len() - 1).expect("CONNECTIONS_MAX fits 32 bits")
        });
        let slot = &mut self.slots[number as usize];
        let connection = slot.connection.insert(Connection::new(now, peer));
        if self.asks {
            connection.ask_first();
        }
        let id = ConnectionId { slot: number, generation: slot.generation };
        self.set_timer(id);
        Some(id)
    }

    /// See [`Connection::wants_bytes`]
    pub fn wants_bytes(&self, id: ConnectionId) -> bool {
        self.connection(id).is_some_and(Connection::wants_bytes)
    }

    /// See [`Connection::on_bytes`]
    pub fn on_bytes<I: Images>(
        &mut self,
        now: Instant,
        id: ConnectionId,
        bytes: &[u8],
        images: &mut I,
        stats: &mut Stats,
    ) {
        if let Some(connection) = self.connection_mut(id) {
            connection.on_bytes(now, bytes, images, stats);
            self.note_awaiting(id);
            self.set_timer(id);
        }
    }

    /// See [`Connection::poll_output`]
    pub fn poll_output(&self, id: ConnectionId) -> Output<'_> {
        self.connection(id).map_or(Output::Close, Connection::poll_output)
    }

    /// See [`Connection::poll_body`]
    pub fn poll_body(&self, id: ConnectionId) -> Option<(ImageId, u64, u64)> {
        self.connection(id).and_then(Connection::poll_body)
    }

    /// See [`Connection::ends_next`]
    pub fn ends_next(&self, id: ConnectionId) -> bool {
        self.connection(id).is_some_and(Connection::ends_next)
    }

    /// See [`Connection::lingers`]
    pub fn lingers(&self, id: ConnectionId) -> bool {
        self.connection(id).is_none_or(Connection::lingers)
    }

    /// See [`Connection::on_written`]
    pub fn on_written<I: Images>(
        &mut self,
        now: Instant,
        id: ConnectionId,
        n: u64,
        images: &mut I,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        if let Some(connection) = self.connection_mut(id) {
            connection.on_written(now, n, images, stats, outbox);
            self.note_awaiting(id);
            self.set_timer(id);
        }
    }

    /// Lets those responses go whose reports are settled; `standing` says how one stands
    pub fn on_recorded<I: Images>(
        &mut self,
        now: Instant,
        standing: impl Fn(Ticket) -> Standing,
        images: &mut I,
        stats: &mut Stats,
    ) {
        for id in mem::take(&mut self.awaiting) {
            let Some(connection) = self.connection_mut(id) else { continue };
            let Some(ticket) = connection.awaited() else { continue };
            match standing(ticket) {
                Standing::Waiting => self.awaiting.push(id),
                settled => {
                    connection.on_recorded(now, settled == Standing::Recorded, images, stats);
                    self.note_changed(id);
                    self.set_timer(id);
                }
            }
        }
    }

    /// Whether any response waits for something to be on disk
    pub fn awaits_records(&self) -> bool {
        !self.awaiting.is_empty()
    }

    fn note_awaiting(&mut self, id: ConnectionId) {
        let awaits = self.connection(id).is_some_and(|connection| connection.awaited().is_some());
        if awaits && !self.awaiting.contains(&id) {
            self.awaiting.push(id);
        }
    }

    /// What the connection wants of its wire: the client, bytes that went unasked, bytes that it asks for
    pub fn claim(&mut self, id: ConnectionId) -> Option<(SocketAddrV4, u64, u64)> {
        self.connection_mut(id)?.claim()
    }

    /// It may send so much more of an image
    pub fn on_allowed(&mut self, id: ConnectionId, bytes: u64) {
        if let Some(connection) = self.connection_mut(id) {
            connection.allow(bytes);
        }
    }

    /// As [`Http::on_allowed`], and it has been waiting for it
    pub fn on_admitted(&mut self, id: ConnectionId, bytes: u64) {
        self.on_allowed(id, bytes);
        self.note_changed(id);
    }

    /// From here on connections ask before they send more than the first bytes of an image; returns those that have to at once
    pub fn ask_first(&mut self) -> Vec<ConnectionId> {
        self.asks = true;
        let mut under_way = Vec::new();
        for (number, slot) in (0..).zip(&mut self.slots) {
            if let Some(connection) = &mut slot.connection
                && connection.ask_first()
            {
                under_way.push(ConnectionId { slot: number, generation: slot.generation });
            }
        }
        under_way
    }

    /// See [`Connection::on_image_failed`]
    pub fn on_image_failed<I: Images>(
        &mut self,
        now: Instant,
        id: ConnectionId,
        images: &mut I,
        outbox: &mut Outbox,
    ) {
        if let Some(connection) = self.connection_mut(id) {
            connection.on_image_failed(now, images, outbox);
        }
    }

    /// The connection is gone: the client left, or the driver closed it as [`Output::Close`] asked. Its id means nothing after
    /// this.
    pub fn on_hangup<I: Images>(
        &mut self,
        now: Instant,
        id: ConnectionId,
        images: &mut I,
        outbox: &mut Outbox,
    ) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.on_hangup(now, images, outbox);
        let slot = &mut self.slots[id.slot()];
        (slot.connection, slot.rings_at) = (None, Instant::FAR);
        slot.generation = slot.generation.wrapping_add(1);
        self.timers.cancel(id.slot);
        self.vacant.push(id.slot);
    }

    /// When [`Http::on_deadline`] is due
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// Does what is due while the outbox has room, and names the connections concerned to [`Http::poll_changed`]
    pub fn on_deadline<I: Images>(
        &mut self,
        now: Instant,
        images: &mut I,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) {
        while outbox.has_room() {
            let Some(number) = self.timers.pop_due(now) else { return };
            let slot = &mut self.slots[number as usize];
            slot.rings_at = Instant::FAR;
            let id = ConnectionId { slot: number, generation: slot.generation };
            let Some(connection) = &mut slot.connection else { continue };
            if now >= connection.next_deadline() {
                connection.on_deadline(now, images, stats, outbox);
                self.note_changed(id);
            }
            self.set_timer(id);
        }
    }

    /// The server is stopping: no new connections, and those that wait are closed
    pub fn on_stop(&mut self) {
        self.stopping = true;
        for number in 0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX) {
            let slot = &mut self.slots[number as usize];
            let id = ConnectionId { slot: number, generation: slot.generation };
            let Some(connection) = &mut slot.connection else { continue };
            connection.on_stop();
            if connection.poll_output() == Output::Close {
                self.note_changed(id);
            }
        }
    }

    /// One connection whose output changed by a deadline or by the server's stop, for the driver to poll; it may be gone since
    pub fn poll_changed(&mut self) -> Option<ConnectionId> {
        self.changed.pop_front()
    }

    fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        let slot = self.slots.get(id.slot()).filter(|slot| slot.generation == id.generation)?;
        slot.connection.as_ref()
    }

    fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.generation == id.generation)?;
        slot.connection.as_mut()
    }

    /// A driver drains this after each call that may add to it; one that does not loses the oldest, never the bound.
    fn note_changed(&mut self, id: ConnectionId) {
        if self.changed.len() == CONNECTIONS_MAX {
            self.changed.pop_front();
        }
        self.changed.push_back(id);
    }

    /// Deadlines move away with every event: the timer is only touched where one comes nearer.
    fn set_timer(&mut self, id: ConnectionId) {
        let slot = &mut self.slots[id.slot()];
        let Some(deadline) = slot.connection.as_ref().map(Connection::next_deadline) else { return };
        if deadline < slot.rings_at {
            slot.rings_at = deadline;
            self.timers.set(id.slot, deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::boot::image::{Form, Image, Miss};
    use crate::limits::{HTTP_HEAD_TIMEOUT, HTTP_IDLE_TIMEOUT};
    use crate::time::Duration;

    const NOW: Instant = Instant::from_secs(1_767_225_600);
    const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    const SECOND: Duration = Duration::from_secs(1);

    struct Nothing;

    impl Images for Nothing {
        fn open(&mut self, _: &[u8], _: Form) -> Result<Image, Miss> {
            Err(Miss::NotFound)
        }

        fn listing(&mut self, _: &[u8]) -> Result<Image, Miss> {
            Err(Miss::NotFound)
        }

        fn close(&mut self, _: ImageId) {}
    }

    fn written(http: &Http, id: ConnectionId) -> usize {
        match http.poll_output(id) {
            Output::Bytes { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    #[test]
    fn ids_are_numbers_and_a_slot_used_again_is_another_connection() {
        let (mut http, mut stats, mut outbox) = (Http::new(NOW), Stats::new(), Outbox::new());
        let old = http.on_accept(NOW, PEER, &mut stats).unwrap();
        http.on_hangup(NOW, old, &mut Nothing, &mut outbox);
        assert!(http.is_empty());
        let new = http.on_accept(NOW, PEER, &mut stats).unwrap();
        assert_eq!((old.slot(), new.slot()), (0, 0));
        assert_ne!(old, new);
        assert_eq!(ConnectionId::from_u64(new.to_u64()), new);
        http.on_bytes(NOW, old, b"GET / HTTP/1.0\r\n\r\n", &mut Nothing, &mut stats);
        assert_eq!(http.poll_output(old), Output::Close);
        assert_eq!(http.poll_output(new), Output::Wait);
        http.on_hangup(NOW, old, &mut Nothing, &mut outbox);
        assert_eq!(http.len(), 1);
    }

    #[test]
    fn the_table_is_bounded_and_counts_what_it_turns_away() {
        let (mut http, mut stats, mut outbox) = (Http::new(NOW), Stats::new(), Outbox::new());
        let ids: Vec<_> =
            (0..CONNECTIONS_MAX).map(|_| http.on_accept(NOW, PEER, &mut stats).unwrap()).collect();
        assert_eq!(http.on_accept(NOW, PEER, &mut stats), None);
        assert_eq!(stats.dropped(DropReason::ConnectionsFull), 1);
        http.on_hangup(NOW, ids[77], &mut Nothing, &mut outbox);
        assert_eq!(http.on_accept(NOW, PEER, &mut stats).unwrap().slot(), 77);
    }

    #[test]
    fn deadlines_ring_when_they_are_due_and_not_before() {
        let (mut http, mut stats, mut outbox) = (Http::new(NOW), Stats::new(), Outbox::new());
        let idle = http.on_accept(NOW, PEER, &mut stats).unwrap();
        let slow = http.on_accept(NOW, PEER, &mut stats).unwrap();
        http.on_bytes(NOW + SECOND, slow, b"GET", &mut Nothing, &mut stats);
        // A slow head's deadline is nearer than that of the connection as it was accepted.
        let due = http.next_deadline().unwrap();
        assert_eq!(due, NOW + SECOND + HTTP_HEAD_TIMEOUT);
        http.on_deadline(due, &mut Nothing, &mut stats, &mut outbox);
        assert_eq!(http.poll_changed(), Some(slow));
        assert!(written(&http, slow) > 0);
        assert_eq!(http.poll_changed(), None);

        // The idle one asks and is answered: its first timer rings for nothing.
        let asked = NOW + Duration::from_secs(30);
        http.on_bytes(asked, idle, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut Nothing, &mut stats);
        let n = written(&http, idle) as u64;
        http.on_written(asked, idle, n, &mut Nothing, &mut stats, &mut outbox);
        http.on_deadline(NOW + HTTP_IDLE_TIMEOUT, &mut Nothing, &mut stats, &mut outbox);
        assert_eq!((http.poll_changed(), http.poll_output(idle)), (None, Output::Wait));
        http.on_deadline(asked + HTTP_IDLE_TIMEOUT, &mut Nothing, &mut stats, &mut outbox);
        assert_eq!(http.poll_changed(), Some(idle));
        assert_eq!(http.poll_output(idle), Output::Close);
    }

    #[test]
    fn stopping_closes_what_waits_and_accepts_nothing() {
        let (mut http, mut stats, mut outbox) = (Http::new(NOW), Stats::new(), Outbox::new());
        let waiting = http.on_accept(NOW, PEER, &mut stats).unwrap();
        let busy = http.on_accept(NOW, PEER, &mut stats).unwrap();
        http.on_bytes(NOW, busy, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut Nothing, &mut stats);
        http.on_stop();
        assert_eq!((http.poll_changed(), http.poll_changed()), (Some(waiting), None));
        assert_eq!(http.on_accept(NOW, PEER, &mut stats), None);
        http.on_hangup(NOW, waiting, &mut Nothing, &mut outbox);
        let n = written(&http, busy) as u64;
        http.on_written(NOW, busy, n, &mut Nothing, &mut stats, &mut outbox);
        assert_eq!(http.poll_output(busy), Output::Close);
        http.on_hangup(NOW, busy, &mut Nothing, &mut outbox);
        assert!(http.is_empty() && http.next_deadline().is_none());
    }
}
