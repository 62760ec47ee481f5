# The networks of a cluster: that of the control plane, in which this runs, and one for each node.
# Each node has one cable, to the control plane, which passes on what is for another node or its
# pods. So pulling a node's cable cuts it from everybody.

build_networks() {
    local node
    ip link set lo up
    echo 1 >/proc/sys/net/ipv4/ip_forward
    for node in $(seq "$nodes"); do
        build_network "$node"
    done
}

build_network() { # node
    local of_node=n$1 address
    address=$(node_address "$1")
    ip netns add "$of_node"
    ip link add "v$1" type veth peer name eth0 netns "$of_node"
    ip addr add "$control_address" peer "$address" dev "v$1"
    ip link set "v$1" up
    ip route add "$(node_pods "$1")" via "$address"
    ip -n "$of_node" link set lo up
    ip -n "$of_node" addr add "$address" peer "$control_address" dev eth0
    ip -n "$of_node" link set eth0 up
    ip -n "$of_node" route add default via "$control_address"
    nsenter --net="/run/netns/$of_node" -- bash -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
}
