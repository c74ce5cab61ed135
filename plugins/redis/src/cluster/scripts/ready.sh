# Whether clients can be sent here: this node is part of a cluster that works. Waits a little for it, so that readiness
# is known as soon as it is true, not a whole period of the probe later.
tries=0
while [ "$tries" -lt 55 ]; do
    answer=$(redis-cli -h "$POD_IP" cluster info 2>&1)
    case "$answer" in
        *cluster_state:ok*) exit 0 ;;
    esac
    tries=$((tries + 1))
    if [ "$tries" -lt 35 ]; then sleep 0.07; else sleep 0.1; fi
done
case "$answer" in
    cluster_state:*) echo "not yet part of a cluster that works" ;;
    *) echo "${answer%%#*}" ;;
esac
exit 1
