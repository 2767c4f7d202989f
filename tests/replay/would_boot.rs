//! What firmware insists on in a reply, read by dhcproto and by hand: never by the server's own codec.
//!
//! Each rule is what a named client does with a reply that breaks it. A verdict is a list of faults; an empty one boots.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder};
use reveille::proto::outbox::Port;
use reveille::replay::{Http, Reply, Tftp};

/// Faults found, in words
#[derive(Debug, Default)]
pub struct Verdict(pub Vec<String>);

impl Verdict {
    fn insist(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.0.push(fault());
        }
    }
}

/// A message read by dhcproto, with its options in their order on the wire
struct Read<'m> {
    bytes: &'m [u8],
    message: Message,
    options: Vec<(u8, &'m [u8])>,
    /// It has an END, and no PAD before it
    ends_well: bool,
}

impl<'m> Read<'m> {
    fn new(bytes: &'m [u8]) -> Self {
        let message = Message::decode(&mut Decoder::new(bytes)).expect("a message that dhcproto reads");
        let (mut options, mut rest) = (Vec::new(), &bytes[240..]);
        let ends_well = loop {
            match rest {
                [255, ..] => break true,
                [] | [0, ..] => break false,
                [code, tail @ ..] => {
                    let Some((len, tail)) = tail.split_first() else { break false };
                    let Some((value, behind)) = tail.split_at_checked(usize::from(*len)) else { break false };
                    options.push((*code, value));
                    rest = behind;
                }
            }
        };
        Self { bytes, message, options, ends_well }
    }

    fn option(&self, code: u8) -> Option<&'m [u8]> {
        self.options.iter().find(|(found, _)| *found == code).map(|(_, value)| *value)
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.option(code).and_then(|value| <[u8; 4]>::try_from(value).ok()).map(Ipv4Addr::from)
    }

    fn message_type(&self) -> Option<MessageType> {
        match self.message.opts().get(OptionCode::MessageType)? {
            DhcpOption::MessageType(message_type) => Some(*message_type),
            _ => None,
        }
    }

    /// `file`, up to its NUL
    fn file(&self) -> &'m [u8] {
        self.bytes[108..236].split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn class(&self) -> Option<&'static [u8]> {
        [&b"PXEClient"[..], b"HTTPClient"]
            .into_iter()
            .find(|name| self.option(60).is_some_and(|class| class.starts_with(name)))
    }
}

/// Whether a client that sent `request` takes `reply`; `offer` is the offer that the request takes up
pub fn dhcp(request: &[u8], reply: &Reply, offer: Option<&Reply>) -> Verdict {
    let mut verdict = Verdict::default();
    let (asked, said) = (Read::new(request), Read::new(&reply.payload));
    shape(&mut verdict, &asked, &said, reply);
    way(&mut verdict, &asked, &said, reply);
    // A boot server's "your address" is the one that the client has already.
    if said.message.yiaddr().is_unspecified() || reply.from.port() == 4011 {
        proxy(&mut verdict, &asked, &said);
    } else {
        address(&mut verdict, &asked, &said, offer);
    }
    boot_file(&mut verdict, &asked, &said);
    pxe(&mut verdict, &asked, &said);
    verdict
}

/// Any client: what makes a message an answer to this request
fn shape(verdict: &mut Verdict, asked: &Read<'_>, said: &Read<'_>, reply: &Reply) {
    let len = reply.payload.len();
    // U-Boot takes 300 to 576 bytes (net/bootp.c), EDK2 drops offers above 1472.
    verdict.insist((300..=1472).contains(&len), || format!("{len} bytes"));
    verdict.insist(said.message.opcode() == Opcode::BootReply, || "not a reply".into());
    verdict.insist(said.message.xid() == asked.message.xid(), || "another xid".into());
    verdict.insist(said.message.chaddr() == asked.message.chaddr(), || "another chaddr".into());
    // EDK2 drops an option area without END; a Raspberry Pi EEPROM of January 2020 stops at a PAD.
    verdict.insist(said.ends_well, || "no END, or a PAD before it".into());
    // iPXE reads options as a file name, GRUB loses the name: any overload.
    verdict.insist(said.option(52).is_none(), || "overloaded".into());
    let mut codes: Vec<u8> = said.options.iter().map(|(code, _)| *code).collect();
    codes.sort_unstable();
    // EDK2's PXE parser takes the first instance and joins nothing.
    verdict.insist(codes.windows(2).all(|pair| pair[0] != pair[1]), || "an option in two instances".into());
    let due = match (asked.message_type(), reply.from.port()) {
        (Some(MessageType::Discover), _) => Some(MessageType::Offer),
        (Some(MessageType::Request), _) => Some(MessageType::Ack),
        (other, _) => other,
    };
    verdict.insist(said.message_type() == due, || {
        format!("{:?} answers {:?}", said.message_type(), asked.message_type())
    });
    // EDK2 ignores an offer without 54, iPXE tells servers apart by it.
    verdict.insist(said.address(54).is_some_and(|server| !server.is_unspecified()), || "no option 54".into());
}

/// How a reply reaches a client that has no address yet, and which ports it is taken from
fn way(verdict: &mut Verdict, asked: &Read<'_>, said: &Read<'_>, reply: &Reply) {
    // iPXE and Linux check the source port: 67, or 4011 of a boot server.
    verdict.insist(matches!(reply.from.port(), 67 | 4011), || format!("from port {}", reply.from.port()));
    if reply.from.port() == 4011 {
        return verdict.insist(*reply.to.ip() == asked.message.ciaddr(), || "not to who asked 4011".into());
    }
    let (giaddr, yiaddr) = (asked.message.giaddr(), said.message.yiaddr());
    let broadcasts = asked.message.flags().broadcast() || yiaddr.is_unspecified();
    let (to, port) = match (giaddr.is_unspecified(), broadcasts) {
        (false, _) => (giaddr, 67),
        (true, true) => (Ipv4Addr::BROADCAST, 68),
        (true, false) => (yiaddr, 68),
    };
    verdict.insist((*reply.to.ip(), reply.to.port()) == (to, port), || {
        format!("to {}, due to {to}:{port}", reply.to)
    });
    if giaddr.is_unspecified() {
        // A client without an address answers no ARP: its frame goes to chaddr, or to all.
        let due = if broadcasts { [0xff; 6].to_vec() } else { asked.message.chaddr().to_vec() };
        verdict.insist(reply.mac.is_some_and(|mac| mac.0[..] == due), || {
            format!("in a frame to {:?}", reply.mac)
        });
    }
}

/// An offer without an address stands beside another server's: it must say that it is PXE
fn proxy(verdict: &mut Verdict, asked: &Read<'_>, said: &Read<'_>) {
    verdict.insist(said.class().is_some(), || "a proxy's offer without option 60".into());
    verdict.insist(said.class() == asked.class(), || "option 60 is another than asked".into());
    verdict.insist(said.option(51).is_none(), || "a lease time without an address".into());
}

/// An address for a lease
fn address(verdict: &mut Verdict, asked: &Read<'_>, said: &Read<'_>, offer: Option<&Reply>) {
    // EDK2 aborts without a netmask.
    verdict.insist(said.address(1).is_some(), || "no netmask".into());
    verdict.insist(said.option(51).is_some_and(|value| value.len() == 4), || "no lease time".into());
    if asked.message_type() == Some(MessageType::Request) {
        let named = asked.address(50).unwrap_or(asked.message.ciaddr());
        verdict.insist(said.message.yiaddr() == named, || "an ACK of another address".into());
    }
    if let Some(offer) = offer.map(|offer| Read::new(&offer.payload)) {
        // EDK2 declines an ACK of another address and ignores one of another server.
        verdict.insist(offer.message.yiaddr() == said.message.yiaddr(), || "not the address offered".into());
        verdict.insist(offer.address(54) == said.address(54), || "not the server that offered".into());
    }
    // GRUB, U-Boot, shim: the boot server is siaddr alone, even where no file is named.
    verdict.insist(!said.message.siaddr().is_unspecified(), || "no siaddr".into());
    let is_ipxe = asked.option(77).is_some_and(|class| class.ends_with(b"iPXE"));
    if is_ipxe {
        // Alone on the wire iPXE need not wait two seconds for a proxy.
        verdict.insist(said.option(175) == Some(&[0xb0, 1, 1]), || "iPXE will wait for a proxy".into());
    }
}

/// The file and its server, wherever a client looks for them
fn boot_file(verdict: &mut Verdict, asked: &Read<'_>, said: &Read<'_>) {
    let Some(option) = said.option(67) else {
        return verdict.insist(said.file().is_empty(), || "a file in the field alone".into());
    };
    let name = option.strip_suffix(&[0]);
    // EDK2 writes a zero behind an option 67 that lacks one; old ROMs read on to END.
    verdict.insist(name.is_some(), || "option 67 without its NUL".into());
    let name = name.unwrap_or(option);
    // shim reads the field, GRUB 2.06 the option: one name in both.
    verdict.insist(said.file() == name, || "file is not option 67".into());
    let last = said.options.iter().rev().find(|(code, _)| *code != 82).map(|(code, _)| *code);
    verdict.insist(last == Some(67), || format!("option {last:?} behind option 67"));
    let server = said.message.siaddr();
    verdict.insist(!server.is_unspecified(), || "no siaddr".into());
    let text = server.to_string();
    verdict.insist(said.option(66) == Some(text.as_bytes()), || "option 66 is not siaddr".into());
    let sname = said.bytes[44..108].split(|&byte| byte == 0).next().unwrap_or_default();
    verdict.insist(sname == text.as_bytes(), || "sname is not siaddr".into());
    if asked.class() == Some(b"HTTPClient") {
        // EDK2 HTTP boot drops an offer whose file is no URL; a name would need DNS.
        let host = name.strip_prefix(b"http://").and_then(|rest| rest.split(|&byte| byte == b'/').next());
        let host = host.and_then(|host| std::str::from_utf8(host).ok());
        verdict.insist(host.is_some_and(|host| host.parse::<Ipv4Addr>().is_ok()), || {
            "no URL with a numeric host".into()
        });
        verdict.insist(said.class() == Some(b"HTTPClient"), || "no HTTPClient for an HTTPClient".into());
    }
}

/// Options 43, 60 and 97
fn pxe(verdict: &mut Verdict, asked: &Read<'_>, said: &Read<'_>) {
    if let Some(class) = said.class() {
        // iPXE's menu code compares the whole of it.
        verdict.insist(said.option(60) == Some(class), || "more than the name in option 60".into());
        verdict.insist(said.class() == asked.class(), || "option 60 is another than asked".into());
    }
    let wants_uuid = asked.class().is_some();
    verdict.insist(!wants_uuid || said.option(97) == asked.option(97), || "option 97 is not echoed".into());
    verdict.insist(wants_uuid || said.option(97).is_none(), || "option 97 unasked".into());
    let Some(vendor) = said.option(43) else { return };
    verdict.insist(said.class() == Some(b"PXEClient"), || "option 43 without PXEClient".into());
    let sub = |code: u8| {
        let mut rest = vendor;
        while let [found, tail @ ..] = rest {
            if *found == 255 {
                return None;
            }
            let len = usize::from(tail[0]);
            if *found == code {
                return Some(&tail[1..=len]);
            }
            rest = &tail[1 + len..];
        }
        None
    };
    // EDK2: discovery control without bit 3 and without a menu is "local boot", and ends the attempt (PXE-E21).
    let uses_file = matches!(sub(6), Some([bits]) if bits & 8 != 0) && !said.file().is_empty();
    let (has_menu, has_item) = (sub(9).is_some(), sub(71).is_some());
    verdict.insist(uses_file || has_menu || has_item, || "option 43 leads nowhere".into());
    let item = asked.option(43).and_then(|value| value.strip_prefix(&[71, 4]));
    if let Some(item) = item {
        verdict.insist(sub(71).is_some_and(|sent| item.starts_with(sent)), || "another boot item".into());
    }
}

/// Whether a client that asked for this transfer takes our side of it
pub fn tftp(talk: &Tftp) -> Verdict {
    let mut verdict = Verdict::default();
    let (theirs, ours) = (&talk.theirs, &talk.ours);
    // Single-port clients are none of these: RFC 1350 §4, another identifier than 69.
    verdict.insist(ours.port == Some(Port::Transfer), || format!("answered from {:?}", ours.port));
    if let Some((code, _)) = &ours.error {
        // 1 at once is what firmware goes on from; U-Boot starts over for ever at any other but 2.
        verdict.insist(*code == 1 && theirs.error.is_some(), || format!("ERROR {code}"));
        return verdict;
    }
    oack(&mut verdict, talk);
    verdict.insist(talk.unequal_at.is_none(), || format!("another byte at {:?}", talk.unequal_at));
    let is_probe = talk.stopped == Some(8);
    if is_probe {
        verdict.insist(!ours.oack.is_empty(), || "a size probe without an OACK".into());
    } else {
        verdict.insist(ours.is_whole && ours.bytes == theirs.bytes, || {
            format!("{} bytes of {}", ours.bytes, theirs.bytes)
        });
        verdict.insist(talk.compared > 0 || theirs.bytes == 0, || "nothing was compared".into());
    }
    verdict
}

/// An OACK holds what was asked and no more (EDK2 and pxelinux end the transfer at anything else)
fn oack(verdict: &mut Verdict, talk: &Tftp) {
    let sent = &talk.ours.oack;
    if sent.is_empty() {
        return verdict.insist(talk.asked.is_empty(), || "options asked, no OACK".into());
    }
    verdict.insist(sent.starts_with(&[0, 6]) && sent.ends_with(&[0]), || "an OACK without its NUL".into());
    let mut texts =
        sent[2..sent.len() - 1].split(|&byte| byte == 0).map(|text| String::from_utf8_lossy(text));
    let mut count = 0;
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        count += 1;
        let asked = talk.asked.iter().find(|(asked, _)| asked.eq_ignore_ascii_case(&name));
        let Some((_, asked)) = asked else {
            verdict.insist(false, || format!("{name} unasked"));
            continue;
        };
        let (asked, value): (u64, u64) = (asked.parse().expect("a number"), value.parse().expect("a number"));
        let fits = match &*name.to_ascii_lowercase() {
            "blksize" => (8..=asked).contains(&value),
            "windowsize" => (1..=asked).contains(&value),
            "timeout" => value == asked,
            // A client that asked for the size alone saw no block.
            "tsize" => talk.theirs.bytes == 0 || value == talk.theirs.bytes,
            _ => false,
        };
        verdict.insist(fits, || format!("{name} {value} for {asked}"));
    }
    verdict.insist(count > 0, || "an empty OACK".into());
}

/// Whether firmware and loaders take our response
pub fn http(talk: &Http) -> Verdict {
    let mut verdict = Verdict::default();
    let Some(ours) = &talk.ours else {
        verdict.insist(false, || "no response".into());
        return verdict;
    };
    let head = std::str::from_utf8(&ours.head).expect("an ASCII head");
    let theirs = talk.theirs.as_ref().map_or("", |theirs| {
        let whole = theirs.head.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        std::str::from_utf8(&theirs.head[..whole]).expect("an ASCII head")
    });
    let status = |head: &str| head.split(' ').nth(1).unwrap_or_default().to_owned();
    // GRUB wants "HTTP/1.1 ", whatever was asked; iPXE a space behind the code.
    verdict.insist(head.starts_with("HTTP/1.1 ") && head.ends_with("\r\n\r\n"), || "no HTTP/1.1 head".into());
    verdict.insist(status(head) == status(theirs), || format!("{} for {}", status(head), status(theirs)));
    let lines: Vec<&str> = head.split("\r\n").skip(1).take_while(|line| !line.is_empty()).collect();
    // GRUB and U-Boot compare "Content-Length: " byte for byte; lpxelinux never reads the last header.
    let length = lines.iter().position(|line| line.starts_with("Content-Length: "));
    verdict
        .insist(length.is_some_and(|at| at + 1 < lines.len()), || "no Content-Length, or it is last".into());
    for line in &lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        // An empty value locks old UEFI firmware; redirects, chunks and codings are understood by none.
        verdict.insist(!value.is_empty(), || format!("{name} without a value"));
        let forbidden = ["Transfer-Encoding", "Content-Encoding", "Location"].contains(&name);
        verdict.insist(!forbidden, || format!("{name}: {value}"));
    }
    if status(head) != "200" {
        return verdict;
    }
    let length_of = |head: &str| {
        head.split("\r\n").find_map(|line| line.strip_prefix("Content-Length: ")).map(str::to_owned)
    };
    verdict.insist(length_of(head) == length_of(theirs), || "another Content-Length".into());
    let body = if talk.method == "HEAD" { Some(0) } else { length_of(head).and_then(|len| len.parse().ok()) };
    verdict.insist(Some(ours.body) == body, || format!("{} bytes of body", ours.body));
    if talk.target.ends_with(".efi") {
        // EDK2 compares the whole value.
        verdict.insist(lines.contains(&"Content-Type: application/efi"), || "not application/efi".into());
    }
    verdict
}
