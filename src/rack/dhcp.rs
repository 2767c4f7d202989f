//! The DHCP client of the simulated machines: DISCOVER to ACK, and the boot server's 4011, by each firmware's own rules.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::clone::rename;
use super::frames::Udp;
use super::message::{self, ACK, DISCOVER, Message, NAK, OFFER, Options, REQUEST, Reply};
use super::outcome::{Failure, Lease, Outcome};
use super::reach::{Identity, Io};
use crate::time::{Duration, Instant};

/// iPXE waits this long for a ProxyDHCP offer, unless it has one or is told that none will come
const IPXE_PROXY_WAIT: Duration = Duration::from_secs(2);

/// A client that is refused this often in one attempt has met a broken server
const NAKS_MAX: u32 = 5;

/// How a firmware picks among offers
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// EDK2: collects until its timer rings, then ranks
    Uefi,
    /// EDK2's HTTP boot: the same, for URLs
    UefiHttp,
    /// iPXE: the first with an address once a proxy has spoken, or two seconds have gone
    Ipxe,
    /// The first with an address
    First,
}

/// What a firmware writes into `secs`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secs {
    Zero,
    /// Sent so far, whether there is an offer, whether there is a proxy's
    Ipxe,
    Elapsed,
}

/// How a firmware asks for its address
pub(crate) struct Profile {
    /// How long each DISCOVER is waited for
    pub discover_ms: &'static [u64],
    /// How long each REQUEST is waited for
    pub request_ms: &'static [u64],
    pub broadcast: bool,
    pub choice: Choice,
    pub secs: Secs,
    pub padded_to: usize,
    /// A NAK ends the attempt, in place of sending it back to DISCOVER
    pub nak_is_final: bool,
    pub options: Writes,
}

/// What a firmware writes into a DISCOVER or a REQUEST
pub(crate) enum Writes {
    /// What its model says
    Model(fn(&mut Options, &Ask<'_>)),
    /// What was captured
    Captured { discover: Captured, request: Captured },
}

impl Writes {
    fn write(&self, options: &mut Options, ask: &Ask<'_>) {
        match self {
            Self::Model(write) => write(options, ask),
            Self::Captured { request, .. } if ask.kind == REQUEST => request.write(options, ask),
            Self::Captured { discover, .. } => discover.write(options, ask),
        }
    }
}

/// The same of a REQUEST on port 4011
pub(crate) enum WritesToBootServer {
    Model(fn(&mut Options, &Identity, Option<u16>)),
    Captured(Captured),
}

impl WritesToBootServer {
    fn write(&self, options: &mut Options, identity: &Identity, item: Option<u16>) {
        match self {
            Self::Model(write) => write(options, identity, item),
            Self::Captured(captured) => {
                captured.write(options, &Ask { kind: REQUEST, identity, accepted: None });
            }
        }
    }
}

/// The options of a captured message, which another machine writes as if they were its own
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub options: Options,
    /// Who sent them
    pub who: Identity,
}

impl Captured {
    fn write(&self, options: &mut Options, ask: &Ask<'_>) {
        for (code, value) in &self.options.0 {
            let mut value = value.clone();
            match (*code, ask.accepted) {
                (54, Some((server, _))) => value = server.octets().to_vec(),
                (50, Some((_, address))) => value = address.octets().to_vec(),
                (97, _) if value.len() == 17 => value[1..].copy_from_slice(&ask.identity.uuid),
                (61, _) => rename::client_id(&mut value, &self.who, ask.identity),
                _ => rename::bytes(&mut value, &self.who, ask.identity),
            }
            options.add(*code, value);
        }
    }
}

/// What the options of a message depend on
pub(crate) struct Ask<'a> {
    pub kind: u8,
    pub identity: &'a Identity,
    /// The server and the address that are requested
    pub accepted: Option<(Ipv4Addr, Ipv4Addr)>,
}

enum Stage {
    Discovering,
    Requesting(Box<Reply>, Option<Box<Reply>>),
}

/// DISCOVER to ACK
pub(crate) struct Client {
    profile: &'static Profile,
    xid: u32,
    began_at: Instant,
    stage: Stage,
    offers: Vec<Reply>,
    tries: usize,
    sent: u16,
    naks: u32,
    pub deadline: Instant,
}

impl Client {
    pub(crate) fn start(profile: &'static Profile, io: &mut Io<'_>) -> Self {
        let mut client = Self {
            profile,
            xid: io.new_xid(),
            began_at: io.now,
            stage: Stage::Discovering,
            offers: Vec::new(),
            tries: 0,
            sent: 0,
            naks: 0,
            deadline: Instant::FAR,
        };
        client.send(io);
        client
    }

    fn send(&mut self, io: &mut Io<'_>) {
        self.sent = self.sent.saturating_add(1);
        let has = |test: &dyn Fn(&Reply) -> bool| u16::from(self.offers.iter().any(test));
        let secs = match self.profile.secs {
            Secs::Zero => 0,
            Secs::Ipxe => {
                self.sent.wrapping_shl(2)
                    | has(&Reply::has_address) << 1
                    | has(&|offer| offer.is_pxe && !offer.has_address())
            }
            Secs::Elapsed => u16::try_from(io.now.since(self.began_at).as_secs()).unwrap_or(u16::MAX),
        };
        let (kind, waits, accepted) = match &self.stage {
            Stage::Discovering => (DISCOVER, self.profile.discover_ms, None),
            Stage::Requesting(offer, _) => {
                (REQUEST, self.profile.request_ms, Some((offer.server, offer.yiaddr)))
            }
        };
        let mut options = Options::default();
        self.profile.options.write(&mut options, &Ask { kind, identity: &io.known.identity, accepted });
        let message = Message {
            xid: self.xid,
            secs,
            broadcast: self.profile.broadcast,
            mac: io.known.identity.mac,
            options,
            padded_to: self.profile.padded_to,
            ..Message::default()
        };
        if self.sent > 1 && self.tries > 0 {
            let is_unanswered = match self.stage {
                Stage::Discovering => self.offers.is_empty(),
                Stage::Requesting(..) => true,
            };
            io.retries().dhcp += 1;
            io.retries().dhcp_unanswered += u64::from(is_unanswered);
        }
        io.broadcast(68, 67, &message.emit());
        self.deadline = io.now + Duration::from_millis(waits[self.tries.min(waits.len() - 1)]);
    }

    pub(crate) fn on_deadline(&mut self, io: &mut Io<'_>) -> Option<Outcome> {
        let waits = match &self.stage {
            Stage::Discovering => {
                if self.choose(io, true) {
                    return None;
                }
                self.profile.discover_ms
            }
            Stage::Requesting(..) => self.profile.request_ms,
        };
        self.tries += 1;
        if self.tries == waits.len() {
            let failure = match self.stage {
                Stage::Discovering if self.offers.is_empty() => Failure::NoOffer,
                Stage::Discovering => Failure::NoBootFile,
                Stage::Requesting(..) => Failure::NoAck,
            };
            return Some(Outcome::Failed(failure));
        }
        self.send(io);
        None
    }

    pub(crate) fn on_udp(&mut self, io: &mut Io<'_>, udp: &Udp<'_>) -> Option<Outcome> {
        let reply = received(io, udp, self.xid, 68, 67)?;
        match (&self.stage, reply.kind) {
            (Stage::Discovering, OFFER) => {
                if !self
                    .offers
                    .iter()
                    .any(|known| known.server == reply.server && known.is_pxe == reply.is_pxe)
                {
                    self.offers.push(reply);
                }
                self.choose(io, false);
                None
            }
            (Stage::Requesting(offer, boot), ACK) if reply.server == offer.server => {
                if reply.yiaddr != offer.yiaddr {
                    io.refuse("an ACK for another address than was offered: EDK2 declines it");
                    return None;
                }
                let boot = match boot {
                    Some(boot) => Some((**boot).clone()),
                    None => Some(reply.clone()).filter(|reply| !reply.file.is_empty() || reply.is_pxe),
                };
                Some(Outcome::Leased(Lease {
                    server: reply.server,
                    address: reply.yiaddr,
                    netmask: reply.netmask.unwrap_or(Ipv4Addr::BROADCAST),
                    router: reply.router,
                    boot,
                }))
            }
            (Stage::Requesting(offer, _), NAK) if reply.server == offer.server => {
                self.naks += 1;
                if self.profile.nak_is_final || self.naks == NAKS_MAX {
                    return Some(Outcome::Failed(Failure::Refused));
                }
                io.retries().dhcp += 1;
                (self.stage, self.tries, self.offers) = (Stage::Discovering, 0, Vec::new());
                self.send(io);
                None
            }
            (Stage::Requesting(..), ACK) => {
                io.refuse("an ACK whose server identifier is not the offer's");
                None
            }
            // A repeated OFFER, or another server's
            _ => None,
        }
    }

    /// Goes on to REQUEST if the offers allow it
    fn choose(&mut self, io: &mut Io<'_>, is_timer: bool) -> bool {
        let waited = io.now.since(self.began_at);
        let Some((address, boot)) = pick(self.profile.choice, &self.offers, waited, is_timer) else {
            return false;
        };
        let boot = boot.filter(|boot| *boot != address).cloned().map(Box::new);
        self.stage = Stage::Requesting(Box::new(address.clone()), boot);
        self.tries = 0;
        self.send(io);
        true
    }
}

/// The offer with the address and the one with the boot options, once the firmware is content
fn pick(
    choice: Choice,
    offers: &[Reply],
    waited: Duration,
    is_timer: bool,
) -> Option<(&Reply, Option<&Reply>)> {
    let first = |test: &dyn Fn(&Reply) -> bool| offers.iter().find(|offer| test(offer));
    let address = first(&Reply::has_address);
    match choice {
        Choice::First => address.map(|offer| (offer, None)),
        Choice::Ipxe => {
            let told = offers.iter().any(|offer| offer.is_pxe || offer.no_proxy);
            if !told && waited < IPXE_PROXY_WAIT {
                return None;
            }
            let booting = first(&|offer| offer.has_address() && !offer.file.is_empty());
            let proxy = first(&|offer| offer.is_pxe && !offer.has_address());
            booting.map(|offer| (offer, None)).or_else(|| address.map(|offer| (offer, proxy)))
        }
        // PxeBcSelectOffer: DHCP with PXE, then DHCP with a proxy, then DHCP with a bare file
        Choice::Uefi if is_timer => {
            let proxy = first(&|offer| offer.is_pxe && !offer.has_address());
            let whole = first(&|offer| offer.has_address() && offer.is_pxe);
            let bare = first(&|offer| offer.has_address() && !offer.file.is_empty());
            whole
                .map(|offer| (offer, None))
                .or_else(|| Some((address?, Some(proxy?))))
                .or_else(|| bare.map(|offer| (offer, None)))
        }
        Choice::UefiHttp if is_timer => {
            let proxy = first(&|offer| offer.is_http && !offer.has_address());
            let whole = first(&|offer| offer.is_http && offer.has_address());
            whole.map(|offer| (offer, None)).or_else(|| Some((address?, Some(proxy?))))
        }
        Choice::Uefi | Choice::UefiHttp => None,
    }
}

/// A reply to this client, if it is one and the client accepts it
fn received(io: &mut Io<'_>, udp: &Udp<'_>, xid: u32, port: u16, from: u16) -> Option<Reply> {
    if udp.to.port() != port {
        return None;
    }
    let (for_xid, mac) = message::addressee(udp.payload)?;
    let is_ours = mac == io.known.identity.mac;
    if is_ours && for_xid != xid && !io.known.had_xid(for_xid) {
        io.refuse("a reply to this machine with an xid that it never sent");
    }
    if !is_ours && !udp.to.ip().is_broadcast() {
        io.refuse("a reply sent to this machine with another's chaddr");
    }
    if !is_ours || for_xid != xid {
        return None;
    }
    if udp.from.port() != from {
        io.refuse("a reply from another port than the server's: iPXE drops it");
        return None;
    }
    match message::read(udp.payload, from == 67, Some(&io.known.identity.uuid)) {
        Ok(reply) => Some(reply),
        Err(why) => {
            io.refuse(why);
            None
        }
    }
}

/// How a firmware asks a boot server (PXE 2.1, port 4011)
pub(crate) struct BootServerProfile {
    pub waits_ms: &'static [u64],
    /// The port that it asks from, and wants the answer at
    pub port: u16,
    pub broadcast: bool,
    /// It listens until its timer rings, answer or not (EDK2)
    pub settles: bool,
    pub secs: Secs,
    pub options: WritesToBootServer,
}

/// A REQUEST on 4011
pub(crate) struct BootServerClient {
    profile: &'static BootServerProfile,
    server: Ipv4Addr,
    item: Option<u16>,
    xid: u32,
    tries: usize,
    answer: Option<Reply>,
    pub deadline: Instant,
}

impl BootServerClient {
    pub(crate) fn start(
        profile: &'static BootServerProfile,
        server: Ipv4Addr,
        item: Option<u16>,
        io: &mut Io<'_>,
    ) -> Self {
        let xid = io.new_xid();
        let mut client = Self { profile, server, item, xid, tries: 0, answer: None, deadline: Instant::FAR };
        client.send(io);
        client
    }

    fn send(&mut self, io: &mut Io<'_>) {
        let tries = u16::try_from(self.tries).unwrap_or(u16::MAX);
        let mut options = Options::default();
        self.profile.options.write(&mut options, &io.known.identity, self.item);
        let message = Message {
            xid: self.xid,
            secs: if self.profile.secs == Secs::Ipxe { (tries + 1) << 2 } else { tries },
            broadcast: self.profile.broadcast,
            mac: io.known.identity.mac,
            ciaddr: Some(io.known.address),
            options,
            ..Message::default()
        };
        if self.tries > 0 {
            io.retries().boot_server += 1;
        }
        io.unicast(self.profile.port, SocketAddrV4::new(self.server, 4011), &message.emit());
        self.deadline = io.now + Duration::from_millis(self.profile.waits_ms[self.tries]);
    }

    pub(crate) fn on_deadline(&mut self, io: &mut Io<'_>) -> Option<Outcome> {
        if let Some(answer) = self.answer.take() {
            return Some(Outcome::BootServer(answer));
        }
        self.tries += 1;
        if self.tries == self.profile.waits_ms.len() {
            return Some(Outcome::Failed(Failure::NoBootServer));
        }
        self.send(io);
        None
    }

    pub(crate) fn on_udp(&mut self, io: &mut Io<'_>, udp: &Udp<'_>) -> Option<Outcome> {
        let reply = received(io, udp, self.xid, self.profile.port, 4011)?;
        if reply.file.is_empty() {
            io.refuse("a boot server's answer without a boot file");
            return None;
        }
        self.answer = Some(reply);
        if self.profile.settles { None } else { self.answer.take().map(Outcome::BootServer) }
    }
}
