#!/bin/bash
# Runs the unit under a real systemd in temporary namespaces and a temporary cgroup.
# faultctl must work in the unit's sandbox, and neither a stop nor a SIGKILL may
# leave anything behind. Needs root and cgroup v2; nothing outside is changed.
set -eu
self=$(realpath "$0")
cd "$(dirname "$self")/.."

fail() {
	echo "unit: $*" >&2
	exit 1
}
absent() {
	echo "unit: $*: unit not tested" >&2
	[ "${FAULTCTL_REQUIRE:-}" != 1 ] || exit 1
	exit 0
}

# until_ WHAT COMMAND…: waits until the command succeeds.
until_() {
	local what=$1
	shift
	for _ in $(seq 600); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.05
	done
	fail "not within half a minute: $what"
}

# Outside: create a cgroup and namespaces for systemd.
outside() {
	[ "$(id -u)" = 0 ] || absent "this is not root"
	[ -x /lib/systemd/systemd ] || absent "systemd is missing"
	[ -x dist/faultctl ] || fail "no dist/faultctl: run make package"
	local cgroups
	cgroups=$(findmnt -n -t cgroup2 -o TARGET | head -n 1)
	[ -n "$cgroups" ] || absent "cgroup v2 is missing"
	own=$cgroups/faultctl-unit-$$
	shared=$(mktemp -d)
	mkdir "$own" 2>/dev/null || absent "$cgroups cannot be written"
	trap leave EXIT
	local code=0
	(
		echo "$BASHPID" >"$own/cgroup.procs"
		exec timeout -k 5 120 unshare --mount --pid --fork --kill-child --net --uts --ipc --cgroup --mount-proc bash "$self" boot "$shared"
	) >"$shared/console" 2>&1 || code=$?
	[ "$(cat "$shared/said" 2>/dev/null)" = fine ] && return
	tail -n 50 "$shared/console" "$shared/log" "$shared"/*.out "$shared"/*.err >&2 2>/dev/null || true
	fail "systemd ended with $code"
}

leave() {
	echo 1 >"$own/cgroup.kill" 2>/dev/null || true
	until_ "the cgroup is gone" gone
	rm -rf "$shared"
}
gone() {
	find "$own" -depth -type d -exec rmdir {} + 2>/dev/null
	[ ! -d "$own" ]
}

# In the namespaces: prepare what systemd finds there. It has only the units of one
# directory, and cannot set sysctls.
boot() {
	mount --make-rprivate /
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	mount --bind "$1" /mnt
	for dir in /run /opt /var/lib /var/log /var/tmp; do mount -t tmpfs tmpfs "$dir"; done
	mount --bind /proc/sys /proc/sys
	mount -o remount,ro,bind /proc/sys
	ip link set lo up
	mkdir -p /opt/units /opt/faultctl
	cp dist/faultctl /opt/faultctl.bin
	for name in day nobody blue; do cp /dev/null "/opt/faultctl/$name.yaml"; done
	echo '{duration: 1m, faults: [{fault: "reset:at=request", target: {to: ":5432"}}]}' >/opt/faultctl/day.yaml
	echo '{duration: 1m, faults: [{fault: reset}]}' >/opt/faultctl/nobody.yaml
	echo '{duration: 1m, faults: [{fault: reset, target: {netns: blue}}]}' >/opt/faultctl/blue.yaml
	sed 's|/usr/bin/faultctl|/opt/faultctl.bin|; s|/etc/faultctl|/opt/faultctl|; s|/etc/default/faultctl|/opt/environment|
		/^\[Service\]/a StandardOutput=truncate:/mnt/%i.out\nStandardError=truncate:/mnt/%i.err' packaging/faultctl@.service >/opt/units/faultctl@.service
	echo FAULTCTL_OUTPUT=json >/opt/environment
	for target in sysinit basic shutdown network; do
		printf '[Unit]\nDefaultDependencies=no\n' >"/opt/units/$target.target"
	done
	cat >/opt/units/try.service <<-UNIT
		[Unit]
		DefaultDependencies=no
		SuccessAction=exit-force
		FailureAction=exit-force
		[Service]
		Type=oneshot
		ExecStart=/bin/bash $self try
		StandardOutput=file:/mnt/log
		StandardError=inherit
	UNIT
	# The override that the unit's comment gives for other network namespaces.
	mkdir /opt/units/faultctl@blue.service.d
	sed -n '/^#   \[Service\]/,/^\[Unit\]/s/^#  *//p' packaging/faultctl@.service >/opt/units/faultctl@blue.service.d/override.conf
	ip netns add blue
	export SYSTEMD_UNIT_PATH=/opt/units container=faultctl
	exec /lib/systemd/systemd --system --unit=try.service --show-status=no --log-target=console
}

# Under systemd.
try() {
	python3 -c '
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self): self.request.send(self.request.recv(9))
class Server(socketserver.ThreadingTCPServer): allow_reuse_address = True
Server(("127.0.0.1", 5432), Echo).serve_forever()' 2>/dev/null &
	until_ "the service answers" talks

	for how in stop kill; do
		systemctl start faultctl@day
		until_ "ready" grep -q '"event":"ready"' /mnt/day.out
		! talks || fail "faultctl does not work in the sandbox: a connection that it should strike survives"
		nft list tables | grep -q faultctl_ || fail "no table while it runs"
		if [ $how = stop ]; then
			systemctl stop faultctl@day
			grep -q '"event":"result".*"code":143' /mnt/day.out || fail "a stop is not a clean end"
		else
			systemctl kill -s KILL faultctl@day
			until_ "the unit has failed" systemctl is-failed faultctl@day
			until_ "the table is gone" no_table
		fi
		no_table || fail "a table is left after a $how"
		talks || fail "connections are struck after a $how"
	done

	systemctl start faultctl@nobody 2>/dev/null || true # it may have ended already
	until_ "a scenario without a target is refused" ended faultctl@nobody 6
	systemctl start faultctl@blue
	until_ "ready in another namespace" grep -q '"event":"ready"' /mnt/blue.out
	ip netns exec blue nft list tables | grep -q faultctl_ || fail "no table in the other namespace"
	systemctl start faultctl@day # two at once
	until_ "ready beside another" grep -q '"event":"ready"' /mnt/day.out
	systemctl stop faultctl@day faultctl@blue
	[ -z "$(ip netns exec blue nft list tables)" ] || fail "a table is left in the other namespace"
	echo fine >/mnt/said
}
talks() { timeout 20 bash -c 'exec 3<>/dev/tcp/127.0.0.1/5432 && echo hello >&3 && read -r line <&3 && [ "$line" = hello ]'; }
no_table() { ! nft list tables | grep -q faultctl_; }
ended() { [ "$(systemctl show -P ExecMainStatus "$1")" = "$2" ]; }

case ${1:-} in
boot) boot "$2" ;;
try) try ;;
*)
	outside
	echo "unit: systemd $(/lib/systemd/systemd --version | sed -n '1s/[^ ]* \([0-9]*\).*/\1/p') ran it: it works in its sandbox, and leaves nothing behind"
	;;
esac
