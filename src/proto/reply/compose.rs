//! Writing a reply, so that every firmware of the field takes it.
//!
//! Never overloads `file` or `sname` (iPXE reads a boot file's name there whatever option 52 says, and GRUB 2.06 takes
//! any overload for one of `file`); never pads between options (a Raspberry Pi EEPROM of January 2020 stops at one).
//! What a client needs comes first; wishes are left out where its size limit is reached.

use std::net::Ipv4Addr;

use super::{Boot, Exchange};
use crate::boot::client::{Arch, Loader, Wants};
use crate::boot::lease::FOREVER;
use crate::boot::plan::{Menu, Mode, Subnet};
use crate::time::Duration;
use crate::wire::Full;
use crate::wire::dhcp::{self, Header, IpxeFeatures, MessageType, PAYLOAD_LEN_MIN, Writer, code};
use crate::wire::pxe::{BootItem, MenuItem, Prompt, VendorWriter, discovery};

/// The bytes of an option of the longest kind
const OPTION_MAX: usize = 255;
/// END
const END_LEN: usize = 1;
/// The `file` field
const FILE_LEN: usize = 128;
/// `255.255.255.255`
const ADDRESS_TEXT_MAX: usize = 15;

/// What one reply says
#[derive(Clone, Copy, Debug)]
pub struct Parts<'p> {
    /// Its type; `None`: BOOTP
    pub message_type: Option<MessageType>,
    /// The address that the client is given, or has; unspecified from a proxy
    pub yiaddr: Ipv4Addr,
    /// `ciaddr`, returned in an ACK (RFC 2131 table 3)
    pub ciaddr: Ipv4Addr,
    /// The client has not chosen an address yet: everybody on the link hears it, as dnsmasq's proxy offers
    pub to_everybody: bool,
    /// How long the address is the client's; `None`: it is not given one
    pub lease: Option<Duration>,
    /// Where the client is: netmask, routers and what else the configuration gives there
    pub subnet: Option<&'p Subnet>,
    /// What it boots
    pub boot: Option<&'p Boot>,
    /// What options 60 and 43 say
    pub class: Class<'p>,
    /// Option 175: no ProxyDHCP server will answer, so that iPXE need not wait two seconds for one
    pub no_proxy: bool,
}

/// Options 60 and 43: how a PXE client finds its boot file
#[derive(Clone, Copy, Debug)]
pub enum Class<'p> {
    /// Neither
    Absent,
    /// Option 60 alone: a URL for an HTTPClient; a PXEClient asks at 4011 (the form that EDK2 calls BINL)
    Bare,
    /// 43.6 bit 3: load the file that this reply names, without menu, prompt or discovery
    UseBootFile,
    /// The menu entry without which a Raspberry Pi boots nothing
    RaspberryPi,
    /// A menu, and the boot servers behind its items
    Menu(&'p Menu),
    /// The item that the client chose
    Item(BootItem),
}

impl Class<'_> {
    /// The class of a reply that names an address as well
    ///
    /// EDK2 ranks a whole offer by its options 60 and 43. UEFI gets neither: it then is a "DHCP only" offer with a boot
    /// file, which all UEFI firmware boots, while many trip over option 43 (pixiecore; dnsmasq since 2.76 leaves it out
    /// too). A BIOS ROM takes an offer without option 60 for plain DHCP and waits 4 to 12 s for a better one, so it is
    /// told to use the boot file at once. The same holds for a take-over, whose offer meets the other server's plain one.
    pub fn of_whole_offer<'p>(exchange: &Exchange<'p>, has_boot: bool) -> Class<'p> {
        match (exchange.answer.menu, exchange.client.wants) {
            (_, _) if is_raspberry_pi(exchange) && has_boot => Class::RaspberryPi,
            (Some(menu), Wants::Pxe) => Class::Menu(menu),
            (_, Wants::Http) if has_boot => Class::Bare,
            (None, Wants::Pxe) if has_boot && is_bios(exchange.client.arch) => Class::UseBootFile,
            _ => Class::Absent,
        }
    }

    /// The class of a proxy's offer or of a boot server's answer without a menu item
    ///
    /// Many UEFI ROMs ignore a proxy's offer with 43.6, and accept one without option 43 whose server answers on 4011
    /// (pixiecore's dhcp.go; dnsmasq since 2.76 does so from architecture 6 up). BIOS needs no 4011 with 43.6.
    pub fn of_proxy_offer<'p>(exchange: &Exchange<'p>) -> Class<'p> {
        match (exchange.answer.menu, exchange.client.wants) {
            (_, _) if is_raspberry_pi(exchange) => Class::RaspberryPi,
            (Some(menu), Wants::Pxe) => Class::Menu(menu),
            (None, Wants::Pxe) if is_bios(exchange.client.arch) => Class::UseBootFile,
            _ => Class::Bare,
        }
    }
}

fn is_raspberry_pi(exchange: &Exchange<'_>) -> bool {
    exchange.client.loader == Loader::RaspberryPi
}

/// Whether option 43 is safe: BIOS and what states no architecture. From IA32 UEFI up it is not.
fn is_bios(arch: Option<Arch>) -> bool {
    arch.is_none_or(Arch::is_bios)
}

/// Writes a reply into `buffer`; returns its length
///
/// # Errors
/// [`Full`] where what the client needs does not fit its limit.
pub fn compose(exchange: &Exchange<'_>, parts: &Parts<'_>, buffer: &mut [u8]) -> Result<usize, Full> {
    let mut writer = Writer::new(buffer, &header(exchange, parts))?;
    let limit = payload_limit(exchange);
    writer.limit(limit);
    if let Some(message_type) = parts.message_type {
        writer.option_u8(code::MESSAGE_TYPE, message_type as u8)?;
        writer.option_ip(code::SERVER_ID, exchange.server_id())?;
    }
    needs(&mut writer, exchange, parts)?;
    wishes(&mut writer, limit - END_LEN, exchange, parts);
    tail(&mut writer, exchange, parts)?;
    Ok(writer.finish())
}

/// Writes a NAK: no address, no parameters (RFC 2131 table 3)
///
/// # Errors
/// [`Full`] where the relay's option 82 does not fit.
pub fn compose_nak(exchange: &Exchange<'_>, why: &str, buffer: &mut [u8]) -> Result<usize, Full> {
    let mut header = Header::reply_to(exchange.message.header());
    if exchange.client.relay.is_some() {
        // RFC 2131 §4.3.2: the relay must broadcast it, since the client's address is wrong.
        header.flags.set(header.flags.get() | dhcp::BROADCAST);
    }
    let mut writer = Writer::new(buffer, &header)?;
    writer.limit(payload_limit(exchange));
    writer.option_u8(code::MESSAGE_TYPE, MessageType::Nak as u8)?;
    writer.option_ip(code::SERVER_ID, exchange.server_id())?;
    writer.option(code::MESSAGE, why.as_bytes())?;
    echo(&mut writer, exchange, code::CLIENT_ID)?;
    echo(&mut writer, exchange, code::RELAY_AGENT)?;
    Ok(writer.finish())
}

/// The fixed part
pub(super) fn header(exchange: &Exchange<'_>, parts: &Parts<'_>) -> Header {
    let request = exchange.message.header();
    let server = parts.boot.map_or(exchange.answer.network.address, |boot| boot.server);
    // U-Boot and shim read `siaddr` alone, so it is filled even where no boot file is offered.
    let mut header = Header {
        ciaddr: parts.ciaddr.octets(),
        yiaddr: parts.yiaddr.octets(),
        siaddr: server.octets(),
        ..Header::reply_to(request)
    };
    if parts.to_everybody {
        header.flags.set(header.flags.get() | dhcp::BROADCAST);
    }
    if is_raspberry_pi(exchange) {
        // Raspberry Pi 3's ROM refuses a relayed reply whose `hops` is not the request's.
        header.hops = request.hops;
    }
    if let Some(boot) = parts.boot {
        set_text(&mut header.file, boot.name());
        set_text(&mut header.sname, address_text(boot.server).as_bytes());
    }
    header
}

/// Fills a text field, if the text and its NUL fit; a longer name stands in option 67 alone
fn set_text(field: &mut [u8], text: &[u8]) {
    if text.len() < field.len() {
        field[..text.len()].copy_from_slice(text);
    }
}

/// What the client takes: its option 57; of BOOTP, as much as it sent (RFC 1542 §2.1)
pub(super) fn payload_limit(exchange: &Exchange<'_>) -> usize {
    if exchange.message.is_bootp() {
        return exchange.datagram.payload.len().clamp(PAYLOAD_LEN_MIN, dhcp::payload_limit(None));
    }
    dhcp::payload_limit(exchange.message.max_size())
}

/// Without these the client does not boot, or has no use for its address
fn needs(writer: &mut Writer<'_>, exchange: &Exchange<'_>, parts: &Parts<'_>) -> Result<(), Full> {
    if let Some(lease) = parts.lease.filter(|_| parts.message_type.is_some()) {
        terms(writer, lease)?;
    }
    if let Some(subnet) = parts.subnet {
        // EDK2 aborts without a netmask; Raspberry Pi 3 asks for neither mask nor router and needs both off its subnet.
        writer.option_ip(code::SUBNET_MASK, subnet.cidr.netmask())?;
        for (code, value) in subnet.options.iter().filter(|(code, _)| *code == code::ROUTER) {
            writer.option(*code, value)?;
        }
    }
    class(writer, exchange, parts.class)?;
    if parts.no_proxy {
        no_proxy(writer, exchange)?;
    }
    if exchange.client.wants != Wants::Nothing {
        // PXE 2.1 requires it of the server; some ROMs send none, and want none.
        echo(writer, exchange, code::PXE_UUID)?;
    }
    if let Some(boot) = parts.boot.filter(|_| parts.message_type.is_some()) {
        writer.option(code::TFTP_SERVER_NAME, address_text(boot.server).as_bytes())?;
    }
    Ok(())
}

/// Options 51, 58 and 59: T1 and T2 as RFC 2131 §4.4.5 suggests
fn terms(writer: &mut Writer<'_>, lease: Duration) -> Result<(), Full> {
    let seconds = lease_seconds(lease);
    writer.option_u32(code::LEASE_TIME, seconds)?;
    if seconds == u32::MAX {
        return Ok(());
    }
    writer.option_u32(code::RENEWAL_TIME, seconds / 2)?;
    writer.option_u32(code::REBINDING_TIME, seconds - seconds / 8)
}

/// Seconds of option 51: all ones is for ever (RFC 2131 §3.3)
pub(super) fn lease_seconds(lease: Duration) -> u32 {
    if lease == FOREVER { u32::MAX } else { u32::try_from(lease.as_secs()).unwrap_or(u32::MAX) }
}

/// iPXE waits 2 s for a ProxyDHCP offer unless 175.176 says that none will come. Where a take-over competes with another
/// server's plain offer, 175.1 makes iPXE prefer ours.
fn no_proxy(writer: &mut Writer<'_>, exchange: &Exchange<'_>) -> Result<(), Full> {
    const ALONE: [u8; 3] = [IpxeFeatures::NO_PROXY_DHCP, 1, 1];
    const PREFERRED: [u8; 6] = [IpxeFeatures::NO_PROXY_DHCP, 1, 1, IpxeFeatures::PRIORITY, 1, 1];
    let value: &[u8] = if exchange.answer.mode == Mode::TakeOver { &PREFERRED } else { &ALONE };
    writer.option(code::IPXE, value)
}

/// Options 60 and 43
fn class(writer: &mut Writer<'_>, exchange: &Exchange<'_>, class: Class<'_>) -> Result<(), Full> {
    if matches!(class, Class::Absent) {
        return Ok(());
    }
    let name: &[u8] = if exchange.client.wants == Wants::Http { b"HTTPClient" } else { b"PXEClient" };
    writer.option(code::VENDOR_CLASS, name)?;
    if matches!(class, Class::Bare) {
        return Ok(());
    }
    let mut value = [0; OPTION_MAX];
    let mut vendor = VendorWriter::new(&mut value)?;
    match class {
        Class::Absent | Class::Bare => {}
        Class::UseBootFile => vendor.discovery_control(discovery::USE_BOOT_FILE)?,
        Class::RaspberryPi => raspberry_pi(&mut vendor, exchange)?,
        Class::Menu(menu) => boot_menu(&mut vendor, exchange, menu)?,
        Class::Item(item) => vendor.boot_item(item)?,
    }
    let len = vendor.finish();
    writer.option(code::VENDOR_SPECIFIC, &value[..len])
}

/// Raspberry Pi's ROMs look for this text in the menu (Raspberry Pi documentation, "Network boot flow"). The first ones,
/// of model 3B, are told by a UUID of 0x44s; they count its length wrongly and want three spaces behind it.
fn raspberry_pi(vendor: &mut VendorWriter<'_>, exchange: &Exchange<'_>) -> Result<(), Full> {
    let text = b"Raspberry Pi Boot   ";
    let is_3b = exchange.client.uuid.is_some_and(|uuid| uuid.0 == [0x44; 16]);
    let text = if is_3b { &text[..] } else { text.trim_ascii_end() };
    vendor.discovery_control(discovery::NO_BROADCAST | discovery::NO_MULTICAST)?;
    vendor.prompt(Prompt { timeout_s: 0, text: b"PXE" })?;
    vendor.menu([MenuItem { kind: 0, text }])
}

/// A menu with every boot server listed, so that the client need not look for them by broadcast or multicast
fn boot_menu(vendor: &mut VendorWriter<'_>, exchange: &Exchange<'_>, menu: &Menu) -> Result<(), Full> {
    let this = [exchange.answer.network.address];
    let remote = menu.items.iter().filter(|item| item.kind != LOCAL_BOOT);
    vendor.discovery_control(discovery::NO_BROADCAST | discovery::NO_MULTICAST)?;
    vendor.prompt(Prompt { timeout_s: menu.timeout_s, text: menu.prompt.as_bytes() })?;
    vendor.boot_servers(remote.map(|item| {
        let servers = if item.servers.is_empty() { &this[..] } else { &item.servers[..] };
        (item.kind, servers)
    }))?;
    vendor.menu(menu.items.iter().map(|item| MenuItem { kind: item.kind, text: item.text.as_bytes() }))
}

/// The boot server type that boots from the local disk; nobody serves it
const LOCAL_BOOT: u16 = 0;

/// What the client asked for, or everything, where it sent no list (BOOTP, GRUB); left out where that would leave too
/// little of the first `limit` bytes for the tail
fn wishes(writer: &mut Writer<'_>, limit: usize, exchange: &Exchange<'_>, parts: &Parts<'_>) {
    let end = limit.saturating_sub(tail_len(exchange, parts));
    let mut wish = |code, value: &[u8]| {
        if writer.written() + 2 + value.len() <= end {
            // There is room: a value above 255 bytes, which takes more of it, is no single option.
            let _ = writer.option(code, value);
        }
    };
    let hostname = exchange.answer.machine.and_then(|machine| machine.hostname.as_deref());
    if let Some(subnet) = parts.subnet {
        // Unasked, as dnsmasq sends it: whoever works it out from address and mask gets the same.
        wish(code::BROADCAST_ADDRESS, &subnet.cidr.broadcast().octets());
        if let Some(id) = exchange.message.client_id() {
            // RFC 6842 §3: a server returns the client identifier.
            wish(code::CLIENT_ID, id);
        }
        if let Some(name) = hostname.filter(|_| is_wanted(exchange, code::HOST_NAME)) {
            wish(code::HOST_NAME, name.as_bytes());
        }
    }
    let options = exchange.answer.subnet.map(|subnet| &subnet.options[..]).unwrap_or_default();
    for (code, value) in options {
        // Beside another server's address only what concerns the boot file is ours to say.
        let is_ours = parts.subnet.is_some() || is_pxelinux(*code);
        if is_ours && !is_composed_here(*code, parts.class) && is_wanted(exchange, *code) {
            wish(*code, value);
        }
    }
}

/// Options that other functions of this module write
fn is_composed_here(code: u8, class: Class<'_>) -> bool {
    let is_pxe = !matches!(class, Class::Absent);
    match code {
        code::VENDOR_CLASS | code::VENDOR_SPECIFIC => is_pxe,
        code::SUBNET_MASK | code::ROUTER | code::BROADCAST_ADDRESS | code::HOST_NAME => true,
        code::REQUESTED_ADDRESS..=code::SERVER_ID | code::RENEWAL_TIME | code::REBINDING_TIME => true,
        code::CLIENT_ID | code::TFTP_SERVER_NAME | code::BOOT_FILE_NAME => true,
        code::RELAY_AGENT | code::PXE_UUID | code::IPXE => true,
        _ => false,
    }
}

/// Whether a client asks for an option (55). pxelinux's 208 to 211 go to everybody: it reads the ROM's reply, and no ROM
/// asks for them.
fn is_wanted(exchange: &Exchange<'_>, code: u8) -> bool {
    let list = exchange.message.parameter_list();
    list.is_empty() || list.contains(&code) || is_pxelinux(code)
}

/// pxelinux's own options (RFC 5071)
fn is_pxelinux(code: u8) -> bool {
    (code::PXELINUX_MAGIC..=code::PXELINUX_REBOOT_TIME).contains(&code)
}

/// Writes what comes last. Option 67 is the last that the client sees, with a NUL inside its length: EDK2 writes a zero
/// over the byte behind one that lacks it, old ROMs read on. Option 82 follows it, the last of all (RFC 3046 §2.2); the
/// relay takes it off (§2.1).
fn tail(writer: &mut Writer<'_>, exchange: &Exchange<'_>, parts: &Parts<'_>) -> Result<(), Full> {
    if let Some(boot) = parts.boot.filter(|boot| needs_option_67(boot, parts)) {
        writer.option_bytes_nul(code::BOOT_FILE_NAME, boot.name())?;
    }
    echo(writer, exchange, code::RELAY_AGENT)
}

/// BOOTP has 60 bytes for options and knows the field alone, where the name fits it
fn needs_option_67(boot: &Boot, parts: &Parts<'_>) -> bool {
    parts.message_type.is_some() || boot.name().len() >= FILE_LEN
}

/// The bytes that [`tail`] takes
fn tail_len(exchange: &Exchange<'_>, parts: &Parts<'_>) -> usize {
    let boot = parts.boot.filter(|boot| needs_option_67(boot, parts));
    let option_67 = boot.map_or(0, |boot| boot.name().len() + 3);
    option_67 + exchange.message.option(code::RELAY_AGENT).map_or(0, |value| value.len() + 2)
}

/// Returns an option as it came, if it came
fn echo(writer: &mut Writer<'_>, exchange: &Exchange<'_>, code: u8) -> Result<(), Full> {
    match exchange.message.option(code) {
        Some(value) if !value.is_empty() => writer.option(code, value),
        _ => Ok(()),
    }
}

/// An address in dotted decimal, on the stack
struct AddressText {
    bytes: [u8; ADDRESS_TEXT_MAX],
    len: usize,
}

impl AddressText {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

fn address_text(address: Ipv4Addr) -> AddressText {
    let mut text = AddressText { bytes: [0; ADDRESS_TEXT_MAX], len: 0 };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            text.push(b'.');
        }
        // By hand: the formatting machinery takes longer than the rest of the reply.
        let [hundreds, tens, ones] = [octet / 100, octet / 10 % 10, octet % 10];
        if hundreds > 0 {
            text.push(b'0' + hundreds);
        }
        if octet >= 10 {
            text.push(b'0' + tens);
        }
        text.push(b'0' + ones);
    }
    text
}
