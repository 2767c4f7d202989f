//! One shard: owns its protocol machines and routes events to them. The centre of the program.
//!
//! A driver calls it with what happened and the time it happened; what is to be sent lies in the outbox afterwards. It
//! makes no system call, reads no clock, and takes no memory after [`Shard::new`] but what an HTTP head in pieces needs.
//! One shard of a server owns DHCP and the leases (a broadcast reaches every socket of a port, so there can be only one
//! owner); TFTP and HTTP run on every shard.

use std::net::SocketAddrV4;
use std::sync::Arc;

use crate::boot::client::Client;
use crate::boot::image::{ImageId, Images};
use crate::boot::lease::Leases;
use crate::boot::plan::Plan;
use crate::limits::TRANSFERS_MAX;
use crate::note::{Note, Outcome};
use crate::proto::admission::{Admission, Admitted};
use crate::proto::dhcp::Dhcp;
use crate::proto::http::{ConnectionId, Http, Output};
use crate::proto::outbox::{Datagram, Outbox, Port};
use crate::proto::proxy::Proxy;
use crate::proto::reply::{Exchange, Service};
use crate::proto::tftp::{self, Tftp};
use crate::proto::wires::Wires;
use crate::stats::{DropReason, Stats};
use crate::time::Instant;
use crate::wire::arp;
use crate::wire::dhcp::{BOOTREQUEST, Message};

/// The machines that give addresses and boot options: one shard of a server has them
struct AddressService {
    dhcp: Dhcp,
    proxy: Proxy,
}

/// One event loop's worth of server
pub struct Shard<I: Images> {
    plan: Arc<Plan>,
    addresses: Option<AddressService>,
    tftp: Tftp,
    http: Http,
    images: I,
    stats: Stats,
    /// Whose turn it is, where a wire has a bound
    admission: Option<Admission>,
}

impl<I: Images> Shard<I> {
    /// A shard that serves `images` by TFTP and HTTP and, where it is given the leases, DHCP
    pub fn new(
        plan: Arc<Plan>,
        tftp: tftp::Settings,
        images: I,
        leases: Option<Leases>,
        now: Instant,
    ) -> Self {
        Self {
            plan,
            addresses: leases.map(|leases| AddressService { dhcp: Dhcp::new(leases), proxy: Proxy::new() }),
            tftp: Tftp::new(tftp, TRANSFERS_MAX, now),
            http: Http::new(now),
            images,
            stats: Stats::new(),
            admission: None,
        }
    }

    /// Takes no more of these wires than they allow, from the next write on; it may be told of others later
    pub fn share_wires(&mut self, now: Instant, wires: Arc<Wires>) {
        match &mut self.admission {
            Some(admission) => admission.on_wires(now, wires),
            None => {
                self.admission = Some(Admission::new(wires));
                for id in self.http.ask_first() {
                    self.claim(now, id);
                }
            }
        }
    }

    /// The plan in force
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the shard serves; a driver reads the bytes of windows and bodies here
    pub fn images(&mut self) -> &mut I {
        &mut self.images
    }

    /// What the shard serves, to look at while its output is in hand
    pub fn peek_images(&self) -> &I {
        &self.images
    }

    /// The leases, where this shard has them
    pub fn leases(&self) -> Option<&Leases> {
        self.addresses.as_ref().map(|addresses| addresses.dhcp.leases())
    }

    /// The counters
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The counters, for what a driver drops
    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    // --- Datagrams ---

    /// A datagram came in
    pub fn on_datagram(&mut self, now: Instant, datagram: &Datagram<'_>, outbox: &mut Outbox) {
        self.stats.datagrams_in += 1;
        let noted = outbox.notes().len();
        match datagram.port {
            Port::Dhcp | Port::BootServer => self.on_dhcp(now, datagram, outbox),
            Port::Tftp | Port::Transfer => {
                let before = outbox.slots().len();
                self.tftp.on_datagram(now, datagram, &mut self.images, &mut self.stats, outbox);
                self.hold_windows(now, before, outbox);
            }
        }
        self.watch_files(now, noted, outbox);
    }

    /// Hears of the files that were fetched to their ends since the note with number `first`: one may be all that a machine was
    /// booted for
    fn watch_files(&self, now: Instant, first: usize, outbox: &Outbox) {
        if !self.plan.awaits_files() {
            return;
        }
        for note in &outbox.notes()[first..] {
            if let Note::Tftp(note) | Note::Http(note) = note
                && note.outcome == Outcome::Done
            {
                self.plan.on_fetched(*note.peer.ip(), note.path.as_str(), now);
            }
        }
    }

    fn on_dhcp(&mut self, now: Instant, datagram: &Datagram<'_>, outbox: &mut Outbox) {
        let Some(addresses) = &mut self.addresses else { return self.stats.drop(DropReason::NotServed) };
        let message = match Message::parse(datagram.payload) {
            Ok(message) if message.header().op == BOOTREQUEST => message,
            Ok(_) => return self.stats.drop(DropReason::NotARequest),
            Err(_) => return self.stats.drop(DropReason::MalformedDhcp),
        };
        let client = Client::from_request(&message, datagram.network);
        let answer = self.plan.answer(&client);
        let exchange = Exchange { now, datagram, message, client, answer, plan: &self.plan };
        match exchange.service() {
            Service::Dhcp => addresses.dhcp.on_request(&exchange, &mut self.stats, outbox),
            Service::Proxy => addresses.proxy.on_request(&exchange, &mut self.stats, outbox),
            Service::Nobody => self.stats.drop(DropReason::NotServed),
        }
    }

    /// Somebody on a network sent ARP: it may hold an address that is about to be offered
    pub fn on_arp(&mut self, now: Instant, network: usize, packet: &arp::Packet, outbox: &mut Outbox) {
        if let Some(addresses) = &mut self.addresses {
            addresses.dhcp.on_arp(now, network, packet.sender_ip, packet.sender_mac, outbox);
        }
    }

    /// The window that was to go to this client could not be read: its transfer ends with an error
    pub fn on_window_failed(&mut self, now: Instant, to: SocketAddrV4, outbox: &mut Outbox) {
        self.tftp.on_window_failed(now, to, &mut self.images, &mut self.stats, outbox);
    }

    // --- HTTP connections ---

    /// A connection was accepted; `None`: there is no room for it, and the driver closes it
    pub fn on_accept(&mut self, now: Instant, peer: SocketAddrV4) -> Option<ConnectionId> {
        self.http.on_accept(now, peer, &mut self.stats)
    }

    /// Whether the connection takes bytes now; while it does not, the driver leaves them in the kernel
    pub fn wants_bytes(&self, id: ConnectionId) -> bool {
        self.http.wants_bytes(id)
    }

    /// Bytes came in by a connection that wants them
    pub fn on_bytes(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        self.http.on_bytes(now, id, bytes, &mut self.images, &mut self.stats);
        self.claim(now, id);
    }

    /// What the connection has to send next
    pub fn poll_output(&self, id: ConnectionId) -> Output<'_> {
        self.http.poll_output(id)
    }

    /// The whole body, where it follows the bytes of the last [`Shard::poll_output`] at once: image, offset and length
    pub fn poll_body(&self, id: ConnectionId) -> Option<(ImageId, u64, u64)> {
        self.http.poll_body(id)
    }

    /// Whether the connection ends with the response under way
    pub fn ends_next(&self, id: ConnectionId) -> bool {
        self.http.ends_next(id)
    }

    /// Whether a connection that ends waits for its client's end: [`Connection::lingers`](crate::proto::http::Connection::lingers)
    pub fn lingers(&self, id: ConnectionId) -> bool {
        self.http.lingers(id)
    }

    /// The kernel took `n` bytes of the last [`Shard::poll_output`], or of that and the body behind it
    pub fn on_written(&mut self, now: Instant, id: ConnectionId, n: u64, outbox: &mut Outbox) {
        let noted = outbox.notes().len();
        self.http.on_written(now, id, n, &mut self.images, &mut self.stats, outbox);
        self.watch_files(now, noted, outbox);
        self.claim(now, id);
    }

    /// The store may have settled reports: those who made them are answered, and [`Shard::poll_changed`] names them
    pub fn on_recorded(&mut self, now: Instant) {
        if self.http.awaits_records() {
            let done = &self.plan.register().done;
            self.http.on_recorded(now, |ticket| done.standing(ticket), &mut self.images, &mut self.stats);
        }
    }

    /// The image that the connection is sending could not be read
    pub fn on_image_failed(&mut self, now: Instant, id: ConnectionId, outbox: &mut Outbox) {
        self.http.on_image_failed(now, id, &mut self.images, outbox);
    }

    /// The connection is gone; its id means nothing from here on
    pub fn on_hangup(&mut self, now: Instant, id: ConnectionId, outbox: &mut Outbox) {
        self.http.on_hangup(now, id, &mut self.images, outbox);
        if let Some(admission) = &mut self.admission {
            admission.forget(id.to_u64());
        }
    }

    /// A connection whose output changed by a deadline or by [`Shard::on_stop`], for the driver to poll
    pub fn poll_changed(&mut self) -> Option<ConnectionId> {
        self.http.poll_changed()
    }

    // --- Time, plans, the end ---

    /// When [`Shard::on_deadline`] is due
    pub fn next_deadline(&self) -> Option<Instant> {
        let dhcp = self.addresses.as_ref().and_then(|addresses| addresses.dhcp.next_deadline());
        let admission = self.admission.as_ref().and_then(Admission::next_deadline);
        [dhcp, self.tftp.next_deadline(), self.http.next_deadline(), admission].into_iter().flatten().min()
    }

    /// Does what is due while the outbox has room; what is left keeps [`Shard::next_deadline`] in the past
    pub fn on_deadline(&mut self, now: Instant, outbox: &mut Outbox) {
        if let Some(addresses) = &mut self.addresses {
            addresses.dhcp.on_deadline(now, &self.plan, &mut self.stats, outbox);
        }
        let (before, noted) = (outbox.slots().len(), outbox.notes().len());
        self.tftp.on_deadline(now, &mut self.images, &mut self.stats, outbox);
        self.hold_windows(now, before, outbox);
        self.http.on_deadline(now, &mut self.images, &mut self.stats, outbox);
        self.watch_files(now, noted, outbox);
        self.admit(now, outbox);
    }

    // --- Wires with a bound ---

    /// Keeps back those windows, from the reply with number `first` on, whose turn it is not
    fn hold_windows(&mut self, now: Instant, first: usize, outbox: &mut Outbox) {
        let Some(admission) = &mut self.admission else { return };
        outbox.retain_windows(first, |route, window| {
            let is_admitted = admission.admits_window(now, route, window);
            if !is_admitted {
                self.tftp.on_held(route.to, window.blocks);
            }
            is_admitted
        });
    }

    /// A connection may have to ask before it goes on
    fn claim(&mut self, now: Instant, id: ConnectionId) {
        let Some(admission) = &mut self.admission else { return };
        let Some((client, unasked, wanted)) = self.http.claim(id) else { return };
        admission.on_sent(now, *client.ip(), unasked);
        if wanted == 0 {
            return admission.forget(id.to_u64());
        }
        let bytes = admission.admits_bytes(now, *client.ip(), id.to_u64(), wanted);
        self.http.on_allowed(id, bytes);
    }

    /// Lets those go on whose turn has come
    fn admit(&mut self, now: Instant, outbox: &mut Outbox) {
        let Some(admission) = &mut self.admission else { return };
        while outbox.has_room()
            && let Some(admitted) = admission.poll(now)
        {
            match admitted {
                Admitted::Window { route, window, is_all } => {
                    if self.tftp.on_released(now, route.to, &window, is_all) {
                        outbox.window(route, window);
                    }
                }
                Admitted::Bytes { connection, bytes } => {
                    self.http.on_admitted(ConnectionId::from_u64(connection), bytes);
                }
            }
        }
        let (held, longest) = admission.held();
        (self.stats.held, self.stats.held_longest_us) = (held, longest.as_micros());
    }

    /// A new plan takes over; leases, transfers and connections go on
    pub fn on_plan(&mut self, plan: Arc<Plan>) {
        self.images.on_plan(&plan);
        self.plan = plan;
        if let Some(addresses) = &mut self.addresses {
            addresses.dhcp.on_plan();
            addresses.proxy.on_plan();
        }
    }

    /// The server is stopping: nothing new begins, what has begun goes on until [`Shard::is_idle`]
    pub fn on_stop(&mut self, now: Instant) {
        self.tftp.on_stop(now);
        self.http.on_stop();
    }

    /// Whether no transfer and no connection is under way
    pub fn is_idle(&self) -> bool {
        self.tftp.is_empty() && self.http.is_empty()
    }
}
