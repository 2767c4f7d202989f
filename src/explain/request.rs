//! The request that a stage of a boot would send, as bytes: so that `explain` is told apart by what tells real clients apart.

use std::net::Ipv4Addr;

use crate::boot::client::{Arch, Uuid};
use crate::wire::Full;
use crate::wire::dhcp::{BOOTREQUEST, Header, IpxeFeatures, MessageType, Writer, code};
use crate::wire::ethernet::MacAddr;

/// A program that asks in the course of a boot
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The ROM, U-Boot or UEFI of an architecture
    Firmware(Arch),
    /// iPXE, loaded by that architecture's firmware
    Ipxe(Arch),
    /// GRUB by its own DHCP
    Grub,
    /// Raspberry Pi's boot loader
    RaspberryPi,
    /// ONIE
    Onie,
    /// An operating system
    System,
}

/// The machine that boots
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine<'a> {
    /// Its MAC address
    pub mac: MacAddr,
    /// Its UUID
    pub uuid: Option<Uuid>,
    /// The relay that sends its requests on
    pub relay: Option<Ipv4Addr>,
    /// The circuit that its relay names
    pub circuit: Option<&'a [u8]>,
    /// The remote id that its relay names
    pub remote: Option<&'a [u8]>,
    /// Its vendor class, in place of its stage's usual one
    pub vendor: Option<&'a str>,
    /// Its user class, in place of its stage's usual one
    pub user_class: Option<&'a str>,
}

/// Writes the stage's DISCOVER; returns its length
///
/// # Errors
/// [`Full`] where the classes or the ids of a relay that an operator asks about are too long.
pub fn emit(stage: Stage, machine: &Machine<'_>, out: &mut [u8]) -> Result<usize, Full> {
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&machine.mac.0);
    let giaddr = machine.relay.map_or([0; 4], |relay| relay.octets());
    let header = Header { op: BOOTREQUEST, htype: 1, hlen: 6, chaddr, giaddr, ..Header::default() };
    let mut writer = Writer::new(out, &header)?;
    writer.option_u8(code::MESSAGE_TYPE, MessageType::Discover as u8)?;
    if stage != Stage::Grub {
        writer.option(code::PARAMETER_LIST, &[1, 3, 6, 43, 60, 66, 67])?;
    }
    if let Stage::Firmware(arch) | Stage::Ipxe(arch) = stage {
        writer.option_u16(code::ARCHITECTURE, arch.0)?;
    }
    if stage == Stage::RaspberryPi {
        writer.option_u16(code::ARCHITECTURE, Arch::X86_BIOS.0)?;
    }
    let class = machine.vendor.map(str::to_owned).or_else(|| vendor_class(stage));
    if let Some(class) = class {
        writer.option(code::VENDOR_CLASS, class.as_bytes())?;
    }
    let user_class = machine.user_class.or(matches!(stage, Stage::Ipxe(_)).then_some("iPXE"));
    if let Some(class) = user_class {
        writer.option(code::USER_CLASS, class.as_bytes())?;
    }
    if let Stage::Ipxe(_) = stage {
        let features = [IpxeFeatures::HTTP, IpxeFeatures::BZIMAGE, IpxeFeatures::EFI];
        writer.option(code::IPXE, &features.map(|feature| [feature, 1, 1]).concat())?;
    }
    // Raspberry Pi's own UUIDs begin with its name (its boot EEPROM's documentation).
    let uuid =
        machine.uuid.or((stage == Stage::RaspberryPi).then_some(Uuid(*b"RPi4\0\0\0\0\0\0\0\0\0\0\0\0")));
    if let Some(uuid) = uuid.filter(|_| stage != Stage::Grub) {
        writer.option(code::PXE_UUID, &[&[0], &uuid.0[..]].concat())?;
    }
    let mut agent = Vec::new();
    for (code, id) in [(1, machine.circuit), (2, machine.remote)] {
        if let Some(id) = id {
            agent.extend([code, u8::try_from(id.len()).map_err(|_| Full)?]);
            agent.extend_from_slice(id);
        }
    }
    if !agent.is_empty() {
        writer.option(code::RELAY_AGENT, &agent)?;
    }
    Ok(writer.finish())
}

/// Option 60 as that stage's programs send it
fn vendor_class(stage: Stage) -> Option<String> {
    match stage {
        Stage::Firmware(Arch(21..=24)) => Some("U-Boot".to_owned()),
        Stage::Firmware(arch) | Stage::Ipxe(arch) => {
            let protocol = if arch.is_http() && matches!(stage, Stage::Firmware(_)) {
                "HTTPClient"
            } else {
                "PXEClient"
            };
            let undi = if arch == Arch::X86_BIOS { "002001" } else { "003000" };
            Some(format!("{protocol}:Arch:{:05}:UNDI:{undi}", arch.0))
        }
        Stage::RaspberryPi => Some("PXEClient:Arch:00000:UNDI:002001".to_owned()),
        Stage::Onie => Some("onie_vendor:x86_64-unknown".to_owned()),
        Stage::Grub | Stage::System => None,
    }
}
