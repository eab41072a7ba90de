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
	for f in $(find "$FAULTCTL_IMAGE_DIR" -name pause.pid); do kill "$(cat "$f")" 2>/dev/null || true; done # rootless Podman keeps a process
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
# asks SOCKET: a run is started and ended by a faultctl that serves there.
asks() {
	tries=0
	until curl -sf --unix-socket "$1" http://x/v1/process >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ $tries -lt 300 ] || fail "nobody answers on $1"
		sleep 0.1
	done
	code=$(curl -s -o "$dir/put" -w '%{http_code}' --unix-socket "$1" -X PUT http://x/v1/experiments/x --json '{"fault": "reset", "target": {"to": ":5432"}}')
	[ "$code" = 201 ] || fail "a run is answered with $code: $(cat "$dir/put")"
	curl -s --unix-socket "$1" -X DELETE 'http://x/v1/experiments/x?wait=true' | grep -q '"end":"stopped"' || fail "the run does not end"
	code=$(curl -s -o /dev/null -w '%{http_code}' --unix-socket "$1" -X PUT http://x/v1/experiments/x --json '{"fault": "reset"}')
	[ "$code" = 403 ] || fail "a run of all connections is answered with $code"
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

# By itself it serves, on a socket that its volume shows to others.
pod run -d --name served --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network none --cap-drop ALL --cap-add NET_ADMIN --cap-add NET_RAW \
	-v served:/run/faultctl faultctl:check >/dev/null || fail "it does not start without a command"
served=$(pod volume inspect -f '{{.Mountpoint}}' served)/faultctl.sock
asks "$served"
pod rm -f served >/dev/null
pod volume rm served >/dev/null

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
asks "$(pod volume inspect -f '{{.Mountpoint}}' faults)/faultctl.sock"
pod rm -f faults >/dev/null

# The same lines by a user who is not root, with users of its own in a namespace.
if command -v newuidmap >/dev/null 2>&1; then
	for f in passwd group subuid subgid; do
		touch "/etc/$f"
		cp "/etc/$f" "$dir/$f"
	done
	home=$dir/home
	chmod 711 "$dir" # that user may enter it
	echo "faulter:x:54321:54321::$home:/bin/sh" >>"$dir/passwd"
	echo "faulter:x:54321:" >>"$dir/group"
	for f in subuid subgid; do echo "faulter:600100000:65536" >>"$dir/$f"; done
	for f in passwd group subuid subgid; do mount --bind "$dir/$f" "/etc/$f"; done
	mkdir -p "$home/run"
	chmod 700 "$home/run"
	chown -R 54321:54321 "$home"
	rootless() {
		(cd "$home" && setpriv --reuid 54321 --regid 54321 --clear-groups env -i HOME="$home" XDG_RUNTIME_DIR="$home/run" PATH="$PATH:/usr/sbin:/sbin" \
			podman --storage-driver vfs --cgroup-manager cgroupfs --events-backend file --runtime runc "$@" 2>"$dir/rootless") || {
			code=$?
			cat "$dir/rootless" >&2
			return $code
		}
	}
	for image in faultctl:check app-tests; do
		pod save -q "$image" | rootless load -q >/dev/null || fail "rootless podman does not load $image"
	done
	rootless tag localhost/faultctl:check faultctl
	engine() { rootless "$@"; }
	play podman
	asks "$home/.local/share/containers/storage/volumes/faults/_data/faultctl.sock"
	rootless rm -f faults >/dev/null
	echo "image: rootless podman too"
else
	echo "image: newuidmap is not installed: rootless podman was not played" >&2
	[ "${FAULTCTL_REQUIRE:-}" != 1 ]
fi

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
trap 'docker -H "unix://$dir/docker/sock" rm -f app faults >/dev/null 2>&1 || true; kill $daemon 2>/dev/null; wait $daemon || true; find /sys/fs/cgroup -depth -type d -path "*/faultctl-check-$$*" -exec rmdir {} + 2>/dev/null || true' EXIT
engine() { docker -H "unix://$dir/docker/sock" "$@"; }
tries=0
until engine version >/dev/null 2>&1; do
	tries=$((tries + 1))
	[ $tries -lt 300 ] || { tail -n 5 "$dir/docker/log" >&2; fail "dockerd does not answer"; }
	sleep 0.1
done
engine import "$dir/app.tar" app >/dev/null
mkdir "$dir/faultctl"
mkdir -p "$dir/faultctl/run/faultctl"
cp dist/faultctl "$dir/faultctl/"
tar -C "$dir/faultctl" -c . | engine import --change 'ENTRYPOINT ["/faultctl"]' --change 'ENV FAULTCTL_REQUIRE_TARGET=1' \
	--change 'CMD ["serve", "--socket", "/run/faultctl/faultctl.sock"]' - faultctl >/dev/null
cp dist/faultctl "$app/usr/local/bin/"
tar -C "$app" -c . | engine import - app-tests >/dev/null
# The application that is struck: here it is faultctl itself, process 1 of its container
# like the one that comes into its network.
engine run -d --name app --network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --cap-add NET_ADMIN --cap-add NET_RAW \
	app-tests /usr/local/bin/faultctl inject observe --to :1 >/dev/null
play docker
asks "$(engine volume inspect -f '{{.Mountpoint}}' faults)/faultctl.sock"
engine rm -f faults >/dev/null
echo "image: the lines of docs/CONTAINERS.md work"
