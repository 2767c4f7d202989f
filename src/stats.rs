//! Why something was dropped, and how often: plain counters that a shard owns and others read now and then.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// Why a datagram or a connection got no answer
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All of them, in the order of their counters
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        impl fmt::Display for DropReason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $words,)* })
            }
        }
    };
}

reasons! {
    /// Not a DHCP or BOOTP request: too short, wrong op, no cookie, an option that runs out
    MalformedDhcp = "malformed DHCP",
    /// A DHCP reply (op 2) seen by a server
    NotARequest = "a reply, not a request",
    /// A hardware type other than Ethernet
    NotEthernet = "not Ethernet",
    /// The client chose another server (option 54)
    OtherServer = "chose another server",
    /// `dhcp = "off"`, or a proxy asked by a client that does not network-boot
    NotServed = "not a client of this service",
    /// No subnet is configured for its relay or address
    NoSubnet = "no subnet for its relay",
    /// No address is free
    NoAddress = "no free address",
    /// Nothing is configured for it to boot
    NothingToBoot = "nothing to boot",
    /// A REQUEST for an address whose holder is unknown here, and the server is not authoritative
    UnknownLease = "unknown lease, and not authoritative",
    /// Its address is being probed for a conflict: its answer follows
    Probing = "address being probed",
    /// The lease table is full
    LeasesFull = "lease table full",
    /// A reply that does not fit the client's size limit
    ReplyTooLong = "reply would not fit",
    /// Not a TFTP packet
    MalformedTftp = "malformed TFTP",
    /// A datagram of a transfer that does not exist here
    UnknownTransfer = "unknown transfer",
    /// A copy of a request that was refused a moment ago
    RefusedAlready = "copy of a request just refused",
    /// The transfer table is full
    TransfersFull = "transfer table full",
    /// The connection table is full
    ConnectionsFull = "connection table full",
    /// A frame that holds no whole, unfragmented UDP datagram for us
    NotUdp = "not a whole UDP datagram",
    /// A reply was ready, and the kernel would not take it
    SendFailed = "the kernel refused to send",
    /// A reply's lease could not be written
    NotCommitted = "lease not written",
}

/// Counters of one shard
#[derive(Clone, Debug)]
pub struct Stats {
    drops: [u64; DropReason::ALL.len()],
    /// Datagrams handed to the machines
    pub datagrams_in: u64,
    /// Datagrams sent
    pub datagrams_out: u64,
    /// TFTP transfers begun
    pub transfers: u64,
    /// TFTP datagrams sent again
    pub resent: u64,
    /// HTTP requests answered
    pub requests: u64,
    /// Times that a client was held back since the wire was full
    pub held: u64,
    /// The longest of them, in µs
    pub held_longest_us: u64,
    /// Decisions that were not printed since the log was full
    pub notes_lost: u64,
}

impl Stats {
    /// All zero
    pub const fn new() -> Self {
        Self {
            drops: [0; DropReason::ALL.len()],
            datagrams_in: 0,
            datagrams_out: 0,
            transfers: 0,
            resent: 0,
            requests: 0,
            held: 0,
            held_longest_us: 0,
            notes_lost: 0,
        }
    }

    /// Counts a drop
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    /// How often that happened
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}
