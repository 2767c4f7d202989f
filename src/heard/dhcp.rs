//! DHCP requests of a capture, each with its answers (RFC 2131 §4.1: `xid` and `chaddr` pair them).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::frames::Seen;
use crate::time::Instant;
use crate::wire::dhcp::{BOOTREPLY, CLIENT_PORT, HEADER_LEN, Message, MessageType, PXE_PORT, SERVER_PORT};
use crate::wire::ethernet::MacAddr;
use crate::wire::pxe::ClassId;

/// Where `giaddr` and `chaddr` end: less than that tells nothing
const KEPT_MIN: usize = 44;

/// A message, as far as the capture kept it
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    /// The frame's number
    pub number: u32,
    pub at: Instant,
    pub source_mac: Option<MacAddr>,
    pub source: SocketAddrV4,
    pub destination: SocketAddrV4,
    /// The UDP payload; zeros stand for what is missing of the fixed part
    bytes: Vec<u8>,
    /// How much of it was kept
    pub kept: usize,
    /// How long it was
    pub len: usize,
}

impl Heading {
    fn new(seen: &Seen<'_>) -> Option<Self> {
        let datagram = &seen.carried;
        let kept = datagram.payload.len();
        if kept < KEPT_MIN {
            return None;
        }
        let mut bytes = datagram.payload.to_vec();
        bytes.resize(kept.max(HEADER_LEN), 0);
        Message::parse(&bytes).ok()?;
        Some(Self {
            number: seen.number,
            at: seen.at,
            source_mac: datagram.source_mac,
            source: datagram.source,
            destination: datagram.destination,
            bytes,
            kept,
            len: datagram.len,
        })
    }

    /// The message
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse(&self.bytes).expect("a message that was parsed once")
    }

    /// Its bytes
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The capture ends before the options, so that nobody can tell what it says
    pub(crate) fn lacks_options(&self) -> bool {
        self.kept < self.len && self.kept < HEADER_LEN + 8
    }

    /// A part is missing
    pub(crate) fn is_cut(&self) -> bool {
        self.kept < self.len
    }

    fn xid(&self) -> u32 {
        self.message().header().xid.get()
    }

    fn message_type(&self) -> Option<MessageType> {
        self.message().message_type()
    }
}

/// A server's answer
#[derive(Clone, Debug)]
pub(crate) struct Answer(pub Heading);

impl Answer {
    /// Whose: option 54 where it is there, since a relay's answers come from the relay
    pub(crate) fn server(&self) -> Ipv4Addr {
        self.0.message().server_id().unwrap_or(*self.0.source.ip())
    }

    /// It says something about booting
    pub(crate) fn names_boot_file(&self) -> bool {
        let message = self.0.message();
        message.vendor_class().and_then(ClassId::parse).is_some() || boot_file(&message).is_some()
    }
}

/// The boot file that a message names
pub(crate) fn boot_file(message: &Message<'_>) -> Option<String> {
    let option = message.option(crate::wire::dhcp::code::BOOT_FILE_NAME);
    let name = option.map(|value| value.split(|&byte| byte == 0).next().unwrap_or_default());
    let name = name.filter(|name| !name.is_empty()).or(message.file())?;
    std::str::from_utf8(name).ok().map(str::to_owned)
}

/// A client's request
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub heading: Heading,
    /// What servers answered, in order
    pub answers: Vec<Answer>,
}

impl Request {
    /// What `server` answered first
    pub(crate) fn answer_of(&self, server: Ipv4Addr) -> Option<&Answer> {
        self.answers.iter().find(|answer| answer.server() == server)
    }

    fn is_answered_by(&self, answer: &Answer) -> bool {
        let (asked, said) = (self.heading.message(), answer.0.message());
        let same_client = asked.chaddr() == said.chaddr();
        let boot_server = self.heading.destination.port() == PXE_PORT;
        same_client
            && boot_server == (answer.0.source.port() == PXE_PORT)
            && (self.heading.lacks_options()
                || answer.0.lacks_options()
                || answers(self.heading.message_type(), answer.0.message_type()))
    }
}

fn answers(asked: Option<MessageType>, said: Option<MessageType>) -> bool {
    use MessageType::{Ack, Discover, Inform, Nak, Offer, Request};
    match (asked, said) {
        // A boot server answers whatever it is asked with what it likes (PXE 2.1): iPXE takes an OFFER too.
        (None, None) | (Some(Discover), Some(Offer | Ack)) | (Some(Request), Some(Ack | Nak | Offer)) => true,
        (Some(Inform), Some(Ack)) => true,
        _ => false,
    }
}

/// What a datagram is to DHCP
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The request of that index
    Request(usize),
    /// An answer, or one to nothing that the capture holds
    Answer,
    /// No DHCP
    Other,
}

/// All requests so far
#[derive(Debug, Default)]
pub(super) struct Requests {
    requests: Vec<Request>,
    by_xid: HashMap<u32, Vec<usize>>,
}

impl Requests {
    pub(super) fn on_datagram(&mut self, seen: &Seen<'_>) -> Heard {
        let datagram = &seen.carried;
        let is_ours = |port| matches!(port, SERVER_PORT | CLIENT_PORT | PXE_PORT);
        if !is_ours(datagram.source.port()) && !is_ours(datagram.destination.port()) {
            return Heard::Other;
        }
        let Some(heading) = Heading::new(seen) else { return Heard::Other };
        if heading.message().header().op == BOOTREPLY {
            self.on_answer(Answer(heading));
            return Heard::Answer;
        }
        if !matches!(datagram.destination.port(), SERVER_PORT | PXE_PORT) {
            return Heard::Other;
        }
        let index = self.requests.len();
        self.by_xid.entry(heading.xid()).or_default().push(index);
        self.requests.push(Request { heading, answers: Vec::new() });
        Heard::Request(index)
    }

    /// Two requests that were sent again and answered late pair up in order; an answer that came twice stays with the last
    fn on_answer(&mut self, answer: Answer) {
        let Some(candidates) = self.by_xid.get(&answer.0.xid()) else { return };
        let server = answer.server();
        let fitting = || candidates.iter().filter(|index| self.requests[**index].is_answered_by(&answer));
        let unanswered = fitting().find(|index| self.requests[**index].answer_of(server).is_none());
        if let Some(index) = unanswered.or_else(|| fitting().next_back()).copied() {
            self.requests[index].answers.push(answer);
        }
    }

    pub(super) fn finish(self) -> Vec<Request> {
        self.requests
    }
}
