//! Clients that fetch one file, each with the habits of a firmware (read in its source, or seen on the wire).

use super::*;

/// What a client does about a block that it does not expect
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Acknowledges the last block in order for every one that is out of order, and counts its window anew
    Edk2,
    /// Acknowledges the last block in order once a gap, and says nothing to old ones
    UBoot,
    /// Acknowledges every old block again, by its own number (the client's half of the Sorcerer's Apprentice)
    Grub,
}

/// One download
pub(super) struct Client {
    habit: Habit,
    request: Vec<u8>,
    blksize: usize,
    windowsize: u64,
    /// Blocks that came in order
    got: u64,
    /// Of those, since the last ACK
    since_ack: u64,
    complained: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) done: bool,
    /// What it sends again when nothing comes
    last: Vec<u8>,
    pub(super) deadline: Instant,
}

/// How long a client waits before it repeats itself
const PATIENCE: Duration = Duration::from_millis(1_000);

impl Client {
    pub(super) fn new(now: Instant, habit: Habit, request: Vec<u8>) -> Self {
        Self {
            habit,
            last: request.clone(),
            request,
            blksize: 512,
            windowsize: 1,
            got: 0,
            since_ack: 0,
            complained: false,
            bytes: Vec::new(),
            done: false,
            deadline: now + PATIENCE,
        }
    }

    pub(super) fn request(&self) -> Vec<u8> {
        self.request.clone()
    }

    /// Nothing came for long
    pub(super) fn on_deadline(&mut self, now: Instant) -> Vec<u8> {
        self.deadline = now + PATIENCE;
        self.complained = false;
        self.last.clone()
    }

    pub(super) fn on_packet(&mut self, now: Instant, packet: &[u8]) -> Option<Vec<u8>> {
        let number = u16::from_be_bytes([packet[2], packet[3]]);
        match packet[1] {
            6 => self.on_oack(now, &packet[2..]),
            3 => self.on_data(now, number, &packet[4..]),
            5 => panic!("an ERROR: {}", packet[4..].escape_ascii()),
            other => panic!("operation {other}"),
        }
    }

    fn on_oack(&mut self, now: Instant, options: &[u8]) -> Option<Vec<u8>> {
        if self.got > 0 {
            return None;
        }
        let texts: Vec<_> =
            options.split(|&byte| byte == 0).map(|text| std::str::from_utf8(text).unwrap()).collect();
        for option in texts.chunks_exact(2) {
            match option[0] {
                "blksize" => self.blksize = option[1].parse().unwrap(),
                "windowsize" => self.windowsize = option[1].parse().unwrap(),
                "tsize" => {}
                other => panic!("{other} was not asked for"),
            }
        }
        self.say(now, ack(0))
    }

    fn on_data(&mut self, now: Instant, number: u16, payload: &[u8]) -> Option<Vec<u8>> {
        assert!(payload.len() <= self.blksize);
        let ahead = number.wrapping_sub(self.got as u16).cast_signed();
        if ahead != 1 || self.done {
            return self.on_unexpected(now, number, ahead);
        }
        self.got += 1;
        self.since_ack += 1;
        self.complained = false;
        self.bytes.extend(payload);
        self.done = payload.len() < self.blksize;
        self.deadline = now + PATIENCE;
        if self.done || self.since_ack == self.windowsize { self.say(now, ack(number)) } else { None }
    }

    fn on_unexpected(&mut self, now: Instant, number: u16, ahead: i16) -> Option<Vec<u8>> {
        let last = ack(self.got as u16);
        match self.habit {
            Habit::Edk2 => self.say(now, last),
            Habit::Grub if ahead <= 0 => Some(ack(number)),
            _ if ahead > 1 && !self.complained || self.done => {
                self.complained = true;
                self.say(now, last)
            }
            _ => None,
        }
    }

    fn say(&mut self, now: Instant, packet: Vec<u8>) -> Option<Vec<u8>> {
        self.since_ack = 0;
        self.deadline = now + PATIENCE;
        self.last.clone_from(&packet);
        Some(packet)
    }
}
