# shellcheck shell=bash
# The lab's wires. The namespace that `boot` runs in is the switch: it holds the bridges and the client's tap, and
# each server joins it with a veth pair from a namespace of its own.
#
#     client ── tap0 ── br0 ──┬── server  192.168.99.1
#                             ├── other   192.168.99.2      (beside)
#                             └── router  IPv6 only
#
#     client ── tap0 ── br1 ── relay ── br0 ── server       (relay: 10.44.0.0/24 on the client's side)

# The router is on the client's side. iPXE configures IPv6 before it boots by IPv4, and where no router answers its
# solicitations that takes 13 s.
#
# Names in /run/netns are private too: this mount namespace is the case's own.
make_switch() {
    mkdir -p /run/netns
    mount -t tmpfs lab /run/netns
    ip link set lo up
}

make_bridge() {
    ip link add "$1" type bridge stp_state 0 forward_delay 0
    quiet_ipv6 "$1"
    ip link set "$1" up
}

# A port that QEMU opens by name.
make_tap() {
    ip tuntap add tap0 mode tap
    quiet_ipv6 tap0
    ip link set tap0 master "$1" up
}

# No IPv6 but the client's and the router's: the captures are read by people.
quiet_ipv6() {
    [[ ! -e /proc/sys/net/ipv6/conf/$1 ]] || echo 1 >"/proc/sys/net/ipv6/conf/$1/disable_ipv6"
}

make_host() {
    ip netns add "$1"
    ip -n "$1" link set lo up
    ip netns exec "$1" sh -c '[ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
}

# join HOST INTERFACE BRIDGE ADDRESS
join() {
    local port=$1-$2
    ip link add "$port" type veth peer name "$2" netns "$1"
    quiet_ipv6 "$port"
    ip link set "$port" master "$3" up
    ip -n "$1" addr add "$4" dev "$2"
    ip -n "$1" link set "$2" up
}

make_router() {
    ip netns add router
    join router eth0 "$1" fd52:ee11::1/64
}

make_network() {
    make_switch
    make_bridge br0
    make_host server
    join server eth0 br0 "$server_ip/24"
    case $1 in
        plain)
            make_tap br0
            make_router br0
            ;;
        beside)
            make_tap br0
            make_router br0
            make_host other
            join other eth0 br0 192.168.99.2/24
            ;;
        relay)
            make_bridge br1
            make_tap br1
            make_router br1
            make_host relay
            join relay eth0 br0 192.168.99.3/24
            join relay eth1 br1 "$relayed_net.1/24"
            ip netns exec relay sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
            ip -n server route add "$relayed_net.0/24" via 192.168.99.3
            ;;
    esac
}
