//! The TCP connections of one machine on a wire, by smoltcp's stack: IPv4 packets in and out, and bytes for the machine in
//! between.

use std::net::SocketAddrV4;

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant as Time;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, Ipv4Cidr};

use super::machine::Machine;
use super::outcome::Out;
use crate::time::{Duration, Instant};

/// What a loader's receive window holds
const RECEIVED_MAX: usize = 64 << 10;
/// A request fits
const SENT_MAX: usize = 4 << 10;
/// Connections of a machine; a loader has one, and the last one may still be closing
const OPEN_MAX: usize = 4;
/// A connection that its machine has closed is let go of so long after it last heard of its server
const CLOSING: Duration = Duration::from_secs(5);
/// The largest IP packet that is sent
const MTU: usize = 1500;

struct Open {
    stream: u32,
    handle: SocketHandle,
    is_opened: bool,
    /// The machine has closed it, or knows that it is closed
    is_over: bool,
}

/// The connections of a machine
pub(crate) struct Connections {
    interface: Interface,
    sockets: SocketSet<'static>,
    open: Vec<Open>,
    /// Packets on their way out
    pub packets: Vec<Vec<u8>>,
}

impl Connections {
    pub(crate) fn new(now: Instant, seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut packets = Vec::new();
        let interface = Interface::new(config, &mut Wire { packet: None, out: &mut packets }, time(now));
        Self { interface, sockets: SocketSet::new(Vec::new()), open: Vec::new(), packets }
    }

    pub(crate) fn open(&mut self, stream: u32, from: SocketAddrV4, to: SocketAddrV4) {
        if self.open.len() == OPEN_MAX {
            let oldest = self.open.remove(0);
            self.sockets.remove(oldest.handle);
        }
        self.interface.update_ip_addrs(|addresses| {
            // Whatever lies beyond a router is the card's business: here, everybody is near.
            let own = IpCidr::Ipv4(Ipv4Cidr::new(*from.ip(), 0));
            addresses.clear();
            addresses.push(own).expect("room for one");
        });
        let buffer = |len| SocketBuffer::new(vec![0; len]);
        let mut socket = Socket::new(buffer(RECEIVED_MAX), buffer(SENT_MAX));
        socket.set_ack_delay(None);
        socket.set_nagle_enabled(false);
        let endpoint = |at: SocketAddrV4| IpEndpoint::new(IpAddress::Ipv4(*at.ip()), at.port());
        // It fails where an address or a port is 0, and then nothing is ever heard of it.
        if socket.connect(self.interface.context(), endpoint(to), endpoint(from)).is_ok() {
            let handle = self.sockets.add(socket);
            self.open.push(Open { stream, handle, is_opened: false, is_over: false });
        }
    }

    pub(crate) fn write(&mut self, stream: u32, bytes: &[u8]) {
        if let Some(open) = self.open.iter().find(|open| open.stream == stream) {
            // One request at a time, which has room: what has not is not sent, and the machine's own time is up.
            let _ = self.sockets.get_mut::<Socket<'_>>(open.handle).send_slice(bytes);
        }
    }

    pub(crate) fn close(&mut self, stream: u32) {
        if let Some(open) = self.open.iter_mut().find(|open| open.stream == stream) {
            open.is_over = true;
            let socket = self.sockets.get_mut::<Socket<'_>>(open.handle);
            socket.close();
            socket.set_timeout(Some(smoltcp::time::Duration::from_micros(CLOSING.as_micros())));
            socket.set_keep_alive(Some(smoltcp::time::Duration::from_secs(1)));
        }
    }

    /// Whether nothing is open any more
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn next_deadline(&mut self, now: Instant) -> Instant {
        match self.interface.poll_at(time(now), &self.sockets) {
            Some(at) => Instant::from_micros(at.total_micros().cast_unsigned()),
            None => Instant::FAR,
        }
    }

    /// Takes in a packet, or what time has brought, and tells the machine
    pub(crate) fn on_packet(
        &mut self,
        now: Instant,
        packet: Option<&[u8]>,
        machine: &mut Machine,
        out: &mut Vec<Out>,
    ) {
        let mut wire = Wire { packet, out: &mut self.packets };
        let mut changed = self.interface.poll(time(now), &mut wire, &mut self.sockets);
        while changed == PollResult::SocketStateChanged {
            self.tell(now, machine, out);
            let mut wire = Wire { packet: None, out: &mut self.packets };
            // What was read makes the window wider.
            changed = self.interface.poll(time(now), &mut wire, &mut self.sockets);
        }
    }

    fn tell(&mut self, now: Instant, machine: &mut Machine, out: &mut Vec<Out>) {
        for open in &mut self.open {
            let socket = self.sockets.get_mut::<Socket<'_>>(open.handle);
            if !open.is_opened && socket.may_send() {
                open.is_opened = true;
                if !open.is_over {
                    machine.on_opened(now, open.stream, out);
                }
            }
            while socket.can_recv() {
                let read = |bytes: &mut [u8]| {
                    if !open.is_over {
                        machine.on_bytes(now, open.stream, bytes, out);
                    }
                    (bytes.len(), ())
                };
                if socket.recv(read).is_err() {
                    break;
                }
            }
            let is_ended = matches!(
                socket.state(),
                State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
            );
            if is_ended && !open.is_over {
                open.is_over = true;
                socket.close();
                machine.on_closed(now, open.stream, out);
            }
        }
        let is_gone = |socket: &Socket<'_>| matches!(socket.state(), State::Closed | State::TimeWait);
        self.open.retain(|open| {
            let is_gone = open.is_over && is_gone(self.sockets.get(open.handle));
            if is_gone {
                self.sockets.remove(open.handle);
            }
            !is_gone
        });
    }
}

fn time(now: Instant) -> Time {
    Time::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// One packet in, any number out
struct Wire<'w> {
    packet: Option<&'w [u8]>,
    out: &'w mut Vec<Vec<u8>>,
}

struct Received<'w>(&'w [u8]);
struct Sent<'w>(&'w mut Vec<Vec<u8>>);

impl Device for Wire<'_> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Sent<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: Time) -> Option<(Received<'_>, Sent<'_>)> {
        self.packet.take().map(|packet| (Received(packet), Sent(self.out)))
    }

    fn transmit(&mut self, _now: Time) -> Option<Sent<'_>> {
        Some(Sent(self.out))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // A sender on this host leaves it to a card that is not there; others' is looked at before a packet comes here.
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push(packet);
        result
    }
}
