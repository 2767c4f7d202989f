//! Messages made by hand: one behaviour each.

use super::*;
use crate::wire::Full;

const MAC: [u8; 6] = [0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd];

fn request() -> Header {
    let mut header =
        Header { op: BOOTREQUEST, htype: 1, hlen: 6, xid: 0x0102_0304.into(), ..Header::default() };
    header.chaddr[..6].copy_from_slice(&MAC);
    header
}

/// A message with those raw bytes behind its cookie.
fn message(header: &Header, options: &[u8]) -> Vec<u8> {
    [header.as_bytes(), &MAGIC_COOKIE, options].concat()
}

#[test]
fn bootp_has_no_options() {
    let header = request();
    let bytes = header.as_bytes();
    for bytes in [bytes.to_vec(), [bytes, &[0; 64]].concat(), [bytes, &[53, 1, 1, 255, 53, 1, 1]].concat()] {
        let message = Message::parse(&bytes).unwrap();
        assert!(message.is_bootp());
        assert_eq!(message.message_type(), None);
        assert_eq!(message.options().count(), 0);
        assert_eq!(message.mac(), Some(MacAddr(MAC)));
    }
    assert!(Message::parse(&message(&header, &[12, 1, b'a', 255])).unwrap().is_bootp());
    let lease_query = message(&header, &[53, 1, 10, 255]);
    let lease_query = Message::parse(&lease_query).unwrap();
    assert_eq!((lease_query.message_type(), lease_query.is_bootp()), (None, false));
}

#[test]
fn what_is_no_message() {
    let header = request();
    for len in 0..HEADER_LEN {
        assert_eq!(Message::parse(&header.as_bytes()[..len]).unwrap_err(), Error::Truncated);
    }
    let op = Header { op: 3, ..header };
    assert_eq!(Message::parse(op.as_bytes()).unwrap_err(), Error::Op);
    let hlen = Header { hlen: 17, ..header };
    assert_eq!(Message::parse(hlen.as_bytes()).unwrap_err(), Error::HardwareLength);
}

#[test]
fn a_guid_is_no_mac() {
    let header = Header { hlen: 16, ..request() };
    let message = Message::parse(header.as_bytes()).unwrap();
    assert_eq!((message.mac(), message.chaddr().len()), (None, 16));
    let infiniband = Header { htype: 32, hlen: 0, ..request() };
    assert_eq!(infiniband.mac(), None);
    assert!(infiniband.chaddr().is_empty());
}

#[test]
fn an_option_that_runs_past_its_area_ends_it() {
    let bytes = message(&request(), &[53, 1, 1, 12, 200, b'a']);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.message_type(), Some(MessageType::Discover));
    assert_eq!(message.option(code::HOST_NAME), None);
}

#[test]
fn overload_is_read_after_the_options_file_first() {
    let mut header = request();
    header.file[..8].copy_from_slice(&[12, 1, b'f', 66, 1, b'F', 255, 9]);
    header.sname[..7].copy_from_slice(&[0, 12, 1, b's', 67, 1, b'S']);
    for (overload, hostname, server, boot_file) in [
        (0, None, None, None),
        (1, Some(&b"f"[..]), Some(&b"F"[..]), None),
        (2, Some(&b"s"[..]), None, Some(&b"S"[..])),
        (3, Some(&b"f"[..]), Some(&b"F"[..]), Some(&b"S"[..])),
    ] {
        let bytes = message(&header, &[52, 1, overload, 53, 1, 1, 255]);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.hostname(), hostname, "{overload}");
        assert_eq!(message.option(code::TFTP_SERVER_NAME), server, "{overload}");
        assert_eq!(message.option(code::BOOT_FILE_NAME), boot_file, "{overload}");
        assert_eq!(message.file().is_none(), overload & 1 != 0);
        assert_eq!(message.sname(), None);
    }
}

#[test]
fn an_overload_inside_an_overloaded_field_counts_for_nothing() {
    let mut header = request();
    header.file[..7].copy_from_slice(&[52, 1, 3, 12, 1, b'f', 255]);
    header.sname[..4].copy_from_slice(&[66, 1, b's', 255]);
    let bytes = message(&header, &[52, 1, 1, 255]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.hostname(), Some(&b"f"[..]));
    assert_eq!(message.option(code::TFTP_SERVER_NAME), None);
}

#[test]
fn instances_are_joined_over_all_areas() {
    let mut header = request();
    header.file[..5].copy_from_slice(&[43, 2, 3, 4, 255]);
    let bytes = message(&header, &[43, 2, 1, 2, 52, 1, 1, 43, 0, 255]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.joined(43, &mut [0; 4]), Some(&[1, 2, 3, 4][..]));
    assert_eq!(message.joined(43, &mut [0; 3]), None);
    assert_eq!(message.joined(52, &mut []), Some(&[1][..]));
    assert_eq!(message.joined(44, &mut [0; 3]), None);
    assert_eq!(message.option(43), Some(&[1, 2][..]));
}

#[test]
fn user_classes_in_both_forms() {
    let cases: [(&[u8], &[&[u8]]); 6] = [
        (b"iPXE", &[b"iPXE"]),
        (b"\x04iPXE", &[b"iPXE"]),
        (b"\x03foo\x04iPXE", &[b"foo", b"iPXE"]),
        (b"\x03foo\x04iPX", &[b"\x03foo\x04iPX"]),
        (b"\x00", &[b"\x00"]),
        (b"\x14onie_dhcp_user_class", &[b"onie_dhcp_user_class"]),
    ];
    for (value, classes) in cases {
        let mut options = vec![code::USER_CLASS, u8::try_from(value.len()).unwrap()];
        options.extend(value);
        let bytes = message(&request(), &options);
        let user_class = Message::parse(&bytes).unwrap().user_class().unwrap();
        assert!(user_class.classes().eq(classes.iter().copied()), "{value:?}");
        assert_eq!(user_class.contains(b"iPXE"), classes.contains(&&b"iPXE"[..]));
    }
    let empty = message(&request(), &[code::USER_CLASS, 0]);
    assert_eq!(Message::parse(&empty).unwrap().user_class(), None);
}

#[test]
fn wrong_lengths_are_absent() {
    let bytes = message(
        &request(),
        &[50, 3, 1, 2, 3, 53, 2, 1, 1, 57, 1, 9, 61, 0, 93, 5, 0, 7, 0, 9, 0, 97, 2, 0, 1, 12, 2, b'a', 0],
    );
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.requested_ip(), None);
    assert_eq!((message.message_type(), message.is_bootp()), (None, false));
    assert_eq!((message.max_size(), message.client_id()), (None, None));
    assert!(message.architectures().eq([7, 9]));
    assert_eq!((message.uuid(), message.uuid_option()), (None, Some(&[0, 1][..])));
    assert_eq!(message.hostname(), Some(&b"a"[..]));
    assert_eq!(message.parameter_list(), b"");
}

#[test]
fn relay_agent_information() {
    let value = [1, 2, 0, 7, 2, 1, 9, 5, 4, 10, 44, 0, 0, 11, 4, 10, 44, 0, 1, 255, 1, 5];
    let mut options = vec![82, u8::try_from(value.len()).unwrap()];
    options.extend(value);
    let bytes = message(&request(), &options);
    let relay = Message::parse(&bytes).unwrap().relay_agent().unwrap();
    assert_eq!(relay.raw(), value);
    assert_eq!((relay.circuit_id(), relay.remote_id()), (Some(&[0, 7][..]), Some(&[9][..])));
    assert_eq!(relay.link_selection(), Some(Ipv4Addr::new(10, 44, 0, 0)));
    assert_eq!(relay.server_id_override(), Some(Ipv4Addr::new(10, 44, 0, 1)));
    // Sub-option 255 is a sub-option like any other (RFC 3046 §2.0 has no END).
    assert_eq!(relay.sub_options().first(255), Some(&[5][..]));
}

#[test]
fn features_of_ipxe() {
    let bytes = message(&request(), &[175, 9, 0x13, 1, 1, 0x18, 1, 0, 0xeb, 1, 9]);
    let features = Message::parse(&bytes).unwrap().ipxe_features().unwrap();
    assert!(features.has(IpxeFeatures::HTTP));
    assert!(!features.has(IpxeFeatures::BZIMAGE) && !features.has(IpxeFeatures::EFI));
    assert_eq!(features.value(IpxeFeatures::VERSION), Some(&[9][..]));
}

#[test]
fn a_reply_carries_back_what_it_must() {
    let request = Header {
        hops: 3,
        secs: 9.into(),
        flags: BROADCAST.into(),
        ciaddr: [1; 4],
        giaddr: [10, 44, 0, 1],
        sname: [7; 64],
        ..request()
    };
    let reply = Header::reply_to(&request);
    assert_eq!((reply.op, reply.hops, reply.secs.get()), (BOOTREPLY, 0, 0));
    assert_eq!((reply.xid, reply.chaddr(), reply.giaddr), (request.xid, &MAC[..], request.giaddr));
    assert!(reply.is_broadcast());
    assert_eq!((reply.ciaddr, reply.sname), ([0; 4], [0; 64]));
}

#[test]
fn a_written_message_is_padded_and_ended() {
    let mut buffer = [0xaa; 576];
    let mut writer = Writer::new(&mut buffer, &Header::reply_to(&request())).unwrap();
    writer.option_u8(code::MESSAGE_TYPE, MessageType::Offer as u8).unwrap();
    writer.option_ip(code::SERVER_ID, Ipv4Addr::new(192, 0, 2, 1)).unwrap();
    writer.option_ips(code::DNS, &[Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)]).unwrap();
    writer.option_ips(code::ROUTER, &[]).unwrap();
    writer.set_file(b"longer-than-the-next").unwrap();
    writer.set_file(b"lpxelinux.0").unwrap();
    writer.set_sname(b"192.0.2.1").unwrap();
    assert_eq!(writer.set_file(&[b'a'; 128]), Err(Full));
    assert_eq!(writer.set_sname(&[b'a'; 64]), Err(Full));
    writer.option_bytes_nul(code::BOOT_FILE_NAME, b"lpxelinux.0").unwrap();
    let written = writer.written();
    let len = writer.finish();
    assert_eq!(len, PAYLOAD_LEN_MIN);
    assert_eq!(buffer[written], code::END);
    assert!(buffer[written + 1..len].iter().all(|&byte| byte == 0));
    let message = Message::parse(&buffer[..len]).unwrap();
    assert_eq!(message.file(), Some(&b"lpxelinux.0"[..]));
    assert_eq!(message.sname(), Some(&b"192.0.2.1"[..]));
    let last = message.options().last().unwrap();
    assert_eq!(last, (code::BOOT_FILE_NAME, &b"lpxelinux.0\0"[..]));
    assert_eq!(message.option(code::DNS), Some(&[192, 0, 2, 1, 192, 0, 2, 2][..]));
    assert_eq!(message.option(code::ROUTER), None);
}

#[test]
fn long_values_are_split_and_joined() {
    let text: Vec<u8> = (1..=255).cycle().take(600).collect();
    for len in [0, 1, 254, 255, 256, 509, 510, 511, 600] {
        let mut buffer = [0; 1472];
        let mut writer = Writer::new(&mut buffer, &request()).unwrap();
        writer.option(200, &text[..len]).unwrap();
        writer.option_bytes_nul(201, &text[..len]).unwrap();
        let end = writer.finish();
        let message = Message::parse(&buffer[..end]).unwrap();
        let mut scratch = [0; 700];
        assert_eq!(message.joined(200, &mut scratch), Some(&text[..len]), "{len}");
        let with_nul = [&text[..len], &[0]].concat();
        assert_eq!(message.joined(201, &mut scratch), Some(&with_nul[..]), "{len}");
        assert!(message.options().all(|(_, value)| !value.is_empty() || len == 0));
    }
}

#[test]
fn the_limit_leaves_room_for_end() {
    assert_eq!(payload_limit(None), 548);
    assert_eq!(payload_limit(Some(0)), 548);
    assert_eq!(payload_limit(Some(1472)), 1444);
    assert_eq!(payload_limit(Some(0xff00)), 1472);

    let mut buffer = [0; 1472];
    let mut writer = Writer::new(&mut buffer, &request()).unwrap();
    writer.limit(548);
    let room = 548 - writer.written() - 1;
    assert_eq!(writer.option(200, &vec![1; room]), Err(Full));
    assert_eq!(writer.option(200, &vec![1; room - 3]), Err(Full));
    writer.option(200, &vec![1; room - 4]).unwrap();
    assert_eq!(writer.option(201, &[]), Err(Full));
    assert_eq!(writer.finish(), 548);
    assert_eq!(buffer[547], code::END);

    let mut writer = Writer::new(&mut buffer, &request()).unwrap();
    writer.option(200, &[1; 200]).unwrap();
    writer.limit(0);
    assert_eq!(writer.option(201, &[1]), Err(Full));
    assert_eq!(writer.finish(), 240 + 202 + 1);
    assert!(Writer::new(&mut [0; 299], &request()).is_err());
}

proptest::proptest! {
    #[test]
    fn the_index_finds_what_a_walk_finds(
        overload in 0_u8..4,
        options in proptest::collection::vec((0_u8..8, proptest::collection::vec(0_u8.., 0..9)), 0..12),
        junk in proptest::collection::vec(0_u8.., 0..64),
        fields in proptest::collection::vec(0_u8..6, 192),
    ) {
        let mut header = request();
        header.sname.copy_from_slice(&fields[..64]);
        header.file.copy_from_slice(&fields[64..]);
        let mut area = vec![code::OVERLOAD, 1, overload];
        for (code, value) in &options {
            area.extend_from_slice(&[*code, u8::try_from(value.len()).expect("short")]);
            area.extend_from_slice(value);
        }
        area.extend_from_slice(&junk);
        let bytes = message(&header, &area);
        for len in [bytes.len(), bytes.len() - junk.len() / 2, HEADER_LEN + 4, HEADER_LEN] {
            let message = Message::parse(&bytes[..len]).expect("a message");
            for code in 0..=u8::MAX {
                let walked = message.options().find(|&(found, _)| found == code).map(|(_, value)| value);
                assert_eq!(message.option(code), walked, "option {code} of {len} bytes");
            }
        }
    }
}
