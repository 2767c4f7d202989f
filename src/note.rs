//! One decision as a plain value: who asked, what it asked, what it got, and why.
//!
//! Machines put notes into the outbox; nothing is formatted on a packet's path. `serve` prints them (a line or JSON
//! each), `replay` and the tests compare them.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::boot::client::{Arch, Loader, Uuid};
use crate::boot::plan::Reason;
use crate::stats::DropReason;
use crate::time::{Duration, Instant};
use crate::wire::dhcp::MessageType;
use crate::wire::ethernet::MacAddr;

/// A short text kept in place; what does not fit is cut at a character and marked with `…`. Bytes that are not UTF-8, and
/// control characters, become `?`: it is safe to print.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const N: usize> {
    len: u8,
    bytes: [u8; N],
}

impl<const N: usize> Text<N> {
    /// No text
    pub const EMPTY: Self = Self { len: 0, bytes: [0; N] };

    /// The text of `bytes`, made printable and cut to fit
    pub fn new(bytes: &[u8]) -> Self {
        const { assert!(N >= 4 && N <= 255) };
        let mut text = Self::EMPTY;
        // Nearly every path.
        if bytes.len() <= N && bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            text.bytes[..bytes.len()].copy_from_slice(bytes);
            text.len = u8::try_from(bytes.len()).expect("N ≤ 255");
            return text;
        }
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars().chain((!chunk.invalid().is_empty()).then_some('?')) {
                let c = if c.is_control() { '?' } else { c };
                if !text.push(c, "…".len()) {
                    text.push('…', 0);
                    return text;
                }
            }
        }
        text
    }

    fn push(&mut self, c: char, spare: usize) -> bool {
        let at = usize::from(self.len);
        if at + c.len_utf8() + spare > N {
            return false;
        }
        let end = at + c.encode_utf8(&mut self.bytes[at..]).len();
        self.len = u8::try_from(end).expect("N ≤ 255");
        true
    }

    /// The text
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("?")
    }

    /// Whether there is none
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a DHCP client sent
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A DHCP message of that type
    Message(MessageType),
    /// A BOOTREQUEST without a message type (RFC 951)
    Bootp,
    /// A boot server's discovery or request (PXE 2.1), on 4011 or by broadcast, with the item of option 43.71 where it names one
    BootServer(Option<u16>),
}

/// What a DHCP client got
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// An address on offer
    Offer(Ipv4Addr),
    /// An address for a lease
    Ack(Ipv4Addr),
    /// A refusal of the address that it asked for
    Nak(Ipv4Addr),
    /// The boot options alone, beside another server's address (ProxyDHCP)
    ProxyOffer,
    /// The boot options alone, from the boot server
    BootServerAck,
    /// A BOOTREPLY
    BootpReply(Ipv4Addr),
    /// Parameters alone (INFORM)
    Parameters,
    /// Nothing was due: a RELEASE, a DECLINE, a choice of another server
    Noted,
    /// Nothing, for this reason
    Nothing(DropReason),
}

/// How a TFTP transfer or an HTTP response went
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it arrived (TFTP: the last block was acknowledged; HTTP: the last byte was handed to the kernel)
    Done,
    /// The client only asked for the size (a `tsize` probe ended by its own ERROR, or HEAD)
    SizeOnly,
    /// A TFTP error was answered: RFC 1350 code
    TftpError(u16),
    /// An HTTP status was answered in place of content
    Status(u16),
    /// The client ended it, with its RFC 1350 error code where it named one
    ClientStopped(Option<u16>),
    /// The client fell silent
    TimedOut,
    /// The file changed, or could not be read, under the transfer
    FileFailed,
    /// The server is stopping
    Stopped,
}

/// A decision
#[derive(Clone, Copy, Debug)]
pub enum Note {
    /// An answer, or none, to a DHCP, BOOTP or boot-server request
    Dhcp(DhcpNote),
    /// The end of a TFTP transfer
    Tftp(TransferNote),
    /// The end of an HTTP response
    Http(TransferNote),
    /// Something an operator should know
    Advice(Advice),
}

/// See [`Note::Dhcp`]
#[derive(Clone, Copy, Debug)]
pub struct DhcpNote {
    /// When
    pub at: Instant,
    /// By which of the plan's networks
    pub network: usize,
    /// Who
    pub mac: MacAddr,
    /// Its SMBIOS UUID, where it sent one
    pub uuid: Option<Uuid>,
    /// The relay that sent it on
    pub relay: Option<Ipv4Addr>,
    /// Its architecture, corrected
    pub arch: Option<Arch>,
    /// Which program asked
    pub loader: Loader,
    /// What it asked
    pub asked: Asked,
    /// What it got
    pub got: Got,
    /// The boot file or URL it was given
    pub file: Text<128>,
    /// Why that boot file (or none)
    pub reason: Reason,
}

/// See [`Note::Tftp`] and [`Note::Http`]
#[derive(Clone, Copy, Debug)]
pub struct TransferNote {
    /// When it ended
    pub at: Instant,
    /// Who
    pub peer: SocketAddrV4,
    /// What it asked for
    pub path: Text<128>,
    /// Bytes of content sent (TFTP: acknowledged)
    pub sent: u64,
    /// From the request to the end
    pub took: Duration,
    /// Datagrams sent again (TFTP)
    pub resent: u32,
    /// How it went
    pub outcome: Outcome,
}

/// Something an operator should know, with the way out
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// A client got proxy offers several times and never came to 4011 nor fetched anything: its firmware wants one whole offer
    IgnoresProxyOffers {
        /// The client
        mac: MacAddr,
        /// Offers it was sent
        offers: u32,
    },
    /// Another DHCP server answers on a network where reveille is the DHCP server
    OtherServer {
        /// By which of the plan's networks
        network: usize,
        /// Its address (option 54 of what the client chose)
        server: Ipv4Addr,
    },
    /// No address is free in the subnet
    PoolExhausted {
        /// By which of the plan's networks
        network: usize,
        /// The subnet's address
        subnet: Ipv4Addr,
    },
    /// A client loads iPXE again and again
    LoaderLoop {
        /// The client
        mac: MacAddr,
        /// Times that it was given the same loader
        times: u32,
    },
    /// Somebody else uses an address of a pool (an ARP answer, or a DECLINE)
    AddressInUse {
        /// The address, kept out of use for a while
        address: Ipv4Addr,
    },
    /// Leases cannot be written, so that no address is acknowledged
    StoreFailed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_printable_and_bounded() {
        assert_eq!(Text::<16>::new(b"lpxelinux.0\xff").as_str(), "lpxelinux.0?");
        assert_eq!(Text::<8>::new(b"0123456789").as_str(), "01234…");
        assert_eq!(Text::<8>::new(b"a\x1b[2J").as_str(), "a?[2J");
        assert!(Text::<8>::new(b"").is_empty());
    }
}
