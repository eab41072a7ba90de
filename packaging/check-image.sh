#!/bin/sh
# Builds the image with Podman in a temporary store, and runs it with the two
# capabilities that faultctl needs and no network. Needs root and the output of
# make dist.
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
	unshare -m "$0" || code=$?
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
