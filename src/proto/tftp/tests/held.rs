//! Windows that wait for their turn on a full wire: no time runs for them, and yet none is forgotten.

use super::*;
use crate::proto::outbox::Window;

/// A transfer of 64 blocks of 8 bytes, its first window of 8 out
fn windowed() -> Lab {
    let mut lab = Lab::new().file("a", 511);
    lab.ask(1, &rrq("a", &[("blksize", "8"), ("windowsize", "8")]));
    assert_eq!(lab.ack(1, 0).len(), 8);
    lab
}

/// The blocks from `first` on leave, which were held back
fn release(lab: &mut Lab, first: u16, blocks: u16, is_all: bool) -> bool {
    let (offset, len) = (8 * u64::from(first - 1), 8 * u32::from(blocks));
    let window = Window { image: ImageId(0), offset, len, blksize: 8, first_block: first, blocks };
    lab.tftp.on_released(lab.now, client(1), &window, is_all)
}

#[test]
fn a_transfer_whose_client_leaves_while_it_is_held_back_ends() {
    let mut lab = windowed();
    lab.tftp.on_held(client(1), 8);
    assert_eq!(lab.tftp.next_deadline(), None, "it waits for its turn");
    lab.now += Duration::from_secs(90);
    assert!(release(&mut lab, 1, 8, true));
    assert!(!release(&mut lab, 1, 8, true), "once");
    lab.wait(Duration::from_secs(120));
    assert_eq!(lab.outcome(), Outcome::TimedOut);
}

#[test]
fn a_late_ack_of_what_is_held_back_to_be_sent_again_leaves_its_rest_to_be_sent() {
    let mut lab = windowed();
    let again = lab.wait(Duration::from_millis(200));
    assert_eq!(again.len(), 8, "nothing was heard of it");
    lab.tftp.on_held(client(1), 8);
    assert_eq!(blocks(&lab.ack(1, 4)), [5, 6, 7, 8], "in place of all 8");
    lab.tftp.on_held(client(1), 4);
    assert_eq!(lab.tftp.next_deadline(), None);
    assert!(release(&mut lab, 5, 4, true));
    assert!(lab.tftp.next_deadline().is_some(), "from here on its time runs");
    assert_eq!(blocks(&lab.ack(1, 8))[0], 9);
    lab.wait(Duration::from_secs(120));
    assert_eq!(lab.outcome(), Outcome::TimedOut);
}

#[test]
fn a_gap_in_what_is_out_is_held_back_with_the_rest() {
    let mut lab = windowed();
    lab.tftp.on_held(client(1), 8);
    assert!(release(&mut lab, 1, 1, false));
    assert_eq!(blocks(&lab.ack(1, 1)), [2, 3, 4, 5, 6, 7, 8], "a client whose timer ran out");
    lab.tftp.on_held(client(1), 7);
    assert!(release(&mut lab, 2, 1, false));
    assert!(release(&mut lab, 3, 1, false));
    assert_eq!(lab.stats.resent, 0, "each left once");
    assert_eq!(blocks(&lab.ack(1, 2)), [3, 4, 5, 6, 7, 8], "block 3 got lost");
    assert_eq!(lab.stats.resent, 1);
    lab.tftp.on_held(client(1), 6);
    assert!(lab.ack(1, 2).is_empty(), "no repeated ACK is answered");
    assert_eq!(blocks(&lab.ack(1, 8))[0], 9, "all came, the late one too");
    assert!(lab.tftp.next_deadline().is_some());
}
