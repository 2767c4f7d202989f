# shellcheck shell=bash
# The machines: QEMU with real firmware, no disk, one network card on tap0, and the serial console in $case_dir.
#
# All run under TCG, so that the lab works on any machine and a boot takes about the same time everywhere.

# run_qemu PROGRAM ARGUMENT...: typed keys come from $case_dir/keys.
run_qemu() {
    local program=$1
    shift
    "$program" -accel tcg -nodefaults -display none -monitor none -serial stdio -no-reboot \
        -netdev tap,id=net0,ifname=tap0,script=no,downscript=no "$@" \
        <"$case_dir/keys" >"$case_dir/serial.log" 2>"$case_dir/qemu.log" &
    qemu_pid=$!
}

machine_bios() {
    # graphics=off: SeaBIOS then copies the text screen, and so the ROM's and pxelinux's messages, to the serial port.
    run_qemu qemu-system-x86_64 -machine pc,graphics=off -m 512 -uuid 52ee1110-0000-4000-8000-525400aa0002 \
        -device e1000,netdev=net0,mac=52:54:00:aa:00:02,bootindex=0
}

# With a disk to boot from, after the network.
machine_bios_disk() {
    run_qemu qemu-system-x86_64 -machine pc,graphics=off -m 512 -uuid 52ee1110-0000-4000-8000-525400aa0002 \
        -device e1000,netdev=net0,mac=52:54:00:aa:00:02,bootindex=0 \
        -drive file="$case_dir/disk.img",format=raw,if=none,id=disk -device ide-hd,drive=disk,bootindex=1
}

machine_bios_virtio() {
    run_qemu qemu-system-x86_64 -machine pc,graphics=off -m 512 -uuid 52ee1110-0000-4000-8000-525400aa0003 \
        -device virtio-net-pci,netdev=net0,mac=52:54:00:aa:00:03,bootindex=0
}

# ovmf ARGUMENT...: romfile= leaves the card to the firmware's own driver, where QEMU would add iPXE's.
ovmf() {
    cp /usr/share/OVMF/OVMF_VARS_4M.fd "$case_dir/nvram"
    run_qemu qemu-system-x86_64 -machine q35 -m 512 \
        -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
        -drive if=pflash,format=raw,file="$case_dir/nvram" -device virtio-rng-pci "$@"
}

# Secure Boot with Microsoft's keys, as machines are sold. The variables are kept from the system by SMM.
machine_uefi_secure() {
    cp /usr/share/OVMF/OVMF_VARS_4M.ms.fd "$case_dir/nvram"
    run_qemu qemu-system-x86_64 -machine q35,smm=on -m 512 -global driver=cfi.pflash01,property=secure,value=on \
        -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd \
        -drive if=pflash,format=raw,file="$case_dir/nvram" -device virtio-rng-pci \
        -uuid 52ee1110-0000-4000-8000-525400aa0008 \
        -device virtio-net-pci,netdev=net0,mac=52:54:00:aa:00:08,bootindex=0,romfile=
}

machine_uefi() {
    ovmf -uuid 52ee1110-0000-4000-8000-525400aa0001 \
        -device virtio-net-pci,netdev=net0,mac=52:54:00:aa:00:01,bootindex=0,romfile=
}

# PXE by IPv4, then HTTP boot.
machine_uefi_pxe_http() {
    ovmf -uuid 52ee1110-0000-4000-8000-525400aa0001 \
        -device virtio-net-pci,netdev=net0,mac=52:54:00:aa:00:01,bootindex=0,romfile= \
        -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n
}

machine_uefi_http() {
    ovmf -uuid 52ee1110-0000-4000-8000-525400aa0004 \
        -device virtio-net-pci,netdev=net0,mac=52:54:00:aa:00:04,bootindex=0,romfile= \
        -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=n \
        -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=n
}

machine_arm64_uefi() {
    cp /usr/share/AAVMF/AAVMF_VARS.fd "$case_dir/nvram"
    run_qemu qemu-system-aarch64 -machine virt -cpu cortex-a57 -m 1024 -uuid 52ee1110-0000-4000-8000-525400aa0005 \
        -drive if=pflash,format=raw,readonly=on,file=/usr/share/AAVMF/AAVMF_CODE.fd \
        -drive if=pflash,format=raw,file="$case_dir/nvram" -device virtio-rng-pci \
        -device virtio-net-pci,netdev=net0,mac=52:54:00:aa:00:05,bootindex=0,romfile=
}

# uboot MAC UUID
uboot() {
    run_qemu qemu-system-aarch64 -machine virt -cpu cortex-a57 -m 1024 -bios /usr/lib/u-boot/qemu_arm64/u-boot.bin \
        -uuid "$2" -device virtio-net-pci,netdev=net0,mac="$1",romfile=
}

# Left alone, U-Boot finds no disk, asks for boot.scr.uimg, then asks again as a UEFI machine and starts an EFI program.
machine_arm64_uboot_efi() {
    uboot 52:54:00:aa:00:07 52ee1110-0000-4000-8000-525400aa0007
}

# Its own order has no pxelinux.cfg: for that it is typed what an operator would type.
machine_arm64_uboot() {
    uboot 52:54:00:aa:00:06 52ee1110-0000-4000-8000-525400aa0006
    type_when 'Hit any key to stop autoboot' $'\nsetenv autoload no; dhcp; pxe get; pxe boot\n'
}

# type_when TEXT KEYS: once the console shows TEXT, in the background.
type_when() {
    {
        until grep --quiet --fixed-strings "$1" "$case_dir/serial.log"; do sleep 0.1; done
        printf '%s' "$2" >"$case_dir/keys"
    } &
}
