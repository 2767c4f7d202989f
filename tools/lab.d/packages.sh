# shellcheck shell=bash
# The Debian packages that tools/lab, tools/test and tools/compare need: one list, sourced by all.

# The installer of the running release: its kernel, initrd and signed loaders are what the lab boots.
# shellcheck source=/dev/null
debian_release=$(. /etc/os-release && echo "${VERSION_ID:-12}")

# QEMU, the namespaces, and the parts that every case uses.
# shellcheck disable=SC2034  # the lists are used by the scripts that source this file
packages_lab=(cpio dnsmasq-base iproute2 tcpdump)
# shellcheck disable=SC2034
packages_bios=("debian-installer-$debian_release-netboot-amd64" ipxe-qemu pxelinux qemu-system-x86 seabios syslinux-common)
# shellcheck disable=SC2034
packages_uefi=("debian-installer-$debian_release-netboot-amd64" ipxe ovmf qemu-system-x86)
# What an image is made with that has its loaders in a file system of its own, where firmware finds it by El Torito.
# shellcheck disable=SC2034
packages_boot_image=(dosfstools mtools xorriso)
# Debian's loaders for machines with Secure Boot, and what its ISO images have.
# shellcheck disable=SC2034
packages_signed=(grub-efi-amd64-signed shim-signed)
# shellcheck disable=SC2034
packages_arm64=("debian-installer-$debian_release-netboot-arm64" qemu-efi-aarch64 qemu-system-arm u-boot-qemu)

# The clients and servers that the tests run beside firmware; atftp looks its port up in netbase's list.
# shellcheck disable=SC2034
packages_clients=(atftp binutils busybox-static curl dnsmasq-base dosfstools grub-rescue-pc ipxe iproute2 isc-dhcp-client kea-admin memtest86+
    mtools netbase procps tftp-hpa wget xorriso)

# The servers that tools/compare measures beside ours; libwrap0 is for tftpd-hpa, which it only unpacks.
# shellcheck disable=SC2034
packages_compare=(atftpd dnsmasq-base iproute2 kea-dhcp4-server libwrap0 nginx-light xorriso)

# missing_packages PACKAGE...: prints those that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            printf '%s\n' "$package"
    done | sort --unique
}

# need_packages yes|no PACKAGE...: installs what is missing, or says what is and stops.
need_packages() {
    local install=$1 missing log
    mapfile -t missing < <(missing_packages "${@:2}")
    ((${#missing[@]})) || return 0
    if [[ $install == no ]]; then
        printf 'missing packages: %s\n' "${missing[*]}" >&2
        exit 3
    fi
    printf 'installing %s\n' "${missing[*]}"
    log=$(mktemp)
    # Recommended packages would bring in daemons that start at once; none of these does.
    if ! { apt-get update --quiet &&
        DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends "${missing[@]}"; } \
        >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        printf 'apt-get failed; its whole output is in %s\n' "$log" >&2
        exit 3
    fi
    rm -f "$log"
}
