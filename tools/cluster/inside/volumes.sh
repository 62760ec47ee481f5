# The volumes of a cluster: some directories of each node, in the class that is used by default. Whoever
# claims one first has it until the cluster ends: nobody wipes what is on it for the next.
volumes_of_node=16

volume() { # node, number, directory
    cat <<YAML
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: vol-$1-$2}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: standard
  local: {path: "$3"}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$1]}]
YAML
}

provide_volumes() {
    local node number place
    {
        cat <<YAML
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
provisioner: kubernetes.io/no-provisioner
# A pod's machine is chosen first, and then a volume there.
volumeBindingMode: WaitForFirstConsumer
YAML
        for node in $(seq -f n%g "$nodes"); do
            for number in $(seq 0 $((volumes_of_node - 1))); do
                place=$directory/$node/volumes-standard/$number
                mkdir -p "$place"
                volume "$node" "$number" "$place"
            done
        done
    } | api apply -f -
}
