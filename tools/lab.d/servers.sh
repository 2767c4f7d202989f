# shellcheck shell=bash
# The server under test, its stand-in, and the lab's other hosts. Each runs in a namespace of network.sh and writes its
# log to $case_dir; `server_pid` is the process whose end ends the case.

start_server() {
    start_router
    [[ $topology != beside ]] || start_other_dhcp
    [[ $topology != relay ]] || start_relay
    if [[ $LAB_SERVER == reveille ]]; then start_reveille; else start_standin; fi
    wait_for_port server 69 "$server_pid"
}

start_reveille() {
    local content=(--root "$case_dir/root") arguments
    [[ -z $iso ]] || content=(--iso "$case_dir/$iso.iso")
    arguments=(--interface eth0 "${content[@]}" "${reveille[@]}")
    if [[ -n $config ]]; then
        printf 'root = "%s"\n\n%s\n' "$case_dir/root" "${config//@DIR@/$case_dir}" >"$case_dir/reveille.toml"
        arguments=(--config "$case_dir/reveille.toml")
    fi
    ip netns exec server "$LAB_BIN" serve "${arguments[@]}" --state-dir "$case_dir/state" \
        >"$case_dir/server.log" 2>&1 &
    server_pid=$!
}

# The two servers that reveille replaces, told to do the same.
start_standin() {
    local range=192.168.99.50,192.168.99.99,255.255.255.0,12h
    start_router
    [[ $topology != beside ]] || range=$server_ip,proxy
    cat >"$case_dir/nginx.conf" <<CONF
daemon off; master_process off; pid $case_dir/nginx.pid; error_log stderr warn;
events {}
http { access_log /dev/stdout; client_body_temp_path $case_dir/nginx; server { listen 80; root $case_dir/root; } }
CONF
    ip netns exec server nginx -c "$case_dir/nginx.conf" >"$case_dir/nginx.log" 2>&1 &
    run_dnsmasq server --dhcp-range="$range" --enable-tftp --tftp-root="$case_dir/root" --tftp-no-fail \
        "${standin[@]}" >"$case_dir/server.log" 2>&1 &
    server_pid=$!
}

# A DHCP server that knows nothing of network boot.
start_other_dhcp() {
    run_dnsmasq other --dhcp-range=192.168.99.50,192.168.99.99,255.255.255.0,12h >"$case_dir/other.log" 2>&1 &
    wait_for_port other 67 $!
}

start_relay() {
    run_dnsmasq relay --dhcp-relay="$relayed_net.1,$server_ip" >"$case_dir/relay.log" 2>&1 &
    wait_for_port relay 67 $!
}

# Sends router advertisements, no more.
start_router() {
    run_dnsmasq router --enable-ra --dhcp-range=fd52:ee11::,ra-only >"$case_dir/router.log" 2>&1 &
}

# run_dnsmasq HOST ARGUMENT...: in the foreground, with nothing of the host's own configuration, and no ping before an
# offer (it would add 3 s to each boot).
run_dnsmasq() {
    exec ip netns exec "$1" dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --port=0 --no-ping \
        --log-facility=- --dhcp-leasefile="$case_dir/$1.leases" --dhcp-authoritative --user=root "${@:2}"
}

# wait_for_port HOST PORT PID: until something there listens on this UDP port.
wait_for_port() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        [[ -z $(ip netns exec "$1" ss --no-header --udp --listening --numeric "sport = :$2") ]] || return 0
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    failure="nothing listens on UDP port $2 of the lab's $1"
}
