//! The table of firmware that lies about itself: what options 60, 77, 93, 97 and 175 say, set right once.
//!
//! [`identify`] first believes the request, then lets each [`Quirk`] that holds correct it. Every row names who does so
//! and where it was seen. An operator overrides the outcome with a rule that matches on `mac`, `vendor` or `user-class`,
//! which are kept as sent. Nothing here decides what a machine boots.

use super::client::{Arch, IpxeFeatures, Loader, Wants};
use crate::wire::dhcp::{self, Message, MessageType, code};
use crate::wire::ethernet::MacAddr;
use crate::wire::pxe::{ClassId, ClassKind};

/// What a request says of its sender, uncorrected
#[derive(Clone, Copy, Debug)]
pub struct Stated<'a> {
    /// The Ethernet address; zero where the hardware type is another
    pub mac: MacAddr,
    /// The architecture of option 93, else of option 60
    pub arch: Option<Arch>,
    /// Option 60's protocol
    pub class: Option<ClassKind>,
    /// Option 60 as sent
    pub vendor_class: &'a [u8],
    /// Option 77 names the class "iPXE"
    pub says_ipxe: bool,
    /// Option 175
    pub features: Option<dhcp::IpxeFeatures<'a>>,
    /// Option 97 as sent, its type byte first; empty where absent
    pub uuid: &'a [u8],
    /// BOOTP: no option 53
    pub is_bootp: bool,
    /// It has the shape of GRUB's own DHCP: nothing that tells anything
    pub is_bare: bool,
}

/// Who a client is
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its architecture
    pub arch: Option<Arch>,
    /// Which program asks
    pub loader: Loader,
    /// What it asks to boot by
    pub wants: Wants,
}

/// A way in which some firmware misstates itself
pub struct Quirk {
    /// Who does what
    pub name: &'static str,
    /// Where it was seen
    pub source: &'static str,
    holds: fn(&Stated<'_>, &Identity) -> bool,
    correct: fn(&mut Identity),
}

/// The table. Rows are tried in this order; each sees what the rows before it corrected.
pub const QUIRKS: &[Quirk] = &[
    Quirk {
        name: "x64 UEFI that states 9 (EFI byte code)",
        source: "RFC 4578 as first printed swapped 7 and 9, an erratum swaps them back; iPXE commit af9afd0, \
                 dnsmasq 2.76, a Proxmox UEFI machine (WillChamness/Dnsmasq-PXE#3)",
        holds: |_, client| client.arch == Some(Arch::EBC),
        correct: |client| client.arch = Some(Arch::X64_UEFI),
    },
    Quirk {
        name: "x64 UEFI HTTP boot that states 17 (EFI byte code HTTP)",
        source: "the same swap, one protocol on: EDK2 builds for x64 never are byte code",
        holds: |_, client| client.arch == Some(EBC_HTTP),
        correct: |client| client.arch = Some(Arch::X64_UEFI_HTTP),
    },
    Quirk {
        name: "iPXE that states no architecture",
        source: "iPXE for s390x sends 0xffff, \"not assigned\" (its dhcparch.h)",
        holds: |_, client| client.arch == Some(NOT_ASSIGNED),
        correct: |client| client.arch = None,
    },
    Quirk {
        name: "FlexBoot, an iPXE without its user class",
        source: "warewulf/warewulf3#104: Mellanox FlexBoot sends option 175 and no option 77",
        holds: |stated, client| {
            client.loader == Loader::Rom && stated.features.is_some_and(|features| is_loader(&features))
        },
        correct: |client| client.loader = Loader::Ipxe(IpxeFeatures::default()),
    },
    Quirk {
        name: "VirtualBox's iPXE, which boots no kernel",
        source: "warewulf/warewulf3 PR#195, cobbler/cobbler#360: user class \"iPXE\", yet no bzImage among the features of \
                 option 175; it needs a whole iPXE first, as a ROM does",
        holds: |stated, client| {
            matches!(client.loader, Loader::Ipxe(_))
                && stated
                    .features
                    .is_some_and(|sent| !boots_kernels(&sent) && !sent.has(dhcp::IpxeFeatures::HTTP))
        },
        correct: |client| client.loader = Loader::Rom,
    },
    Quirk {
        name: "iPXE whose option 60 was set to something else",
        source: "iPXE's setting \"vendor-class\" may be overridden; the loader takes a boot file as ever",
        holds: |_, client| matches!(client.loader, Loader::Ipxe(_)) && client.wants == Wants::Nothing,
        correct: |client| client.wants = Wants::Pxe,
    },
    Quirk {
        name: "Raspberry Pi's boot loader, which states x86 BIOS",
        source: "raspberrypi/rpi-eeprom#182: option 93 is 0; its REQUEST lacks option 60 (rpi-eeprom#82). Told by its MAC \
                 address, or by option 97 that begins with \"RPi4\" or \"RPi5\"",
        holds: |stated, client| {
            let is_first_stage = matches!(client.loader, Loader::Rom | Loader::System | Loader::Grub);
            let by_address =
                is_raspberry_pi(stated.mac) && matches!(client.arch, Some(Arch::X86_BIOS | Arch::RPI));
            is_first_stage && (by_address || stated.uuid.get(1..4) == Some(b"RPi"))
        },
        correct: |client| {
            *client = Identity { arch: Some(Arch::RPI), loader: Loader::RaspberryPi, wants: Wants::Pxe }
        },
    },
];

/// EFI byte code, HTTP boot (IANA)
const EBC_HTTP: Arch = Arch(17);
/// "Not assigned"
const NOT_ASSIGNED: Arch = Arch(0xffff);
/// U-Boot's architectures: ARM, ARM64 and their HTTP forms (IANA)
const UBOOT: std::ops::RangeInclusive<Arch> = Arch(21)..=Arch(24);

/// Address blocks of Raspberry Pi Ltd and the Raspberry Pi Foundation (IEEE)
const RASPBERRY_PI: [[u8; 3]; 7] = [
    [0x28, 0xcd, 0xc1],
    [0x2c, 0xcf, 0x67],
    [0x88, 0xa2, 0x9e],
    [0xb8, 0x27, 0xeb],
    [0xd8, 0x3a, 0xdd],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
];

fn is_raspberry_pi(mac: MacAddr) -> bool {
    mac.0.first_chunk().is_some_and(|oui| RASPBERRY_PI.contains(oui))
}

/// Whether option 175 lists anything that a loader can do: its features are numbered from 0x10 up (iPXE's
/// `ipxe/features.h`). A ROM that only names its bus or a priority does not run scripts.
fn is_loader(features: &dhcp::IpxeFeatures<'_>) -> bool {
    (0x10..0x40).any(|feature| features.has(feature))
}

/// Linux boots from iPXE as a bzImage under BIOS, and as an image with an EFI stub under EFI
fn boots_kernels(features: &dhcp::IpxeFeatures<'_>) -> bool {
    features.has(dhcp::IpxeFeatures::BZIMAGE) || features.has(dhcp::IpxeFeatures::EFI)
}

/// Who sent this: what it says, set right by [`QUIRKS`]
pub fn identify(stated: &Stated<'_>) -> Identity {
    let mut client = believe(stated);
    for quirk in QUIRKS {
        if (quirk.holds)(stated, &client) {
            (quirk.correct)(&mut client);
        }
    }
    if let Loader::Ipxe(features) = &mut client.loader {
        *features = ipxe_features(stated.features);
    }
    client
}

fn believe(stated: &Stated<'_>) -> Identity {
    let wants = match stated.class {
        Some(ClassKind::Pxe) => Wants::Pxe,
        Some(ClassKind::Http) => Wants::Http,
        None => Wants::Nothing,
    };
    let loader = if stated.says_ipxe {
        Loader::Ipxe(IpxeFeatures::default())
    } else if stated.class.is_some() {
        Loader::Rom
    } else if stated.vendor_class.starts_with(b"U-Boot")
        || stated.arch.is_some_and(|arch| UBOOT.contains(&arch))
    {
        Loader::UBoot
    } else if stated.vendor_class.starts_with(b"onie_vendor:") {
        Loader::Onie
    } else if stated.is_bare {
        Loader::Grub
    } else if stated.is_bootp {
        // Nothing but a ROM (or a switch, which boots likewise) still speaks it.
        Loader::Rom
    } else {
        Loader::System
    };
    Identity { arch: stated.arch, loader, wants }
}

/// What an iPXE can do. One that sends no option 175 (its settings are the user's) is taken for a whole one: to take it
/// for less would hand it iPXE once more, for ever.
fn ipxe_features(sent: Option<dhcp::IpxeFeatures<'_>>) -> IpxeFeatures {
    IpxeFeatures {
        http: sent.is_none_or(|sent| sent.has(dhcp::IpxeFeatures::HTTP)),
        bzimage: sent.is_none_or(|sent| boots_kernels(&sent)),
        script: true,
    }
}

impl<'a> Stated<'a> {
    /// Reads the options by which a client tells what it is
    pub fn of(message: &Message<'a>) -> Self {
        let vendor_class = message.vendor_class().unwrap_or_default();
        let class = ClassId::parse(vendor_class);
        let arch = stated_arch(message, class.map(|class| class.kind));
        Self {
            mac: message.mac().unwrap_or(MacAddr::ZERO),
            arch: arch.or(class.and_then(|class| class.arch)).map(Arch),
            class: class.map(|class| class.kind),
            vendor_class,
            says_ipxe: message.user_class().is_some_and(|class| class.contains(b"iPXE")),
            features: message.ipxe_features(),
            uuid: message.uuid_option().unwrap_or_default(),
            is_bootp: message.is_bootp(),
            is_bare: is_bare(message),
        }
    }
}

/// Option 93 is a list (RFC 4578 §2.1). Of several, an HTTP boot client is asking by the HTTP one.
fn stated_arch(message: &Message<'_>, class: Option<ClassKind>) -> Option<u16> {
    let is_http = |arch: &u16| matches!(arch, 15..=20 | 23 | 24 | 26 | 28 | 30 | 38 | 40);
    let mut all = message.architectures();
    let first = all.clone().next();
    match class {
        Some(ClassKind::Http) => all.find(is_http).or(first),
        _ => first,
    }
}

/// GRUB's own DHCP (net/bootp.c): a DISCOVER of option 53 alone, then a REQUEST with 50, 54 and this list. A relay adds
/// option 82 to either.
fn is_bare(message: &Message<'_>) -> bool {
    const GRUB_ASKS: [u8; 7] = [1, 3, 6, 15, 12, 17, 18];
    let all = |is_its_own: fn(u8) -> bool| message.options().all(|(code, _)| is_its_own(code));
    match message.message_type() {
        Some(MessageType::Discover) => all(|code| matches!(code, code::MESSAGE_TYPE | code::RELAY_AGENT)),
        Some(MessageType::Request) => {
            use code::{MESSAGE_TYPE, PARAMETER_LIST, RELAY_AGENT, REQUESTED_ADDRESS, SERVER_ID};
            message.parameter_list() == GRUB_ASKS
                && all(|code| {
                    matches!(
                        code,
                        MESSAGE_TYPE | SERVER_ID | REQUESTED_ADDRESS | PARAMETER_LIST | RELAY_AGENT
                    )
                })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROM: Stated<'static> = Stated {
        mac: MacAddr([0x52, 0x54, 0, 0, 0, 1]),
        arch: Some(Arch::X86_BIOS),
        class: Some(ClassKind::Pxe),
        vendor_class: b"PXEClient:Arch:00000:UNDI:002001",
        says_ipxe: false,
        features: None,
        uuid: b"",
        is_bootp: false,
        is_bare: false,
    };

    /// A REQUEST with this option 175
    fn features_of(value: &[u8], test: impl FnOnce(dhcp::IpxeFeatures<'_>)) {
        let mut bytes = [0; 300];
        let mut writer =
            dhcp::Writer::new(&mut bytes, &dhcp::Header { op: 1, ..Default::default() }).unwrap();
        writer.option(code::IPXE, value).unwrap();
        let len = writer.finish();
        test(Message::parse(&bytes[..len]).unwrap().ipxe_features().unwrap());
    }

    #[test]
    fn an_honest_rom_is_believed() {
        let expected = Identity { arch: Some(Arch::X86_BIOS), loader: Loader::Rom, wants: Wants::Pxe };
        assert_eq!(identify(&ROM), expected);
        let http = Stated { class: Some(ClassKind::Http), arch: Some(Arch::X64_UEFI_HTTP), ..ROM };
        assert_eq!(identify(&http).wants, Wants::Http);
    }

    #[test]
    fn nine_is_x64() {
        assert_eq!(identify(&Stated { arch: Some(Arch(9)), ..ROM }).arch, Some(Arch::X64_UEFI));
        assert_eq!(identify(&Stated { arch: Some(Arch(17)), ..ROM }).arch, Some(Arch::X64_UEFI_HTTP));
        assert_eq!(identify(&Stated { arch: Some(Arch(0xffff)), says_ipxe: true, ..ROM }).arch, None);
    }

    #[test]
    fn a_raspberry_pi_is_no_pc() {
        let pi = Identity { arch: Some(Arch::RPI), loader: Loader::RaspberryPi, wants: Wants::Pxe };
        assert_eq!(identify(&Stated { mac: MacAddr([0xb8, 0x27, 0xeb, 1, 2, 3]), ..ROM }), pi);
        assert_eq!(identify(&Stated { uuid: b"\0RPi4\0\0\0\0\0\0\0\0\0\0\0\0", ..ROM }), pi);
        // Its REQUEST, without option 60.
        let request =
            Stated { uuid: b"\0RPi5\0\0\0\0\0\0\0\0\0\0\0\0", class: None, vendor_class: b"", ..ROM };
        assert_eq!(identify(&request), pi);
    }

    #[test]
    fn what_a_raspberry_pi_loads_later_is_believed() {
        let pi = Stated { mac: MacAddr([0xdc, 0xa6, 0x32, 1, 2, 3]), ..ROM };
        let uefi = identify(&Stated { arch: Some(Arch::ARM64_UEFI), ..pi });
        assert_eq!((uefi.arch, uefi.loader), (Some(Arch::ARM64_UEFI), Loader::Rom));
        let uboot = Stated { arch: Some(Arch(22)), class: None, vendor_class: b"U-Boot.armv8", ..pi };
        assert_eq!(identify(&uboot).loader, Loader::UBoot);
        let linux = identify(&Stated { arch: None, class: None, vendor_class: b"", ..pi });
        assert_eq!((linux.loader, linux.wants), (Loader::System, Wants::Nothing));
    }

    #[test]
    fn flexboot_is_ipxe_by_its_features() {
        features_of(&[0xb1, 1, 1, 0x18, 1, 1, 0x13, 1, 1], |features| {
            let expected = IpxeFeatures { http: true, bzimage: true, script: true };
            assert_eq!(identify(&Stated { features: Some(features), ..ROM }).loader, Loader::Ipxe(expected));
        });
        features_of(&[0xb1, 5, 1, 2, 3, 4, 5], |features| {
            assert_eq!(identify(&Stated { features: Some(features), ..ROM }).loader, Loader::Rom);
        });
    }

    #[test]
    fn virtualbox_is_given_a_whole_ipxe() {
        features_of(&[0x21, 1, 1, 0x10, 1, 2], |features| {
            let stated = Stated { says_ipxe: true, features: Some(features), ..ROM };
            assert_eq!(identify(&stated).loader, Loader::Rom);
        });
        // An EFI build names no bzImage, and boots kernels all the same.
        features_of(&[0x24, 1, 1, 0x13, 1, 1], |features| {
            let stated = Stated { says_ipxe: true, features: Some(features), ..ROM };
            assert!(matches!(identify(&stated).loader, Loader::Ipxe(IpxeFeatures { bzimage: true, .. })));
        });
    }

    #[test]
    fn ipxe_without_features_or_class_is_a_whole_ipxe() {
        let stated = Stated { says_ipxe: true, class: None, vendor_class: b"mine", ..ROM };
        let expected = IpxeFeatures { http: true, bzimage: true, script: true };
        let identity = identify(&stated);
        assert_eq!((identity.loader, identity.wants), (Loader::Ipxe(expected), Wants::Pxe));
    }

    #[test]
    fn plain_clients_are_told_by_their_class() {
        let plain = Stated { class: None, arch: None, vendor_class: b"", ..ROM };
        assert_eq!(identify(&plain).loader, Loader::System);
        assert_eq!(identify(&Stated { is_bare: true, ..plain }).loader, Loader::Grub);
        assert_eq!(identify(&Stated { vendor_class: b"onie_vendor:x86_64", ..plain }).loader, Loader::Onie);
        assert_eq!(identify(&Stated { arch: Some(Arch(21)), ..plain }).loader, Loader::UBoot);
    }

    #[test]
    fn every_row_says_where_it_was_seen() {
        assert!(QUIRKS.iter().all(|quirk| !quirk.name.is_empty() && !quirk.source.is_empty()));
    }
}
