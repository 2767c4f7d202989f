//! DHCP messages as the simulated machines write and read them, on smoltcp's codec, and what the strictest of them refuses.
//!
//! What smoltcp's codec does not know, the PXE options 43 and 97 and EDK2's walk to END, is written out here for the clients alone.

use std::net::Ipv4Addr;

use smoltcp::wire::{DhcpFlags, DhcpMessageType, DhcpOpCode, DhcpOption, DhcpPacket, EthernetAddress};

use crate::wire::ethernet::MacAddr;

pub(crate) const DISCOVER: u8 = 1;
pub(crate) const OFFER: u8 = 2;
pub(crate) const REQUEST: u8 = 3;
pub(crate) const ACK: u8 = 5;
pub(crate) const NAK: u8 = 6;

/// Options in the order in which a firmware writes them
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options(pub Vec<(u8, Vec<u8>)>);

impl Options {
    pub(crate) fn add(&mut self, code: u8, value: impl AsRef<[u8]>) -> &mut Self {
        self.0.push((code, value.as_ref().to_vec()));
        self
    }
}

/// A message that a client sends, or another server does
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub is_reply: bool,
    pub xid: u32,
    pub secs: u16,
    pub broadcast: bool,
    pub mac: MacAddr,
    pub ciaddr: Option<Ipv4Addr>,
    pub yiaddr: Option<Ipv4Addr>,
    pub siaddr: Option<Ipv4Addr>,
    pub options: Options,
    /// The payload is filled up to this length
    pub padded_to: usize,
}

impl Message {
    pub(crate) fn emit(&self) -> Vec<u8> {
        let options: usize = self.options.0.iter().map(|(_, value)| 2 + value.len()).sum();
        let mut bytes = vec![0; (240 + options + 1).max(self.padded_to)];
        let mut packet = DhcpPacket::new_unchecked(&mut bytes[..]);
        let any = Ipv4Addr::UNSPECIFIED;
        packet.set_sname_and_boot_file_to_zero();
        packet.set_opcode(if self.is_reply { DhcpOpCode::Reply } else { DhcpOpCode::Request });
        packet.set_hardware_type(smoltcp::wire::ArpHardware::Ethernet);
        packet.set_hardware_len(6);
        packet.set_transaction_id(self.xid);
        packet.set_secs(self.secs);
        packet.set_flags(if self.broadcast { DhcpFlags::BROADCAST } else { DhcpFlags::empty() });
        packet.set_client_hardware_address(EthernetAddress(self.mac.0));
        packet.set_client_ip(self.ciaddr.unwrap_or(any));
        packet.set_your_ip(self.yiaddr.unwrap_or(any));
        packet.set_server_ip(self.siaddr.unwrap_or(any));
        packet.set_magic_number(0x6382_5363);
        let mut writer = packet.options_mut();
        for (kind, data) in &self.options.0 {
            writer.emit(DhcpOption { kind: *kind, data }).expect("the buffer was made for them");
        }
        writer.end().expect("the buffer was made for it");
        bytes
    }
}

/// A server's answer that its client accepts, and what clients take from one
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub kind: u8,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    /// Option 54
    pub server: Ipv4Addr,
    pub netmask: Option<Ipv4Addr>,
    pub router: Option<Ipv4Addr>,
    /// `file`, else option 67
    pub file: String,
    pub is_pxe: bool,
    pub is_http: bool,
    pub vendor: Option<Vec<u8>>,
    /// iPXE's 175.176: nobody else will offer boot options
    pub no_proxy: bool,
}

impl Reply {
    pub(crate) fn has_address(&self) -> bool {
        !self.yiaddr.is_unspecified()
    }

    /// 43.6 bit 3 with a file to use: no menu, no discovery
    pub(crate) fn uses_file(&self) -> bool {
        let control = self.vendor.as_deref().and_then(|vendor| suboption(vendor, 6));
        !self.file.is_empty() && control.and_then(|value| value.first()).is_some_and(|bits| bits & 8 != 0)
    }

    /// The type of the menu's first item (43.9)
    pub(crate) fn first_item(&self) -> Option<u16> {
        match suboption(self.vendor.as_deref()?, 9)? {
            [high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }
}

/// A part of option 43
fn suboption(vendor: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = vendor;
    loop {
        match rest {
            [255, ..] | [] | [_] => return None,
            [0, tail @ ..] => rest = tail,
            [code, len, tail @ ..] => {
                let value = tail.get(..usize::from(*len))?;
                if *code == wanted {
                    return Some(value);
                }
                rest = &tail[value.len()..];
            }
        }
    }
}

/// Whom a reply is for, as its receivers see it
pub(crate) fn addressee(payload: &[u8]) -> Option<(u32, MacAddr)> {
    let packet = DhcpPacket::new_checked(payload).ok()?;
    (packet.opcode() == DhcpOpCode::Reply)
        .then(|| (packet.transaction_id(), MacAddr(packet.client_hardware_address().0)))
}

/// A request's kind, and its options
pub(crate) fn request(payload: &[u8]) -> Option<(u8, MacAddr, u32, Options)> {
    let packet = DhcpPacket::new_checked(payload).ok()?;
    if packet.opcode() != DhcpOpCode::Request {
        return None;
    }
    let options = Options(packet.options().map(|option| (option.kind, option.data.to_vec())).collect());
    let kind = *options.0.iter().find(|(code, _)| *code == 53)?.1.first()?;
    Some((kind, MacAddr(packet.client_hardware_address().0), packet.transaction_id(), options))
}

/// Reads a reply as the strictest firmware does; `gives_address`: it comes from port 67, not from a boot server. What it says of a refusal is what a field engineer would write down.
pub(crate) fn read(
    payload: &[u8],
    gives_address: bool,
    sent_uuid: Option<&[u8; 16]>,
) -> Result<Reply, &'static str> {
    if payload.len() < 300 {
        return Err("a DHCP reply shorter than 300 bytes");
    }
    if payload.len() > 1472 {
        return Err("a DHCP reply longer than 1472 bytes");
    }
    let packet = DhcpPacket::new_checked(payload).map_err(|_| "a DHCP reply cut short")?;
    if packet.magic_number() != 0x6382_5363 {
        return Err("a DHCP reply without its magic cookie");
    }
    walk(&payload[240..])?;
    let find = |code: u8| packet.options().find(|option| option.kind == code).map(|option| option.data);
    let address = |code: u8| -> Result<Option<Ipv4Addr>, &'static str> {
        let Some(value) = find(code) else { return Ok(None) };
        let four = value
            .first_chunk::<4>()
            .filter(|_| value.len() % 4 == 0)
            .ok_or("an address option of odd length")?;
        Ok(Some(Ipv4Addr::from(*four)))
    };
    let kind = match find(53) {
        Some([kind]) if DhcpMessageType::from(*kind) != DhcpMessageType::Unknown(*kind) => *kind,
        _ => return Err("a DHCP reply without a message type"),
    };
    if find(52).is_some() {
        return Err("an overloaded file field (option 52)");
    }
    let server =
        address(54)?.filter(|server| !server.is_unspecified()).ok_or("no server identifier (option 54)")?;
    // smoltcp takes an empty field for an error.
    let file = if payload[108] == 0 { Ok("") } else { packet.get_boot_file() };
    let file = file.map_err(|_| "a boot file name that is not text")?;
    let named = find(67).unwrap_or_default();
    if !named.is_empty() && named.last() != Some(&0) {
        return Err("option 67 without its NUL: the ROM reads on");
    }
    let named = std::str::from_utf8(named.strip_suffix(&[0]).unwrap_or(named))
        .map_err(|_| "a boot file name that is not text")?;
    if !file.is_empty() && !named.is_empty() && file != named {
        return Err("the file field and option 67 name different boot files");
    }
    let class = find(60).unwrap_or_default();
    let reply = Reply {
        kind,
        yiaddr: packet.your_ip(),
        siaddr: packet.server_ip(),
        server,
        netmask: address(1)?,
        router: address(3)?,
        file: if file.is_empty() { named } else { file }.to_owned(),
        is_pxe: class.starts_with(b"PXEClient"),
        is_http: class.starts_with(b"HTTPClient"),
        vendor: find(43).map(<[u8]>::to_vec),
        no_proxy: find(175).and_then(|value| suboption(value, 176)) == Some(&[1]),
    };
    if kind != NAK {
        if gives_address && reply.has_address() {
            judge_lease(&reply, find(51))?;
        }
        judge(&reply, find(97), sent_uuid)?;
    }
    Ok(reply)
}

fn judge_lease(reply: &Reply, lease: Option<&[u8]>) -> Result<(), &'static str> {
    if reply.netmask.is_none_or(|mask| mask.is_unspecified()) {
        return Err("an address without a netmask: EDK2 gives up");
    }
    if lease.is_none_or(|lease| lease.len() != 4) {
        return Err("an address without a lease time");
    }
    Ok(())
}

fn judge(reply: &Reply, uuid: Option<&[u8]>, sent_uuid: Option<&[u8; 16]>) -> Result<(), &'static str> {
    if !reply.file.is_empty() && reply.siaddr.is_unspecified() {
        return Err("a boot file without siaddr");
    }
    match (uuid, sent_uuid) {
        (Some([0, echoed @ ..]), Some(sent)) if echoed == sent => {}
        (None, _) => {}
        _ => return Err("an option 97 that is not the client's"),
    }
    if reply.is_http && !reply.file.starts_with("http://") {
        return Err("an HTTPClient answer without a URL: the offer is dropped");
    }
    let silent = reply.vendor.as_deref().is_some_and(|vendor| suboption(vendor, 6).is_some());
    if reply.is_pxe && silent && !reply.uses_file() && reply.first_item().is_none() {
        return Err("43.6 without a file to use and without a menu: EDK2 boots the local disk");
    }
    Ok(())
}

/// EDK2's walk over the options: each whole, no PAD before END, END there
fn walk(options: &[u8]) -> Result<(), &'static str> {
    let mut rest = options;
    loop {
        match rest {
            [255, ..] => return Ok(()),
            [] => return Err("options without END: EDK2 drops the packet"),
            [0, tail @ ..] if tail.iter().all(|byte| *byte == 0) => rest = &[],
            [0, ..] => return Err("a PAD between options"),
            [_] => return Err("an option cut short"),
            [_, len, tail @ ..] => rest = tail.get(usize::from(*len)..).ok_or("an option cut short")?,
        }
    }
}
