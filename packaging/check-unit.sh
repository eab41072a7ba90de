#!/bin/bash
# Runs the units under a real systemd in temporary namespaces and a temporary cgroup.
# faultctl must work in their sandbox, and neither a stop nor a SIGKILL may leave
# anything behind. Needs root and cgroup v2; nothing outside is changed.
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
		exec timeout -k 5 240 unshare --mount --pid --fork --kill-child --net --uts --ipc --cgroup --mount-proc bash "$self" boot "$shared"
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
	cp packaging/faultctl.socket /opt/units/
	sed 's|/usr/bin/faultctl|/opt/faultctl.bin|; s|/etc/default/faultctl|/opt/environment|; s/--idle-exit 5m/--idle-exit 1s/
		/^\[Service\]/a StandardOutput=append:/mnt/serve.out\nStandardError=append:/mnt/serve.err' packaging/faultctl.service >/opt/units/faultctl.service
	for target in sysinit basic shutdown network sockets; do
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

	# The socket starts the service, for root alone, again after it was killed and when it
	# has ended by itself.
	systemctl start faultctl.socket
	[ "$(stat -c %a:%u:%g /run/faultctl.sock)" = 660:0:0 ] || fail "the socket is of $(stat -c %a:%u:%g /run/faultctl.sock)"
	! systemctl --quiet is-active faultctl || fail "the service runs before anybody asks"
	! setpriv --reuid 65534 --regid 65534 --clear-groups curl -sf --unix-socket /run/faultctl.sock http://x/v1/process || fail "another user reaches the socket"
	for how in delete kill; do
		ask PUT 'experiments/day?lease=1h' '{"fault": "reset:at=request", "target": {"to": ":5432"}}' >/mnt/put || fail "it does not start a run: $(cat /mnt/put)"
		! talks || fail "faultctl does not work in the sandbox of the service"
		if [ $how = delete ]; then
			ask DELETE 'experiments/day?wait=true' | grep -q '"idle":false' || fail "it does not say that the fault fired"
			no_table || fail "a table is left after a DELETE"
			until_ "the service has ended by itself" idle
		else
			systemctl kill -s KILL faultctl
			until_ "the table is gone" no_table
			until_ "the service has failed" systemctl is-failed faultctl
		fi
		systemctl --quiet is-active faultctl.socket || fail "the socket is gone with the service"
		talks || fail "connections are struck after the $how"
	done
	[ "$(ask PUT experiments/all '{"fault": "reset"}' | grep -c FAULTCTL_REQUIRE_TARGET)" = 1 ] || fail "a run of all connections is not refused"
	systemctl stop faultctl.socket faultctl
	[ ! -e /run/faultctl.sock ] || fail "the socket is left behind"
	echo fine >/mnt/said
}
talks() { timeout 20 bash -c 'exec 3<>/dev/tcp/127.0.0.1/5432 && echo hello >&3 && read -r line <&3 && [ "$line" = hello ]'; }
no_table() { ! nft list tables | grep -q faultctl_; }
# ask METHOD PATH [BODY]: asks the service.
ask() { curl -sS --max-time 20 --unix-socket /run/faultctl.sock -X "$1" "http://x/v1/$2" ${3:+--json "$3"}; }
idle() { [ "$(systemctl show -P ActiveState faultctl)$(systemctl show -P Result faultctl)" = inactivesuccess ]; }
ended() { [ "$(systemctl show -P ExecMainStatus "$1")" = "$2" ]; }

case ${1:-} in
boot) boot "$2" ;;
try) try ;;
*)
	outside
	echo "unit: systemd $(/lib/systemd/systemd --version | sed -n '1s/[^ ]* \([0-9]*\).*/\1/p') ran the units: they work in their sandboxes, and leave nothing behind"
	;;
esac
