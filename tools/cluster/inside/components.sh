# How each program of a cluster is started and stopped, by name: etcd, apiserver, passage,
# controllers, scheduler, n1, n2, ... A node is stopped as a machine without power.

start() { # name
    local log=$logs/$1.log
    case $1 in
        etcd) set -- "$1" etcd_command ;;
        apiserver) set -- "$1" apiserver_command ;;
        passage) set -- "$1" passage_command ;;
        controllers) set -- "$1" controllers_command ;;
        scheduler) set -- "$1" scheduler_command ;;
        n[0-9]) set -- "$1" node_command "${1#n}" ;;
        *) die "there is no component '$1'" ;;
    esac
    local component=$1
    shift
    "$@"
    setsid "${command[@]}" >>"$log" 2>&1 </dev/null &
    echo $! >"/run/remember/$component.pid"
}

stop() { # name
    local pid
    pid=$(<"/run/remember/$1.pid")
    kill -9 "$pid"
    while [[ -d /proc/$pid ]]; do sleep 0.02; done
}

api() { "$kubectl" --kubeconfig "$directory/pki/inside.kubeconfig" "$@" 2>/dev/null; }

etcd_command() {
    command=("$(program etcd etcd)" --data-dir "$directory/etcd" --unsafe-no-fsync
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
        --listen-peer-urls http://127.0.0.1:2380)
}

apiserver_command() {
    local pki=$directory/pki
    command=("$(program kubernetes kube-apiserver)" --etcd-servers=http://127.0.0.1:2379
        "--service-cluster-ip-range=$service_range" --secure-port=6443 --bind-address=0.0.0.0
        "--advertise-address=$control_address"
        "--tls-cert-file=$pki/apiserver.crt" "--tls-private-key-file=$pki/apiserver.key"
        "--client-ca-file=$pki/ca.crt" --authorization-mode=Node,RBAC --allow-privileged=true
        "--kubelet-client-certificate=$pki/admin.crt" "--kubelet-client-key=$pki/admin.key"
        "--service-account-key-file=$pki/accounts.pub"
        "--service-account-signing-key-file=$pki/accounts.key"
        --service-account-issuer=https://kubernetes.default.svc
        --kubelet-preferred-address-types=InternalIP
        "--audit-policy-file=$here/inside/audit.yaml" "--audit-log-path=$logs/audit.log"
        --audit-log-mode=blocking --audit-log-maxsize=1000)
}

# The control plane's network is not that of this machine: a socket file joins the two.
passage_command() {
    command=(socat "UNIX-LISTEN:$directory/api.sock,fork,unlink-early" TCP:127.0.0.1:6443)
}

controllers_command() {
    local pki=$directory/pki
    command=("$(program kubernetes kube-controller-manager)" "--kubeconfig=$pki/inside.kubeconfig"
        "--service-account-private-key-file=$pki/accounts.key" "--root-ca-file=$pki/ca.crt"
        "--cluster-signing-cert-file=$pki/ca.crt" "--cluster-signing-key-file=$pki/ca.key"
        --use-service-account-credentials --node-monitor-grace-period=20s --leader-elect=false)
}

scheduler_command() {
    command=("$(program kubernetes kube-scheduler)" --leader-elect=false
        "--kubeconfig=$directory/pki/inside.kubeconfig")
}

node_command() { # number
    command=(nsenter "--net=/run/netns/n$1" -- unshare --mount --propagation private --pid --fork
        --kill-child --mount-proc -- bash "$here/inside/node.sh" "$1")
}
