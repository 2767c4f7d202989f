# shellcheck shell=bash
# What the lab's server serves: Debian's own signed loaders and kernel, and a small initrd made here.
#
# Each `serve_*` function fills one root for one chain of loaders. Nothing is downloaded: all comes from packages.

# The lab's server: also in boot scripts and on the kernel's command line, since user space fetches a file from it.
server_ip=192.168.99.1

# installer amd64|arm64: the directory of Debian's network installer.
installer() {
    printf '/usr/lib/debian-installer/images/%s/%s/text/debian-installer/%s\n' "$debian_release" "$1" "$1"
}

# The kernel's arguments: a console on the serial port; a panic ends the machine (QEMU runs with -no-reboot).
kernel_args() {
    printf 'console=%s panic=1 reveille.server=%s' "$1" "$server_ip"
}

# serve_kernel ARCH ROOT: linux, initrd.gz, and the file that user space will fetch.
#
# The initrd is busybox, libc and the network drivers from the installer's own initrd, with an /init of ours: about
# 2 MB, where the installer's is 40 MB.
serve_kernel() {
    local arch=$1 root=$2 from tree
    from=$(installer "$arch")
    tree=$(mktemp -d "$root/../initrd.XXXXXX")
    cp "$from/linux" "$root/linux"
    printf 'awake\n' >"$root/awake.txt"
    (
        cd "$tree" || exit
        zcat "$from/initrd.gz" | cpio --extract --make-directories --quiet \
            'bin/busybox' 'lib/ld-linux*' 'lib64*' 'lib/*-linux-gnu/ld-linux*' 'lib/*-linux-gnu/libc.so*' \
            '*/e1000.ko*' '*/virtio*.ko*' '*/failover.ko*' '*/net_failover.ko*'
        mkdir -p dev modules proc sys tmp
        find lib/modules -name '*.ko*' -exec mv -t modules {} +
        rm -rf lib/modules
        install -m 755 "$lab_d/init" init
        find . | LC_ALL=C sort | cpio --create --format=newc --owner=0:0 --quiet | gzip -6
    ) >"$root/initrd.gz"
    rm -rf "$tree"
}

# serve_pxelinux ROOT: lpxelinux, which takes the kernel by HTTP.
serve_pxelinux() {
    local root=$1
    serve_kernel amd64 "$root"
    cp /usr/lib/PXELINUX/lpxelinux.0 /usr/lib/syslinux/modules/bios/ldlinux.c32 "$root/"
    mkdir -p "$root/pxelinux.cfg"
    cat >"$root/pxelinux.cfg/default" <<CFG
DEFAULT lab
LABEL lab
  LINUX http://$server_ip/linux
  INITRD http://$server_ip/initrd.gz
  APPEND $(kernel_args ttyS0)
CFG
}

# serve_grub ARCH ROOT: the installer's shim and GRUB, as the installer lays them out, with a menu of ours.
#
# GRUB takes the kernel by HTTP from an address of its own, whatever it was loaded by.
serve_grub() {
    local arch=$1 root=$2 from grub console=ttyS0
    from=$(installer "$arch")
    [[ $arch == amd64 ]] || console=ttyAMA0
    serve_kernel "$arch" "$root"
    cp "$from"/bootnet*.efi "$from"/grub*.efi "$root/"
    grub=$root/debian-installer/$arch/grub
    mkdir -p "$grub"
    cp -r "$from"/grub/*-efi "$grub/"
    cat >"$grub/grub.cfg" <<CFG
terminal_output console
set gfxpayload=text
insmod http
echo "GRUB has its menu; fetching the kernel"
linux (http,$server_ip)/linux $(kernel_args "$console")
initrd (http,$server_ip)/initrd.gz
boot
CFG
}

# serve_ipxe ROOT: iPXE for UEFI, and a script that takes the kernel from wherever the script came from.
serve_ipxe() {
    local root=$1
    serve_kernel amd64 "$root"
    cp -L /usr/lib/ipxe/ipxe.efi /usr/lib/ipxe/snponly.efi "$root/"
    # `initrd=` names the image for the kernel's EFI stub; a BIOS kernel ignores it.
    cat >"$root/boot.ipxe" <<CFG
#!ipxe
echo iPXE has its script; fetching the kernel
kernel linux initrd=initrd.gz $(kernel_args ttyS0)
initrd initrd.gz
boot
CFG
}

# serve_uki ROOT: the installer's shim, and where it looks for GRUB, Linux itself: kernel, arguments and initrd joined
# with systemd's boot stub into one EFI program (a unified kernel image).
#
# Debian's signed GRUB has no HTTP without a module, and cannot load the module without HTTP.
serve_uki() {
    local root=$1 parts
    serve_kernel amd64 "$root"
    parts=$(mktemp -d "$root/../uki.XXXXXX")
    kernel_args ttyS0 >"$parts/cmdline"
    # The addresses only have to lie apart, beyond the stub's own sections.
    objcopy --add-section .osrel=/etc/os-release --change-section-vma .osrel=0x20000 \
        --add-section .cmdline="$parts/cmdline" --change-section-vma .cmdline=0x30000 \
        --add-section .linux="$root/linux" --change-section-vma .linux=0x100000 \
        --add-section .initrd="$root/initrd.gz" --change-section-vma .initrd=0x2000000 \
        /usr/lib/systemd/boot/efi/linuxx64.efi.stub "$root/grubx64.efi"
    cp "$(installer amd64)/bootnetx64.efi" "$root/"
    rm -rf "$parts" "$root/linux" "$root/initrd.gz"
}

# serve_uboot ROOT: a pxelinux.cfg for U-Boot, which takes the kernel by TFTP.
serve_uboot() {
    local root=$1
    serve_kernel arm64 "$root"
    mkdir -p "$root/pxelinux.cfg"
    cat >"$root/pxelinux.cfg/default" <<CFG
DEFAULT lab
LABEL lab
  LINUX linux
  INITRD initrd.gz
  APPEND $(kernel_args ttyAMA0)
CFG
}

# serve_image [LOADER] ROOT: the directories of two images beside the root: one of kernel, initrd and the file that user space
# fetches, and one of a kernel that does not boot alone. The root is empty, but for shim and GRUB where LOADER is theirs: nobody writes a menu.
serve_image() {
    local root=${*: -1} image from
    image=$root/../image
    mkdir -p "$image" "$root/../other"
    serve_kernel amd64 "$image"
    cp "$image/linux" "$root/../other/"
    [[ $# == 2 ]] || return 0
    from=$(installer amd64)
    cp "$from/$1" "$from/grubx64.efi" "$root/"
    mkdir -p "$root/debian-installer/amd64/grub"
    cp -r "$from"/grub/*-efi "$root/debian-installer/amd64/grub/"
}

# serve_installer [LOADER] ROOT: as serve_image, with a template that user space asks for, and a disk for BIOS that says that it is booted.
serve_installer() {
    local root=${*: -1} dir
    serve_image "$@"
    dir=$root/..
    printf 'a file for {{ mac }} at {{ ip }}\n' >"$dir/node.ks"
    # A boot record that writes its text by interrupt 10h, and stops.
    {
        printf '\x31\xc0\x8e\xd8\xbe\x18\x7c\xac\x08\xc0\x74\x09\xb4\x0e\xbb\x07\x00\xcd\x10\xeb\xf2\xf4\xeb\xfd'
        printf 'reveille-lab: local disk\r\n\0'
    } >"$dir/disk.img"
    truncate --size 510 "$dir/disk.img"
    printf '\x55\xaa' >>"$dir/disk.img"
    truncate --size 1M "$dir/disk.img"
}

# serve_image_arm64 ROOT: an image for ARM and another for x86.
serve_image_arm64() {
    mkdir -p "$1/../image" "$1/../other"
    serve_kernel arm64 "$1/../image"
    cp "$(installer amd64)/linux" "$1/../other/"
}

# serve_iso NAME ROOT: NAME.iso beside the root, with Debian's kernel and loaders where NAME's distribution has its own, and
# nothing in the root.
serve_iso() {
    local name=$1 root=$2 tree boot=()
    tree=$(mktemp -d "$root/../tree.XXXXXX")
    serve_kernel amd64 "$tree"
    "layout_${name%%-*}" "$tree"
    # As newer images have it: no file of the image, but a partition behind it.
    [[ ! -e $tree.fat ]] ||
        boot=(-append_partition 2 0xef "$tree.fat" -e --interval:appended_partition_2:all:: -no-emul-boot)
    xorriso -as mkisofs -quiet -R -J -V "$name" "${boot[@]}" -o "$root/../$name.iso" "$tree" 2>/dev/null
    rm -rf "$tree" "$tree.fat"
}

# As on the DVD of CentOS 7, whose GRUB fetches by TFTP, as that of Debian's network installer does.
layout_centos() {
    mkdir -p "$1/images/pxeboot" "$1/LiveOS" "$1/EFI/BOOT"
    cp "$(installer amd64)/bootnetx64.efi" "$1/EFI/BOOT/BOOTX64.EFI"
    cp "$(installer amd64)/grubx64.efi" "$1/EFI/BOOT/grubx64.efi"
    mv "$1/linux" "$1/images/pxeboot/vmlinuz"
    mv "$1/initrd.gz" "$1/images/pxeboot/initrd.img"
    : >"$1/LiveOS/squashfs.img"
    cat >"$1/.treeinfo" <<INI
[general]
name = CentOS-7
family = CentOS
version = 7
arch = x86_64

[stage2]
mainimage = LiveOS/squashfs.img

[images-x86_64]
kernel = images/pxeboot/vmlinuz
initrd = images/pxeboot/initrd.img
INI
}

# The same, with shim and GRUB in no folder of the image, but in the FAT file system that firmware starts from it.
layout_torito() {
    layout_centos "$1"
    mkfs.fat -C "$1.fat" 8192 >/dev/null
    mcopy -i "$1.fat" -s "$1/EFI" ::
    rm -r "$1/EFI"
}

# As on the network installer's CD of Debian 12.
layout_debian() {
    mkdir "$1/install.amd" "$1/.disk"
    echo 'Debian GNU/Linux 12 "Bookworm"' >"$1/.disk/info"
    cd_loaders "$1"
    mv "$1/linux" "$1/install.amd/vmlinuz"
    add_to_initrd "$1/initrd.gz" source "http://$server_ip/images/debian-12" >"$1/install.amd/initrd.gz"
    rm "$1/initrd.gz"
}

# As on the live server of Ubuntu, which fetches the whole image: it must hold the words that user space looks for.
layout_ubuntu() {
    mkdir "$1/casper" "$1/.disk"
    cd_loaders "$1"
    mv "$1/linux" "$1/casper/vmlinuz"
    mv "$1/initrd.gz" "$1/casper/initrd"
    rm "$1/awake.txt"
    echo 'Ubuntu-Server 22.04 LTS: reveille is awake' >"$1/.disk/info"
}

# cd_loaders TREE: a shim, and the GRUB of Debian's CDs, which fetches nothing.
cd_loaders() {
    mkdir -p "$1/EFI/boot"
    cp /usr/lib/shim/shimx64.efi.signed "$1/EFI/boot/bootx64.efi"
    cp /usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed "$1/EFI/boot/grubx64.efi"
}

# add_to_initrd INITRD NAME TEXT: the initrd with one more file at its end, on standard output.
add_to_initrd() {
    local tree
    tree=$(mktemp -d)
    echo "$3" >"$tree/$2"
    cat "$1"
    (cd "$tree" && echo "$2" | cpio --create --format=newc --owner=0:0 --quiet | gzip -6)
    rm -rf "$tree"
}
