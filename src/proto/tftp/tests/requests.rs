//! Requests: what is agreed on, what is refused, whose transfer a packet belongs to.

use super::*;
use crate::limits::PATH_MAX;

#[test]
fn a_client_that_asks_for_nothing_gets_the_first_block() {
    let mut lab = Lab::new().file("pxelinux.0", 600);
    assert_eq!(lab.ask(2070, &rrq("pxelinux.0", &[])), [data(1, &content(600)[..512])]);
    assert_eq!(lab.ack(2070, 1), [data(2, &content(600)[512..])]);
    assert!(lab.ack(2070, 2).is_empty());
    let note = lab.note();
    assert_eq!((note.outcome, note.sent, note.resent), (Outcome::Done, 600, 0));
    assert_eq!((note.peer, note.path.as_str()), (client(2070), "pxelinux.0"));
    assert_eq!(lab.stats.transfers, 1);
}

#[test]
fn an_oack_holds_what_was_asked_in_that_order_and_never_more_of_it() {
    let mut lab = Lab::new().file("a", 70_000);
    let asked = [
        ("tsize", "0"),
        ("blksize", "65464"),
        ("multicast", ""),
        ("WindowSize", "500"),
        ("utimeout", "9"),
        ("TIMEOUT", "5"),
        ("blksize", "512"),
    ];
    assert_eq!(lab.ask(1, &rrq("a", &asked)), [oack("tsize 70000 blksize 1468 windowsize 64 timeout 5")]);
    let asked = [("timeout", "255"), ("tsize", "70000"), ("blksize", "1432"), ("windowsize", "4")];
    assert_eq!(lab.ask(2, &rrq("a", &asked)), [oack("timeout 255 tsize 70000 blksize 1432 windowsize 4")]);
}

#[test]
fn the_operator_can_grant_less() {
    let settings = Settings { blksize_max: 1024, windowsize_max: 8, ..Settings::default() };
    let mut lab = Lab::with(settings, 8).file("a", 9);
    let asked = [("blksize", "1468"), ("windowsize", "64")];
    assert_eq!(lab.ask(1, &rrq("a", &asked)), [oack("blksize 1024 windowsize 8")]);
}

#[test]
fn options_out_of_order_are_ignored_and_an_empty_oack_is_never_sent() {
    let mut lab = Lab::new().file("a", 9);
    let asked = [("blksize", "7"), ("timeout", "0"), ("windowsize", "0"), ("tsize", "-1"), ("multicast", "")];
    assert_eq!(lab.ask(1, &rrq("a", &asked)), [data(1, &content(9))]);
    let asked = [("timeout", "256"), ("blksize", "1k"), ("windowsize", "2")];
    assert_eq!(lab.ask(2, &rrq("a", &asked)), [oack("windowsize 2")]);
}

#[test]
fn an_oack_is_acknowledged_by_ack_0_and_nothing_else() {
    let mut lab = Lab::new().file("a", 100);
    lab.ask(1, &rrq("a", &[("blksize", "8"), ("windowsize", "3")]));
    assert!(lab.ack(1, 1).is_empty());
    assert!(lab.ack(1, 65_535).is_empty());
    assert_eq!(blocks(&lab.ack(1, 0)), [1, 2, 3]);
    assert_eq!(blocks(&lab.ack(1, 3)), [4, 5, 6]);
}

#[test]
fn a_size_probe_ended_by_the_client_is_no_error() {
    let mut lab = Lab::new().file("a", 100);
    for code in [8, 0] {
        assert_eq!(lab.ask(1, &rrq("a", &[("tsize", "0")])), [oack("tsize 100")]);
        assert!(lab.answer(1, &error(code)).is_empty());
        assert_eq!(lab.outcome(), Outcome::SizeOnly);
    }
    // It asks for the file itself without ending the probe.
    lab.ask(1, &rrq("a", &[("tsize", "0")]));
    assert_eq!(lab.ask(1, &rrq("a", &[])), [data(1, &content(100))]);
    assert_eq!(lab.outcome(), Outcome::SizeOnly);
}

#[test]
fn an_error_of_the_client_ends_its_transfer_without_a_reply() {
    let mut lab = Lab::new().file("a", 5_000);
    lab.ask(1, &rrq("a", &[("tsize", "0")]));
    assert!(lab.answer(1, &error(4)).is_empty());
    assert_eq!(lab.outcome(), Outcome::ClientStopped(Some(4)), "it did not like the OACK");
    lab.ask(1, &rrq("a", &[]));
    lab.ack(1, 1);
    assert!(lab.answer(1, &error(3)).is_empty());
    let note = lab.note();
    assert_eq!((note.outcome, note.sent), (Outcome::ClientStopped(Some(3)), 512));
    assert!(lab.tftp.is_empty());
}

#[test]
fn a_repeated_request_reuses_its_transfer() {
    let mut lab = Lab::new().file("a", 5_000);
    let (plain, sized) = (rrq("a", &[]), rrq("a", &[("tsize", "0")]));
    assert_eq!(lab.ask(1, &sized), [oack("tsize 5000")]);
    assert!(lab.ask(1, &sized).is_empty(), "a copy that the network made");
    lab.wait(Duration::from_millis(250));
    assert_eq!(lab.ask(1, &sized), [oack("tsize 5000")]);
    assert_eq!(lab.ask(2, &plain), [data(1, &content(512))]);
    lab.wait(Duration::from_millis(250));
    assert_eq!(lab.ask(2, &plain), [data(1, &content(512))]);
    assert_eq!((lab.tftp.len(), lab.stats.transfers, lab.stats.resent), (2, 2, 2));
    assert!(lab.notes.is_empty());
}

#[test]
fn a_repeated_request_behind_progress_is_a_late_copy_or_a_restart() {
    let mut lab = Lab::new().file("a", 5_000);
    let request = rrq("a", &[]);
    lab.ask(1, &request);
    assert_eq!(blocks(&lab.ack(1, 1)), [2]);
    lab.wait(Duration::from_millis(100));
    assert!(lab.ask(1, &request).is_empty());
    assert_eq!(blocks(&lab.ack(1, 2)), [3], "the late copy changed nothing");
    lab.wait(Duration::from_secs(8));
    assert_eq!(blocks(&lab.ask(1, &request)), [1], "the machine was reset");
    assert_eq!(lab.outcome(), Outcome::ClientStopped(None));
    assert_eq!(lab.tftp.len(), 1);
}

#[test]
fn another_file_from_the_same_port_replaces_the_transfer() {
    let mut lab = Lab::new().file("a", 700).file("b", 10);
    lab.ask(2070, &rrq("a", &[]));
    assert_eq!(lab.ask(2070, &rrq("b", &[])), [data(1, &content(10))]);
    assert_eq!(lab.outcome(), Outcome::ClientStopped(None));
    assert_eq!(error_code(&lab.ask(2070, &rrq("c", &[]))), 1);
    assert!(lab.tftp.is_empty(), "even by one that is missing");
    lab.notes.clear();
    lab.ask(2070, &rrq("a", &[]));
    lab.ack(2070, 1);
    lab.ask(2070, &rrq("b", &[]));
    assert_eq!(lab.outcome(), Outcome::Done, "a ROM that never acknowledges the last block");
}

#[test]
fn a_foreign_packet_gets_error_5_and_ends_nothing() {
    let mut lab = Lab::new().file("a", 5_000);
    lab.ask(1, &rrq("a", &[]));
    for packet in [ack(1), data(1, b"x"), oack("blksize 8")] {
        assert_eq!(error_code(&lab.answer(9, &packet)), 5);
    }
    assert!(lab.answer(9, &error(5)).is_empty(), "an ERROR is never answered");
    assert_eq!(lab.stats.dropped(DropReason::UnknownTransfer), 4);
    assert!(lab.answer(1, &data(1, b"x")).is_empty());
    assert_eq!(blocks(&lab.ack(1, 1)), [2]);
    assert!(lab.notes.is_empty());
}

#[test]
fn a_second_copy_of_the_last_ack_is_not_foreign() {
    let mut lab = Lab::new().file("a", 10);
    lab.ask(2070, &rrq("a", &[]));
    lab.ack(2070, 1);
    assert!(lab.ack(2070, 1).is_empty(), "an ERROR 5 would end what the ROM asks for next from this port");
    lab.wait(Duration::from_secs(6));
    assert_eq!(error_code(&lab.ack(2070, 1)), 5);
}

#[test]
fn what_cannot_be_read_is_refused_at_once() {
    let mut lab = Lab::new()
        .miss("dir", Miss::Directory)
        .miss("secret", Miss::Forbidden)
        .miss("broken", Miss::Unreadable)
        .miss("busy", Miss::Busy);
    let long = "x".repeat(PATH_MAX + 1);
    let names = [("none", 1), ("dir", 1), ("/", 1), (&long, 1), ("secret", 2), ("broken", 2), ("busy", 0)];
    for (name, code) in names {
        assert_eq!(error_code(&lab.ask(1, &rrq(name, &[("tsize", "0")]))), code, "{name}");
        assert_eq!(lab.outcome(), Outcome::TftpError(code));
    }
    assert!(lab.tftp.is_empty());
}

/// pxelinux asks for all its names from one port: an ERROR too many answers the next name, and so on to the last one, which is there
#[test]
fn a_copy_of_a_refused_request_draws_no_second_error() {
    let mut lab = Lab::new().file("default", 10);
    let first = rrq("01-52-54-00-10-00-07", &[]);
    assert_eq!(error_code(&lab.ask(49_153, &first)), 1);
    lab.wait(Duration::from_millis(1));
    assert!(lab.ask(49_153, &first).is_empty());
    assert_eq!(lab.stats.dropped(DropReason::RefusedAlready), 1);
    assert_eq!(error_code(&lab.ask(49_153, &rrq("0A4D0102", &[]))), 1, "another name");
    assert_eq!(error_code(&lab.ask(49_154, &first)), 1, "another client");
    assert_eq!(blocks(&lab.ask(49_153, &rrq("default", &[]))), [1]);
    assert!(lab.ask(49_153, &first).is_empty());
    assert_eq!(
        blocks(&lab.wait(Duration::from_secs(1))[0..1].iter().map(|(_, p)| p.clone()).collect::<Vec<_>>()),
        [1],
        "what it asked for meanwhile goes on"
    );
    assert_eq!(error_code(&lab.ask(49_155, &first)), 1);
    lab.wait(Duration::from_millis(110));
    assert_eq!(error_code(&lab.ask(49_155, &first)), 1, "it did not hear, and asks again");
}

#[test]
fn writing_mail_and_unknown_modes_are_refused() {
    let mut lab = Lab::new().file("a", 10);
    assert_eq!(error_code(&lab.ask(1, &request(2, b"a", "octet", &[]))), 2);
    assert_eq!(lab.outcome(), Outcome::TftpError(2));
    assert_eq!(error_code(&lab.ask(1, &request(1, b"a", "Mail", &[]))), 4);
    assert_eq!(lab.outcome(), Outcome::TftpError(4));
    assert_eq!(error_code(&lab.ask(1, &request(1, b"a", "image", &[]))), 4);
    assert_eq!(error_code(&lab.ask(1, &request(1, b"", "octet", &[]))), 4);
    assert_eq!(lab.stats.dropped(DropReason::MalformedTftp), 2);
    assert!(lab.tftp.is_empty());
}

#[test]
fn a_mode_is_read_in_any_case_and_netascii_is_its_own_form() {
    let mut lab = Lab::new().file("a", 10);
    lab.ask(1, &request(1, b"a", "OCTET", &[]));
    lab.ask(2, &request(1, b"a", "NetASCII", &[]));
    assert_eq!(lab.files.asked, [(b"a".to_vec(), Form::Octet), (b"a".to_vec(), Form::Netascii)]);
}

#[test]
fn names_are_read_as_firmware_means_them() {
    let mut lab = Lab::new().file("EFI/BOOT/grubx64.efi", 10).file("a b", 10).file("caf\u{e9}", 10);
    let names: [&[u8]; 8] = [
        b"EFI/BOOT/grubx64.efi",
        b"/EFI//BOOT/./grubx64.efi",
        b"\\EFI\\BOOT\\grubx64.efi",
        b"EFI/BOOT/grubx64.efi\xff",
        b"EFI/BOOT/grubx64.efi\xff\x04junk",
        b"EFI/BOOT/grubx64.efi \r",
        b"./a b",
        "caf\u{e9}".as_bytes(),
    ];
    for (port, name) in (1..).zip(names) {
        assert_eq!(blocks(&lab.ask(port, &request(1, name, "octet", &[]))), [1], "{}", name.escape_ascii());
    }
}

#[test]
fn junk_does_not_turn_one_name_into_another_that_exists() {
    let mut lab = Lab::new().file("a", 10).file("a\u{fffd}", 20);
    lab.ask(1, &rrq("a\u{fffd}", &[("tsize", "0")]));
    assert_eq!(lab.files.asked.len(), 1, "the name as it stands comes first");
    lab.ask(2, &rrq("b ", &[]));
    assert_eq!(lab.files.asked[1..], [(b"b ".to_vec(), Form::Octet), (b"b".to_vec(), Form::Octet)]);
}

#[test]
fn a_full_table_stays_silent_and_counts() {
    let mut lab = Lab::with(Settings::default(), 2).file("a", 10);
    lab.ask(1, &rrq("a", &[]));
    lab.ask(2, &rrq("a", &[]));
    assert!(lab.ask(3, &rrq("a", &[])).is_empty());
    assert_eq!((lab.stats.dropped(DropReason::TransfersFull), lab.tftp.len()), (1, 2));
    assert_eq!(blocks(&lab.ask(1, &rrq("a", &[("tsize", "x")]))), [1], "a client's own place is free for it");
    lab.ack(1, 1);
    assert_eq!(blocks(&lab.ask(3, &rrq("a", &[]))), [1]);
}

#[test]
fn a_stopping_server_ends_what_it_began_and_begins_nothing() {
    let mut lab = Lab::new().file("a", 600);
    lab.ask(1, &rrq("a", &[]));
    lab.tftp.on_stop(lab.now);
    assert_eq!(error_code(&lab.ask(2, &rrq("a", &[]))), 0);
    assert_eq!(lab.outcome(), Outcome::Stopped);
    assert_eq!(blocks(&lab.ack(1, 1)), [2]);
    lab.ack(1, 2);
    assert_eq!(lab.outcome(), Outcome::Done);
    assert!(lab.tftp.is_empty());
}

#[test]
fn a_file_that_fails_under_a_transfer_ends_it_with_an_error() {
    let mut lab = Lab::new().file("a", 600);
    lab.ask(1, &rrq("a", &[]));
    for to in [client(9), client(1), client(1)] {
        let Lab { tftp, files, stats, outbox, now, .. } = &mut lab;
        tftp.on_window_failed(*now, to, files, stats, outbox);
    }
    let replies: Vec<_> = lab.drain().into_iter().map(|reply| reply.bytes).collect();
    assert_eq!(error_code(&replies), 2);
    assert_eq!(lab.outcome(), Outcome::FileFailed);
}

#[test]
fn each_port_takes_its_own_packets() {
    let mut lab = Lab::new().file("a", 600);
    assert!(lab.answer(1, &rrq("a", &[])).is_empty());
    lab.ask(1, &rrq("a", &[]));
    assert!(lab.ask(1, &ack(1)).is_empty(), "an ACK belongs to the transfer's port");
    assert_eq!(blocks(&lab.ack(1, 1)), [2]);

    let settings = Settings { single_port: true, ..Settings::default() };
    for port in [Port::Tftp, Port::Transfer] {
        let mut lab = Lab::with(settings, 8).file("a", 600);
        assert_eq!(blocks(&lab.send_to(port, client(1), &rrq("a", &[]))), [1]);
        assert_eq!(blocks(&lab.send_to(port, client(1), &ack(1))), [2]);
        assert_eq!(error_code(&lab.send_to(port, client(2), &ack(1))), 5);
    }
}

#[test]
fn broadcasts_and_impossible_senders_get_nothing() {
    let mut lab = Lab::new().file("a", 600);
    let request = rrq("a", &[]);
    let good = Datagram {
        port: Port::Tftp,
        network: 3,
        source: client(1),
        destination: SERVER,
        source_mac: None,
        payload: &request,
    };
    let group = Ipv4Addr::new(239, 255, 1, 1);
    for destination in [Ipv4Addr::BROADCAST, group] {
        assert!(lab.deliver(&Datagram { destination, ..good }).is_empty());
    }
    for ip in [Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED, group] {
        assert!(lab.deliver(&Datagram { source: SocketAddrV4::new(ip, 1), ..good }).is_empty());
    }
    assert!(lab.deliver(&Datagram { source: client(0), ..good }).is_empty());
    assert!(lab.tftp.is_empty());
    assert_eq!(lab.deliver(&good).len(), 1);
}
