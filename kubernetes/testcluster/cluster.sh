#!/usr/bin/env bash
# A Kubernetes of one node, of which nothing is left when it is down:
#
#   cluster.sh up BIN STATE        BIN has what build.sh built; STATE is made anew
#   cluster.sh down STATE
#   cluster.sh kubectl STATE ARG…  kubectl in the cluster's network
#   cluster.sh enter STATE CMD…    CMD in the cluster's network, with KUBECONFIG
#
# All of it is in a network namespace of its own, which has the name of STATE: addresses,
# rules and sysctls of the host stay as they are. It needs root, and the Debian packages
# etcd-server containerd runc containernetworking-plugins iproute2 iptables openssl curl,
# and kubectl. No registry is used: images are imported with
# ctr -a STATE/containerd.sock -n k8s.io images import FILE.tar.
set -euo pipefail
usage() { sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 2; }
verb=${1:-}; shift || usage
case $verb in
up) [ $# = 2 ] || usage; bin=$(realpath "$1"); shift ;;
down | kubectl | enter) [ $# -ge 1 ] || usage ;;
*) usage ;;
esac
state=$(realpath -m "$1"); shift
space=faultctl-$(basename "$state")
inside() { nsenter --net="/var/run/netns/$space" env KUBECONFIG="$state/admin.conf" "$@"; }

# daemon NAME CMD…: starts one that down ends.
daemon() {
	local name=$1
	shift
	setsid nsenter --net="/var/run/netns/$space" "$@" >"$state/log/$name" 2>&1 </dev/null &
	echo $! >>"$state/pids"
}

# await WHAT CMD…: until CMD succeeds.
await() {
	local what=$1
	shift
	for _ in $(seq 600); do
		if "$@" >/dev/null 2>&1; then return; fi
		sleep 0.5
	done
	echo "cluster.sh: $what does not come; see $state/log" >&2
	exit 1
}

certificates() {
	cd "$state/pki"
	openssl genrsa -out accounts.key 2048
	openssl rsa -in accounts.key -pubout -out accounts.pub
	openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=testcluster -keyout ca.key -out ca.crt
	sign() {
		openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
		printf '%s\n' "$3" >"$1.ext"
		openssl x509 -req -days 30 -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -extfile "$1.ext" -out "$1.crt"
	}
	sign server /CN=kube-apiserver "subjectAltName=DNS:localhost,DNS:kubernetes.default,IP:127.0.0.1,IP:10.96.0.1,IP:10.244.255.1"
	sign admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
}

up() {
	rm -rf "$state"
	mkdir -p "$state"/{log,pki,etcd,cni,kubelet}
	ip netns add "$space"
	ip -n "$space" link set lo up
	ip -n "$space" link add node type bridge
	ip -n "$space" addr add 10.244.255.1/24 dev node
	ip -n "$space" link set node up
	ip -n "$space" route add default dev node
	# What pods send to a pod of the same bridge has to pass netfilter, where kube-proxy
	# translates the answers back.
	inside sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
	(certificates) >"$state/log/openssl" 2>&1
	cat >"$state/admin.conf" <<K
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: admin}}]
clusters: [{name: test, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $state/pki/ca.crt}}]
users: [{name: admin, user: {client-certificate: $state/pki/admin.crt, client-key: $state/pki/admin.key}}]
K
	cat >"$state/containerd.toml" <<K
version = 2
root = "$state/containerd"
state = "$state/containerd-run"
[grpc]
address = "$state/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/faultctl/app:test"
restrict_oom_score_adj = true # a user without CAP_SYS_RESOURCE cannot lower scores
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$state/cni"
K
	cat >"$state/cni/10-pods.conflist" <<K
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
	{"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true, "ipam": {
		"type": "host-local", "dataDir": "$state/cni/leases", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
	{"type": "loopback"}]}
K
	cat >"$state/kubelet.yaml" <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $state/pki/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$state/containerd.sock
podLogsDir: $state/log/pods
resolvConf: ""
cgroupDriver: cgroupfs
failSwapOn: false
failCgroupV1: false # so that hosts with cgroup v1 will do
enforceNodeAllocatable: []
evictionHard: {}
localStorageCapacityIsolation: false
K
	daemon etcd etcd --data-dir "$state/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
	daemon containerd containerd --config "$state/containerd.toml"
	daemon apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --bind-address 127.0.0.1 --advertise-address 10.244.255.1 \
		--service-cluster-ip-range 10.96.0.0/16 --authorization-mode Node,RBAC --allow-privileged \
		--client-ca-file "$state/pki/ca.crt" --tls-cert-file "$state/pki/server.crt" --tls-private-key-file "$state/pki/server.key" \
		--kubelet-client-certificate "$state/pki/admin.crt" --kubelet-client-key "$state/pki/admin.key" --kubelet-preferred-address-types InternalIP \
		--service-account-issuer https://kubernetes.default --service-account-key-file "$state/pki/accounts.pub" --service-account-signing-key-file "$state/pki/accounts.key"
	await "the API server" inside kubectl get --raw /readyz
	daemon controllers "$bin/kube-controller-manager" --kubeconfig "$state/admin.conf" --root-ca-file "$state/pki/ca.crt" --service-account-private-key-file "$state/pki/accounts.key"
	daemon scheduler "$bin/kube-scheduler" --kubeconfig "$state/admin.conf"
	daemon kubelet "$bin/kubelet" --config "$state/kubelet.yaml" --kubeconfig "$state/admin.conf" --root-dir "$state/kubelet" --hostname-override node1 --node-ip 10.244.255.1
	daemon proxy "$bin/kube-proxy" --kubeconfig "$state/admin.conf" --proxy-mode iptables --hostname-override node1 --cluster-cidr 10.244.0.0/24 --conntrack-max-per-core 0 --conntrack-min 0
	await "the node" inside kubectl wait --for=condition=Ready node/node1 --timeout=1s
	echo "node1 is ready: $0 kubectl $state get pods"
}

down() {
	local pids alive p
	pids=$(tac "$state/pids" 2>/dev/null || true)
	for p in $pids; do kill "$p" 2>/dev/null || true; done
	for _ in $(seq 40); do
		alive=
		for p in $pids; do if kill -0 "$p" 2>/dev/null; then alive=1; fi; done
		[ -n "$alive" ] || break
		sleep 0.25
	done
	for p in $pids; do kill -KILL "$p" 2>/dev/null || true; done
	# containerd leaves a shim for each pod, and the shims their containers.
	for p in /proc/[0-9]*; do
		if tr '\0' ' ' <"$p/cmdline" 2>/dev/null | grep -q "containerd-shim.* -address $state/containerd.sock"; then
			for c in $(cat "$p"/task/*/children 2>/dev/null); do kill -KILL "$c" 2>/dev/null || true; done
			kill -KILL "${p#/proc/}" 2>/dev/null || true
		fi
	done
	awk -v s="$state/" 'index($2, s) == 1 { print $2 }' /proc/mounts | sort -r | while read -r m; do umount -l "$m" || true; done
	ip netns del "$space" 2>/dev/null || true
	rm -rf "$state"
}

case $verb in
up) up ;;
down) down ;;
kubectl) exec nsenter --net="/var/run/netns/$space" env KUBECONFIG="$state/admin.conf" kubectl "$@" ;;
enter) exec nsenter --net="/var/run/netns/$space" env KUBECONFIG="$state/admin.conf" "$@" ;; # a signal to this process reaches CMD
esac
