# What senren asks of a node:
#   node.sh look             what it is and whom it knows
#   node.sh do COMMAND…      commands, each one argument, until one fails; why is the last line on standard error
# Everything may be done twice, and what a command relies on is checked here, because whoever decided on it may have
# seen something older.
set -u

PORT=6379

redis() { redis-cli -h "$POD_IP" "$@"; }

fail() {
    echo "$*" >&2
    exit 1
}

# Runs what it reads at an address, and fails with the first reply that is not OK, save those that match the pattern.
# At the end of a pipe, so it cannot end the script by itself.
all_ok() { # ip [pattern]
    refused=$(redis-cli -h "$1" 2>&1 | grep -v '^OK$' | grep -v -e "${2:-^$}" | grep -v '^$' | head -n 1)
    [ -z "$refused" ] || fail "$1: $refused"
}

look() {
    tries=0
    while :; do
        seen=$(printf 'CLUSTER INFO\nINFO replication\nDBSIZE\nCLUSTER NODES\n' | redis 2>&1)
        case "$seen" in *cluster_state:*myself*) break ;; esac
        tries=$((tries + 1))
        [ "$tries" -lt 40 ] || fail "${seen%%#*}"
        sleep 0.05
    done
    # Without what changes all the time, so that an answer is the same as long as nothing has happened. How much data a
    # replica has matters once its primary is gone.
    case "$seen" in *master_link_status:up*) offset="" ;; *) offset="/^slave_repl_offset:/p" ;; esac
    printf '%s\n' "$seen" | sed -n \
        -e 's/\r$//' \
        -e 's/^0$/keys:none/p' \
        -e 's/^[0-9][0-9]*$/keys:some/p' \
        -e 's/^\([0-9a-f]\{40\} [^ ]* [^ ]* [^ ]*\) [0-9]* [0-9]* /\1 /p' \
        -e '/^cluster_state:/p' -e '/^role:/p' -e '/^master_link_status:/p' -e "$offset"
}

myself() { redis cluster nodes | grep myself; }

is_primary() { case "$(myself)" in *myself,master*) true ;; *) false ;; esac; }

# Addresses are used again, so whoever is at one is asked for its name first: the nodes of two clusters that meet become
# one cluster.
is_at() { # id ip
    answer=$(redis-cli -h "$2" cluster myid 2>&1)
    [ "$answer" = "$1" ] || fail "at $2 there is not $1: $answer"
}

acquainted() {
    tries=0
    while redis cluster nodes | grep -q ' handshake '; do
        tries=$((tries + 1))
        [ "$tries" -lt 40 ] || break
        sleep 0.025
    done
}

replicate() { # id
    tries=0
    while :; do
        answer=$(redis cluster replicate "$1" 2>&1)
        case "$answer" in
            OK) return ;;
            *"Unknown node"*) ;;
            *) fail "$answer" ;;
        esac
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || fail "$answer"
        sleep 0.05
    done
}

promote() { # FORCE or TAKEOVER, or neither
    is_primary && return
    answer=$(redis cluster failover "$@" 2>&1)
    [ "$answer" = OK ] || fail "$answer"
    tries=0
    until is_primary; do
        tries=$((tries + 1))
        [ "$tries" -lt 120 ] || fail "it did not become primary in time"
        sleep 0.05
    done
}

reset() {
    case "$(myself)" in *connected\ [0-9[]*) fail "it owns slots" ;; esac
    answer=$(redis cluster reset hard 2>&1)
    [ "$answer" = OK ] || fail "$answer"
}

# Each slot of the list, one a line.
each() { # range…
    for range in "$@"; do
        slot=${range%-*}
        while [ "$slot" -le "${range#*-}" ]; do
            echo "$slot"
            slot=$((slot + 1))
        done
    done
}

# Says the same of each slot in $batch. At once, because after each command by itself the server would write its
# configuration to disk.
set_slots() { # ip what [pattern]
    {
        echo multi
        for slot in $batch; do echo "cluster setslot $slot $2"; done
        echo exec
    } | all_ok "$1" "^QUEUED$\\|${3:-^$}"
}

# Moves the keys of the slots in $batch, of which there are $count. Keys may hold anything, so they are passed on as redis-cli quotes them. A key
# that is here is the one that counts, should an interrupted move have left another there.
move_keys() { # ip
    while :; do
        found=$(for slot in $batch; do echo "cluster getkeysinslot $slot 20"; done | redis --no-raw)
        moves=$(printf '%s\n' "$found" | awk -v head="migrate $1 $PORT \"\" 0 60000 replace" '
            function flush() { if (keys != "") print head auth " keys" keys; keys = "" }
            BEGIN { if (ENVIRON["REDISCLI_AUTH"] != "") auth = " auth " ENVIRON["REDISCLI_AUTH"] }
            /^ *1\) / { flush() }
            match($0, /^ *[0-9]+\) /) { keys = keys " " substr($0, RLENGTH + 1) }
            END { flush() }')
        if [ -z "$moves" ]; then
            # Not an answer that got lost: every slot was looked at, and is empty.
            empty=$(printf '%s\n' "$found" | grep -c '^(empty array)$')
            [ "$empty" -eq "$count" ] || fail "${found%%#*}"
            return
        fi
        printf '%s\n' "$moves" | all_ok "$POD_IP" '^NOKEY$' || exit 1
        [ "$(date +%s)" -lt "$deadline" ] || exit 0
    done
}

# Moves slots a few at a time; what time does not allow is left for the next call, a batch in the middle included.
move() { # id ip range…
    id=$1 ip=$2
    shift 2
    is_at "$id" "$ip"
    me=$(redis cluster myid)
    deadline=$(($(date +%s) + 4))
    batch="" count=0
    for slot in $(each "$@") end; do
        if [ "$slot" != end ]; then
            batch="$batch $slot" count=$((count + 1))
            [ "$count" -ge 64 ] || continue
        fi
        [ "$count" -gt 0 ] || return 0
        set_slots "$ip" "importing $me" "already the owner" || exit 1
        set_slots "$POD_IP" "migrating $id" || exit 1
        move_keys "$ip"
        set_slots "$ip" "node $id" || exit 1
        # Refused while there is a key left.
        set_slots "$POD_IP" "node $id" || exit 1
        batch="" count=0
        [ "$(date +%s)" -lt "$deadline" ] || return 0
    done
}

run() {
    verb=$1
    shift
    case "$verb" in
        meet)
            is_at "$1" "$2"
            echo "cluster meet $2 $PORT" | all_ok "$POD_IP" || exit 1
            met=yes
            ;;
        epoch) redis cluster set-config-epoch "$1" >/dev/null 2>&1 ;;
        own)
            missing=$(for range in "$@"; do echo "${range%-*} ${range#*-}"; done)
            echo "cluster addslotsrange" $missing | all_ok "$POD_IP" || exit 1
            ;;
        replicate) replicate "$1" ;;
        take-over) promote ;;
        succeed) promote FORCE ;;
        usurp) promote TAKEOVER ;;
        forget) echo "cluster forget $1" | all_ok "$POD_IP" "Unknown node" || exit 1 ;;
        close)
            batch=$(each "$@")
            set_slots "$POD_IP" stable || exit 1
            ;;
        move) move "$@" ;;
        reset) reset ;;
        *) fail "unknown command $verb" ;;
    esac
}

case "${1:-}" in
    look) look ;;
    do)
        shift
        met=""
        for command in "$@"; do
            # Words of letters, digits, dots, colons and dashes only.
            # shellcheck disable=SC2086
            run $command
        done
        [ -z "$met" ] || acquainted
        ;;
    *) fail "what?" ;;
esac
