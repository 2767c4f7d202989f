//! A DHCP request with everything known of it, and what all replies to it have in common.
//!
//! [`Exchange`] is built once by the shard and handed to the machine that [`Exchange::service`] names. This module
//! finds the way back to a client ([`Exchange::route`]), names its boot file ([`Exchange::boot`]) and, in [`mod@compose`] and
//! from templates, writes replies. It keeps no state and decides neither addresses nor boot files. RFC 2131 §4.1, RFC 3046, RFC 5107.

pub mod compose;
pub(crate) mod template;
#[cfg(test)]
pub(crate) mod testing;

use std::net::{Ipv4Addr, SocketAddrV4};

use self::compose::Parts;
use self::template::Templates;
use super::outbox::{Datagram, Outbox, Port, Route};
use super::tally::Tally;
use crate::boot::client::{Client, Loader, Wants};
use crate::boot::plan::{Answer, BOOT_FILE_MAX, BootFile, Mode, Plan, network_boots};
use crate::limits::SLOT_BYTES;
use crate::note::{Advice, Asked, DhcpNote, Got, Note, Text};
use crate::stats::{DropReason, Stats};
use crate::time::{Duration, Instant};
use crate::wire::Full;
use crate::wire::dhcp::{CLIENT_PORT, Message, MessageType, SERVER_PORT, code};
use crate::wire::ethernet::MacAddr;
use crate::wire::pxe::{BootItem, Vendor};

/// An iPXE that took the same boot file so many times in a row …
const LOOPS: u32 = 4;
/// … each time so soon after the last is not being rebooted by a person
const LOOP_SPAN: Duration = Duration::from_secs(20);

/// A request and what the plan says of its sender
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The moment
    pub now: Instant,
    /// The datagram, as received
    pub datagram: &'a Datagram<'a>,
    /// Its message
    pub message: Message<'a>,
    /// Who sent it
    pub client: Client<'a>,
    /// What it gets
    pub answer: Answer<'a>,
    /// Where the answer came from
    pub plan: &'a Plan,
}

/// Which machine a request is for
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// `proto::dhcp`: addresses
    Dhcp,
    /// `proto::proxy`: boot options beside another server's address, and boot servers
    Proxy,
    /// Nobody
    Nobody,
}

/// The file that a client boots, expanded for it
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    bytes: [u8; BOOT_FILE_MAX],
    len: usize,
    /// The server that holds it
    pub server: Ipv4Addr,
}

impl Boot {
    /// Its name or URL
    pub fn name(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Whether a message looks for a boot server (PXE 2.1 §2.2): a REQUEST that names an item of the menu (43.71) and no
/// address. By broadcast it comes to port 67 (EDK2, iPXE), else to 4011.
pub fn is_boot_server_discovery(message: &Message<'_>, client: &Client<'_>) -> bool {
    message.message_type() == Some(MessageType::Request)
        && client.wants == Wants::Pxe
        && message.requested_ip().is_none()
        && boot_item(message).is_some()
}

/// The menu item that a boot-server request names (43.71)
pub fn boot_item(message: &Message<'_>) -> Option<BootItem> {
    Vendor::parse(message.option(code::VENDOR_SPECIFIC)?).boot_item()
}

impl<'a> Exchange<'a> {
    /// Which machine this request is for
    pub fn service(&self) -> Service {
        match (self.datagram.port, self.answer.mode) {
            (Port::Tftp | Port::Transfer, _) | (_, Mode::Off) => Service::Nobody,
            (Port::BootServer, _) | (Port::Dhcp, Mode::Proxy) => Service::Proxy,
            (Port::Dhcp, _) if is_boot_server_discovery(&self.message, &self.client) => Service::Proxy,
            (Port::Dhcp, Mode::Full) => Service::Dhcp,
            (Port::Dhcp, Mode::TakeOver) if network_boots(&self.client) => Service::Dhcp,
            (Port::Dhcp, Mode::TakeOver) => Service::Nobody,
        }
    }

    /// What option 54 says: this server's address, or the relay's where it asks for that (RFC 5107 §4), so that
    /// renewals pass through it
    pub fn server_id(&self) -> Ipv4Addr {
        let relay_agent = self.message.relay_agent();
        relay_agent.and_then(|agent| agent.server_id_override()).unwrap_or(self.answer.network.address)
    }

    /// The client's own address: `ciaddr`, unless it has none to speak of (a DISCOVER's is not believed)
    pub fn ciaddr(&self) -> Option<Ipv4Addr> {
        let has_address = !matches!(self.message.message_type(), Some(MessageType::Discover));
        Some(self.message.header().ciaddr()).filter(|ciaddr| has_address && !ciaddr.is_unspecified())
    }

    /// The way back to a client that is given `yiaddr`, or has it (RFC 2131 §4.1)
    pub fn route(&self, yiaddr: Ipv4Addr) -> Route {
        let to_relay = self.client.relay.map(|giaddr| (giaddr, SERVER_PORT, None));
        let to_holder = || self.ciaddr().map(|ciaddr| (ciaddr, CLIENT_PORT, None));
        let to_taker = || {
            // A client that takes unicast has no address to answer ARP with: the frame goes to its chaddr, unasked.
            let mac = self.message.mac().filter(|mac| !mac.is_multicast() && *mac != MacAddr::ZERO)?;
            let can_unicast = !self.message.is_broadcast() && !yiaddr.is_unspecified();
            can_unicast.then_some((yiaddr, CLIENT_PORT, Some(mac)))
        };
        let (ip, port, mac) = to_relay.or_else(to_holder).or_else(to_taker).unwrap_or(BROADCAST);
        self.route_to(SocketAddrV4::new(ip, port), mac)
    }

    /// The way back for a NAK: everybody on the link, or the relay (RFC 2131 §4.3.2: the client's address is wrong)
    pub fn route_nak(&self) -> Route {
        let to_relay = self.client.relay.map(|giaddr| (giaddr, SERVER_PORT, None));
        let (ip, port, mac) = to_relay.unwrap_or(BROADCAST);
        self.route_to(SocketAddrV4::new(ip, port), mac)
    }

    /// The way back from a boot server: to the address and port that asked. EDK2 asks from 4011 and listens there;
    /// iPXE asks from 68 and takes no other source port than 4011 (and 67).
    pub fn route_boot_server(&self) -> Route {
        if self.datagram.port == Port::Dhcp {
            return self.route(Ipv4Addr::UNSPECIFIED);
        }
        let asked = self.datagram.destination;
        let is_ours = !asked.is_broadcast() && !asked.is_multicast() && !asked.is_unspecified();
        let source = if is_ours { asked } else { self.answer.network.address };
        Route {
            port: Port::BootServer,
            network: self.datagram.network,
            source,
            to: self.datagram.source,
            mac: None,
        }
    }

    fn route_to(&self, to: SocketAddrV4, mac: Option<MacAddr>) -> Route {
        Route {
            port: Port::Dhcp,
            network: self.datagram.network,
            source: self.answer.network.address,
            to,
            mac,
        }
    }

    /// Expands a boot file for this client, which has (or is being given) the address `ip`. `None` where there is no
    /// file, or none of use: an HTTPClient drops an offer whose file is no URL.
    ///
    /// # Errors
    /// Where its name is longer than one option holds: EDK2 does not join two (RFC 3396).
    pub fn boot(&self, file: Option<&BootFile>, ip: Option<Ipv4Addr>) -> Result<Option<Boot>, DropReason> {
        let Some(file) = file else { return Ok(None) };
        let boot = self.expand(file, ip).map_err(|Full| DropReason::ReplyTooLong)?;
        let is_http = [&b"http://"[..], b"https://"].iter().any(|scheme| boot.name().starts_with(scheme));
        Ok(Some(boot).filter(|_| is_http || self.client.wants != Wants::Http))
    }

    fn expand(&self, file: &BootFile, ip: Option<Ipv4Addr>) -> Result<Boot, Full> {
        let answer = Answer { boot: Some(file), ..self.answer };
        let values = self.plan.expansion(&answer, &self.client, ip);
        let mut boot = Boot { bytes: [0; BOOT_FILE_MAX], len: 0, server: values.server };
        boot.len = file.expand(&values, &mut boot.bytes)?;
        Ok(boot)
    }

    /// What this request asks
    pub fn asked(&self) -> Asked {
        let is_for_boot_server =
            self.datagram.port == Port::BootServer || is_boot_server_discovery(&self.message, &self.client);
        match self.message.message_type() {
            _ if is_for_boot_server => Asked::BootServer(boot_item(&self.message).map(|item| item.kind)),
            Some(message_type) => Asked::Message(message_type),
            None => Asked::Bootp,
        }
    }

    /// Writes and notes a reply; `false` where it does not fit, which is noted instead
    pub(crate) fn send(
        &self,
        parts: &Parts<'_>,
        route: Route,
        got: Got,
        templates: &mut Templates,
        stats: &mut Stats,
        outbox: &mut Outbox,
    ) -> bool {
        let mut fits = false;
        let write = |buffer: &mut [u8; SLOT_BYTES]| {
            let len = templates.compose(self, parts, buffer).ok();
            fits = len.is_some();
            len
        };
        if matches!(got, Got::Ack(_) | Got::BootpReply(_)) {
            // RFC 2131 §3.1 step 4: what is acknowledged has been committed to persistent storage.
            outbox.datagram_after_commit(route, write);
        } else {
            outbox.datagram(route, write);
        }
        if fits {
            outbox.note(self.note(got, parts.boot));
        } else {
            self.drop(DropReason::ReplyTooLong, stats, outbox);
        }
        fits
    }

    /// Remembers who asks as the one that has this address
    pub(crate) fn remember(&self, address: Ipv4Addr) {
        self.plan.register().callers.remember(address, &self.client);
    }

    /// Leaves the request without an answer: counted and noted
    pub fn drop(&self, reason: DropReason, stats: &mut Stats, outbox: &mut Outbox) {
        stats.drop(reason);
        outbox.note(self.note(Got::Nothing(reason), None));
    }

    /// Watches an iPXE that takes this boot file: one that takes the same again and again loads itself, or its script ends
    /// where it began
    pub fn watch_loader(&self, loads: &mut Tally, boot: &Boot, outbox: &mut Outbox) {
        let mac = self.client.mac;
        if matches!(self.client.loader, Loader::Ipxe(_)) {
            let times = loads.count(self.now, mac, boot.name(), LOOP_SPAN);
            if times == LOOPS {
                outbox.note(Note::Advice(Advice::LoaderLoop { mac, times }));
            }
        }
    }

    /// The decision about this request, for whoever prints it
    pub fn note(&self, got: Got, boot: Option<&Boot>) -> Note {
        Note::Dhcp(DhcpNote {
            at: self.now,
            network: self.datagram.network,
            mac: self.client.mac,
            uuid: self.client.uuid,
            relay: self.client.relay,
            arch: self.client.arch,
            loader: self.client.loader,
            asked: self.asked(),
            got,
            file: boot.map_or(Text::EMPTY, |boot| Text::new(boot.name())),
            reason: self.answer.reason,
        })
    }
}

/// Everybody on the link
const BROADCAST: (Ipv4Addr, u16, Option<MacAddr>) =
    (Ipv4Addr::BROADCAST, CLIENT_PORT, Some(MacAddr::BROADCAST));

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;
    use crate::boot::client::Arch;

    #[test]
    fn every_request_finds_its_machine() {
        let rom = Request::rom(MessageType::Discover, Arch::X64_UEFI);
        let system = Request::of(MessageType::Discover).option(code::PARAMETER_LIST, &[1, 3]);
        let uboot = Request::of(MessageType::Discover).option(code::VENDOR_CLASS, b"U-Boot.armv8");
        let item = [71, 4, 0x80, 0, 0, 0, 255];
        let search = Request::rom(MessageType::Request, Arch::X64_UEFI).ciaddr(RESERVED);
        let search = search.option(code::VENDOR_SPECIFIC, &item);
        let on_4011 = Request::rom(MessageType::Request, Arch::X64_UEFI).at_boot_server(RESERVED, 4011);
        use Service::{Dhcp, Nobody, Proxy};
        let table = [
            (Mode::Full, [Dhcp, Dhcp, Dhcp, Proxy, Proxy]),
            (Mode::TakeOver, [Dhcp, Nobody, Dhcp, Proxy, Proxy]),
            (Mode::Proxy, [Proxy, Proxy, Proxy, Proxy, Proxy]),
            (Mode::Off, [Nobody; 5]),
        ];
        for (mode, services) in table {
            let found = [&rom, &system, &uboot, &search, &on_4011]
                .map(|request| with_request(&plan(mode), NOW, request, |exchange| exchange.service()));
            assert_eq!(found, services, "{mode:?}");
        }
    }

    #[test]
    fn what_is_asked_is_told_apart() {
        let asked =
            |request: Request| with_request(&plan(Mode::Full), NOW, &request, |exchange| exchange.asked());
        assert_eq!(asked(Request::bootp()), Asked::Bootp);
        assert_eq!(asked(Request::of(MessageType::Inform)), Asked::Message(MessageType::Inform));
        let request = Request::rom(MessageType::Request, Arch::X86_BIOS).at_boot_server(RESERVED, 68);
        assert_eq!(asked(request.clone()), Asked::BootServer(None));
        let item = request.option(code::VENDOR_SPECIFIC, &[71, 4, 0x80, 1, 0, 0, 255]);
        assert_eq!(asked(item), Asked::BootServer(Some(0x8001)));
    }
}
