//! How many datagrams a second one shard answers where no kernel is in the way.

#[path = "../tests/support/rig.rs"]
mod rig;

use std::net::SocketAddrV4;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rig::{CLIENT, Rig, SMALL, http_request, tftp_request};

/// DISCOVER, OFFER, REQUEST, ACK of machines that come again; the store is not part of it
fn dhcp(criterion: &mut Criterion) {
    let mut rig = Rig::new("bench-dhcp");
    let machines: Vec<_> = (0..1_000).map(|machine| rig.dhcp_messages(machine)).collect();
    let mut turn = machines.iter().cycle();
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements(2));
    group.bench_function("dhcp four-way", |bencher| {
        bencher.iter(|| rig.four_way(turn.next().expect("a cycle")));
    });
    group.finish();
}

/// An ACK among 64 transfers, and what is to be sent for it
fn tftp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements(1));
    for windowsize in [1, 16] {
        let mut rig = Rig::new("bench-tftp");
        let request = tftp_request(windowsize);
        let mut transfers: Vec<_> =
            (2_000..2_064).map(|port| (SocketAddrV4::new(CLIENT, port), None)).collect();
        let mut turn = (0..transfers.len()).cycle();
        group.bench_function(format!("tftp ack to window of {windowsize}"), |bencher| {
            bencher.iter(|| {
                let (from, acked) = &mut transfers[turn.next().expect("a cycle")];
                let block = *acked.get_or_insert_with(|| {
                    rig.tftp_begin(*from, &request);
                    0
                });
                *acked = rig.tftp_ack(*from, block).map(|window| block + window.blocks);
            });
        });
    }
    group.finish();
}

/// A request's head read and its response's head written; one `fstatat` of the file is part of it
fn http(criterion: &mut Criterion) {
    let mut rig = Rig::new("bench-http");
    let (id, request) = (rig.connect(), http_request(SMALL));
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements(1));
    group.bench_function("http get", |bencher| bencher.iter(|| rig.http_get(id, &request)));
    group.finish();
}

criterion_group!(benches, dhcp, tftp, http);
criterion_main!(benches);
