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
    if [ "$tries" -lt 25 ]; then sleep 0.02; else sleep 0.1; fi
done
case "$answer" in
    PONG*) echo "not $sign" ;;
    *) echo "${answer%%#*}" ;;
esac
exit 1
