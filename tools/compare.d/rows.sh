# shellcheck shell=bash
# The rows of the table: for each, which servers take turns and what the load does.

# name: servers; what it is. Variants of a server follow its name after a dash (servers.sh).
declare -A row_servers=(
    [dhcp]="reveille kea dnsmasq-default dnsmasq-tuned floor-dhcp"
    [tftp-w1-64]="reveille reveille-uring dnsmasq-tuned dnsmasq-default atftpd tftpd-hpa floor-tftp"
    [tftp-w1-900]="reveille dnsmasq-tuned dnsmasq-default floor-tftp"
    [tftp-w16]="reveille reveille-uring atftpd floor-tftp-16"
    [tftp-w44]="reveille atftpd floor-tftp-44"
    [tftp-w16-cut]="reveille atftpd floor-tftp-16"
    [http-64m]="reveille reveille-uring nginx-tuned nginx-default floor-http-64m"
    [http-4k]="reveille reveille-uring nginx-tuned nginx-default floor-http-4k floor-ring-4k"
    [http-4k-new]="reveille reveille-uring nginx-tuned nginx-default floor-http-4k-close"
    [shards-tftp]="reveille reveille-2-shards"
    [shards-http]="reveille reveille-2-shards"
    [iso-http]="reveille reveille-iso"
    [iso-tftp]="reveille reveille-iso"
    [memory-tftp]="reveille dnsmasq-tuned"
    [memory-http]="reveille nginx-tuned"
    [walk]="reveille dnsmasq-tuned"
    [walk-loaded]="reveille dnsmasq-tuned"
    [storm-100]="reveille dnsmasq+nginx"
    [storm-200]="reveille dnsmasq+nginx"
    [storm-400]="reveille dnsmasq+nginx"
    [storm-700]="reveille dnsmasq+nginx"
    [storm-1000]="reveille dnsmasq+nginx"
)
# Those that take part only where --server names them: a driver said outright, what it costs to capture, and bare loops that try what a ring can do.
declare -A row_on_request=(
    [dhcp]="reveille-capture"
    [tftp-w1-64]="reveille-epoll"
    [tftp-w16]="reveille-epoll reveille-capture"
    [http-64m]="reveille-epoll floor-ring-64m floor-ring-64m-zerocopy"
    [http-4k]="reveille-epoll reveille-capture floor-ring-4k-direct floor-ring-4k-single"
    [http-4k-new]="reveille-epoll floor-ring-4k-close-single floor-ring-4k-close-single-direct"
)
declare -A row_says=(
    [dhcp]="four-way exchanges of new machines, 15,000 a second asked for 8 s"
    [tftp-w1-64]="64 machines read 4 MiB, blksize 1408, window 1, four times each"
    [tftp-w1-900]="900 machines read 4 MiB, blksize 1408, window 1, once each, at once"
    [tftp-w16]="64 machines read 4 MiB, blksize 1408, window 16, sixteen times each"
    [tftp-w44]="64 machines read 4 MiB, blksize 1408, window 44, sixteen times each"
    [tftp-w16-cut]="the same as tftp-w16, where the server's kernel cuts each window and delivers each block by itself"
    [http-64m]="64 connections read 64 MiB each"
    [http-4k]="4 KiB again and again on 64 connections kept open, 4 s"
    [http-4k-new]="4 KiB again and again, a new HTTP/1.0 connection each time, 64 at a time, 4 s"
    [shards-tftp]="the same as tftp-w16, by one shard on processor 0, or by two on 0 and 1, where the load is too"
    [shards-http]="the same as http-64m, by one shard on processor 0, or by two on 0 and 1, where the load is too"
    [iso-http]="the same as http-64m, from a directory and from within an ISO image of it"
    [iso-tftp]="the same as tftp-w16, from a directory and from within an ISO image of it"
    [memory-tftp]="resident memory of 10,000 transfers whose client is silent"
    [memory-http]="resident memory of 10,000 connections kept open after a request"
    [walk]="one machine looks for 11 names that are missing, one after the other, 3 s"
    [walk-loaded]="the same while 64 machines read 4 MiB, window 1"
    [storm-400]="400 machines of seven kinds are switched on within a second and boot (reveille rack)"
    [storm-1000]="1,000 of them"
)

row_names() {
    printf '%s\n' dhcp tftp-w1-64 tftp-w1-900 tftp-w16 tftp-w44 tftp-w16-cut http-64m http-4k http-4k-new shards-tftp shards-http \
        iso-http iso-tftp memory-tftp memory-http walk walk-loaded storm-400 storm-1000
}

# What a chart is drawn of: the last two of these are in the table, too.
chart_rows() {
    printf '%s\n' storm-100 storm-200 storm-700 storm-400 storm-1000
}

is_row() {
    [[ -n ${row_servers[$1]-} ]]
}

list_rows() {
    local row
    while read -r row; do
        printf '%-12s  %s\n              %s\n' "$row" "${row_says[$row]}" "${row_servers[$row]}"
        [[ -z ${row_on_request[$row]-} ]] || printf '              with --server: %s\n' "${row_on_request[$row]}"
    done < <(row_names)
}

# servers_of ROW [SERVER]...: those of the row, one a line; of the named ones, where any is named.
servers_of() {
    local row=$1 server all
    shift
    all="${row_servers[$row]}"
    (($#)) || { printf '%s\n' $all && return; }
    for server in $all ${row_on_request[$row]-}; do
        [[ " $* " != *" $server "* ]] || printf '%s\n' "$server"
    done
}

# run_load ROW: one result, on the standard output. Every byte is compared only where it does not make the load the
# slower side; `verify_row` compares them all once, before the rounds.
run_load() {
    local cgroup=(--cgroup "$COMPARE_CGROUP") tftp=$server_ip:69 http=$server_ip:80
    case $1 in
        dhcp) on_client load dhcp client --rate 15000 --seconds 8 "${cgroup[@]}" ;;
        tftp-w1-64) on_client load tftp "$tftp" --clients 64 --times 4 "${cgroup[@]}" ;;
        tftp-w1-900) on_client load tftp "$tftp" --clients 900 "${cgroup[@]}" ;;
        tftp-w16 | shards-tftp) on_client load tftp "$tftp" --clients 64 --times 16 --windowsize 16 --whole "${cgroup[@]}" ;;
        tftp-w44) on_client load tftp "$tftp" --clients 64 --times 16 --windowsize 44 --whole "${cgroup[@]}" ;;
        tftp-w16-cut) on_client load tftp "$tftp" --clients 64 --times 16 --windowsize 16 "${cgroup[@]}" ;;
        http-64m | shards-http) on_client load http "$http" --file 64m.bin "${cgroup[@]}" ;;
        http-4k) on_client load http "$http" --file 4k.bin --seconds 4 "${cgroup[@]}" ;;
        http-4k-new) on_client load http "$http" --file 4k.bin --seconds 4 --new "${cgroup[@]}" ;;
        iso-http) on_client load http "$http" --file images/files/64m.bin "${cgroup[@]}" ;;
        iso-tftp) on_client load tftp "$tftp" --file images/files/4m.bin --clients 64 --times 16 --windowsize 16 --whole "${cgroup[@]}" ;;
        memory-tftp) on_client load memory tftp "$tftp" --file 4m.bin "${cgroup[@]}" ;;
        memory-http) on_client load memory http "$http" --file 4k.bin "${cgroup[@]}" ;;
        walk) on_client load tftp "$tftp" --clients 0 --walk --seconds 3 "${cgroup[@]}" ;;
        walk-loaded) on_client load tftp "$tftp" --clients 64 --walk --seconds 5 "${cgroup[@]}" ;;
        storm-*) on_client load storm "$COMPARE_BIN" client --machines "${1#storm-}" --root "$storm_root" "${cgroup[@]}" ;;
    esac
}

# verify_row ROW: reads what the row reads, and compares every byte. A storm's machines always do.
verify_row() {
    local tftp=$server_ip:69 http=$server_ip:80
    case $1 in
        tftp-w1-*) on_client load tftp "$tftp" --clients 8 --verify "$root/4m.bin" ;;
        tftp-w16-cut) on_client load tftp "$tftp" --clients 8 --windowsize 16 --verify "$root/4m.bin" ;;
        tftp-w*) on_client load tftp "$tftp" --clients 8 --windowsize "${1#tftp-w}" --whole --verify "$root/4m.bin" ;;
        shards-tftp) on_client load tftp "$tftp" --clients 8 --windowsize 16 --whole --verify "$root/4m.bin" ;;
        http-64m | shards-http) on_client load http "$http" --file 64m.bin --connections 4 --verify "$root/64m.bin" ;;
        iso-http) on_client load http "$http" --file images/files/64m.bin --connections 4 --verify "$root/64m.bin" ;;
        iso-tftp) on_client load tftp "$tftp" --file images/files/4m.bin --clients 8 --windowsize 16 --whole --verify "$root/4m.bin" ;;
        http-4k) on_client load http "$http" --file 4k.bin --times 10 --verify "$root/4k.bin" ;;
        http-4k-new) on_client load http "$http" --file 4k.bin --times 10 --new --verify "$root/4k.bin" ;;
    esac
}
