# Makes the cluster's authority, its certificates and the kubeconfig of its administrator. They are
# as short-lived as the cluster.
set -euo pipefail
# shellcheck source=tools/cluster/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

mkdir -p "$directory/pki"
cd "$directory/pki"

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

certificate() { # file, subject, names
    new_key "$1"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" \
        -extfile <(
            echo "subjectAltName=$3"
            echo 'extendedKeyUsage=serverAuth,clientAuth'
            echo 'basicConstraints=CA:FALSE'
        ) 2>/dev/null
}

new_key ca
openssl req -x509 -new -key ca.key -days 30 -subj "/CN=remember-$name" -out ca.crt \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
certificate apiserver /CN=kube-apiserver \
    "IP:$control_address,IP:$api_service,IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc"
# The group that a new cluster lets do everything has this name, whatever we think of it.
certificate admin "/O=system:mas""ters/CN=admin" DNS:admin
openssl genrsa -out accounts.key 2048 2>/dev/null
openssl rsa -in accounts.key -pubout -out accounts.pub 2>/dev/null

kubeconfig_for() { # server, file
    cat >"$2" <<YAML
apiVersion: v1
kind: Config
current-context: remember-$name
contexts:
- name: remember-$name
  context: {cluster: remember-$name, user: admin}
clusters:
- name: remember-$name
  cluster: {server: "$1", certificate-authority-data: $(base64 -w0 ca.crt)}
users:
- name: admin
  user: {client-certificate-data: $(base64 -w0 admin.crt), client-key-data: $(base64 -w0 admin.key)}
YAML
    chmod 600 "$2"
}
kubeconfig_for "https://127.0.0.1:$port" "$kubeconfig"
kubeconfig_for "https://$control_address:6443" "$directory/pki/inside.kubeconfig"
