# What a pod runs. What differs between pods is only known here; the rest is in redis.conf. The configuration comes
# by standard input, so that the password is neither an argument nor a file.
set -eu

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
        while [ "$tries" -lt 100 ] && ! redis-cli -h "$PRIMARY" ping >/dev/null 2>&1; do
            tries=$((tries + 1))
            sleep 0.05
        done
        ;;
esac

exec redis-server - <<END
include /etc/redis/redis.conf
bind $bind
replica-announce-ip $POD_IP
$role
${REDISCLI_AUTH:+requirepass $REDISCLI_AUTH}
${REDISCLI_AUTH:+masterauth $REDISCLI_AUTH}
END
