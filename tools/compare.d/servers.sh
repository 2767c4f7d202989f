# shellcheck shell=bash
# How each server is started, in the foreground, for a row. Only what the row needs is switched on.

# Every server gives addresses of this pool, with the same boot file; half a million of them.
pool_first=10.65.0.0 pool_last=10.72.255.255

# processors_of NAME: those that it may run on. reveille has a shard on each.
processors_of() {
    case $1 in
        reveille-2-shards) echo 0,1 ;;
        *) echo 0 ;;
    esac
}

# start_server NAME ROW: becomes the server (called in a process of its own).
start_server() {
    local protocol=${2%%-*}
    [[ $2 != walk* && $2 != memory-tftp ]] || protocol=tftp
    [[ $2 != memory-http && $2 != iso-http ]] || protocol=http
    [[ $2 != iso-tftp ]] || protocol=tftp
    cd "$state"
    case $1 in
        reveille-iso) exec_reveille "$protocol" auto "iso = \"$work/files.iso\"" ;;
        reveille | reveille-2-shards)
            [[ $2 != iso-* ]] || exec_reveille "$protocol" auto "dir = \"$root\""
            exec_reveille "$protocol" auto ;;
        reveille-capture) exec_reveille "$protocol" auto '' --capture "$state/boot.pcapng" ;;
        dnsmasq+nginx) exec_dnsmasq_and_nginx ;;
        reveille-*) exec_reveille "$protocol" "${1#reveille-}" ;;
        dnsmasq-*) exec_dnsmasq "${1#dnsmasq-}" "$protocol" ;;
        kea) exec_kea ;;
        atftpd) exec atftpd --daemon --no-fork --user root.root --logfile "$state/atftpd.log" --verbose=3 \
            --maxthread 2000 --bind-address "$server_ip" "$root" ;;
        tftpd-hpa) exec "$work/tftpd-hpa/usr/sbin/in.tftpd" --foreground --user root --secure \
            --address "$server_ip:69" "$root" ;;
        nginx-*) exec_nginx "${1#nginx-}" ;;
        floor-dhcp) exec "$COMPARE_LOAD" floor dhcp server "$server_ip" "$pool_first" ;;
        floor-tftp) exec "$COMPARE_LOAD" floor tftp "$server_ip:69" "$root/4m.bin" ;;
        floor-tftp-*) exec "$COMPARE_LOAD" floor tftp "$server_ip:69" "$root/4m.bin" --windowsize "${1#floor-tftp-}" ;;
        # floor-ring-FILE-OPTION-...
        floor-ring-*)
            IFS=- read -ra words <<<"${1#floor-ring-}"
            local options=("${words[@]:1}")
            exec "$COMPARE_LOAD" floor ring "$server_ip:80" "$root/${words[0]}.bin" "${options[@]/#/--}" ;;
        floor-http-4k-close) exec "$COMPARE_LOAD" floor http "$server_ip:80" "$root/4k.bin" --close ;;
        floor-http-*) exec "$COMPARE_LOAD" floor http "$server_ip:80" "$root/${1#floor-http-}.bin" ;;
    esac
}

# exec_reveille PROTOCOL DRIVER [IMAGE [OPTION]...]: one configuration for all rows: files by TFTP and HTTP always, leases that are synced to
# the disk for DHCP. It does not look whether an address is taken, as Kea never does and the tuned dnsmasq does not.
exec_reveille() {
    local dhcp='dhcp = "off"' rules='' root=$root
    [[ $1 != storm ]] || { rules=$(storm_rules) && root=$storm_root; }
    [[ $1 != dhcp && $1 != storm ]] || dhcp=$(printf 'dhcp = "full"\nprobe = false\nlease = "12h"\npool = ["%s-%s"]' "$pool_first" "$pool_last")
    [[ -z ${3-} ]] || rules=$(printf '[image.files]\n%s' "$3")
    printf 'root = "%s"\nstate-dir = "%s"\n[[network]]\ninterface = "server"\n%s\n%s\n' "$root" "$state" "$dhcp" "$rules" \
        >"$state/reveille.toml"
    exec "$COMPARE_BIN" serve --config "$state/reveille.toml" --io "$2" "${@:4}"
}

# As it comes: 50 transfers, 1,000 leases, a ping before each offer. Tuned: none of these limits, and no line a request.
exec_dnsmasq() {
    local arguments=(--keep-in-foreground --conf-file=/dev/null --pid-file= --port=0 --user=root --interface=server
        --bind-interfaces --log-facility="$state/dnsmasq.log" --dhcp-leasefile="$state/dnsmasq.leases")
    if [[ $2 == dhcp ]]; then
        arguments+=(--dhcp-range="$pool_first,$pool_last,255.192.0.0,12h" --dhcp-boot=bootx64.efi --dhcp-authoritative)
        [[ $1 == default ]] || arguments+=(--dhcp-lease-max=1000000 --no-ping --quiet-dhcp)
    else
        arguments+=(--enable-tftp --tftp-root="$root")
        [[ $1 == default ]] || arguments+=(--tftp-max=12000 --quiet-tftp)
    fi
    exec dnsmasq "${arguments[@]}"
}

# Both, tuned, as one who boots racks sets them up.
exec_dnsmasq_and_nginx() {
    root=$storm_root
    (exec_nginx tuned) &
    exec dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --port=0 --user=root --interface=server \
        --bind-interfaces --log-facility="$state/dnsmasq.log" --dhcp-leasefile="$state/dnsmasq.leases" \
        --dhcp-range="$pool_first,$pool_last,255.192.0.0,12h" --dhcp-authoritative --dhcp-lease-max=1000000 --no-ping \
        --quiet-dhcp --enable-tftp --tftp-root="$root" --tftp-max=12000 --quiet-tftp "${dnsmasq_storm[@]}"
}

exec_kea() {
    cat >"$state/kea.json" <<CONF
{ "Dhcp4": {
    "interfaces-config": { "interfaces": [ "server" ], "dhcp-socket-type": "raw" },
    "lease-database": { "type": "memfile", "persist": true, "lfc-interval": 0, "name": "$state/kea-leases.csv" },
    "valid-lifetime": 43200,
    "next-server": "$server_ip",
    "boot-file-name": "bootx64.efi",
    "subnet4": [ { "subnet": "10.64.0.0/10", "pools": [ { "pool": "$pool_first - $pool_last" } ] } ],
    "loggers": [ { "name": "kea-dhcp4", "severity": "WARN", "output_options": [ { "output": "$state/kea.log" } ] } ]
} }
CONF
    export KEA_PIDFILE_DIR=$state KEA_LOCKFILE_DIR=$state KEA_LOGGER_DESTINATION=$state/kea-start.log
    exec kea-dhcp4 -c "$state/kea.json"
}

# As Debian sets it up (with a log of requests); tuned: no log, its cache of open files, connections that are not closed
# after 1,000 requests.
exec_nginx() {
    local http="access_log $state/access.log;"
    [[ $1 == default ]] || http="access_log off; open_file_cache max=1000 inactive=60s; keepalive_requests 100000000;
        keepalive_timeout 300s;"
    cat >"$state/nginx.conf" <<CONF
daemon off; user root; worker_processes 1; pid $state/nginx.pid; error_log $state/nginx.log;
events { worker_connections 20000; }
http {
    sendfile on; tcp_nopush on; $http
    client_body_temp_path $state/body; proxy_temp_path $state/proxy; fastcgi_temp_path $state/fastcgi;
    uwsgi_temp_path $state/uwsgi; scgi_temp_path $state/scgi;
    server { listen 80 backlog=4096; root $root; }
}
CONF
    exec nginx -c "$state/nginx.conf" -p "$state"
}

# wait_for_server ROW: until it answers, or has ended.
wait_for_server() {
    local asked
    case $1 in
        dhcp) asked=(--dhcp client) ;;
        storm-*) asked=(--dhcp client --tftp "$server_ip:69" --http "$server_ip:80") ;;
        http* | *-http) asked=(--http "$server_ip:80") ;;
        *) asked=(--tftp "$server_ip:69") ;;
    esac
    on_client load ready --process "$server_pid" "${asked[@]}"
}
