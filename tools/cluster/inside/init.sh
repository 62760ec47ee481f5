# The first process in the namespaces of a cluster: makes its networks, starts the control plane and
# the nodes, and says when all are ready. When it ends, so does everything in there.
set -euo pipefail
inside=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tools/cluster/settings.sh
source "$inside/../settings.sh"
# shellcheck source=tools/cluster/inside/network.sh
source "$inside/network.sh"
# shellcheck source=tools/cluster/inside/components.sh
source "$inside/components.sh"
# shellcheck source=tools/cluster/inside/volumes.sh
source "$inside/volumes.sh"

# A place for the names of networks that only the cluster sees.
mount -t tmpfs -o mode=755 remember /run
mkdir -p /run/remember

build_networks
start etcd
start apiserver
start passage
until api get --raw /readyz; do sleep 0.1; done
start controllers
start scheduler
for node in $(seq "$nodes"); do
    start "n$node"
done
until [[ $(api get nodes --no-headers | grep -cw Ready) == "$nodes" ]]; do sleep 0.2; done
until api get serviceaccount default; do sleep 0.1; done
provide_volumes
touch "$directory/ready"

# As the first process it is the parent of all orphans; bash buries them when it hears of them.
while true; do
    sleep 3600 &
    wait $! || true
done
