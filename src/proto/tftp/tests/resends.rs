//! What is sent again, when, and what is not.

use super::*;

const BLKSIZE_8: (&str, &str) = ("blksize", "8");

/// A transfer of `len` bytes in blocks of 8, its first window out
fn windowed(lab: &mut Lab, windowsize: &str) {
    lab.ask(1, &rrq("a", &[BLKSIZE_8, ("windowsize", windowsize)]));
    lab.ack(1, 0);
}

fn times(sent: &[(Duration, Vec<u8>)]) -> Vec<u64> {
    sent.iter().map(|(at, _)| at.as_millis()).collect()
}

#[test]
fn a_block_number_wraps_to_0() {
    let mut lab = Lab::new().file("a", 8 * 65_537 + 3);
    windowed(&mut lab, "1");
    for block in 1..65_535 {
        assert_eq!(blocks(&lab.ack(1, block)), [block + 1]);
    }
    assert_eq!(blocks(&lab.ack(1, 65_535)), [0]);
    assert!(lab.ack(1, 65_535).is_empty());
    assert_eq!(blocks(&lab.ack(1, 0)), [1]);
    assert_eq!(lab.ack(1, 1), [data(2, &content(8 * 65_537 + 3)[8 * 65_537..])]);
    lab.ack(1, 2);
    assert_eq!(lab.note().sent, 8 * 65_537 + 3);
}

#[test]
fn a_window_reaches_across_the_wrap() {
    let mut lab = Lab::new().file("a", 8 * 66_000);
    windowed(&mut lab, "8");
    for block in (8..65_530).step_by(8) {
        assert_eq!(lab.ack(1, block).len(), 8);
    }
    assert_eq!(blocks(&lab.ack(1, 65_535))[..2], [0, 1], "inside the window");
}

#[test]
fn a_size_that_the_block_size_divides_ends_with_an_empty_block() {
    let mut lab = Lab::new().file("a", 16).file("empty", 0);
    windowed(&mut lab, "8");
    lab.wait(Duration::from_millis(1));
    assert_eq!(lab.tftp.len(), 1);
    assert!(lab.ack(1, 3).is_empty());
    assert_eq!(lab.outcome(), Outcome::Done);
    assert_eq!(lab.ask(2, &rrq("empty", &[])), [data(1, b"")]);
    lab.ack(2, 1);
    assert_eq!(lab.outcome(), Outcome::Done);
    lab.ask(3, &rrq("a", &[BLKSIZE_8]));
    lab.ack(3, 0);
    lab.ack(3, 1);
    assert_eq!(lab.ack(3, 2), [data(3, b"")]);
}

#[test]
fn a_repeated_ack_is_never_answered() {
    let mut lab = Lab::new().file("a", 10_000);
    lab.ask(1, &rrq("a", &[]));
    lab.ack(1, 1);
    assert!(lab.ack(1, 1).is_empty());
    assert!(lab.ack(1, 0).is_empty(), "older still");
    assert_eq!(blocks(&lab.ack(1, 2)), [3]);
    assert!(lab.ack(1, 4).is_empty(), "not sent yet");
    assert!(lab.ack(1, 1).is_empty());
    assert_eq!(lab.stats.resent, 0);
}

#[test]
fn silence_is_answered_by_the_servers_own_timer_and_backs_off() {
    let mut lab = Lab::new().file("a", 10_000);
    lab.ask(1, &rrq("a", &[]));
    lab.wait(Duration::from_millis(1));
    assert_eq!(blocks(&lab.ack(1, 1)), [2]);
    let sent = lab.wait(Duration::from_secs(10));
    assert_eq!(times(&sent), [150, 450, 1_050, 2_250, 4_650, 9_450]);
    assert!(sent.iter().all(|(_, packet)| *packet == data(2, &content(1_024)[512..])));
    assert_eq!(blocks(&lab.ack(1, 2)), [3], "the late ACK counts");
    assert_eq!(lab.stats.resent, 6);
}

#[test]
fn an_unanswered_oack_or_first_block_waits_a_second() {
    let mut lab = Lab::new().file("a", 10_000);
    lab.ask(1, &rrq("a", &[("tsize", "0")]));
    assert_eq!(times(&lab.wait(Duration::from_secs(8))), [1_000, 3_000, 7_000]);
    assert_eq!(blocks(&lab.ack(1, 0)), [1]);
}

#[test]
fn an_agreed_timeout_is_the_time_before_a_resend() {
    let mut lab = Lab::new().file("a", 10_000);
    lab.ask(1, &rrq("a", &[("timeout", "5")]));
    assert_eq!(times(&lab.wait(Duration::from_secs(12))), [5_000, 10_000]);
    lab.ack(1, 0);
    assert_eq!(times(&lab.wait(Duration::from_secs(14))), [5_000, 10_000]);
    lab.ack(1, 1);
    assert_eq!(times(&lab.wait(Duration::from_secs(6))), [5_000]);
}

#[test]
fn a_silent_client_is_given_up_but_not_soon() {
    let mut lab = Lab::new().file("a", 10_000);
    lab.ask(1, &rrq("a", &[]));
    lab.wait(Duration::from_secs(29));
    assert_eq!(blocks(&lab.ack(1, 1)), [2], "a pause of 29 s");
    assert!(lab.wait(Duration::from_secs(60)).len() >= 6, "six tries, however slow the client was before");
    let note = lab.note();
    assert_eq!((note.outcome, note.sent), (Outcome::TimedOut, 512));
    assert!(lab.tftp.is_empty() && lab.tftp.next_deadline().is_none());
}

#[test]
fn a_client_that_never_answered_is_given_up_in_half_a_minute_whatever_it_agreed() {
    let mut lab = Lab::new().file("a", 10_000);
    lab.ask(1, &rrq("a", &[]));
    lab.ask(2, &rrq("a", &[("timeout", "255")]));
    let sent = lab.wait(Duration::from_secs(30));
    assert!(sent.len() <= 5, "a spoofed request draws few packets");
    assert!(lab.tftp.is_empty());
    assert!(lab.notes.iter().all(|note| note.outcome == Outcome::TimedOut));
}

#[test]
fn a_last_ack_that_never_comes_is_no_error() {
    let mut lab = Lab::new().file("a", 600);
    lab.ask(1, &rrq("a", &[]));
    lab.ack(1, 1);
    assert!(lab.wait(Duration::from_secs(60)).iter().all(|(_, packet)| packet.starts_with(&[0, 3])));
    let note = lab.note();
    assert_eq!((note.outcome, note.sent), (Outcome::Done, 600));
    lab.ask(1, &rrq("a", &[]));
    lab.ack(1, 1);
    lab.wait(Duration::from_secs(1));
    lab.answer(1, &error(5));
    assert_eq!(lab.outcome(), Outcome::Done, "it closed its port");
}

#[test]
fn an_ack_inside_the_window_restarts_it_once_however_often_it_comes() {
    let mut lab = Lab::new().file("a", 10_000);
    windowed(&mut lab, "8");
    assert_eq!(blocks(&lab.ack(1, 8)), [9, 10, 11, 12, 13, 14, 15, 16]);
    assert_eq!(blocks(&lab.ack(1, 10)), [11, 12, 13, 14, 15, 16, 17, 18]);
    for _ in 0..6 {
        assert!(lab.ack(1, 10).is_empty(), "EDK2 complains about every block behind the gap");
    }
    assert_eq!(lab.stats.resent, 6);
    lab.wait(Duration::from_millis(1));
    assert_eq!(
        blocks(&lab.ack(1, 12)),
        [13, 14, 15, 16, 17, 18, 19, 20],
        "another gap among what was resent"
    );
    assert_eq!(blocks(&lab.ack(1, 20)), [21, 22, 23, 24, 25, 26, 27, 28]);
}

#[test]
fn a_window_whose_first_block_got_lost_waits_for_the_timer() {
    let mut lab = Lab::new().file("a", 10_000);
    windowed(&mut lab, "4");
    lab.ack(1, 4);
    for _ in 0..3 {
        assert!(lab.ack(1, 4).is_empty());
    }
    let sent = lab.wait(Duration::from_millis(200));
    assert_eq!(blocks(&sent.into_iter().map(|(_, packet)| packet).collect::<Vec<_>>()), [5, 6, 7, 8]);
}

#[test]
fn an_ack_of_all_that_was_out_before_a_restart_draws_only_new_blocks() {
    let mut lab = Lab::new().file("a", 10_000);
    windowed(&mut lab, "4");
    // The client has all four, and complains of a copy of the first.
    assert_eq!(blocks(&lab.ack(1, 1)), [2, 3, 4, 5]);
    assert_eq!(blocks(&lab.ack(1, 4)), [6, 7, 8], "5 is on its way");
    assert_eq!(blocks(&lab.ack(1, 8)), [9, 10, 11, 12]);
    assert_eq!(lab.stats.resent, 3);
}

/// A transfer by windows of 4 at a round trip of 2 ms, whose first window was sent again from its second block on
fn sent_again() -> Lab {
    let mut lab = Lab::new().file("a", 10_000);
    lab.ask(1, &rrq("a", &[BLKSIZE_8, ("windowsize", "4")]));
    lab.wait(Duration::from_millis(2));
    assert_eq!(blocks(&lab.ack(1, 0)), [1, 2, 3, 4]);
    lab.wait(Duration::from_millis(2));
    assert_eq!(blocks(&lab.ack(1, 1)), [2, 3, 4, 5]);
    lab.wait(Duration::from_millis(1));
    lab
}

#[test]
fn a_complaint_that_may_be_older_than_what_was_sent_again_draws_only_new_blocks() {
    let mut lab = sent_again();
    assert_eq!(blocks(&lab.ack(1, 2)), [6], "the client had it already, and a copy of an old one");
    assert_eq!(blocks(&lab.ack(1, 3)), [7], "and again");
    lab.wait(Duration::from_millis(1));
    assert_eq!(blocks(&lab.ack(1, 4)), [8], "all that was out before");
    lab.wait(Duration::from_millis(2));
    assert_eq!(blocks(&lab.ack(1, 8)), [9, 10, 11, 12]);
    assert_eq!(lab.stats.resent, 3);
}

#[test]
fn a_complaint_that_nothing_follows_was_of_a_loss() {
    let mut lab = sent_again();
    assert_eq!(blocks(&lab.ack(1, 2)), [6]);
    let sent = lab.wait(Duration::from_millis(100));
    assert!(sent[0].0 < Duration::from_millis(10), "within a few round trips: {:?}", times(&sent));
    assert_eq!(blocks(&sent.into_iter().map(|(_, packet)| packet).collect::<Vec<_>>()), [3, 4, 5, 6]);
    lab.wait(Duration::from_millis(2));
    assert_eq!(blocks(&lab.ack(1, 6)), [7, 8, 9, 10]);
}

#[test]
fn a_client_that_grew_slow_is_measured_anew() {
    let mut lab = Lab::new().file("a", 512 * 40);
    lab.ask(1, &rrq("a", &[]));
    for block in 1..=4 {
        lab.wait(Duration::from_millis(1));
        lab.ack(1, block);
    }
    let mut resent = Vec::new();
    for block in 5..=20 {
        resent.push(lab.wait(Duration::from_millis(500)).len());
        lab.ack(1, block);
    }
    assert_eq!(resent[3..], [0; 13], "after {resent:?} the timer knows it");
}
