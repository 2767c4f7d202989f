# shellcheck shell=bash
# The cases: which machine boots, in which network, from which files, and how each server is told to.
#
# `load_case` sets, for the scripts that source this file:
#   summary    one line for people
#   topology   plain (the server gives the addresses) | beside (another DHCP server does) | relay (the client's
#              network is behind a relay)
#   machine    the function of machines.sh that starts it
#   content    the function of content.sh, with its arguments, that fills the served root
#   packages   the Debian packages that the case needs
#   reveille   arguments of `reveille serve`; with `config` set, these are the text of a configuration file instead,
#              where @DIR@ stands for the case's own directory
#   iso        an ISO image that is served in place of the root, by its name without `.iso`
#   standin    arguments of dnsmasq doing the same; (none) where it cannot
#   again      what the machine boots when it is switched on a second time, by what it then says on its console
#   expect     what the console must say before user space has its file; empty: nothing in particular
#   refusal    what the firmware must say instead of booting; empty: it must boot
#   limit_s    how long the boot may take
# shellcheck disable=SC2034,SC2054  # used by others; dnsmasq's arguments hold commas

pool=192.168.99.50-192.168.99.99
relayed_net=10.44.0

case_names=(bios-full bios-proxy bios-menu bios-relay uefi-full uefi-proxy uefi-take-over uefi-http-full uefi-http-proxy uefi-unsigned
    ipxe-http arm64-uefi arm64-uboot arm64-uboot-efi iso-centos-bios iso-centos-uefi iso-debian-secure iso-torito-uefi
    iso-ubuntu-uefi image-bios image-bios-proxy image-uefi image-uboot menu-uefi menu-uefi-proxy once-bios once-uefi)

is_case() {
    local name
    for name in "${case_names[@]}"; do [[ $name != "$1" ]] || return 0; done
    return 1
}

list_cases() {
    local name
    for name in "${case_names[@]}"; do
        load_case "$name"
        printf '%-16s %s\n' "$name" "$summary"
    done
}

# iPXE is told by its user class from the firmware it was loaded by, and gets a script where the firmware gets iPXE.
ipxe_rules() {
    cat <<TOML
[[boot]]
match = { loader = "ipxe" }
file = "http://{server}/boot.ipxe"

[[boot]]
match = { arch = "$1" }
file = "$2"
TOML
}

network_toml() {
    printf '[[network]]\ninterface = "eth0"\n%s\n\n' "$1"
}

# image_toml ASSIGNMENT [DHCP]: two images, of which the second is assigned; its arguments tell.
image_toml() {
    images_toml 'console=tty0 panic=1' "${2:-}"
    cat <<TOML
$1
image = "lab"
args = "console=ttyS0 inst.repo={url} hostname={host}"
TOML
}

# images_toml ARGS [DHCP]: two images, the first of which does not boot.
images_toml() {
    network_toml "${2:-pool = [\"$pool\"]}"
    cat <<TOML
[image.other]
dir = "@DIR@/other"
kernel = "linux"
args = "panic=1"

[image.lab]
dir = "@DIR@/image"
kernel = "linux"
initrd = "initrd.gz"
args = "$1"

TOML
}

# A PXE menu of two images, whose first item is taken after a second.
image_items_toml() {
    cat <<TOML
[[menu]]
match = { arch = "x64-uefi" }
prompt = "Press F8 for the menu"
timeout = 1
items = [
    { name = "Install", image = "lab" },
    { name = "Other", image = "other" },
    { name = "Local disk", local = true },
]
TOML
}

# once_toml MAC: the machine is installed once, with a file of its own.
once_toml() {
    cat <<TOML
[[network]]
interface = "eth0"
pool = ["$pool"]

[template.ks]
file = "@DIR@/node.ks"

[image.lab]
dir = "@DIR@/image"
kernel = "linux"
initrd = "initrd.gz"

[[machine]]
mac = "$1"
hostname = "node-01"
image = "lab"
args = "console=ttyS0 panic=1 inst.repo={url} reveille.ks=http://{server}/ks/{mac}.cfg reveille.done={done}"
boot-once = true
TOML
}

load_case() {
    local script=http://$server_ip/boot.ipxe
    topology=plain config='' iso='' again='' reveille=() standin=() limit_s=120 expect='' refusal=''
    case $1 in
        bios-full)
            summary='BIOS; the server gives the addresses; lpxelinux by TFTP, kernel by HTTP'
            machine=machine_bios content=(serve_pxelinux)
            packages=("${packages_lab[@]}" "${packages_bios[@]}")
            reveille=(--pool "$pool" --boot x86-bios=lpxelinux.0)
            standin=(--dhcp-boot=lpxelinux.0)
            ;;
        bios-proxy)
            summary='BIOS; beside another DHCP server; lpxelinux by TFTP, kernel by HTTP'
            topology=beside machine=machine_bios content=(serve_pxelinux)
            packages=("${packages_lab[@]}" "${packages_bios[@]}")
            reveille=(--proxy --boot x86-bios=lpxelinux.0)
            standin=(--pxe-service=x86PC,lab,lpxelinux)
            ;;
        bios-menu)
            summary='BIOS; beside another DHCP server; a PXE menu whose first item is taken after a second, by port 4011'
            topology=beside machine=machine_bios content=(serve_pxelinux)
            packages=("${packages_lab[@]}" "${packages_bios[@]}")
            config="$(network_toml 'dhcp = "proxy"')
[[menu]]
match = { loader = \"ipxe\" }
prompt = \"Press F8 for the menu\"
timeout = 1
items = [
    { name = \"Install\", file = \"lpxelinux.0\" },
    { name = \"Local disk\", local = true },
]"
            standin=(--pxe-prompt=lab,1 --pxe-service=x86PC,Install,lpxelinux --pxe-service=x86PC,Local,0)
            ;;
        bios-relay)
            summary='BIOS; in another subnet behind a DHCP relay; lpxelinux by TFTP, kernel by HTTP'
            topology=relay machine=machine_bios content=(serve_pxelinux)
            packages=("${packages_lab[@]}" "${packages_bios[@]}")
            config="$(network_toml "dhcp = \"full\"
pool = [\"$pool\"]

[[network.subnet]]
subnet = \"$relayed_net.0/24\"
pool = [\"$relayed_net.50-$relayed_net.99\"]
router = \"$relayed_net.1\"")

[[boot]]
match = { arch = \"x86-bios\" }
file = \"lpxelinux.0\""
            standin=(--dhcp-range="$relayed_net.50,$relayed_net.99,255.255.255.0,12h" --dhcp-boot=lpxelinux.0)
            ;;
        uefi-full)
            summary='UEFI; the server gives the addresses; shim and GRUB by TFTP, kernel by HTTP'
            machine=machine_uefi content=(serve_grub amd64)
            packages=("${packages_lab[@]}" "${packages_uefi[@]}")
            reveille=(--pool "$pool" --boot x64-uefi=bootnetx64.efi)
            standin=(--dhcp-boot=bootnetx64.efi)
            ;;
        uefi-proxy)
            summary='UEFI; beside another DHCP server; iPXE named on port 4011, its script and kernel by HTTP'
            topology=beside machine=machine_uefi content=(serve_ipxe)
            packages=("${packages_lab[@]}" "${packages_uefi[@]}")
            config="$(network_toml 'dhcp = "proxy"')
$(ipxe_rules x64-uefi ipxe.efi)"
            standin=(--dhcp-userclass=set:ipxe,iPXE --dhcp-boot="tag:ipxe,$script"
                --pxe-service=tag:!ipxe,X86-64_EFI,lab,ipxe.efi)
            ;;
        uefi-take-over)
            summary='UEFI; beside another DHCP server, which is overruled: one offer with address and shim, as in uefi-full'
            topology=beside machine=machine_uefi content=(serve_grub amd64)
            packages=("${packages_lab[@]}" "${packages_uefi[@]}")
            config="$(network_toml "dhcp = \"take-over\"
pool = [\"192.168.99.200-192.168.99.209\"]")

[[boot]]
match = { arch = \"x64-uefi\" }
file = \"bootnetx64.efi\""
            standin=(none)
            ;;
        uefi-http-full)
            summary='UEFI HTTP boot; the server gives the addresses; shim and a unified kernel image by HTTP'
            machine=machine_uefi_http content=(serve_uki)
            packages=("${packages_lab[@]}" "${packages_uefi[@]}" binutils systemd-boot-efi)
            reveille=(--pool "$pool" --boot "x64-uefi-http=http://{server}/bootnetx64.efi")
            standin=(--dhcp-vendorclass=set:http,HTTPClient --dhcp-option-force=tag:http,60,HTTPClient
                --dhcp-boot="tag:http,http://$server_ip/bootnetx64.efi")
            ;;
        uefi-http-proxy)
            summary='UEFI HTTP boot; beside another DHCP server; iPXE, its script and kernel by HTTP'
            topology=beside machine=machine_uefi_http content=(serve_ipxe)
            packages=("${packages_lab[@]}" "${packages_uefi[@]}")
            config="$(network_toml 'dhcp = "proxy"')
$(ipxe_rules x64-uefi-http 'http://{server}/ipxe.efi')"
            standin=(none)
            ;;
        uefi-unsigned)
            summary='UEFI with Secure Boot; the server gives the addresses, and an iPXE that nobody signed, which the firmware refuses'
            machine=machine_uefi_secure content=(serve_ipxe)
            packages=("${packages_lab[@]}" "${packages_uefi[@]}")
            reveille=(--pool "$pool" --boot x64-uefi=ipxe.efi)
            standin=(--dhcp-boot=ipxe.efi)
            refusal='Access Denied'
            ;;
        ipxe-http)
            summary='BIOS with an iPXE ROM; the server gives the addresses; script and kernel by HTTP, no TFTP'
            machine=machine_bios_virtio content=(serve_ipxe)
            packages=("${packages_lab[@]}" "${packages_bios[@]}" ipxe)
            config="$(network_toml "dhcp = \"full\"
pool = [\"$pool\"]")
$(ipxe_rules x86-bios undionly.kpxe)"
            standin=(--dhcp-boot="$script")
            ;;
        arm64-uefi)
            summary='ARM64 UEFI; the server gives the addresses; shim and GRUB by TFTP, kernel by HTTP'
            machine=machine_arm64_uefi content=(serve_grub arm64) limit_s=300
            packages=("${packages_lab[@]}" "${packages_arm64[@]}")
            reveille=(--pool "$pool" --boot arm64-uefi=bootnetaa64.efi)
            standin=(--dhcp-boot=bootnetaa64.efi)
            ;;
        arm64-uboot)
            summary='ARM64 U-Boot; the server gives the addresses; pxelinux.cfg and kernel by TFTP'
            machine=machine_arm64_uboot content=(serve_uboot) limit_s=300
            packages=("${packages_lab[@]}" "${packages_arm64[@]}")
            reveille=(--pool "$pool")
            ;;
        arm64-uboot-efi)
            summary="ARM64 U-Boot left alone; the server gives the addresses; GRUB by TFTP as an EFI program, kernel by HTTP"
            machine=machine_arm64_uboot_efi content=(serve_grub arm64) limit_s=300
            packages=("${packages_lab[@]}" "${packages_arm64[@]}")
            reveille=(--pool "$pool" --boot arm64-uefi=grubaa64.efi)
            standin=(--dhcp-vendorclass=set:efi,PXEClient --dhcp-boot=tag:efi,grubaa64.efi)
            ;;
        iso-centos-bios)
            summary='BIOS; beside another DHCP server; nothing but an ISO image in the layout of CentOS 7'
            topology=beside machine=machine_bios content=(serve_iso centos-7) iso=centos-7
            packages=("${packages_lab[@]}" "${packages_bios[@]}" ipxe xorriso)
            reveille=(--proxy)
            standin=(none)
            ;;
        iso-centos-uefi)
            summary="UEFI; the server gives the addresses; an ISO image in the layout of CentOS 7, its own shim and GRUB"
            machine=machine_uefi content=(serve_iso centos-7) iso=centos-7
            packages=("${packages_lab[@]}" "${packages_uefi[@]}" xorriso)
            reveille=(--pool "$pool")
            standin=(none)
            ;;
        iso-debian-secure)
            summary="UEFI with Secure Boot; the server gives the addresses; an ISO image in the layout of Debian 12, Debian's shim and GRUB"
            machine=machine_uefi_secure content=(serve_iso debian-12) iso=debian-12
            expect='reveille-lab: Secure Boot is enabled'
            packages=("${packages_lab[@]}" "${packages_uefi[@]}" "${packages_signed[@]}" xorriso)
            reveille=(--pool "$pool")
            standin=(none)
            ;;
        iso-torito-uefi)
            summary="UEFI; the server gives the addresses; an ISO image whose shim and GRUB lie in its El Torito image only"
            machine=machine_uefi content=(serve_iso torito-7) iso=torito-7
            packages=("${packages_lab[@]}" "${packages_uefi[@]}" "${packages_boot_image[@]}")
            reveille=(--pool "$pool")
            standin=(none)
            ;;
        iso-ubuntu-uefi)
            summary='UEFI; beside another DHCP server; nothing but an ISO image in the layout of Ubuntu; iPXE'
            topology=beside machine=machine_uefi content=(serve_iso ubuntu-22.04) iso=ubuntu-22.04
            packages=("${packages_lab[@]}" "${packages_uefi[@]}" "${packages_signed[@]}" xorriso)
            reveille=(--proxy)
            standin=(none)
            ;;
        image-bios)
            # The rule names the loader too, since QEMU's ROM is an iPXE, which would get a script.
            summary="BIOS; the server gives the addresses; an image by a rule: Debian's lpxelinux, its menu generated, kernel by HTTP"
            machine=machine_bios content=(serve_image)
            packages=("${packages_lab[@]}" "${packages_bios[@]}")
            config="$(image_toml '[[boot]]
match = { mac = "52:54:00:aa" }
file = "lpxelinux.0"')"
            standin=(none)
            ;;
        image-bios-proxy)
            # The loader's names do not tell the vendor class; the ROM's request to the other server did.
            summary="BIOS; beside another DHCP server; an image by the ROM's vendor class; Debian's lpxelinux, kernel by HTTP"
            topology=beside machine=machine_bios content=(serve_image)
            packages=("${packages_lab[@]}" "${packages_bios[@]}")
            config="$(image_toml '[[boot]]
match = { vendor = "PXEClient:Arch:00000:*" }
file = "lpxelinux.0"' 'dhcp = "proxy"')"
            standin=(none)
            ;;
        image-uefi)
            summary='UEFI; the server gives the addresses; an image by machine: shim and GRUB in the root, their menu generated'
            machine=machine_uefi content=(serve_image bootnetx64.efi)
            packages=("${packages_lab[@]}" "${packages_uefi[@]}")
            config="$(image_toml '[[machine]]
mac = "52:54:00:aa:00:01"
hostname = "node-01"')

[[boot]]
match = { arch = \"x64-uefi\" }
file = \"bootnetx64.efi\""
            standin=(none)
            ;;
        image-uboot)
            summary="ARM64 U-Boot; the server gives the addresses; of two images the one for ARM, pxelinux.cfg generated, kernel by TFTP"
            machine=machine_arm64_uboot content=(serve_image_arm64) limit_s=300
            packages=("${packages_lab[@]}" "${packages_arm64[@]}" "debian-installer-$debian_release-netboot-amd64")
            config="$(images_toml 'console=ttyAMA0 panic=1 inst.repo={url}')"
            standin=(none)
            ;;
        menu-uefi)
            summary="UEFI; the server gives the addresses; an image of the firmware's own menu; shim and GRUB, their menu generated"
            machine=machine_uefi content=(serve_image bootnetx64.efi)
            packages=("${packages_lab[@]}" "${packages_uefi[@]}")
            config="$(images_toml 'console=ttyS0 panic=1 inst.repo={url}')
$(image_items_toml)

[[boot]]
match = { arch = \"x64-uefi\" }
file = \"bootnetx64.efi\""
            standin=(none)
            ;;
        menu-uefi-proxy)
            summary="UEFI; beside another DHCP server; an image of the firmware's own menu, by port 4011; Debian's iPXE"
            topology=beside machine=machine_uefi content=(serve_image)
            packages=("${packages_lab[@]}" "${packages_uefi[@]}")
            config="$(images_toml 'console=ttyS0 panic=1 inst.repo={url}' 'dhcp = "proxy"')
$(image_items_toml)"
            standin=(none)
            ;;
        once-bios)
            summary="BIOS; installed by a file made for it, it reports that it is done; switched on again, it boots its disk"
            machine=machine_bios_disk content=(serve_installer) again='reveille-lab: local disk'
            packages=("${packages_lab[@]}" "${packages_bios[@]}")
            config="$(once_toml 52:54:00:aa:00:02)"
            standin=(none)
            ;;
        once-uefi)
            summary="UEFI; the same; switched on again, its firmware gives up PXE and HTTP boot for its next boot option at once"
            machine=machine_uefi_pxe_http content=(serve_installer bootnetx64.efi) again='Error: Could not retrieve NBP file size'
            packages=("${packages_lab[@]}" "${packages_uefi[@]}")
            config="$(once_toml 52:54:00:aa:00:01)

[[boot]]
match = { arch = \"x64-uefi\" }
file = \"bootnetx64.efi\""
            standin=(none)
            ;;
    esac
}
