# shellcheck shell=bash
# The rack of the rows named storm: what its machines load, and how each server is told which machine gets what. The models
# are told apart by architecture and loader; the one that is given iPXE by its MAC address (reveille rack --help).

storm_root=$work/storm

# Small loaders by TFTP, then a kernel of 512 KiB and an initrd of 1 MiB by HTTP (U-Boot: by TFTP).
make_storm_files() {
    local file size
    while read -r file size; do
        mkdir -p "$storm_root/$(dirname "$file")"
        "$COMPARE_LOAD" make "$storm_root/$file" "$size"
    done <<FILES
lpxelinux.0 90000
ldlinux.c32 118784
bootnetx64.efi 160000
grubx64.efi 240128
debian-installer/amd64/grub/x86_64-efi/command.lst 7000
debian-installer/amd64/grub/x86_64-efi/http.mod 7000
ipxe.efi 260000
linux.efi 524288
u-boot/Image 300000
u-boot/initrd.gz 146800
img/linux 524288
img/initrd.gz 1048576
FILES
    mkdir -p "$storm_root"/{pxelinux.cfg,u-boot/pxelinux.cfg}
    printf 'DEFAULT linux\nLABEL linux\n  KERNEL http://%s/img/linux\n  INITRD http://%s/img/initrd.gz\n' \
        "$server_ip" "$server_ip" >"$storm_root/pxelinux.cfg/default"
    printf 'insmod http\nlinux (http,%s)/img/linux\ninitrd (http,%s)/img/initrd.gz\n' "$server_ip" "$server_ip" \
        >"$storm_root/debian-installer/amd64/grub/grub.cfg"
    printf '#!ipxe\nkernel /img/linux\ninitrd /img/initrd.gz\nboot\n' >"$storm_root/boot.ipxe"
    printf 'LABEL linux\n  KERNEL Image\n  INITRD initrd.gz\n' >"$storm_root/u-boot/pxelinux.cfg/default-arm"
}

# Which machine gets what, as reveille is told.
storm_rules() {
    local match file
    while IFS='|' read -r match file; do
        printf '[[boot]]\nmatch = { %s }\nfile = "%s"\n' "$match" "$file"
    done <<RULES
arch = "x86-bios"|lpxelinux.0
loader = "ipxe"|http://{server}/boot.ipxe
arch = "x64-uefi-http"|http://{server}/linux.efi
loader = "u-boot"|u-boot/boot
mac = "0a:52:56:03:*"|ipxe.efi
arch = "x64-uefi"|bootnetx64.efi
RULES
}

# The same, as dnsmasq is told. It also tells iPXE not to wait for a ProxyDHCP offer (175.176), as reveille does by itself.
dnsmasq_storm=(
    --dhcp-match=set:bios,option:client-arch,0
    --dhcp-match=set:efi,option:client-arch,7
    --dhcp-match=set:http,option:client-arch,16
    --dhcp-match=set:uboot,option:client-arch,22
    --dhcp-match=set:ipxe,175
    '--dhcp-mac=set:givenipxe,0a:52:56:03:*:*'
    --dhcp-boot=tag:bios,lpxelinux.0
    "--dhcp-boot=tag:efi,tag:ipxe,http://$server_ip/boot.ipxe"
    --dhcp-boot=tag:efi,tag:!ipxe,tag:givenipxe,ipxe.efi
    --dhcp-boot=tag:efi,tag:!ipxe,tag:!givenipxe,bootnetx64.efi
    "--dhcp-boot=tag:http,http://$server_ip/linux.efi"
    --dhcp-option-force=tag:http,60,HTTPClient
    --dhcp-boot=tag:uboot,u-boot/boot
    --dhcp-option-force=tag:ipxe,encap:175,176,1b
)
