//! What the one decision costs: who asks, and what it gets, among a thousand machines and with all rules to look at.

#[path = "../tests/support/rig.rs"]
mod rig;

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dhcproto::v4::MessageType;
use reveille::boot::client::Client;
use reveille::boot::plan::{Machine, Plan};
use reveille::wire::dhcp::Message;
use reveille::wire::ethernet::MacAddr;

/// The rig's plan, and machines of which the first is no client of it
fn plan(machines: u16) -> Plan {
    let machine = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Machine {
            mac: Some(MacAddr([0x52, 0x54, 0, 0, high, low])),
            uuid: None,
            address: Some(Ipv4Addr::new(10, 77, 64 + high, low)),
            hostname: Some(format!("node-{number}")),
            mode: None,
            boot: None,
            serial: None,
            image: None,
            local: Default::default(),
            vars: Default::default(),
            line: 1,
        }
    };
    let plain = rig::plan();
    let machines = (1..=machines).map(machine).collect();
    Plan::new(plain.networks().to_vec(), plain.rules().to_vec(), Vec::new(), machines)
}

fn answer(criterion: &mut Criterion) {
    let plan = plan(1_000);
    let mut group = criterion.benchmark_group("boot");
    group.throughput(Throughput::Elements(1));
    for (name, number) in [("a named machine", 500), ("any machine", 50_000)] {
        let bytes = rig::rom_message(number, MessageType::Discover, &[]);
        let message = Message::parse(&bytes).expect("a message");
        let client = Client::from_request(&message, 0);
        assert!(plan.answer(&client).boot.is_some(), "a ROM boots");
        group.bench_function(format!("answer/{name}"), |bencher| {
            bencher.iter(|| black_box(plan.answer(black_box(&client)).reason));
        });
        group.bench_function(format!("client and answer/{name}"), |bencher| {
            bencher.iter(|| {
                let message = Message::parse(black_box(&bytes)).expect("a message");
                black_box(plan.answer(&Client::from_request(&message, 0)).reason)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, answer);
criterion_main!(benches);
