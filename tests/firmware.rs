//! Real firmware, from power on to Linux user space: each test is one case of `tools/lab` against this build.
//!
//! A case runs in namespaces of its own and ends within a limit of its own. Where the lab cannot run (no root, no QEMU)
//! the tests say so and pass, except under CI, where that is a failure.

use std::io::Write;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// The lab's own status for "this machine cannot run it", as opposed to a boot that failed.
const CANNOT_RUN: i32 = 3;

/// One machine at a time: a boot keeps a core busy, and firmware's time-outs are wall-clock time.
static MACHINE: Mutex<()> = Mutex::new(());

fn lab(arguments: &[&str]) -> Output {
    let lab = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/lab");
    Command::new(lab).args(arguments).output().expect("tools/lab starts")
}

#[track_caller]
fn boots(case: &str) {
    let _turn = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = lab(&["--no-install", "--bin", env!("CARGO_BIN_EXE_reveille"), case]);
    let log = [&output.stdout[..], &output.stderr[..]].concat();
    let log = String::from_utf8_lossy(&log);
    if output.status.code() == Some(CANNOT_RUN) && std::env::var_os("CI").is_none() {
        // Past the test harness, which hides what a passing test prints.
        writeln!(std::io::stderr(), "{case}: skipped: {}", log.trim()).expect("stderr is writable");
        return;
    }
    assert!(output.status.success(), "{case} did not boot ({}):\n{log}", output.status);
}

macro_rules! cases {
    ($($test:ident $case:literal)*) => {
        const CASES: &[&str] = &[$($case),*];
        $(#[test] fn $test() { boots($case); })*
    };
}

cases! {
    bios_full "bios-full"
    bios_proxy "bios-proxy"
    bios_menu "bios-menu"
    bios_relay "bios-relay"
    uefi_full "uefi-full"
    uefi_proxy "uefi-proxy"
    uefi_take_over "uefi-take-over"
    uefi_http_full "uefi-http-full"
    uefi_http_proxy "uefi-http-proxy"
    uefi_unsigned "uefi-unsigned"
    ipxe_http "ipxe-http"
    arm64_uefi "arm64-uefi"
    arm64_uboot "arm64-uboot"
    arm64_uboot_efi "arm64-uboot-efi"
    iso_centos_bios "iso-centos-bios"
    iso_centos_uefi "iso-centos-uefi"
    iso_debian_secure "iso-debian-secure"
    iso_torito_uefi "iso-torito-uefi"
    iso_ubuntu_uefi "iso-ubuntu-uefi"
    image_bios "image-bios"
    image_bios_proxy "image-bios-proxy"
    image_uefi "image-uefi"
    image_uboot "image-uboot"
    menu_uefi "menu-uefi"
    menu_uefi_proxy "menu-uefi-proxy"
    once_bios "once-bios"
    once_uefi "once-uefi"
}

#[test]
fn every_case_of_the_lab_is_tested() {
    let output = lab(&["--list"]);
    let list = String::from_utf8(output.stdout).expect("the list is text");
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, CASES);
}
