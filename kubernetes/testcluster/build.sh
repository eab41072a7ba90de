#!/usr/bin/env bash
# Builds the programs of Kubernetes from their Go modules:
#
#   build.sh DIR        VERSION=v1.34.3 says which version
#
# What is in DIR already is not built again. It takes some twenty minutes of processor
# time when nothing is cached.
set -euo pipefail
dir=$(realpath -m "${1:?build.sh DIR}")
version=${VERSION:-v1.34.3}
staging=v0.${version#v1.}
programs="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy"

missing=
for p in $programs; do [ -x "$dir/$p" ] || missing="$missing $p"; done
[ -n "$missing" ] || exit 0

mkdir -p "$dir"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
go mod init example.org/testcluster 2>/dev/null
source=$(go mod download -json "k8s.io/kubernetes@$version" | awk -F'"' '$2 == "Dir" { print $4 }')
cp "$source/go.sum" .

# The module k8s.io/kubernetes replaces its libraries by folders of its repository.
# Here they are replaced by the versions of them that are released with it.
awk -v kube="$version" -v lib="$staging" '
	$1 == "go" && NF == 2           { print "module example.org/testcluster\n\n" $0 "\n\nrequire k8s.io/kubernetes " kube }
	$1 ~ /^k8s\.io\// && $2 == "=>" { replaced[$1] = 1; next }
	$1 == "require" && $2 == "("    { on = 1; next }
	$1 == ")"                       { on = 0; next }
	on && NF >= 2                   { version[$1] = $2 }
	END {
		for (m in version) print "require " m " " (version[m] == "v0.0.0" ? lib : version[m])
		for (m in replaced) print "replace " m " => " m " " lib
	}' "$source/go.mod" >go.mod

{
	printf '//go:build never\n\npackage never\n\nimport (\n'
	for p in $programs; do printf '\t_ "k8s.io/kubernetes/cmd/%s"\n' "$p"; done
	echo ')'
} >imports.go
go mod tidy >/dev/null 2>&1 || true # it also looks for what only tests need

info=k8s.io/component-base/version
minor=${version#v1.}
flags="-s -w -X $info.gitVersion=$version -X $info.gitMajor=1 -X $info.gitMinor=${minor%%.*}"
for p in $missing; do
	echo "build $p $version"
	CGO_ENABLED=0 go build -mod=mod -trimpath -buildvcs=false -ldflags "$flags" -o "$dir/$p" "k8s.io/kubernetes/cmd/$p"
done
