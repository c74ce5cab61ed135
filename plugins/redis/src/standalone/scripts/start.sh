# What a pod runs. What differs between pods is only known here; the rest is in redis.conf. The configuration comes
# by standard input, so that the password is neither an argument nor a file.
set -eu

# The first process of a container gets no signal that it has not asked for, so one that comes before redis-server
# has got round to that would be lost, and the pod would sit out its grace period. The shell asks at once, and the
# server is its child. It refuses to end while it writes its log anew, and then forgets that it was asked: so it is
# asked again.
server=""
stopping=""
stop() {
    while kill -TERM "$server" 2>/dev/null; do sleep 0.5; done &
}
trap 'stopping=yes; [ -z "$server" ] || stop' TERM INT

# In `senren dev` all pods share one loopback interface, and each has an address of its own on it. Anywhere else
# `kubectl port-forward` wants the pod's loopback, too.
case "$POD_IP" in
    127.*) bind="$POD_IP" ;;
    *) bind="$POD_IP -127.0.0.1 -::1" ;;
esac

role=""
case "$POD_NAME" in
    *-0) ;;
    *)
        role="replicaof $PRIMARY 6379"
        # A replica that finds no primary tries again a second later. So wait until it listens, but not for ever:
        # without a primary a replica still serves what it has.
        tries=0
        while [ -z "$stopping" ] && [ "$tries" -lt 100 ] && ! redis-cli -h "$PRIMARY" ping >/dev/null 2>&1; do
            tries=$((tries + 1))
            sleep 0.05
        done
        ;;
esac

[ -z "$stopping" ] || exit 0
redis-server - <<END &
include /etc/redis/redis.conf
bind $bind
replica-announce-ip $POD_IP
$role
${REDISCLI_AUTH:+requirepass $REDISCLI_AUTH}
${REDISCLI_AUTH:+masterauth $REDISCLI_AUTH}
END
server=$!
[ -z "$stopping" ] || stop

# A signal ends the wait, not the server: that writes its data first.
status=0
wait "$server" || status=$?
while kill -0 "$server" 2>/dev/null; do
    status=0
    wait "$server" || status=$?
done
exit "$status"
