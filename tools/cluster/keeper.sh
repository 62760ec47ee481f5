# The one process of a cluster that lives outside of its namespaces: it starts what is inside, passes
# connections to the API server, and cleans up. Started by `up` with the lock as its descriptor 9,
# ended by `down`.
set -euo pipefail
owner=${2:-}
# shellcheck source=tools/cluster/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
# shellcheck source=tools/cluster/lock.sh
source "$here/lock.sh"

echo $$ >"$directory/keeper.pid"
trap 'exit 0' TERM INT
trap end EXIT

end() {
    trap '' TERM INT
    rm -f "$directory/ready"
    end_inside
    kill -9 ${inside:-} ${passage:-} 2>/dev/null || true
    wait
    remove_cgroups
}

# Nothing that is started from here may hold the lock.
{
    bash "$here/pki.sh"
    cc -static -Os -o "$directory/pause" "$here/pause.c"
    "$here/../image" remember.invalid/pause:1 "$directory/pause" "$directory/pause.tar"
} 9>&-
# The death signal makes sure that nothing inside outlives this process. The directory is named to
# tell the first process inside from any other that may once have its number.
setpriv --pdeathsig KILL -- unshare --mount --propagation private --net --pid --fork \
    --kill-child --mount-proc -- bash "$here/inside/init.sh" "$directory" 9>&- &
inside=$!
setpriv --pdeathsig KILL -- socat "TCP-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr" \
    "UNIX-CONNECT:$directory/api.sock" 9>&- &
passage=$!

# The first process inside, by its number out here: the way in for `enter`. Processes that end while
# they are looked at are no failure.
first=
while [[ -z $first ]]; do
    kill -0 "$inside" || exit 1
    first=$(grep -ls "^PPid:[[:space:]]*$inside\$" /proc/[0-9]*/status || true)
    sleep 0.05
done
first=${first#/proc/}
echo "${first%/status}" >"$directory/init.pid"

# An owner that is gone takes the cluster with it.
while [[ -d /proc/$inside && -d /proc/$passage ]]; do
    [[ -z $owner || -d /proc/$owner ]] || {
        echo "the owner, process $owner, is gone"
        exit 0
    }
    sleep 0.5
done
echo "what was inside, or the passage through 127.0.0.1:$port, has ended: is the port taken?"
exit 1
