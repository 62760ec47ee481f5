# Who owns a cluster's directory; sourced by those who start and end it. Process ids are used again, so
# it is a lock that tells whether a keeper lives: the kernel lets it go with the keeper.

mkdir -p "$(dirname "$directory")"
# A keeper has it from `up`, and with it the lock. The file stays: whoever waits for it has it open.
[[ -e /proc/$$/fd/9 ]] || exec 9>>"$directory.lock"

# Whether this cluster's keeper lives.
is_kept() { ! flock --nonblock 9; }

# Whether what is there was made by a keeper: nothing else is ever removed.
is_ours() { [[ ! -e $directory || -e $directory/remember-cluster ]]; }

# What is left of pods is a tree of empty control groups, in each hierarchy; it takes a moment.
remove_cgroups() {
    local round tops
    for round in $(seq 100); do
        tops=$(compgen -G "/sys/fs/cgroup/remember-$name-n*" || true
            compgen -G "/sys/fs/cgroup/*/remember-$name-n*" || true)
        [[ -n $tops ]] || return 0
        # One that is not empty yet is tried again.
        find $tops -depth -type d -exec rmdir {} + 2>/dev/null || true
        sleep 0.1
    done
    echo "after $round attempts these control groups could not be removed:" $tops >&2
}

# Ends the first process inside, and with it all others, and waits until they are gone.
end_inside() {
    local first
    first=$(cat "$directory/init.pid" 2>/dev/null || true)
    # Only a process whose command names this very directory is meant.
    for _ in $(seq 300); do
        [[ -n $first ]] && tr '\0' '\n' 2>/dev/null <"/proc/$first/cmdline" \
            | grep -qxF "$directory" || return 0
        kill -9 "$first" 2>/dev/null || true
        sleep 0.1
    done
    echo "process $first, the first inside, does not end" >&2
}
