#!/bin/sh
# Installs the deb from make package in an empty root directory, runs it there, and
# removes it. The binary is static, so an empty root is enough. Needs root, for
# dpkg and chroot; nothing outside that directory is changed.
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

# It runs and reports its version.
want=$(cat dist/version)
got=$(inside version) || fail "the installed binary does not run"
case $got in
"faultctl $want "*) ;;
*) fail "version says '$got', want '$want'" ;;
esac
inside faults >/dev/null || fail "faults does not run"

# It injects a fault in a new network namespace, without libraries, shell or /proc.
if unshare -n true 2>/dev/null; then
	code=0
	unshare -n chroot "$root" /usr/bin/faultctl inject reset --to :5432 --duration 100ms --expect-fired >/dev/null || code=$?
	[ "$code" = 4 ] || fail "inject exits with $code, want 4: the fault never fired"
	code=0
	FAULTCTL_REQUIRE_TARGET=1 unshare -n chroot "$root" /usr/bin/faultctl inject reset 2>/dev/null || code=$?
	[ "$code" = 6 ] || fail "inject without a target exits with $code, want 6"
else
	echo "package: no network namespaces here: inject not tested" >&2
fi

# A user's path: from an empty root to the first verdict, timed. The program under test
# is one of examples.
if unshare -nm true 2>/dev/null; then
	CGO_ENABLED=0 go build -o "$root/orders" ./examples/orders
	mkdir -p "$root/proc" "$root/dev"
	begun=$(date +%s%N)
	verdict=$(unshare -nm sh -c 'ip link set lo up && mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && exec chroot "$0" /usr/bin/faultctl verify --faults reset -- /orders -retry -idempotent' "$root") ||
		fail "verify exits with $?: $verdict"
	case $verdict in
	*"1 survived"*) ;;
	*) fail "verify says: $verdict" ;;
	esac
	echo "package: $((($(date +%s%N) - begun) / 1000000)) ms from the installed package to the first verdict"
	rm -r "$root/orders" "$root/proc" "$root/dev"
fi

# All files are in their usual places.
for f in /usr/share/man/man1/faultctl.1.gz /usr/share/man/man1/faultctl-inject.1.gz /usr/share/man/man7/faultctl-faults.7.gz \
	/usr/share/bash-completion/completions/faultctl /usr/share/zsh/vendor-completions/_faultctl \
	/usr/share/fish/vendor_completions.d/faultctl.fish /usr/lib/systemd/system/faultctl@.service \
	/usr/lib/systemd/system/faultctl.socket /usr/lib/systemd/system/faultctl.service /etc/default/faultctl; do
	[ -s "$root$f" ] || fail "$f is missing"
done
# Whatever README.md links to is there, and the scenarios are valid.
grep -o '](\([^)#:]*\)' README.md | cut -c3- | while read -r link; do
	[ -e "$root/usr/share/doc/faultctl/$link" ] || fail "README.md links to $link, which the package lacks"
done
for f in "$root"/usr/share/doc/faultctl/examples/scenarios/*.yaml; do
	inside scenario validate "${f#"$root"}" >/dev/null || fail "${f#"$root"} is not valid"
done
[ -d "$root/etc/faultctl" ] || fail "/etc/faultctl is missing"
gzip -t "$root"/usr/share/man/man*/*.gz
bash -n "$root/usr/share/bash-completion/completions/faultctl"
grep -q "^FAULTCTL_REQUIRE_TARGET=1" "$root/etc/default/faultctl" || fail "the unit's safety rail is off"

# systemd accepts the units.
if command -v systemd-analyze >/dev/null 2>&1; then
	mkdir "$root/units"
	cp "$root/usr/lib/systemd/system/faultctl.service" "$root/usr/lib/systemd/system/faultctl.socket" "$root/units/"
	cp "$root/usr/lib/systemd/system/faultctl@.service" "$root/units/faultctl@test.service"
	sed -i "s|=/usr/bin/faultctl|=$root/usr/bin/faultctl|; s|^Documentation=.*||" "$root"/units/*
	said=$(systemd-analyze verify "$root"/units/* 2>&1 | grep -F "faultctl" || true)
	[ -z "$said" ] || fail "systemd-analyze: $said"
	rm -r "$root/units"
else
	echo "package: systemd-analyze is not installed: units not checked" >&2
	[ "${FAULTCTL_REQUIRE:-}" != 1 ]
fi

# Removing it leaves nothing.
dpkg --root="$root" --log=/dev/null --purge faultctl >/dev/null || fail "dpkg does not remove it"
left=$(cd "$root" && find . -name '*faultctl*')
[ -z "$left" ] || fail "left after removing it: $left"

# The rpm has the same files.
if command -v rpm >/dev/null 2>&1; then
	rpm -qlp "$rpm" 2>/dev/null | grep -qx /usr/bin/faultctl || fail "$rpm has no /usr/bin/faultctl"
else
	echo "package: rpm is not installed: $rpm not checked" >&2
	[ "${FAULTCTL_REQUIRE:-}" != 1 ]
fi
echo "package: $deb can be installed, run and removed; $(basename "$rpm") was built"
