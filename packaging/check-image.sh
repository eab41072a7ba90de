#!/bin/sh
# Builds the image with Podman in a temporary store, and runs it with the two
# capabilities that faultctl needs and no network. Then plays the lines of
# docs/CONTAINERS.md with Podman and with a Docker daemon of its own. Needs root and the
# output of make dist.
set -eu
cd "$(dirname "$0")/.."

fail() {
	echo "image: $*" >&2
	exit 1
}
if ! command -v podman >/dev/null 2>&1; then
	echo "image: podman is not installed: image not built" >&2
	[ "${FAULTCTL_REQUIRE:-}" != 1 ]
	exit
fi
[ -s dist/version ] || fail "no dist: run make dist"
if [ -z "${FAULTCTL_IMAGE_DIR:-}" ]; then
	# A mount namespace hides what Podman writes outside its store.
	FAULTCTL_IMAGE_DIR=$(mktemp -d)
	export FAULTCTL_IMAGE_DIR
	code=0
	unshare -mn "$0" || code=$?
	rm -rf "$FAULTCTL_IMAGE_DIR"
	exit "$code"
fi
mount --make-rprivate /
for d in /run/containers /run/libpod /run/netns /var/lib/cni; do
	[ ! -d "$d" ] || mount -t tmpfs none "$d"
done
dir=$FAULTCTL_IMAGE_DIR
pod() {
	podman --root "$dir/root" --runroot "$dir/run" --tmpdir "$dir/tmp" --storage-driver vfs --cgroup-manager cgroupfs --events-backend file --runtime runc "$@"
}
inside() {
	pod run --rm --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network none --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW faultctl:check "$@"
}
pod build --quiet --isolation chroot -f packaging/Containerfile -t faultctl:check . >/dev/null || fail "it does not build"

want=$(cat dist/version)
case $(inside version) in
"faultctl $want "*) ;;
*) fail "version does not say $want" ;;
esac
code=0
inside inject reset --to :5432 --duration 100ms --expect-fired >/dev/null || code=$?
[ "$code" = 4 ] || fail "inject exits with $code, want 4: the fault never fired"
code=0
inside inject reset 2>/dev/null || code=$?
[ "$code" = 6 ] || fail "inject without a target exits with $code, want 6"
echo "image: it builds, and works with two capabilities"

# The lines of docs/CONTAINERS.md. The application is one of examples.
ip link set lo up
app=$dir/app
mkdir -p "$app/usr/local/bin" "$app/tmp"
CGO_ENABLED=0 go build -o "$app/orders" ./examples/orders
tar -C "$app" -c . >"$dir/app.tar"
sed -n '/^```dockerfile/,/^```/p' docs/CONTAINERS.md | grep -v '^```' >"$dir/Dockerfile"

# play ENGINE: plays the engine's lines. engine is the command that reaches it here.
play() {
	grep "^$1 " docs/CONTAINERS.md >"$dir/lines"
	[ -s "$dir/lines" ] || fail "docs/CONTAINERS.md has no line for $1"
	while read -r _ line; do
		begun=$(date +%s)
		case $line in
		build*) continue ;; # it is built above
		*"--network "*) set -- "$1" ;;
		*) line="run --network none ${line#run }" ;;
		esac
		# shellcheck disable=SC2086 # a list of words
		if ! engine ${line%%run *}run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 ${line#*run } >"$dir/out" 2>&1 </dev/null; then
			sed 's/^/  | /' "$dir/out" >&2
			fail "$1 $line: it does not work"
		fi
		echo "image: $1 ${line%% -- *}: $(($(date +%s) - begun)) s"
	done <"$dir/lines"
}

engine() { pod "$@"; }
pod import --quiet "$dir/app.tar" app >/dev/null
pod tag faultctl:check faultctl
pod build --quiet --isolation chroot -f "$dir/Dockerfile" -t app-tests "$dir/app" >/dev/null || fail "podman does not build the image of the page"
play podman

if ! command -v dockerd >/dev/null 2>&1; then
	echo "image: dockerd is not installed: the lines for Docker were not played" >&2
	[ "${FAULTCTL_REQUIRE:-}" != 1 ]
	exit
fi
mkdir "$dir/docker"
[ ! -d /etc/docker ] || mount -t tmpfs none /etc/docker
dockerd --data-root "$dir/docker/root" --exec-root "$dir/docker/exec" --pidfile "$dir/docker/pid" -H "unix://$dir/docker/sock" \
	--iptables=false --ip6tables=false --bridge=none --storage-driver vfs --cgroup-parent "/faultctl-check-$$" >"$dir/docker/log" 2>&1 &
daemon=$!
trap 'docker -H "unix://$dir/docker/sock" rm -f app >/dev/null 2>&1 || true; kill $daemon 2>/dev/null; wait $daemon || true; find /sys/fs/cgroup -depth -type d -path "*/faultctl-check-$$*" -exec rmdir {} + 2>/dev/null || true' EXIT
engine() { docker -H "unix://$dir/docker/sock" "$@"; }
tries=0
until engine version >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ $tries -lt 300 ] || { tail -n 5 "$dir/docker/log" >&2; fail "dockerd does not answer"; }
	sleep 0.1
done
engine import "$dir/app.tar" app >/dev/null
mkdir "$dir/faultctl"
cp dist/faultctl "$dir/faultctl/"
tar -C "$dir/faultctl" -c . | engine import --change 'ENTRYPOINT ["/faultctl"]' --change 'ENV FAULTCTL_REQUIRE_TARGET=1' - faultctl >/dev/null
cp dist/faultctl "$app/usr/local/bin/"
tar -C "$app" -c . | engine import - app-tests >/dev/null
# The application that is struck: here it is faultctl itself, process 1 of its container
# like the one that comes into its network.
engine run -d --name app --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --cap-add NET_ADMIN --cap-add NET_RAW \
	app-tests /usr/local/bin/faultctl inject observe --to :1 >/dev/null
play docker
echo "image: the lines of docs/CONTAINERS.md work"
