//! What a replay found: each exchange, what was answered, what we answer, and where the two differ.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::differences::Difference;
use crate::note::{Advice, DhcpNote, Outcome};
use crate::proto::outbox::Port;
use crate::time::Instant;
use crate::wire::ethernet::MacAddr;
use crate::wire::pcap;

/// What a replay found
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The server whose answers ours are held against; `None`: the capture holds no answer
    pub server: Option<Ipv4Addr>,
    /// The plan that was made from the capture, in words, a line each; empty where one was given
    pub plan: Vec<String>,
    /// When the capture begins
    pub begins_at: Instant,
    /// What clients asked, in the order of the capture
    pub exchanges: Vec<Exchange>,
    /// What an operator would have been told
    pub advice: Vec<(Instant, Advice)>,
    /// Where the file is damaged: nothing behind that is looked at
    pub damage: Option<pcap::Error>,
}

/// One thing that a client asked
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The number of its frame, from 1
    pub frame: u32,
    /// When it asked
    pub at: Instant,
    /// Who
    pub client: SocketAddrV4,
    /// What, and what came of it
    pub talk: Talk,
    /// Where the two answers differ
    pub differences: Vec<Difference>,
}

/// See [`Exchange::talk`]
#[derive(Clone, Debug)]
pub enum Talk {
    /// DHCP, BOOTP, ProxyDHCP or a boot server
    Dhcp(Box<Dhcp>),
    /// A TFTP transfer
    Tftp(Box<Tftp>),
    /// An HTTP request
    Http(Box<Http>),
}

/// A DHCP request
#[derive(Clone, Debug)]
pub struct Dhcp {
    /// The request as our server was given it: what a client that follows our offers would send
    pub request: Vec<u8>,
    /// Whether the request was rewritten so, since our offer is another than the one in the capture
    pub rewritten: bool,
    /// Why our server was not given the request; `None`: it was
    pub withheld: Option<Withheld>,
    /// The answer of the server that is compared
    pub theirs: Option<Reply>,
    /// Of that answer the capture kept only so many bytes; zeros stand for the rest of its fixed part
    pub theirs_cut: Option<usize>,
    /// Answers of other servers
    pub others: Vec<Reply>,
    /// Our answers, at most one in all but name
    pub ours: Vec<Reply>,
    /// Our decision
    pub decision: Option<DhcpNote>,
}

/// Why a request was not replayed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The capture ends before its options
    Cut,
    /// It was sent to another server alone
    OtherServer,
}

/// A DHCP reply, whoever sent it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// When it left
    pub at: Instant,
    /// The server's address and port
    pub from: SocketAddrV4,
    /// Where it went
    pub to: SocketAddrV4,
    /// The frame's destination, where that is known
    pub mac: Option<MacAddr>,
    /// The message
    pub payload: Vec<u8>,
}

/// A TFTP transfer
#[derive(Clone, Debug)]
pub struct Tftp {
    /// The file as asked for
    pub filename: Vec<u8>,
    /// It is to be written, which we never do
    pub is_write: bool,
    /// The options asked for
    pub asked: Vec<(String, String)>,
    /// What the captured server did
    pub theirs: Sent,
    /// What we did
    pub ours: Sent,
    /// How many bytes of ours the capture could confirm
    pub compared: u64,
    /// The first byte that is another than the captured one
    pub unequal_at: Option<u64>,
    /// The ERROR by which the client ended it
    pub stopped: Option<u16>,
}

/// A server's side of a transfer
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// The options granted; `None`: no OACK
    pub granted: Option<Vec<(String, String)>>,
    /// The OACK as sent
    pub oack: Vec<u8>,
    /// The service that it was sent from (ours)
    pub port: Option<Port>,
    /// The ERROR sent: code and text
    pub error: Option<(u16, String)>,
    /// It takes the file that the client writes (theirs)
    pub accepts: bool,
    /// Blocks sent
    pub blocks: u64,
    /// Bytes sent
    pub bytes: u64,
    /// The last block was sent
    pub is_whole: bool,
    /// How it ended (ours)
    pub outcome: Option<Outcome>,
}

/// An HTTP request
#[derive(Clone, Debug)]
pub struct Http {
    /// The server's address and port
    pub server: SocketAddrV4,
    /// Its method
    pub method: String,
    /// Its target, as sent
    pub target: String,
    /// What the captured server answered
    pub theirs: Option<Response>,
    /// What we answer
    pub ours: Option<Response>,
}

/// An HTTP response
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its head, blank line included; the captured one may lack its end
    pub head: Vec<u8>,
    /// Bytes of the body that were sent, or kept of it
    pub body: u64,
}
