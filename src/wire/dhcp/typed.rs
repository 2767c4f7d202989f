//! What single options mean: the typed accessors of [`Message`].

use std::net::Ipv4Addr;

use super::{Message, MessageType, SubOptions, code};
use crate::wire::ethernet::MacAddr;

impl<'a> Message<'a> {
    /// What the message is. `None` in BOOTP, and for types this server has no part in (lease queries): see
    /// [`Message::is_bootp`].
    #[must_use]
    pub fn message_type(&self) -> Option<MessageType> {
        match self.option(code::MESSAGE_TYPE)? {
            [number] => MessageType::from_u8(*number),
            _ => None,
        }
    }

    /// Without option 53: a BOOTP message (RFC 1534 §2), cookie or not.
    #[must_use]
    pub fn is_bootp(&self) -> bool {
        self.option(code::MESSAGE_TYPE).is_none()
    }

    /// The bytes of `chaddr` that count.
    #[must_use]
    pub fn chaddr(&self) -> &'a [u8] {
        self.header.chaddr()
    }

    /// The hardware address of an Ethernet client.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        self.header.mac()
    }

    /// The client asks for broadcast replies.
    #[must_use]
    pub fn is_broadcast(&self) -> bool {
        self.header.is_broadcast()
    }

    /// Option 50.
    #[must_use]
    pub fn requested_ip(&self) -> Option<Ipv4Addr> {
        self.ip(code::REQUESTED_ADDRESS)
    }

    /// Option 54.
    #[must_use]
    pub fn server_id(&self) -> Option<Ipv4Addr> {
        self.ip(code::SERVER_ID)
    }

    /// Option 118 (RFC 3011): the subnet an address should come from.
    #[must_use]
    pub fn subnet_selection(&self) -> Option<Ipv4Addr> {
        self.ip(code::SUBNET_SELECTION)
    }

    /// Option 51, in seconds.
    #[must_use]
    pub fn lease_time_s(&self) -> Option<u32> {
        self.array(code::LEASE_TIME).map(u32::from_be_bytes)
    }

    /// Option 57: the largest message the client takes, IP and UDP headers included. See [`super::payload_limit`].
    #[must_use]
    pub fn max_size(&self) -> Option<u16> {
        self.array(code::MAX_MESSAGE_SIZE).map(u16::from_be_bytes)
    }

    /// Option 61, type byte included.
    #[must_use]
    pub fn client_id(&self) -> Option<&'a [u8]> {
        self.non_empty(code::CLIENT_ID)
    }

    /// Option 60.
    #[must_use]
    pub fn vendor_class(&self) -> Option<&'a [u8]> {
        self.non_empty(code::VENDOR_CLASS)
    }

    /// Option 77.
    #[must_use]
    pub fn user_class(&self) -> Option<UserClass<'a>> {
        self.non_empty(code::USER_CLASS).map(UserClass)
    }

    /// Option 12 without trailing NULs (Microsoft's clients send one).
    #[must_use]
    pub fn hostname(&self) -> Option<&'a [u8]> {
        let name = self.option(code::HOST_NAME)?;
        let len = name.iter().rposition(|&byte| byte != 0)? + 1;
        Some(&name[..len])
    }

    /// Option 55; empty where absent. EDK2's HTTP boot lists a 0 among the codes: no code, to be passed over.
    #[must_use]
    pub fn parameter_list(&self) -> &'a [u8] {
        self.option(code::PARAMETER_LIST).unwrap_or_default()
    }

    /// Option 93, a list (RFC 4578 §2.1); empty where absent.
    pub fn architectures(&self) -> impl Iterator<Item = u16> + Clone + use<'a> {
        let list = self.option(code::ARCHITECTURE).unwrap_or_default();
        list.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair))
    }

    /// Option 97 of type 0 (RFC 4578 §2.3): the bytes as sent, whose first three fields most firmware sends
    /// little-endian, as SMBIOS keeps them.
    #[must_use]
    pub fn uuid(&self) -> Option<[u8; 16]> {
        match self.option(code::PXE_UUID)?.split_first()? {
            (0, uuid) => uuid.try_into().ok(),
            _ => None,
        }
    }

    /// Option 97 as sent, to be echoed to who sent it.
    #[must_use]
    pub fn uuid_option(&self) -> Option<&'a [u8]> {
        self.option(code::PXE_UUID)
    }

    /// Option 82.
    #[must_use]
    pub fn relay_agent(&self) -> Option<RelayAgent<'a>> {
        self.option(code::RELAY_AGENT).map(RelayAgent)
    }

    /// Option 175: only iPXE (and Etherboot before it) sends it.
    #[must_use]
    pub fn ipxe_features(&self) -> Option<IpxeFeatures<'a>> {
        self.option(code::IPXE).map(IpxeFeatures)
    }

    fn ip(&self, code: u8) -> Option<Ipv4Addr> {
        self.array::<4>(code).map(Ipv4Addr::from)
    }

    fn array<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        self.option(code)?.try_into().ok()
    }

    fn non_empty(&self, code: u8) -> Option<&'a [u8]> {
        self.option(code).filter(|value| !value.is_empty())
    }
}

/// Option 77: a list of classes (RFC 3004 §4), or one class without its length byte, as iPXE sends it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UserClass<'a>(&'a [u8]);

impl<'a> UserClass<'a> {
    /// The option as sent.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.0
    }

    /// The classes. A value whose lengths do not add up is one raw class.
    pub fn classes(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        let mut raw = (!self.is_list()).then_some(self.0);
        std::iter::from_fn(move || {
            if let Some(class) = raw.take() {
                rest = &[];
                return Some(class);
            }
            let (class, behind) = split_class(rest)?;
            rest = behind;
            Some(class)
        })
    }

    /// Whether one of the classes is `class`.
    #[must_use]
    pub fn contains(self, class: &[u8]) -> bool {
        self.classes().any(|found| found == class)
    }

    fn is_list(self) -> bool {
        let mut rest = self.0;
        while let Some((_, behind)) = split_class(rest) {
            rest = behind;
        }
        rest.is_empty()
    }
}

/// Splits one class of at least one byte off the front (RFC 3004 §4: "minimum length 1").
fn split_class(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    if len == 0 {
        return None;
    }
    rest.split_at_checked(usize::from(len))
}

/// Option 82 (RFC 3046): what a relay says about the port a client hangs on. Goes back to the relay as it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RelayAgent<'a>(&'a [u8]);

impl<'a> RelayAgent<'a> {
    /// The option as sent.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.0
    }

    /// All sub-options.
    #[must_use]
    pub fn sub_options(self) -> SubOptions<'a> {
        SubOptions::new(self.0)
    }

    /// Sub-option 1: the port of the switch.
    #[must_use]
    pub fn circuit_id(self) -> Option<&'a [u8]> {
        self.sub_options().first(1)
    }

    /// Sub-option 2: the switch, or the far end of the circuit.
    #[must_use]
    pub fn remote_id(self) -> Option<&'a [u8]> {
        self.sub_options().first(2)
    }

    /// Sub-option 5 (RFC 3527): the client's subnet, where giaddr is not on it.
    #[must_use]
    pub fn link_selection(self) -> Option<Ipv4Addr> {
        self.ip(5)
    }

    /// Sub-option 11 (RFC 5107): what to write into option 54, so that renewals pass through the relay.
    #[must_use]
    pub fn server_id_override(self) -> Option<Ipv4Addr> {
        self.ip(11)
    }

    fn ip(self, code: u8) -> Option<Ipv4Addr> {
        let octets: [u8; 4] = self.sub_options().first(code)?.try_into().ok()?;
        Some(octets.into())
    }
}

/// Option 175: iPXE's features, each a sub-option.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IpxeFeatures<'a>(&'a [u8]);

impl<'a> IpxeFeatures<'a> {
    /// Sub-option 1, signed: which of several offers iPXE prefers.
    pub const PRIORITY: u8 = 0x01;
    /// iPXE can load PXE images.
    pub const PXE_EXTENSIONS: u8 = 0x10;
    /// iPXE can boot from iSCSI.
    pub const ISCSI: u8 = 0x11;
    /// iPXE can boot from AoE.
    pub const AOE: u8 = 0x12;
    /// iPXE speaks HTTP.
    pub const HTTP: u8 = 0x13;
    /// iPXE speaks HTTPS.
    pub const HTTPS: u8 = 0x14;
    /// iPXE speaks multicast TFTP.
    pub const MULTICAST_TFTP: u8 = 0x16;
    /// iPXE boots raw x86 images.
    pub const BZIMAGE: u8 = 0x18;
    /// iPXE boots Multiboot images.
    pub const MULTIBOOT: u8 = 0x19;
    /// iPXE runs under EFI.
    pub const EFI: u8 = 0x24;
    /// 1: do not wait two seconds for a ProxyDHCP offer. A server sends it.
    pub const NO_PROXY_DHCP: u8 = 0xb0;
    /// The network card's bus and device identifiers.
    pub const BUS_ID: u8 = 0xb1;
    /// iPXE's version: major, minor, patch.
    pub const VERSION: u8 = 0xeb;

    /// The option as sent.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.0
    }

    /// All sub-options.
    #[must_use]
    pub fn sub_options(self) -> SubOptions<'a> {
        SubOptions::vendor(self.0)
    }

    /// The value of a sub-option.
    #[must_use]
    pub fn value(self, code: u8) -> Option<&'a [u8]> {
        self.sub_options().first(code)
    }

    /// Whether the build has a feature: its sub-option is there and not zero.
    #[must_use]
    pub fn has(self, code: u8) -> bool {
        self.value(code).is_some_and(|value| value.iter().any(|&byte| byte != 0))
    }
}
