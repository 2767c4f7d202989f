//! Who asks: everything that decides an answer, derived once from a request.
//!
//! A [`Client`] borrows from the request's bytes; nothing is copied and nothing is allocated. What firmware says of
//! itself is corrected here by the table of [`super::firmware`], so that no one downstream looks at options 60, 77,
//! 93, 97 or 175 again.

use std::fmt;
use std::net::Ipv4Addr;

use super::firmware::{Stated, identify};
use crate::wire::dhcp::{Message, MessageType};
use crate::wire::ethernet::MacAddr;

/// A processor and firmware architecture: the IANA "Processor Architecture Types" number of option 93 (RFC 4578, RFC 5970)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arch(pub u16);

impl Arch {
    /// x86 BIOS
    pub const X86_BIOS: Self = Self(0);
    /// x86 UEFI, 32 bits
    pub const IA32_UEFI: Self = Self(6);
    /// x64 UEFI (and, from firmware that read the first print of RFC 4578, number 9)
    pub const X64_UEFI: Self = Self(7);
    /// EFI byte code; firmware that sends it is x64 UEFI in practice
    pub const EBC: Self = Self(9);
    /// ARM UEFI, 32 bits
    pub const ARM32_UEFI: Self = Self(10);
    /// ARM UEFI, 64 bits
    pub const ARM64_UEFI: Self = Self(11);
    /// x86 UEFI HTTP boot, 32 bits
    pub const IA32_UEFI_HTTP: Self = Self(15);
    /// x64 UEFI HTTP boot
    pub const X64_UEFI_HTTP: Self = Self(16);
    /// ARM UEFI HTTP boot, 32 bits
    pub const ARM32_UEFI_HTTP: Self = Self(18);
    /// ARM UEFI HTTP boot, 64 bits
    pub const ARM64_UEFI_HTTP: Self = Self(19);
    /// U-Boot on ARM, 64 bits
    pub const ARM64_UBOOT: Self = Self(22);
    /// RISC-V UEFI, 64 bits
    pub const RISCV64_UEFI: Self = Self(27);
    /// RISC-V UEFI HTTP boot, 64 bits
    pub const RISCV64_UEFI_HTTP: Self = Self(28);
    /// Raspberry Pi's own boot loader (rpiboot)
    pub const RPI: Self = Self(41);
}

/// What a client's DHCP asks to boot by, from option 60
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wants {
    /// "PXEClient": a boot file by TFTP, or a URL for a loader that takes one
    Pxe,
    /// "HTTPClient": a URL (UEFI HTTP boot)
    Http,
    /// No option 60 of a network-boot client: U-Boot, GRUB, BOOTP or an operating system
    Nothing,
}

/// Which program asks: the stage of a boot
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loader {
    /// A PXE ROM or UEFI itself
    Rom,
    /// iPXE (user class "iPXE", or option 175), with what its features can do
    Ipxe(IpxeFeatures),
    /// GRUB's own DHCP: no options 55, 60 or 93
    Grub,
    /// U-Boot's DHCP
    UBoot,
    /// Raspberry Pi's boot loader
    RaspberryPi,
    /// ONIE's busybox
    Onie,
    /// An operating system
    System,
}

/// What an iPXE says that it can do (option 175's encapsulated features)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct IpxeFeatures {
    /// Fetches by HTTP
    pub http: bool,
    /// Boots a bzImage (VirtualBox's build cannot)
    pub bzimage: bool,
    /// Runs iPXE scripts, which every iPXE does; a FlexBoot ROM that only names features has it too
    pub script: bool,
}

/// An SMBIOS UUID as sent in option 97, in byte order of the wire (RFC 4578 §2.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

/// Lower case 8-4-4-4-12 in byte order as sent, as pxelinux and GRUB write it
impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// Everything about a request that decides its answer
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The interface (an index into the plan's networks) that the request came in by
    pub network: usize,
    /// `chaddr` of an Ethernet client; zero where the hardware type is another
    pub mac: MacAddr,
    /// Option 97
    pub uuid: Option<Uuid>,
    /// Architecture after correction; `None` where nothing states one
    pub arch: Option<Arch>,
    /// Architecture as stated, where the correction changed it
    pub stated_arch: Option<Arch>,
    /// Which program asks
    pub loader: Loader,
    /// What it asks to boot by
    pub wants: Wants,
    /// Option 60 as sent
    pub vendor_class: &'a [u8],
    /// Option 77 as sent: raw, or the first RFC 3004 instance
    pub user_class: &'a [u8],
    /// The address that tells its subnet: option 82 link selection, option 118, `giaddr`, a renewing `ciaddr`; `None` on the link itself
    pub link: Option<Ipv4Addr>,
    /// `giaddr`: the relay that sent it on; `None` on the link itself
    pub relay: Option<Ipv4Addr>,
    /// Option 82 sub-option 1
    pub circuit_id: &'a [u8],
    /// Option 82 sub-option 2
    pub remote_id: &'a [u8],
    /// The address it holds or asks for, for `{ip}` and rules by subnet
    pub ip: Option<Ipv4Addr>,
}

impl<'a> Client<'a> {
    /// Derives who sent `message`, which came in by `network`
    pub fn from_request(message: &Message<'a>, network: usize) -> Self {
        let stated = Stated::of(message);
        let identity = identify(&stated);
        let relay_agent = message.relay_agent();
        let relay = specified(message.header().giaddr());
        let ciaddr = held_address(message);
        Self {
            network,
            mac: stated.mac,
            uuid: message.uuid().filter(is_unique).map(Uuid),
            arch: identity.arch,
            stated_arch: stated.arch.filter(|&arch| identity.arch != Some(arch)),
            loader: identity.loader,
            wants: identity.wants,
            vendor_class: stated.vendor_class,
            user_class: message.user_class().and_then(|class| class.classes().next()).unwrap_or_default(),
            // RFC 3527 §3: where both are there, the relay's link selection goes before the client's option 118.
            link: (relay_agent.and_then(|agent| agent.link_selection()).and_then(specified))
                .or_else(|| message.subnet_selection().and_then(specified))
                .or(relay)
                .or(ciaddr),
            relay,
            circuit_id: relay_agent.and_then(|agent| agent.circuit_id()).unwrap_or_default(),
            remote_id: relay_agent.and_then(|agent| agent.remote_id()).unwrap_or_default(),
            ip: ciaddr.or_else(|| message.requested_ip().and_then(specified)),
        }
    }
}

/// `ciaddr`, except in a DISCOVER: a client that looks for servers holds no address, yet some fill the field all the
/// same (dnsmasq's rfc2131.c clears it too)
fn held_address(message: &Message<'_>) -> Option<Ipv4Addr> {
    match message.message_type() {
        Some(MessageType::Discover) => None,
        _ => specified(message.header().ciaddr()),
    }
}

fn specified(address: Ipv4Addr) -> Option<Ipv4Addr> {
    Some(address).filter(|address| !address.is_unspecified())
}

/// EDK2 sends zeros where SMBIOS holds no UUID, and boards without one often hold ones: that names no machine
fn is_unique(uuid: &[u8; 16]) -> bool {
    *uuid != [0; 16] && *uuid != [0xff; 16]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::dhcp::{Header, Writer, code};

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0xaa, 0, 1];

    /// What is derived from a message with this header and these options
    fn client_of(header: Header, options: &[(u8, &[u8])], test: impl FnOnce(Client<'_>)) {
        let mut chaddr = [0; 16];
        chaddr[..6].copy_from_slice(&MAC);
        let header = Header { op: 1, htype: 1, hlen: 6, chaddr, ..header };
        let mut bytes = [0; 600];
        let mut writer = Writer::new(&mut bytes, &header).unwrap();
        for (code, value) in options {
            writer.option(*code, value).unwrap();
        }
        let len = writer.finish();
        test(Client::from_request(&Message::parse(&bytes[..len]).unwrap(), 3));
    }

    #[test]
    fn a_uefi_rom() {
        let options: &[(u8, &[u8])] = &[
            (code::MESSAGE_TYPE, &[1]),
            (code::ARCHITECTURE, &[0, 7]),
            (code::VENDOR_CLASS, b"PXEClient:Arch:00007:UNDI:003000"),
            (code::PXE_UUID, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]),
        ];
        client_of(Header::default(), options, |client| {
            assert_eq!((client.network, client.mac), (3, MacAddr(MAC)));
            assert_eq!((client.arch, client.stated_arch), (Some(Arch::X64_UEFI), None));
            assert_eq!((client.loader, client.wants), (Loader::Rom, Wants::Pxe));
            assert_eq!(client.uuid.unwrap().to_string(), "01020304-0506-0708-090a-0b0c0d0e0f10");
            assert_eq!((client.link, client.relay, client.ip), (None, None, None));
        });
    }

    #[test]
    fn the_architecture_may_be_in_the_vendor_class_alone_or_in_a_list() {
        let class: (u8, &[u8]) = (code::VENDOR_CLASS, b"PXEClient:Arch:00011:UNDI:003000");
        client_of(Header::default(), &[class], |client| assert_eq!(client.arch, Some(Arch::ARM64_UEFI)));
        let http: (u8, &[u8]) = (code::VENDOR_CLASS, b"HTTPClient:Arch:00016:UNDI:003000");
        client_of(Header::default(), &[(code::ARCHITECTURE, &[0, 7, 0, 16]), http], |client| {
            assert_eq!((client.arch, client.wants), (Some(Arch::X64_UEFI_HTTP), Wants::Http));
        });
    }

    #[test]
    fn a_corrected_architecture_keeps_what_was_stated() {
        client_of(Header::default(), &[(code::ARCHITECTURE, &[0, 9])], |client| {
            assert_eq!((client.arch, client.stated_arch), (Some(Arch::X64_UEFI), Some(Arch::EBC)));
        });
    }

    #[test]
    fn a_uuid_of_zeros_or_of_the_wrong_length_is_none() {
        client_of(Header::default(), &[(code::PXE_UUID, &[0; 17])], |client| assert_eq!(client.uuid, None));
        client_of(Header::default(), &[(code::PXE_UUID, &[0, 1, 2])], |client| assert_eq!(client.uuid, None));
    }

    #[test]
    fn the_most_specific_link_wins() {
        let relay = [10, 44, 0, 1];
        let header = Header { giaddr: relay, ..Header::default() };
        client_of(header, &[], |client| {
            assert_eq!((client.relay, client.link), (Some(relay.into()), Some(relay.into())));
        });
        let selected: (u8, &[u8]) = (code::SUBNET_SELECTION, &[10, 45, 0, 0]);
        client_of(header, &[selected], |client| assert_eq!(client.link, Some([10, 45, 0, 0].into())));
        let agent: (u8, &[u8]) = (code::RELAY_AGENT, &[1, 2, b'g', b'1', 2, 1, 7, 5, 4, 10, 46, 0, 0]);
        client_of(header, &[selected, agent], |client| {
            assert_eq!(client.link, Some([10, 46, 0, 0].into()));
            assert_eq!((client.circuit_id, client.remote_id), (&b"g1"[..], &[7][..]));
        });
    }

    #[test]
    fn an_address_in_a_discover_is_not_believed() {
        let header = Header { ciaddr: [10, 0, 0, 9], ..Header::default() };
        client_of(header, &[(code::MESSAGE_TYPE, &[1])], |client| {
            assert_eq!((client.ip, client.link), (None, None));
        });
        client_of(header, &[(code::MESSAGE_TYPE, &[3])], |client| {
            assert_eq!((client.ip, client.link), (Some([10, 0, 0, 9].into()), Some([10, 0, 0, 9].into())));
        });
    }

    #[test]
    fn grub_is_told_by_what_it_does_not_send() {
        let relayed: &[(u8, &[u8])] = &[(code::MESSAGE_TYPE, &[1]), (code::RELAY_AGENT, &[1, 1, 7])];
        for options in [&relayed[..1], relayed] {
            client_of(Header::default(), options, |client| assert_eq!(client.loader, Loader::Grub));
        }
        // Without a message type it is BOOTP: a ROM.
        client_of(Header::default(), &[], |client| assert_eq!(client.loader, Loader::Rom));
        let options: &[(u8, &[u8])] = &[
            (code::MESSAGE_TYPE, &[3]),
            (code::SERVER_ID, &[10, 0, 0, 1]),
            (code::REQUESTED_ADDRESS, &[10, 0, 0, 9]),
            (code::PARAMETER_LIST, &[1, 3, 6, 15, 12, 17, 18]),
        ];
        client_of(Header::default(), options, |client| assert_eq!(client.loader, Loader::Grub));
    }

    #[test]
    fn the_user_class_is_read_raw_or_as_a_list() {
        client_of(Header::default(), &[(code::USER_CLASS, b"iPXE")], |client| {
            assert!(matches!(client.loader, Loader::Ipxe(_)));
            assert_eq!(client.user_class, b"iPXE");
        });
        client_of(Header::default(), &[(code::USER_CLASS, b"\x04iPXE")], |client| {
            assert!(matches!(client.loader, Loader::Ipxe(_)));
            assert_eq!(client.user_class, b"iPXE");
        });
    }
}
