//! Packets that no client means: whatever comes, the server neither panics nor keeps anything, and goes on serving.

use super::link::Dice;
use super::*;

/// Packets of every kind, to be mangled
fn specimens() -> Vec<Vec<u8>> {
    let all = [("tsize", "0"), ("blksize", "1468"), ("windowsize", "4"), ("timeout", "5")];
    vec![
        rrq("pxelinux.0", &[]),
        rrq("boot\\grub//grub.cfg", &all),
        request(1, b"undionly.kpxe\xff", "netascii", &all[..2]),
        request(2, b"x", "octet", &all),
        request(1, b"x", "mail", &[]),
        data(1, b"payload"),
        ack(0),
        ack(1),
        ack(2),
        ack(65_535),
        error(0),
        error(8),
        oack("blksize 8 tsize 0"),
        Vec::new(),
    ]
}

fn mangle(packet: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..dice.below(4) {
        let at = dice.below(packet.len() as u64 + 1) as usize;
        let byte = [0, 1, 6, 0x2f, 0x30, 0x7f, 0xff, dice.below(256) as u8][dice.below(8) as usize];
        match dice.below(5) {
            0 => packet.truncate(at),
            1 => packet.insert(at, byte),
            2 => packet.extend_from_within(at..),
            _ if at < packet.len() => packet[at] = byte,
            _ => packet.push(byte),
        }
        packet.truncate(2_000);
    }
}

#[test]
fn a_hundred_thousand_mangled_packets_leave_nothing_behind() {
    let specimens = specimens();
    for single_port in [false, true] {
        let settings = Settings { single_port, ..Settings::default() };
        let mut lab =
            Lab::with(settings, 16).file("pxelinux.0", 3_000).file("x", 0).file("boot/grub/grub.cfg", 40);
        let mut dice = Dice::new(7);
        for _ in 0..50_000 {
            let mut packet = specimens[dice.below(specimens.len() as u64) as usize].clone();
            mangle(&mut packet, &mut dice);
            let port = if dice.below(2) == 0 { Port::Tftp } else { Port::Transfer };
            lab.send_to(port, client(dice.below(24) as u16), &packet);
            lab.wait(Duration::from_millis(dice.below(40)));
            assert!(lab.tftp.len() <= 16);
        }
        assert!(lab.stats.transfers > 1_000, "{} transfers", lab.stats.transfers);
        lab.wait(Duration::from_secs(7_200));
        assert!(lab.tftp.is_empty() && lab.files.open.is_empty());
        assert_eq!(lab.tftp.next_deadline(), None);

        let port = if single_port { Port::Tftp } else { Port::Transfer };
        assert_eq!(blocks(&lab.ask(9, &rrq("x", &[]))), [1], "the next good client is served");
        assert!(lab.send_to(port, client(9), &ack(1)).is_empty());
        assert_eq!(lab.notes.pop().unwrap().outcome, Outcome::Done);
    }
}

#[test]
fn a_table_that_was_full_a_thousand_times_is_whole_again() {
    let mut lab = Lab::with(Settings::default(), 64).file("a", 10);
    for round in 0..1_000_u16 {
        for index in 0..70 {
            lab.ask(1 + (round * 7 + index) % 60_000, &rrq("a", &[]));
        }
        assert_eq!(lab.tftp.len(), 64);
        lab.wait(Duration::from_secs(31));
        assert!(lab.tftp.is_empty());
    }
    assert_eq!(lab.stats.dropped(DropReason::TransfersFull), 6_000);
}
