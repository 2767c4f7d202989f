//! No memory is taken in the steady state: a counting allocator looks on while clients come again and again.
//!
//! "Again" is the point: what a new lease, the first opening of a file or a larger table costs is paid once.

#[path = "support/rig.rs"]
mod rig;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddrV4;

use rig::{CLIENT, FILE_LEN, Rig, SMALL, SMALL_LEN, http_request, tftp_request};

thread_local! {
    /// Allocations of this thread: the harness has others
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    TAKEN.with(|taken| taken.set(taken.get() + 1));
}

// SAFETY: every call is the system allocator's own, with its arguments unchanged; the counter takes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this `layout`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: `pointer` came from `System` with this `layout`; the caller's promise about `new_size` is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `work` took memory
fn allocations(work: impl FnOnce()) -> u64 {
    let before = TAKEN.with(Cell::get);
    work();
    TAKEN.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(9)))), 1);
}

#[test]
fn a_dhcp_exchange_takes_no_memory() {
    let mut rig = Rig::new("allocations-dhcp");
    let machines: Vec<_> = (0..200).map(|machine| rig.dhcp_messages(machine)).collect();
    let round = |rig: &mut Rig| machines.iter().for_each(|messages| rig.four_way(messages));
    round(&mut rig);
    assert_eq!(allocations(|| (0..5).for_each(|_| round(&mut rig))), 0, "1,000 exchanges");
}

#[test]
fn a_transfer_takes_no_memory() {
    let mut rig = Rig::new("allocations-tftp");
    for windowsize in [1, 16] {
        let request = tftp_request(windowsize);
        let round = |rig: &mut Rig| {
            for port in 2_000..2_020 {
                let from = SocketAddrV4::new(CLIENT, port);
                rig.tftp_begin(from, &request);
                let (mut sent, mut acked) = (0, 0);
                while let Some(window) = rig.tftp_ack(from, acked) {
                    sent += window.len as usize;
                    acked += window.blocks;
                }
                assert_eq!(sent, FILE_LEN);
            }
        };
        round(&mut rig);
        assert_eq!(allocations(|| round(&mut rig)), 0, "20 transfers, window {windowsize}");
    }
}

#[test]
fn a_request_on_an_open_connection_takes_no_memory() {
    let mut rig = Rig::new("allocations-http");
    let (id, request) = (rig.connect(), http_request(SMALL));
    assert!(rig.http_get(id, &request) > SMALL_LEN as u64, "a head and all of the file");
    let taken = allocations(|| {
        for _ in 0..1_000 {
            rig.http_get(id, &request);
        }
    });
    assert_eq!(taken, 0, "1,000 requests");
}
