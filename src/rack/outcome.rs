//! What a machine's steps come to: for its firmware, and for the world around it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::message::Reply;

/// Why an attempt to boot failed
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Failure {
    /// No DHCP offer
    NoOffer,
    /// Offers, none of which names a boot file
    NoBootFile,
    /// No DHCP ACK
    NoAck,
    /// A DHCP NAK, which ends a UEFI attempt
    Refused,
    /// No boot server on 4011
    NoBootServer,
    /// The gateway or the server does not answer ARP
    NoRoute,
    /// A transfer fell silent
    TftpSilence,
    /// A TFTP ERROR other than "not found"
    TftpError,
    /// TFTP options that the client cannot take
    TftpOptions,
    /// A file that must be there is not
    NotFound,
    /// No answer by HTTP
    HttpSilence,
    /// An HTTP head that the client cannot read
    HttpHead,
    /// A byte that is not the file's
    WrongBytes,
    /// A configuration that names nothing to load
    NothingToLoad,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoOffer => "no DHCP offer",
            Self::NoBootFile => "no offer with a boot file",
            Self::NoAck => "no DHCP ACK",
            Self::Refused => "a DHCP NAK",
            Self::NoBootServer => "no answer on port 4011",
            Self::NoRoute => "no answer to ARP",
            Self::TftpSilence => "TFTP fell silent",
            Self::TftpError => "a TFTP error",
            Self::TftpOptions => "TFTP options that it cannot take",
            Self::NotFound => "a file is missing",
            Self::HttpSilence => "HTTP fell silent",
            Self::HttpHead => "an HTTP head that it cannot read",
            Self::WrongBytes => "wrong bytes",
            Self::NothingToLoad => "a configuration that names nothing to load",
        })
    }
}

/// What a step came to
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The power is on
    Power,
    Leased(Lease),
    BootServer(Reply),
    /// A file is whole, and every byte was right
    Fetched(Fetched),
    Missing,
    Failed(Failure),
}

/// A file that has been loaded
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// The name that was asked for
    pub name: String,
    /// What it says, where it may be a configuration
    pub text: String,
}

/// What a machine has from DHCP
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    /// Who gave it
    pub server: Ipv4Addr,
    pub address: Ipv4Addr,
    pub netmask: Ipv4Addr,
    pub router: Option<Ipv4Addr>,
    /// The offer or ACK with the boot options
    pub boot: Option<Reply>,
}

/// What a machine does to the world
#[derive(Debug)]
pub(crate) enum Out {
    Frame(Vec<u8>),
    Open {
        stream: u32,
        from: SocketAddrV4,
        to: SocketAddrV4,
    },
    Write {
        stream: u32,
        bytes: Vec<u8>,
    },
    Close {
        stream: u32,
    },
    /// It uses this address from here on
    Bound(Ipv4Addr),
    /// It cannot accept what the server sent
    Refused(&'static str),
    /// A file came in so many blocks, with so many sent twice
    Transferred {
        blocks: u64,
        repeats: u64,
    },
}
