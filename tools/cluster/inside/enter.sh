# The second step of `enter`: from the control plane's namespaces into those of a node, whose first
# process is the only child of the one that made them.
set -euo pipefail
node=$1
shift
maker=$(<"/run/remember/$node.pid")
# Processes that end while they are looked at are no failure.
first=$(grep -ls "^PPid:[[:space:]]*$maker\$" /proc/[0-9]*/status || true)
[[ -n $first ]] || {
    echo "tools/cluster: $node does not run" >&2
    exit 1
}
first=${first#/proc/}
exec nsenter "--target=${first%/status}" --mount --net --pid -- "$@"
