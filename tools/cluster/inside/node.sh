# The first process of a node, in namespaces of its own below those of the cluster: starts
# containerd, kubelet and kube-proxy. When it is killed, the node is a machine without power.
set -euo pipefail
number=$1
node=n$1
# shellcheck source=tools/cluster/settings.sh
source "$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/../settings.sh"

own=$directory/$node
address=$(node_address "$number")
cgroup=$(cgroup_of "$number")
PATH=$(dirname "$(program containerd containerd)"):$PATH

# A machine has /run and /var for itself, and its programs find there what they always find there.
mkdir -p "$own"/{var/lib,var/log,var/tmp,etc}
ln -sfn /run "$own/var/run"
mount -t tmpfs -o mode=755 remember /run
mount --bind "$own/var" /var
mount --make-rshared /

# The group of the node's pods, in each hierarchy of the first version or in the only one of the
# second. The kubelet makes none above its own, and one without processors takes no process.
make_cgroups() {
    local hierarchy file
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
        # The kubelet demands whatever the root has, hugetlb among it.
        for file in $(</sys/fs/cgroup/cgroup.controllers); do
            echo "+$file" >/sys/fs/cgroup/cgroup.subtree_control \
                || echo "control groups: $file cannot be passed on to pods"
        done
        mkdir -p "/sys/fs/cgroup/$cgroup"
        return
    fi
    for hierarchy in /sys/fs/cgroup/*/; do
        [[ -e $hierarchy/cgroup.procs && $hierarchy != */unified/ ]] || continue
        mkdir -p "$hierarchy$cgroup"
        for file in cpuset.cpus cpuset.mems; do
            [[ ! -e $hierarchy$file ]] || cat "$hierarchy$file" >"$hierarchy$cgroup/$file"
        done
    done
}

# The kubelet wants these of the kernel, which is that of the whole machine: it is shown what it
# wants, and so has nothing to set.
show_tunable() { # file below /proc/sys, value
    mkdir -p "$own/etc/sys"
    echo "$2" >"$own/etc/sys/${1//\//.}"
    mount --bind "$own/etc/sys/${1//\//.}" "/proc/sys/$1"
}

# Writes a file of $here/inside with this node's values in the place of @NAME@.
fill() { # template, target
    sed -e "s,@NODE@,$node,g" -e "s,@ADDRESS@,$address,g" -e "s,@CGROUP@,/$cgroup,g" \
        -e "s,@PODS@,$(node_pods "$number"),g" -e "s,@ALL_PODS@,$pod_range,g" \
        -e "s,@PKI@,$directory/pki,g" -e "s,@ETC@,$own/etc,g" "$here/inside/$1" >"$2"
}

run() { # name, command...
    local log=$logs/$node-$1.log
    shift
    setsid "$@" >>"$log" 2>&1 </dev/null &
}

make_cgroups
show_tunable vm/overcommit_memory 1
show_tunable vm/panic_on_oom 0
show_tunable kernel/panic 10
show_tunable kernel/panic_on_oops 1
show_tunable kernel/keys/root_maxkeys 1000000
show_tunable kernel/keys/root_maxbytes 25000000
mkdir -p "$own/etc/cni"
for template in containerd.toml kubelet.yaml proxy.yaml; do
    fill "$template" "$own/etc/$template"
done
fill pods.conflist "$own/etc/cni/10-pods.conflist"

run containerd containerd -c "$own/etc/containerd.toml"
until ctr version >/dev/null 2>&1; do sleep 0.1; done
ctr -n k8s.io images import "$directory/pause.tar"
run kubelet "$(program kubernetes kubelet)" "--config=$own/etc/kubelet.yaml" \
    "--kubeconfig=$directory/pki/inside.kubeconfig" "--hostname-override=$node" \
    "--node-ip=$address" --v=1
run proxy "$(program kubernetes kube-proxy)" "--config=$own/etc/proxy.yaml"

# As the first process it is the parent of all orphans; bash buries them when it hears of them.
while true; do
    sleep 3600 &
    wait $! || true
done
