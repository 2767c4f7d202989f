//! `dhcproto`, written by other people, agrees with ours.

use std::net::Ipv4Addr;

use dhcproto::{
    Decodable, Encodable,
    v4::{self, DhcpOption, OptionCode, UnknownOption, borrowed},
};
use proptest::{collection::vec, prelude::*};
use reveille::wire::dhcp::{self, Header, Message, Writer, code};

use crate::captures;

/// Our options the way dhcproto tells them: instances that follow each other are one (RFC 3396).
fn joined_neighbours(message: &Message<'_>) -> Vec<(u8, Vec<u8>)> {
    let mut all: Vec<(u8, Vec<u8>)> = Vec::new();
    for (code, value) in message.options() {
        match all.last_mut() {
            Some((last, joined)) if *last == code => joined.extend(value),
            _ => all.push((code, value.to_vec())),
        }
    }
    all
}

/// Holds one message against both of dhcproto's decoders.
fn agree(payload: &[u8]) {
    let ours = Message::parse(payload).unwrap();
    let header = ours.header();
    let theirs = borrowed::Message::new(payload).unwrap();
    assert_eq!(u8::from(theirs.opcode()), header.op);
    assert_eq!(u8::from(theirs.htype()), header.htype);
    assert_eq!((theirs.hlen(), theirs.hops()), (header.hlen, header.hops));
    assert_eq!((theirs.xid(), theirs.secs()), (header.xid.get(), header.secs.get()));
    assert_eq!(u16::from(theirs.flags()), header.flags.get());
    assert_eq!(theirs.flags().broadcast(), ours.is_broadcast());
    assert_eq!((theirs.ciaddr(), theirs.yiaddr()), (header.ciaddr(), header.yiaddr()));
    assert_eq!((theirs.siaddr(), theirs.giaddr()), (header.siaddr(), header.giaddr()));
    assert_eq!(theirs.chaddr(), ours.chaddr());

    // dhcproto does not follow option 52; with it, the text fields are no text, and hold more options.
    let overload = ours.option(code::OVERLOAD).is_some();
    let mut options = joined_neighbours(&ours);
    let their_options: Vec<_> =
        theirs.opts().map(|option| (u8::from(option.code()), option.data().to_vec())).collect();
    if overload {
        options.truncate(their_options.len());
    } else {
        assert_eq!(theirs.fname(), ours.file().unwrap_or_default());
        assert_eq!(theirs.sname(), ours.sname().unwrap_or_default());
    }
    assert_eq!(options, their_options);
    agree_on_meaning(payload, &ours);
}

/// What the typed accessors say, against dhcproto's typed options.
fn agree_on_meaning(payload: &[u8], ours: &Message<'_>) {
    let Ok(theirs) = v4::Message::decode(&mut v4::Decoder::new(payload)) else { return };
    // Where options repeat apart from each other dhcproto keeps the last, and RFC 3396 the first ones joined.
    let mut codes: Vec<u8> = joined_neighbours(ours).into_iter().map(|(code, _)| code).collect();
    codes.sort_unstable();
    if !codes.is_sorted_by(|one, next| one < next) {
        return;
    }
    let theirs = theirs.opts();
    let their_type = theirs.msg_type().map(u8::from).and_then(dhcp::MessageType::from_u8);
    if ours.message_type().is_some() {
        assert_eq!(ours.message_type(), their_type);
    }
    for (_, option) in theirs {
        match option {
            DhcpOption::RequestedIpAddress(address) => assert_eq!(ours.requested_ip(), Some(*address)),
            DhcpOption::ServerIdentifier(address) => assert_eq!(ours.server_id(), Some(*address)),
            DhcpOption::SubnetSelection(address) => assert_eq!(ours.subnet_selection(), Some(*address)),
            DhcpOption::AddressLeaseTime(seconds) => assert_eq!(ours.lease_time_s(), Some(*seconds)),
            DhcpOption::MaxMessageSize(size) => assert_eq!(ours.max_size(), Some(*size)),
            DhcpOption::ClassIdentifier(class) => assert_eq!(ours.vendor_class().unwrap_or_default(), class),
            DhcpOption::ClientIdentifier(id) => assert_eq!(ours.client_id().unwrap_or_default(), id),
            DhcpOption::ClientMachineIdentifier(uuid) => assert_eq!(ours.uuid_option(), Some(&uuid[..])),
            DhcpOption::UserClass(class) => {
                assert_eq!(ours.user_class().map(|class| class.raw()).unwrap_or_default(), class);
            }
            DhcpOption::ClientSystemArchitecture(arch) => {
                assert_eq!(ours.architectures().next(), Some(u16::from(*arch)));
            }
            DhcpOption::ParameterRequestList(list) => {
                assert!(ours.parameter_list().iter().copied().eq(list.iter().map(|code| u8::from(*code))));
            }
            _ => {}
        }
    }
}

#[test]
fn on_every_message_of_the_captures() {
    let mut count = 0;
    for (path, file) in captures::own().into_iter().chain(captures::others()) {
        for datagram in captures::datagrams(&file) {
            // dhcproto has no BOOTP without a cookie, and does not bound the hardware address.
            let whole = datagram.payload.len() >= dhcp::HEADER_LEN + dhcp::MAGIC_COOKIE.len();
            if whole && captures::is_dhcp(&datagram) && Message::parse(datagram.payload).is_ok() {
                eprintln!("{}: {} -> {}", path.display(), datagram.source, datagram.destination);
                agree(datagram.payload);
                count += 1;
            }
        }
    }
    let expected = if captures::others().is_empty() { 25 } else { 100 };
    assert!(count >= expected, "only {count} messages");
}

fn headers() -> impl Strategy<Value = Header> {
    (1..=2_u8, 0..=16_u8, any::<[u8; 32]>(), vec(1..=255_u8, 0..64), vec(1..=255_u8, 0..128)).prop_map(
        |(op, hlen, random, sname, file)| {
            let mut header = Header {
                op,
                htype: 1,
                hlen,
                hops: random[0],
                xid: u32::from_be_bytes([random[1], random[2], random[3], random[4]]).into(),
                secs: u16::from_be_bytes([random[5], random[6]]).into(),
                flags: (u16::from(random[7]) << 8).into(),
                ciaddr: [random[8], random[9], random[10], random[11]],
                yiaddr: [random[12], random[13], 0, 1],
                siaddr: [192, 0, 2, random[14]],
                giaddr: [10, 44, 0, random[15]],
                ..Header::default()
            };
            header.chaddr[..usize::from(hlen)].copy_from_slice(&random[16..16 + usize::from(hlen)]);
            header.sname[..sname.len()].copy_from_slice(&sname);
            header.file[..file.len()].copy_from_slice(&file);
            header
        },
    )
}

/// Options of any code but PAD, END and 52, each code once, some longer than one instance.
fn options() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let value = prop_oneof![8 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 250..600)];
    let code = (1..=254_u8).prop_filter("52 is for overload tests", |code| *code != code::OVERLOAD);
    proptest::collection::btree_map(code, value, 0..12)
        .prop_map(|options| options.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Ours written, theirs read.
    #[test]
    fn on_what_we_write(header in headers(), options in options()) {
        let mut buffer = [0; 8192];
        let mut writer = Writer::new(&mut buffer, &header).unwrap();
        for (code, value) in &options {
            writer.option(*code, value).unwrap();
        }
        let len = writer.finish();
        let message = Message::parse(&buffer[..len]).unwrap();
        prop_assert_eq!(message.header(), &header);
        prop_assert_eq!(joined_neighbours(&message), options);
        // The typed decoder of dhcproto asserts the lengths of a few options: only the raw one can take them all.
        let theirs = borrowed::Message::new(&buffer[..len]).unwrap();
        let their_options: Vec<_> =
            theirs.opts().map(|option| (u8::from(option.code()), option.data().to_vec())).collect();
        prop_assert_eq!(joined_neighbours(&message), their_options);
        prop_assert_eq!(theirs.fname(), message.file().unwrap_or_default());
        prop_assert_eq!(theirs.sname(), message.sname().unwrap_or_default());
        prop_assert_eq!(theirs.chaddr(), message.chaddr());
    }

    /// Theirs written, ours read.
    #[test]
    fn on_what_dhcproto_writes(
        xid in any::<u32>(),
        mac in any::<[u8; 6]>(),
        ciaddr in any::<[u8; 4]>(),
        requested in any::<[u8; 4]>(),
        lease_s in any::<u32>(),
        max_size in any::<u16>(),
        arch in any::<u16>(),
        class in vec(any::<u8>(), 1..64),
        user_class in vec(any::<u8>(), 1..64),
        uuid in any::<[u8; 16]>(),
        vendor in vec(any::<u8>(), 256..700),
        file in "[a-z/.]{1,127}",
    ) {
        let zero = Ipv4Addr::UNSPECIFIED;
        let mut theirs = v4::Message::new_with_id(xid, ciaddr.into(), zero, zero, zero, &mac);
        theirs.set_flags(v4::Flags::default().set_broadcast());
        theirs.set_fname_str(&file);
        let machine = [&[0], &uuid[..]].concat();
        let options = theirs.opts_mut();
        options.insert(DhcpOption::MessageType(v4::MessageType::Request));
        options.insert(DhcpOption::RequestedIpAddress(requested.into()));
        options.insert(DhcpOption::AddressLeaseTime(lease_s));
        options.insert(DhcpOption::MaxMessageSize(max_size));
        options.insert(DhcpOption::ClientSystemArchitecture(arch.into()));
        options.insert(DhcpOption::ClassIdentifier(class.clone()));
        options.insert(DhcpOption::UserClass(user_class.clone()));
        options.insert(DhcpOption::ClientMachineIdentifier(machine));
        options.insert(DhcpOption::Unknown(UnknownOption::new(OptionCode::from(224), vec![1, 2, 3])));
        options.insert(DhcpOption::VendorExtensions(vendor.clone()));
        let bytes = theirs.to_vec().unwrap();

        let ours = Message::parse(&bytes).unwrap();
        prop_assert_eq!(ours.header().xid.get(), xid);
        prop_assert_eq!(ours.mac().map(|mac| mac.0), Some(mac));
        prop_assert_eq!(ours.header().ciaddr, ciaddr);
        prop_assert!(ours.is_broadcast());
        prop_assert_eq!(ours.file(), Some(file.as_bytes()));
        prop_assert_eq!(ours.message_type(), Some(dhcp::MessageType::Request));
        prop_assert_eq!(ours.requested_ip(), Some(Ipv4Addr::from(requested)));
        prop_assert_eq!(ours.lease_time_s(), Some(lease_s));
        prop_assert_eq!(ours.max_size(), Some(max_size));
        prop_assert!(ours.architectures().eq([arch]));
        prop_assert_eq!(ours.vendor_class(), Some(&class[..]));
        prop_assert_eq!(ours.user_class().map(|class| class.raw()), Some(&user_class[..]));
        prop_assert_eq!(ours.uuid(), Some(uuid));
        prop_assert_eq!(ours.option(224), Some(&[1, 2, 3][..]));
        let mut scratch = [0; 700];
        prop_assert_eq!(ours.joined(code::VENDOR_SPECIFIC, &mut scratch), Some(&vendor[..]));
    }
}
