#!/usr/bin/env bash
# Makes an image of one static program, without Docker and without a registry:
#
#   image.sh NAME PROGRAM PATH FILE.tar     PROGRAM is /PATH in the image NAME
#
# FILE.tar is in the format of docker save: ctr -n k8s.io images import FILE.tar
set -euo pipefail
name=$1 program=$2 path=$3 file=$(realpath -m "$4")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/layer"
install -m 755 "$program" "$work/layer/$path"
tar -C "$work/layer" --owner=0 --group=0 --mtime=@0 -cf "$work/layer.tar" .
arch=$(go env GOARCH)
sum=$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)
cat >"$work/config.json" <<J
{"architecture": "$arch", "os": "linux", "config": {"Entrypoint": ["/$path"]}, "rootfs": {"type": "layers", "diff_ids": ["sha256:$sum"]}}
J
cat >"$work/manifest.json" <<J
[{"Config": "config.json", "RepoTags": ["$name"], "Layers": ["layer.tar"]}]
J
tar -C "$work" -cf "$file" manifest.json config.json layer.tar
