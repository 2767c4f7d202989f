//! One transfer: which blocks are out, which are acknowledged, what an ACK or a deadline calls for.
//!
//! Blocks are counted in 64 bits, from 1; the wire's 16 bits wrap from 65535 to 0 and an ACK is read as the nearest
//! position. Every rule of sending again is here; nothing here writes a packet or sets a timer.
//!
//! ```text
//!  RRQ ─► options agreed? ─ yes ─► Offered (OACK out) ─ ACK 0 ─► Sending (a window out) ─ ACK of the last block ─► end
//!                        └─ no ───────────────────────────────► ▲    │ ACK of the window's end: the next window
//!                                                               └────┘ ACK inside it: RFC 7440 §4, from there again
//! ```
//!
//! A window leaves at once, or burst by burst where it got lost on its way ([`Pace`]).

use std::net::{Ipv4Addr, SocketAddrV4};

use super::negotiation::Agreed;
use super::pace::Pace;
use super::round_trip::RoundTrip;
use crate::boot::image::{Image, ImageId};
use crate::limits::WINDOWSIZE_MAX;
use crate::note::{Outcome, Text, TransferNote};
use crate::proto::outbox::{Port, Route, Window};
use crate::time::{Duration, Instant};
use crate::wire::Full;
use crate::wire::tftp::ErrorCode;

/// A client that is silent for this long is gone. Gateways that write flash pause for over 10 s, U-Boot asks again every 5 s
const PATIENCE: Duration = Duration::from_secs(30);
/// Resends without progress before a client that once answered is given up
const RESENDS_MIN: u8 = 6;
/// A request that repeats one within this time is a copy made by the network: two OACKs at once confuse Raspberry Pi firmware
/// (raspberrypi/firmware#1041), and pxelinux takes a second ERROR for the answer to its next request. No client asks again that soon.
pub(super) const COPY_WITHIN: Duration = Duration::from_millis(10);
/// A request that repeats one that is being served is a late copy while its client goes on acknowledging; behind
/// a silence as long as this the client has restarted
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Four cache lines, half of which is the name, read at the end only
const _: () = assert!(size_of::<Option<Transfer>>() <= 256 && WINDOWSIZE_MAX <= u8::MAX as u16);

/// Where a transfer stands
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The OACK is out and awaits its ACK 0
    Offered,
    /// Blocks are out
    Sending,
}

/// Whether blocks of what is out were out before
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copies {
    /// All were sent once: their round trip may be measured (Karn)
    None,
    /// Some were sent again
    Some,
    /// And the client complains of one that was perhaps on its way: if no more is heard of it, it got lost
    InDoubt,
}

/// What an event calls for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing
    Wait,
    /// Send the OACK
    Offer,
    /// Send these blocks
    Send(Window),
    /// The transfer is over
    End(Outcome),
    /// It is over, and what the client asks for now takes its place
    Replace,
}

/// Who asked for what
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    /// The client's address and transfer identifier
    pub(super) client: SocketAddrV4,
    /// The address that it asked: all that it is sent comes from there
    pub(super) source: Ipv4Addr,
    /// The network that it came by
    pub(super) network: u32,
    /// A hash of its whole request
    pub(super) request: u64,
}

/// A file on its way to a client
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    asker: Asker,
    path: Text<128>,
    image: ImageId,
    size: u64,
    agreed: Agreed,
    phase: Phase,
    /// The client answered once, so that it is no spoofed address
    proven: bool,
    copies: Copies,
    /// So many blocks up to `sent` are held back, not out; while there are any, no time runs
    held: u8,
    /// The last block that the client has, all before it included
    acked: u64,
    /// The last block of the window that is out
    sent: u64,
    /// The last block that was ever out when the window was last sent again. An ACK below it tells of another loss; an ACK of
    /// it or a later one shows that nothing is missing, so the blocks that followed are on their way (as in RFC 6582)
    recover: u64,
    round_trip: RoundTrip,
    pace: Pace,
    /// Resends without progress
    resends: u8,
    resent: u32,
    started: Instant,
    /// When its latest blocks left, and how long after the window's first ones
    sent_at: Instant,
    window_us: u32,
    heard_at: Instant,
}

impl Transfer {
    pub(super) fn new(now: Instant, asker: Asker, filename: &[u8], image: &Image, agreed: Agreed) -> Self {
        Self {
            asker,
            path: Text::new(filename),
            image: image.id,
            size: image.size,
            agreed,
            phase: Phase::Offered,
            proven: false,
            copies: Copies::None,
            held: 0,
            acked: 0,
            sent: 0,
            recover: 0,
            round_trip: RoundTrip::default(),
            pace: Pace::default(),
            resends: 0,
            resent: 0,
            started: now,
            window_us: 0,
            sent_at: now,
            heard_at: now,
        }
    }

    /// The first answer: an OACK where there is anything to say in it, else the first blocks
    pub(super) fn begin(&mut self, now: Instant) -> Step {
        if self.agreed.is_empty() {
            self.phase = Phase::Sending;
            return self.send_next(now);
        }
        self.sent_at = now;
        Step::Offer
    }

    /// An ACK came
    pub(super) fn on_ack(&mut self, now: Instant, block: u16) -> Step {
        if self.phase == Phase::Offered {
            if block != 0 {
                return Step::Wait;
            }
            self.phase = Phase::Sending;
            self.progress(now, 0);
            return self.send_next(now);
        }
        let ahead = u64::from(block.wrapping_sub(number(self.acked)));
        if ahead > self.sent.max(self.recover) - self.acked {
            // Neither out nor the last one acknowledged: of another time, or another transfer from that port.
            return Step::Wait;
        }
        if ahead == 0 {
            // RFC 1123 §4.2.3.1: a repeated ACK is never answered, else every block from there on travels twice (the
            // Sorcerer's Apprentice). A window whose first block got lost waits for the timer.
            self.heard_at = now;
            return Step::Wait;
        }
        let recovering = self.recover > self.acked;
        self.progress(now, ahead);
        if self.acked == self.blocks() {
            return Step::End(Outcome::Done);
        }
        if self.acked >= self.sent {
            return self.send_next(now);
        }
        if self.is_held() {
            return self.hold_rest();
        }
        if recovering && self.acked >= self.recover {
            return self.send_rest(now);
        }
        if recovering && !self.pace.is_cut() && self.is_early(now) {
            self.copies = Copies::InDoubt;
            return self.send_burst(now);
        }
        // So many blocks arrived, and the one behind the gap that the client complains of.
        self.on_loss(now, ahead + 1);
        self.send_again(now)
    }

    /// The deadline passed
    pub(super) fn on_deadline(&mut self, now: Instant) -> Step {
        if self.is_cut() {
            return self.send_burst(now);
        }
        if self.copies == Copies::InDoubt {
            return self.send_again(now);
        }
        let silent = now.since(self.heard_at) >= PATIENCE;
        if silent && (!self.proven || self.resends >= RESENDS_MIN) {
            // Some clients never acknowledge the last block: they have what they want.
            return Step::End(if self.is_all_sent() { Outcome::Done } else { Outcome::TimedOut });
        }
        self.resends = self.resends.saturating_add(1);
        self.round_trip.timed_out();
        self.pace.on_silence(self.agreed.windowsize, self.round_trip.shortest());
        self.repeat(now)
    }

    /// Another request came from the client's port, or the same one again
    pub(super) fn on_request(&mut self, now: Instant, request: u64) -> Step {
        if request != self.asker.request {
            return Step::Replace;
        }
        if self.proven {
            let silent = now.since(self.heard_at) >= RESTART_AFTER;
            return if silent { Step::Replace } else { Step::Wait };
        }
        self.heard_at = now;
        if now.since(self.sent_at) < COPY_WITHIN {
            return Step::Wait;
        }
        self.repeat(now)
    }

    /// The client sent an ERROR
    pub(super) fn on_error(&self, code: u16) -> Outcome {
        const ABORTED: [u16; 2] = [ErrorCode::Undefined as u16, ErrorCode::OptionNegotiation as u16];
        if self.is_size_probe() && ABORTED.contains(&code) {
            return Outcome::SizeOnly;
        }
        // It closed its port behind the last block, and does not know any more what was sent again.
        if self.is_all_sent() && self.resends > 0 && code == ErrorCode::UnknownTransfer as u16 {
            return Outcome::Done;
        }
        Outcome::ClientStopped(Some(code))
    }

    /// How it went, where the client goes on without a word
    pub(super) fn on_replaced(&self) -> Outcome {
        if self.is_size_probe() {
            Outcome::SizeOnly
        } else if self.is_all_sent() {
            Outcome::Done
        } else {
            Outcome::ClientStopped(None)
        }
    }

    /// When [`Transfer::on_deadline`] is due
    pub(super) fn deadline(&self) -> Instant {
        if self.is_cut() {
            let gap = self.pace.gap(self.agreed.windowsize);
            // After a loss the port is still full: it has the time of the burst that was too long.
            return self.sent_at + if self.sent == self.acked { gap.times(2) } else { gap };
        }
        if self.copies == Copies::InDoubt {
            return self.sent_at + self.round_trip.answered_after();
        }
        // RFC 2349: an agreed timeout is the time before a resend.
        let wait = match self.agreed.timeout_s {
            Some(timeout_s) => Duration::from_secs(u64::from(timeout_s)),
            None => self.round_trip.resend_after(),
        };
        let resend = self.sent_at + wait;
        if self.proven { resend } else { resend.min(self.heard_at + PATIENCE) }
    }

    /// The last so many blocks of what was to be sent are held back
    pub(super) fn on_held(&mut self, blocks: u16) {
        self.held = u8::try_from(blocks).expect("a window is no more than WINDOWSIZE_MAX blocks");
    }

    /// Blocks that were held back leave; `is_all`: the last of them. False where they are not this transfer's
    pub(super) fn on_released(&mut self, now: Instant, window: &Window, is_all: bool) -> bool {
        if !self.is_held() || window.image != self.image {
            return false;
        }
        let left = u16::from(self.held).saturating_sub(window.blocks);
        self.on_held(if is_all { 0 } else { left });
        self.sent_at = now;
        true
    }

    pub(super) fn is_held(&self) -> bool {
        self.held > 0
    }

    pub(super) fn route(&self) -> Route {
        let Asker { client, source, network, .. } = self.asker;
        Route { port: Port::Transfer, network: network as usize, source, to: client, mac: None }
    }

    pub(super) fn client(&self) -> SocketAddrV4 {
        self.asker.client
    }

    pub(super) fn image(&self) -> ImageId {
        self.image
    }

    pub(super) fn emit_oack(&self, buffer: &mut [u8]) -> Result<usize, Full> {
        self.agreed.emit(self.size, buffer)
    }

    pub(super) fn resent(&self) -> u32 {
        self.resent
    }

    pub(super) fn note(&self, now: Instant, outcome: Outcome) -> TransferNote {
        let acked = (self.acked * u64::from(self.agreed.blksize)).min(self.size);
        TransferNote {
            at: now,
            peer: self.asker.client,
            path: self.path,
            sent: if outcome == Outcome::Done { self.size } else { acked },
            took: now.since(self.started),
            resent: self.resent,
            outcome,
        }
    }

    /// Blocks of the whole image: the last one is shorter than the others, empty if need be (RFC 1350 §6)
    fn blocks(&self) -> u64 {
        self.size / u64::from(self.agreed.blksize) + 1
    }

    /// The last block of the window
    fn window_end(&self) -> u64 {
        (self.acked + u64::from(self.agreed.windowsize)).min(self.blocks())
    }

    /// Some of the window is out, and the rest will follow
    fn is_cut(&self) -> bool {
        self.phase == Phase::Sending && self.sent < self.window_end()
    }

    fn is_all_sent(&self) -> bool {
        self.proven && self.sent == self.blocks()
    }

    fn is_size_probe(&self) -> bool {
        self.phase == Phase::Offered && self.agreed.has_tsize()
    }

    /// Whether the client may have said what it says now before all that was sent again reached it. Then it need not tell of a
    /// loss: EDK2 complains of each block that it has twice, and where each complaint draws a window, two windows on
    /// their way together keep each other going to the end of the file. ([`Pace`] keeps larger windows apart.)
    fn is_early(&self, now: Instant) -> bool {
        let first_sent = Duration::from_micros(self.window_us.into());
        now.since(self.sent_at) + first_sent < self.round_trip.answered_after()
    }

    /// The client has `ahead` blocks more than was known
    fn progress(&mut self, now: Instant, ahead: u64) {
        let is_whole = self.acked + ahead == self.window_end();
        self.acked += ahead;
        if self.copies == Copies::None && self.acked == self.sent {
            self.round_trip.measured(now.since(self.sent_at));
            if is_whole {
                self.pace.on_arrived(self.agreed.windowsize);
            }
        }
        self.heard_at = now;
        self.proven = true;
        self.resends = 0;
        if self.copies == Copies::InDoubt {
            self.copies = Copies::Some;
        }
    }

    /// Of the window, `arrived` blocks came through, and others did not
    fn on_loss(&mut self, now: Instant, arrived: u64) {
        let round_trip = self.round_trip.shortest();
        let began = Duration::from_micros(self.window_us.into());
        let span = (now + began).since(self.sent_at + round_trip);
        self.pace.on_loss(self.agreed.windowsize, round_trip, arrived, span);
    }

    /// The window behind what is acknowledged, none of which is out
    fn send_next(&mut self, now: Instant) -> Step {
        self.copies = if self.acked >= self.recover { Copies::None } else { Copies::Some };
        self.send_window(now)
    }

    /// The client misses the block behind what it acknowledged: the window from there, sent again at most once until the
    /// client tells of more blocks, however often it complains
    fn send_again(&mut self, now: Instant) -> Step {
        self.withdraw();
        if self.pace.is_cut() {
            self.sent_at = now;
            return Step::Wait;
        }
        self.send_window(now)
    }

    /// All of the window is to be sent again
    fn withdraw(&mut self) {
        self.copies = Copies::Some;
        self.recover = self.recover.max(self.sent);
        self.sent = self.acked;
    }

    /// The blocks of the window that were never out
    fn send_rest(&mut self, now: Instant) -> Step {
        self.copies = Copies::Some;
        (self.sent_at, self.window_us) = (now, 0);
        self.send_burst(now)
    }

    /// The client has some of what is held back, from when that was out before, or some of what is out: in place of all that
    /// is held back, what it does not have is, so that no block waits for its turn in vain.
    fn hold_rest(&mut self) -> Step {
        let out = self.sent - u64::from(self.held);
        if out > self.acked {
            // A client acknowledges before the window's end what comes before a gap.
            self.copies = Copies::Some;
            self.recover = self.recover.max(out);
            self.count_resent(out - self.acked);
        }
        self.held = 0;
        Step::Send(self.blocks_between(self.acked, self.sent))
    }

    /// What is out, again
    fn repeat(&mut self, now: Instant) -> Step {
        if self.phase == Phase::Offered {
            self.copies = Copies::Some;
            self.sent_at = now;
            self.count_resent(1);
            return Step::Offer;
        }
        self.withdraw();
        self.send_window(now)
    }

    fn count_resent(&mut self, datagrams: u64) {
        self.resent = self.resent.saturating_add(u32::try_from(datagrams).unwrap_or(u32::MAX));
    }

    /// The window, from its first block on
    fn send_window(&mut self, now: Instant) -> Step {
        self.sent = self.acked;
        self.send_burst(now)
    }

    /// The next blocks of the window, as many as may leave at once
    fn send_burst(&mut self, now: Instant) -> Step {
        let before = self.sent;
        let blocks = self.pace.burst(self.window_end() - before);
        let since_us = u32::try_from(now.since(self.sent_at).as_micros()).unwrap_or(u32::MAX);
        self.window_us = if before == self.acked { 0 } else { self.window_us.saturating_add(since_us) };
        self.sent_at = now;
        if blocks == 0 {
            return Step::Wait;
        }
        self.held = 0;
        self.sent += blocks;
        self.count_resent(self.sent.min(self.recover).saturating_sub(before));
        Step::Send(self.blocks_between(before, self.sent))
    }

    /// The blocks behind the one at `before`, up to the one at `last`
    fn blocks_between(&self, before: u64, last: u64) -> Window {
        let (blksize, blocks) = (u64::from(self.agreed.blksize), last - before);
        let offset = before * blksize;
        Window {
            image: self.image,
            offset,
            len: u32::try_from((blocks * blksize).min(self.size - offset))
                .expect("65535 blocks of 65464 bytes"),
            blksize: self.agreed.blksize,
            first_block: number(before + 1),
            blocks: u16::try_from(blocks).expect("a window is no more than windowsize blocks"),
        }
    }
}

/// The number on the wire of the block at a position
#[expect(
    clippy::cast_possible_truncation,
    reason = "it is the position's low 16 bits: 65535 is followed by 0"
)]
fn number(position: u64) -> u16 {
    position as u16
}
