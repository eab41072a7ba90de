#!/bin/sh
# Builds the image TAG with Docker, or with Podman where Docker has no daemon that
# answers: a client without one is common. Needs the output of make dist.
set -eu
cd "$(dirname "$0")/.."
if docker info >/dev/null 2>&1; then
	exec docker build -f packaging/Containerfile -t "$1" .
fi
if command -v podman >/dev/null 2>&1; then
	exec podman build -f packaging/Containerfile -t "$1" .
fi
if command -v docker >/dev/null 2>&1; then
	echo "image: Docker has no daemon that answers: start it (systemctl start docker), join its group, or install podman" >&2
else
	echo "image: install docker or podman" >&2
fi
exit 1
