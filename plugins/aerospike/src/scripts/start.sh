# What a pod runs: completes aerospike.conf with what differs between nodes, and becomes the server.
set -eu

# A number that stays with the pod's name: a node that comes back, with whatever address, is the one that left. Its
# default comes from a network card, and those of two pods can be alike.
node_id="a${POD_NAME##*-}"

# In `senren dev` all pods share one loopback interface, and each has an address of its own on it. Anywhere else
# asinfo and `kubectl port-forward` want the pod's loopback, too.
case "$POD_IP" in
    127.*) bind="$POD_IP" ;;
    *) bind=any ;;
esac

work=/var/lib/aerospike
mkdir -p "$work/smd" "$work/usr/udf/lua"
sed -e "s/@NODE_ID@/$node_id/" -e "s/@POD_IP@/$POD_IP/" -e "s/@BIND@/$bind/" /etc/senren/aerospike.conf >"$work/aerospike.conf"
exec asd --fgdaemon --config-file "$work/aerospike.conf"
