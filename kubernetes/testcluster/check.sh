#!/usr/bin/env bash
# Checks kubectl faultctl on a real cluster, from nothing:
#
#   check.sh [WORK]      WORK keeps Kubernetes' programs for the next time
#
# Four faults strike the connections of two client pods to a service of two pods, through
# the service's address and the pods'; a rollout in the middle is followed; after Ctrl-C
# and after SIGKILL nothing is struck any more, and the rules in each pod are as before.
# The rights are those of manifests/rbac.yaml. It ends with 1 at the first thing that is
# not so.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(realpath -m "${1:-/tmp/faultctl-kubernetes}")
mkdir -p "$work"
cluster=$here/cluster.sh state=$work/state
say() { echo "== $*"; }
fail() { echo "check.sh: $*" >&2; exit 1; }

say "build"
"$here/build.sh" "$work/bin"
(cd "$here/../.." && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$work/faultctl" .)
(cd "$here/.." && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$work/app" ./testcluster/app)
(cd "$here/.." && go build -trimpath -buildvcs=false -o "$work/kubectl-faultctl" ./kubectl-faultctl)
"$here/image.sh" docker.io/faultctl/app:test "$work/app" app "$work/app.tar"
"$here/image.sh" docker.io/faultctl/faultctl:test "$work/faultctl" faultctl "$work/faultctl.tar"

say "start a cluster"
trap '"$cluster" down "$state" >/dev/null 2>&1 || true' EXIT
"$cluster" up "$work/bin" "$state"
kubectl() { "$cluster" kubectl "$state" "$@"; }
for image in app faultctl; do "$cluster" enter "$state" ctr -a "$state/containerd.sock" -n k8s.io images import "$work/$image.tar" >/dev/null; done

# The plugin as a user with the rights of rbac.yaml and no others.
kubectl create namespace shop >/dev/null
kubectl apply -n shop -f "$here/../manifests/rbac.yaml" >/dev/null
kubectl apply -n shop --dry-run=server -f "$here/../manifests/job.yaml" >/dev/null
kubectl create serviceaccount tester -n shop >/dev/null
kubectl create rolebinding tester -n shop --role faultctl --serviceaccount shop:tester >/dev/null
token=$(kubectl create token tester -n shop --duration 2h)
cat >"$state/tester.conf" <<K
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: tester, namespace: shop}}]
clusters: [{name: test, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $state/pki/ca.crt}}]
users: [{name: tester, user: {token: $token}}]
K
export FAULTCTL_IMAGE=docker.io/faultctl/faultctl:test FAULTCTL_IMAGE_PULL_POLICY=Never
faultctl() { "$cluster" enter "$state" env KUBECONFIG="$state/tester.conf" "$work/kubectl-faultctl" "$@"; }

deployment() { # NAME ARGS…
	local name=$1 args
	shift
	args=$(printf '"%s",' "$@")
	kubectl apply -n shop -f - >/dev/null <<Y
apiVersion: apps/v1
kind: Deployment
metadata: {name: $name}
spec:
  replicas: 2
  selector: {matchLabels: {app: $name}}
  template:
    metadata: {labels: {app: $name}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: app, image: "docker.io/faultctl/app:test", imagePullPolicy: Never, command: [/app], args: [${args%,}]}]
Y
	kubectl rollout status -n shop "deploy/$name" --timeout 120s >/dev/null
}

say "two pods of a service, and two clients"
deployment db serve :5432
kubectl apply -n shop -f - >/dev/null <<Y
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: sql, port: 5433, targetPort: 5432}]}
Y
own=$(kubectl get svc db -n shop -o 'jsonpath={.spec.clusterIP}')
pods=$(kubectl get pods -n shop -l app=db -o 'jsonpath={range .items[*]}{.status.podIP}:5432 {end}')
deployment api ask "$own:5433" $pods

clients() { kubectl get pods -n shop -l app=api --field-selector status.phase=Running -o 'jsonpath={range .items[?(!@.metadata.deletionTimestamp)]}{.metadata.name} {end}'; }
errors() { for p in $(clients); do kubectl logs -n shop "$p" -c app --since="$1"; done | grep -c error || true; }
rules() { # the rules in the network of each client pod
	local p pid
	for p in $(clients); do
		pid=$("$cluster" enter "$state" ctr -a "$state/containerd.sock" -n k8s.io tasks ls | awk -v id="$(kubectl get pod -n shop "$p" -o 'jsonpath={.status.containerStatuses[0].containerID}' | sed 's,.*//,,')" '$1 == id { print $2 }')
		nsenter -t "$pid" -n nft list ruleset
	done
}
quiet() { # nothing is struck, and the rules are as they were
	sleep 5 # for the connections that were struck to be replaced
	[ "$(errors 4s)" = 0 ] || fail "$1: connections still fail"
	[ "$(rules)" = "$before" ] || fail "$1: the rules are not as before: $(rules)"
}
await() { # WHAT CMD…
	local what=$1
	shift
	for _ in $(seq 240); do if "$@" >/dev/null 2>&1; then return; fi; sleep 0.5; done
	fail "$what does not come; $(tail -5 "$work/out" 2>/dev/null)"
}
healthy() { [ "$(errors 4s)" = 0 ]; }
unhealthy() { ! healthy; }
await "a client without errors" healthy
before=$(rules)

say "doctor"
faultctl doctor --start deploy/api

# start FAULT…: strikes the clients in the background.
start() {
	"$cluster" enter "$state" env KUBECONFIG="$state/tester.conf" "$work/kubectl-faultctl" inject "$@" --to svc/db:5433 --lease 10s deploy/api >"$work/out" 2>&1 &
	plugin=$!
	await "the first fault" grep -q 'ready: the next' "$work/out"
}
for fault in "reset" "syn-drop" "idle-expire --after 1s" "half-open"; do
	say "$fault"
	# shellcheck disable=SC2086
	start $fault
	for p in $(clients); do await "a strike in $p" grep -q "$p  fired" "$work/out"; done
	for to in "$own:5433" ${pods%% *}; do await "a strike on the way to $to" grep -q "fired .* -> $to" "$work/out"; done
	await "an error in the clients" unhealthy
	if [ "$fault" = reset ]; then
		say "a rollout in the middle"
		kubectl rollout restart -n shop deploy/api >/dev/null
		kubectl rollout status -n shop deploy/api --timeout 120s >/dev/null
		for p in $(clients); do await "a strike in the new pod $p" grep -q "$p  fired" "$work/out"; done
	fi
	kill -INT "$plugin"
	code=0
	wait "$plugin" || code=$?
	[ "$code" = 130 ] || fail "exit code $code after Ctrl-C"
	sed -n '/^ended/,$p' "$work/out"
	[ "$fault" != reset ] || before=$(rules)
	quiet "$fault, after Ctrl-C"
done

say "kill -9 of the plugin"
start reset
await "a strike" grep -q fired "$work/out"
kill -KILL "$plugin"
wait "$plugin" 2>/dev/null || true
sleep 11 # the lease
quiet "after kill -9"
faultctl ps

say "a namespace with Pod Security restricted"
kubectl label namespace shop pod-security.kubernetes.io/enforce=restricted >/dev/null
if faultctl doctor deploy/api >"$work/out"; then fail "doctor sees nothing"; fi
grep -q 'pod-security.kubernetes.io/enforce=privileged' "$work/out" || fail "doctor does not say what to do: $(cat "$work/out")"
cat "$work/out"
say "all as it should be"
