# What all scripts of the cluster agree on; sourced by each of them. Nothing here has an
# effect on anything else.

# This machine's way to the world leads to no address of a cluster.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

# Several clusters can stand on one machine, if each has a name and a port of its own.
name=${REMEMBER_KUBERNETES:-try}
port=${REMEMBER_KUBERNETES_PORT:-16443}
nodes=${REMEMBER_KUBERNETES_NODES:-3}

cache=${REMEMBER_CACHE:-$HOME/.cache/remember}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Everything that the cluster writes: keys, logs, data, images.
directory=${REMEMBER_KUBERNETES_DIRECTORY:-$cache/cluster-$name}
kubeconfig=$directory/kubeconfig
logs=$directory/log

# Where the programs are that tools/go/build has built.
program() { echo "$cache/$1/$2"; } # directory in tools/go, program
kubectl=$(program kubernetes kubectl)

# Addresses exist in the cluster's own networks only. Node i is $control_address followed by i.
control_address=172.30.0.1
pod_range=10.244.0.0/16
service_range=10.96.0.0/16
api_service=10.96.0.1

node_address() { echo "172.30.0.1$1"; }
node_pods() { echo "10.244.$1.0/24"; }

# The group of processes in which the pods of a node are, in each hierarchy.
cgroup_of() { echo "remember-$name-n$1"; }

die() {
    echo "tools/cluster: $*" >&2
    exit 1
}
