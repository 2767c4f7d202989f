//! Replies that were composed before, to be copied and patched.
//!
//! The machines of a rack are alike: their replies differ in fields of the header and in what each is returned of its own.
//! So the option area of a reply is composed once for each kind of request, by [`mod@super::compose`], and kept with the places of what
//! is returned. A [`Key`] holds all that an option area depends on; what it does not hold is patched. Replies that name
//! a single machine, and menus, are composed each time.
//!
//! A template is filled when it is first needed, not with the configuration: option 55, the size that the client takes and the
//! lengths of what it is returned are part of its key, and only a request tells them.
//!
//! Templates are of one plan: whoever has them forgets them when another one is in force.

use zerocopy::IntoBytes;

use super::Exchange;
use super::compose::{Class, Parts, compose, header, lease_seconds, payload_limit};
use crate::boot::client::Wants;
use crate::boot::plan::Mode;
use crate::limits::{SLOT_BYTES, TEMPLATES_MAX};
use crate::wire::Full;
use crate::wire::dhcp::{HEADER_LEN, Message, code};

/// Bytes of an option area that is kept, with its cookie: a PXE client's is hardly longer than 200
const AREA_MAX: usize = 512;
/// Bytes of a key that is kept: beside some 40 of its own, a boot file's name and option 55
const KEY_MAX: usize = 256;
const _: () = assert!(HEADER_LEN + AREA_MAX <= SLOT_BYTES);
/// What is returned to its sender as it came
const RETURNED: [u8; 3] = [code::CLIENT_ID, code::PXE_UUID, code::RELAY_AGENT];

/// Everything that an option area depends on, but for the values of what is returned
#[derive(Clone, Copy, Debug)]
struct Key {
    bytes: [u8; KEY_MAX],
    len: usize,
}

impl Key {
    /// `None`: a reply of that kind is not kept
    fn of(exchange: &Exchange<'_>, parts: &Parts<'_>) -> Option<Self> {
        let class = match parts.class {
            Class::Absent => 0,
            Class::Bare => 1,
            Class::UseBootFile => 2,
            Class::RaspberryPi | Class::Menu(_) | Class::Item(_) => return None,
        };
        if exchange.answer.machine.is_some() {
            return None;
        }
        let flags = [
            parts.message_type.map_or(0, |message_type| message_type as u8),
            class,
            parts.no_proxy.into(),
            (exchange.answer.mode == Mode::TakeOver).into(),
            (exchange.client.wants == Wants::Http).into(),
            (exchange.client.wants != Wants::Nothing).into(),
            parts.lease.is_some().into(),
            parts.boot.is_some().into(),
        ];
        let lease = parts.lease.map_or(0, lease_seconds);
        let boot = parts.boot.map_or([0; 4], |boot| boot.server.octets());
        // By their places: the plan holds still, and the next one's templates are others.
        let places = [parts.subnet, exchange.answer.subnet]
            .map(|subnet| subnet.map_or(0, |subnet| std::ptr::from_ref(subnet).addr()));
        let returned = RETURNED.map(|code| exchange.message.option(code).map_or(0, <[u8]>::len));
        let list = exchange.message.parameter_list();
        let mut key = Self { bytes: [0; KEY_MAX], len: 0 };
        for part in [
            &flags[..],
            &exchange.server_id().octets(),
            lease.as_bytes(),
            &boot,
            places.as_bytes(),
            returned.as_bytes(),
            payload_limit(exchange).as_bytes(),
            // Its length, so that its end is not taken for the name's begin.
            list.len().as_bytes(),
            list,
            parts.boot.map_or(&[], |boot| boot.name()),
        ] {
            key.push(part)?;
        }
        Some(key)
    }

    fn push(&mut self, part: &[u8]) -> Option<()> {
        self.bytes.get_mut(self.len..self.len + part.len())?.copy_from_slice(part);
        self.len += part.len();
        Some(())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// An option area
#[derive(Clone, Debug)]
struct Template {
    key: Key,
    /// From the cookie to the end of the padding
    area: [u8; AREA_MAX],
    len: usize,
    /// Where in the reply the values of [`RETURNED`] are
    places: [Option<usize>; RETURNED.len()],
}

impl Template {
    /// `None`: it is longer than what is kept
    fn of(key: Key, reply: &[u8]) -> Option<Self> {
        let kept = reply.get(HEADER_LEN..)?;
        let message = Message::parse(reply).ok()?;
        let mut area = [0; AREA_MAX];
        area.get_mut(..kept.len())?.copy_from_slice(kept);
        let places = RETURNED.map(|code| message.place(code));
        Some(Self { key, area, len: kept.len(), places })
    }

    fn emit(&self, exchange: &Exchange<'_>, parts: &Parts<'_>, buffer: &mut [u8; SLOT_BYTES]) -> usize {
        let len = HEADER_LEN + self.len;
        buffer[..HEADER_LEN].copy_from_slice(header(exchange, parts).as_bytes());
        buffer[HEADER_LEN..len].copy_from_slice(&self.area[..self.len]);
        for (code, place) in RETURNED.into_iter().zip(self.places) {
            if let (Some(at), Some(value)) = (place, exchange.message.option(code)) {
                buffer[at..at + value.len()].copy_from_slice(value);
            }
        }
        len
    }
}

/// The templates of one plan
#[derive(Debug)]
pub(crate) struct Templates {
    kept: Vec<Template>,
    /// The next to make room for another
    oldest: usize,
}

impl Templates {
    /// Another plan is in force
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
        self.oldest = 0;
    }

    /// Writes a reply into `buffer`; returns its length. The same bytes as [`compose`] writes.
    ///
    /// # Errors
    /// [`Full`] where what the client needs does not fit its limit.
    pub(crate) fn compose(
        &mut self,
        exchange: &Exchange<'_>,
        parts: &Parts<'_>,
        buffer: &mut [u8; SLOT_BYTES],
    ) -> Result<usize, Full> {
        let Some(key) = Key::of(exchange, parts) else { return compose(exchange, parts, buffer) };
        let known = self.kept.iter().find(|template| template.key.as_bytes() == key.as_bytes());
        if let Some(template) = known {
            let len = template.emit(exchange, parts, buffer);
            debug_assert!(is_as_composed(exchange, parts, &buffer[..len]));
            return Ok(len);
        }
        let len = compose(exchange, parts, buffer)?;
        if let Some(template) = Template::of(key, &buffer[..len]) {
            self.keep(template);
        }
        Ok(len)
    }

    fn keep(&mut self, template: Template) {
        if self.kept.len() < TEMPLATES_MAX {
            self.kept.push(template);
        } else {
            self.kept[self.oldest] = template;
            self.oldest = (self.oldest + 1) % TEMPLATES_MAX;
        }
    }
}

impl Default for Templates {
    /// None, with room for all
    fn default() -> Self {
        Self { kept: Vec::with_capacity(TEMPLATES_MAX), oldest: 0 }
    }
}

fn is_as_composed(exchange: &Exchange<'_>, parts: &Parts<'_>, reply: &[u8]) -> bool {
    let mut anew = [0; SLOT_BYTES];
    compose(exchange, parts, &mut anew).is_ok_and(|len| anew[..len] == *reply)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::super::Boot;
    use super::super::testing::*;
    use super::*;
    use crate::boot::client::{Arch, Loader};
    use crate::time::Duration;
    use crate::wire::dhcp::MessageType;

    /// Replies of all kinds to one request
    fn kinds<'p>(exchange: &Exchange<'p>, boot: Option<&'p Boot>) -> Vec<Parts<'p>> {
        let subnet = exchange.answer.subnet;
        let whole = Parts {
            message_type: Some(MessageType::Offer),
            yiaddr: Ipv4Addr::new(192, 168, 99, 77),
            ciaddr: exchange.ciaddr().unwrap_or(Ipv4Addr::UNSPECIFIED),
            to_everybody: false,
            lease: subnet.map(|subnet| subnet.lease),
            subnet,
            boot,
            class: Class::of_whole_offer(exchange, boot.is_some()),
            no_proxy: matches!(exchange.client.loader, Loader::Ipxe(_)),
        };
        let proxy = Parts {
            yiaddr: Ipv4Addr::UNSPECIFIED,
            to_everybody: true,
            lease: None,
            subnet: None,
            class: Class::of_proxy_offer(exchange),
            ..whole
        };
        vec![
            whole,
            Parts { message_type: Some(MessageType::Ack), ..whole },
            Parts { lease: Some(Duration::from_secs(600)), ..whole },
            Parts { boot: None, class: Class::Absent, ..whole },
            Parts { message_type: None, lease: None, class: Class::Absent, no_proxy: false, ..whole },
            proxy,
            Parts { message_type: Some(MessageType::Ack), to_everybody: false, ..proxy },
        ]
    }

    /// Composes all replies to a request, with templates and without
    fn compare(templates: &mut Templates, exchange: &Exchange<'_>) {
        let boot = exchange.boot(exchange.answer.boot, exchange.client.ip).unwrap_or_default();
        for parts in kinds(exchange, boot.as_ref()) {
            let (mut patched, mut composed) = ([0xaa; SLOT_BYTES], [0x55; SLOT_BYTES]);
            let patched =
                templates.compose(exchange, &parts, &mut patched).map(|len| patched[..len].to_vec());
            let composed = compose(exchange, &parts, &mut composed).map(|len| composed[..len].to_vec());
            assert_eq!(patched, composed, "{parts:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_was_asked_before_a_reply_is_as_if_composed_anew(
            requests in prop::collection::vec(mutated(), 1..60),
            mode in prop::sample::select(vec![Mode::Full, Mode::TakeOver, Mode::Proxy]),
        ) {
            let (plan, mut templates) = (plan(mode), Templates::default());
            for request in &requests {
                let datagram = datagram(request);
                with_exchange(&plan, NOW, &datagram, |exchange| compare(&mut templates, exchange));
            }
        }
    }

    #[test]
    fn machines_that_are_alike_share_a_template_and_keep_what_is_their_own() {
        let (plan, mut templates) = (plan(Mode::Full), Templates::default());
        for machine in 0..200_u8 {
            let mut uuid = UUID;
            uuid[16] = machine;
            let agent = [1, 2, b'g', machine, 151, 1, machine];
            let mut request = Request::rom(MessageType::Discover, Arch::X64_UEFI)
                .option(code::PXE_UUID, &uuid)
                .option(code::CLIENT_ID, &[1, 0x52, 0x54, 0, 0xaa, 1, machine])
                .option(code::RELAY_AGENT, &agent);
            request.header.xid = (0xabcd_0000 | u32::from(machine)).into();
            request.header.chaddr[5] = machine;
            request = if machine % 2 == 0 { request.broadcast() } else { request };
            with_request(&plan, NOW, &request, |exchange| compare(&mut templates, exchange));
        }
        assert_eq!(templates.kept.len(), 7, "one for each kind of reply");
    }

    #[test]
    fn what_differs_in_the_option_area_is_another_template() {
        let (plan, mut templates) = (plan(Mode::Full), Templates::default());
        let rom = Request::rom(MessageType::Discover, Arch::X64_UEFI);
        let list = |list: &[u8]| rom.clone().option(code::PARAMETER_LIST, list);
        let limit = |limit: u16| rom.clone().option(code::MAX_MESSAGE_SIZE, &limit.to_be_bytes());
        let (short, long) =
            (rom.clone().option(code::CLIENT_ID, &[1, 2]), rom.clone().option(code::CLIENT_ID, &[1, 2, 3]));
        let other = [
            rom.clone(),
            list(&[1]),
            list(&[1, 3]),
            list(&[3, 1]),
            limit(576),
            limit(1000),
            short,
            long,
            rom.clone().without(code::PXE_UUID),
            rom.clone().relayed(),
            Request::rom(MessageType::Discover, Arch::X86_BIOS),
            Request::http(MessageType::Discover),
            Request::ipxe(MessageType::Discover),
        ];
        for _ in 0..3 {
            for request in &other {
                with_request(&plan, NOW, request, |exchange| compare(&mut templates, exchange));
            }
        }
        // Many more kinds than there is room for: the oldest make room.
        for len in 0..=u8::MAX {
            let request = rom.clone().option(code::CLIENT_ID, &vec![7; len.into()]);
            with_request(&plan, NOW, &request, |exchange| compare(&mut templates, exchange));
        }
        assert_eq!(templates.kept.len(), TEMPLATES_MAX);
    }

    #[test]
    fn a_single_machines_reply_is_not_kept() {
        let (plan, mut templates) = (plan(Mode::Full), Templates::default());
        let request =
            Request::rom(MessageType::Discover, Arch::X64_UEFI).mac(NODE).option(code::PARAMETER_LIST, &[12]);
        with_request(&plan, NOW, &request, |exchange| compare(&mut templates, exchange));
        assert!(templates.kept.is_empty());
    }
}
