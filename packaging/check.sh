#!/bin/sh
# Installs the deb that make package made into an empty root, runs what is in it
# there, and removes it again. The binary is static, so an empty root will do.
# Needs root, for dpkg's and chroot's sake; nothing outside of the root changes.
set -eu
cd "$(dirname "$0")/.."

fail() {
	echo "package: $*" >&2
	exit 1
}
deb=$(ls dist/faultctl_*.deb) || fail "no deb in dist: run make package"
rpm=$(ls dist/faultctl-*.rpm) || fail "no rpm in dist: run make package"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/triggers" "$root/etc"
touch "$root/var/lib/dpkg/status" "$root/var/lib/dpkg/available"
dpkg --root="$root" --log=/dev/null --install "$deb" >/dev/null || fail "dpkg refused $deb"
inside() { chroot "$root" /usr/bin/faultctl "$@"; }

# It runs, and knows its version.
want=$(cat dist/version)
got=$(inside version) || fail "the installed binary does not run"
case $got in
"faultctl $want "*) ;;
*) fail "version says '$got', want '$want'" ;;
esac
inside faults >/dev/null || fail "faults does not run"

# It strikes: in a network namespace of its own, with no library, shell or /proc.
if unshare -n true 2>/dev/null; then
	code=0
	unshare -n chroot "$root" /usr/bin/faultctl inject reset --to :5432 --duration 100ms --expect-fired >/dev/null || code=$?
	[ "$code" = 4 ] || fail "inject exits with $code, want 4: the fault never fired"
	code=0
	FAULTCTL_REQUIRE_TARGET=1 unshare -n chroot "$root" /usr/bin/faultctl inject reset 2>/dev/null || code=$?
	[ "$code" = 6 ] || fail "inject without a target exits with $code, want 6"
else
	echo "package: no network namespaces here: inject was not tried" >&2
fi

# Everything is where people look for it.
for f in /usr/share/man/man1/faultctl.1.gz /usr/share/man/man1/faultctl-inject.1.gz /usr/share/man/man7/faultctl-faults.7.gz \
	/usr/share/bash-completion/completions/faultctl /usr/share/zsh/vendor-completions/_faultctl \
	/usr/share/fish/vendor_completions.d/faultctl.fish /usr/lib/systemd/system/faultctl@.service /etc/default/faultctl; do
	[ -s "$root$f" ] || fail "$f is missing"
done
[ -d "$root/etc/faultctl" ] || fail "/etc/faultctl is missing"
gzip -t "$root"/usr/share/man/man*/*.gz
bash -n "$root/usr/share/bash-completion/completions/faultctl"
grep -q "^FAULTCTL_REQUIRE_TARGET=1" "$root/etc/default/faultctl" || fail "the unit's safety rail is off"

# systemd takes the unit.
if command -v systemd-analyze >/dev/null 2>&1; then
	cp "$root/usr/lib/systemd/system/faultctl@.service" "$root/faultctl@test.service"
	sed -i "s|=/usr/bin/faultctl|=$root/usr/bin/faultctl|; s|^Documentation=.*||" "$root/faultctl@test.service"
	said=$(systemd-analyze verify "$root/faultctl@test.service" 2>&1 | grep -F "faultctl@" || true)
	[ -z "$said" ] || fail "systemd-analyze: $said"
	rm "$root/faultctl@test.service"
else
	echo "package: no systemd-analyze here: the unit was not checked" >&2
	[ "${FAULTCTL_REQUIRE:-}" != 1 ]
fi

# It goes as it came.
dpkg --root="$root" --log=/dev/null --purge faultctl >/dev/null || fail "dpkg does not remove it"
left=$(cd "$root" && find . -name '*faultctl*')
[ -z "$left" ] || fail "left after removing it: $left"

# The rpm holds the same files.
if command -v rpm >/dev/null 2>&1; then
	rpm -qlp "$rpm" 2>/dev/null | grep -qx /usr/bin/faultctl || fail "$rpm has no /usr/bin/faultctl"
else
	echo "package: no rpm here: $rpm was made and not looked into" >&2
	[ "${FAULTCTL_REQUIRE:-}" != 1 ]
fi
echo "package: $deb installs, runs and goes; $(basename "$rpm") was made"
