# Whether this instance can be used: it has loaded its data, and a replica has the primary's. Waits a little for it,
# so that readiness is known as soon as it is true, not a whole period of the probe later.
case "$POD_NAME" in
    *-0) sign="role:master" ;;
    *) sign="master_link_status:up" ;;
esac
tries=0
while [ "$tries" -lt 60 ]; do
    answer=$(printf 'PING\nINFO replication\n' | redis-cli -h "$POD_IP" 2>&1)
    case "$answer" in
        PONG*"$sign"*) exit 0 ;;
    esac
    tries=$((tries + 1))
    # When the password changes, replicas get it first, and cannot have the data of a primary that does not know it
    # yet. They must not hold up the update that brings it there.
    case "$sign$answer" in
        master*PONG*)
            [ $((tries % 10)) -ne 0 ] || case "$(redis-cli -h "$PRIMARY" ping 2>&1)" in *AUTH*) exit 0 ;; esac
            ;;
    esac
    if [ "$tries" -lt 25 ]; then sleep 0.02; else sleep 0.1; fi
done
case "$answer" in
    PONG*) echo "not $sign" ;;
    *) echo "${answer%%#*}" ;;
esac
exit 1
