# The one process of a cluster that lives outside of its namespaces: it starts what is inside, passes
# connections to the API server, and cleans up. Started by `up`, ended by `down`.
set -euo pipefail
owner=${1:-}
# shellcheck source=tools/cluster/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

echo $$ >"$directory/keeper.pid"
trap 'exit 0' TERM INT
trap end EXIT

end() {
    trap '' TERM INT
    kill -9 ${inside:-} ${passage:-} 2>/dev/null || true
    wait
    # The first process inside is no child of this one; it is gone when all others in there are.
    local first
    first=$(cat "$directory/init.pid" 2>/dev/null || true)
    while [[ -n $first && -d /proc/$first ]]; do sleep 0.05; done
    remove_cgroups
}

# What is left of pods is a tree of empty groups, in each hierarchy.
remove_cgroups() {
    local top round
    for round in $(seq 50); do
        for top in /sys/fs/cgroup/"remember-$name-n"* /sys/fs/cgroup/*/"remember-$name-n"*; do
            [[ -d $top ]] && find "$top" -depth -type d -exec rmdir {} + 2>/dev/null
        done
        compgen -G "/sys/fs/cgroup/remember-$name-n*" >/dev/null \
            || compgen -G "/sys/fs/cgroup/*/remember-$name-n*" >/dev/null || return 0
        sleep 0.1
    done
    echo "cgroups of the cluster could not be removed after $round attempts"
}

bash "$here/pki.sh"
cc -static -Os -o "$directory/pause" "$here/pause.c"
"$here/../image" remember.invalid/pause:1 "$directory/pause" "$directory/pause.tar"
# The death signal makes sure that nothing inside outlives this process.
setpriv --pdeathsig KILL -- unshare --mount --propagation private --net --pid --fork \
    --kill-child --mount-proc -- bash "$here/inside/init.sh" &
inside=$!
setpriv --pdeathsig KILL -- socat "TCP-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr" \
    "UNIX-CONNECT:$directory/api.sock" &
passage=$!

# The first process inside, by its number out here: the way in for `enter`.
until child=$(grep -ls "^PPid:[[:space:]]*$inside\$" /proc/[0-9]*/status); do
    kill -0 "$inside" || exit 1
    sleep 0.05
done
child=${child#/proc/}
echo "${child%/status}" >"$directory/init.pid"

# An owner that is gone takes the cluster with it.
while kill -0 "$inside" 2>/dev/null; do
    [[ -z $owner || -d /proc/$owner ]] || {
        echo "the owner, process $owner, is gone"
        exit 0
    }
    sleep 0.5
done
echo "what was inside has ended"
exit 1
