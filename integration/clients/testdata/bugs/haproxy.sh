#!/bin/sh
# curl through HAProxy, whose backend is on HOST: haproxy.sh HOST [LINE of its configuration, with _ for spaces].
socket=$TMPDIR/in
cat >"$TMPDIR/haproxy.cfg" <<END
defaults
	mode http
	timeout connect 5s
	timeout server 10s
	timeout client 10s
frontend in
	bind $socket
	default_backend out
backend out
	$(echo "$2" | tr _ ' ')
	server one $1:80
END
haproxy -db -q -f "$TMPDIR/haproxy.cfg" &
proxy=$!
trap 'kill $proxy' EXIT
until [ -S "$socket" ]; do sleep 0.1; done
status=$(curl -sS -m 15 -o "$TMPDIR/answer" -w '%{http_code}' --unix-socket "$socket" http://proxy/)
echo "HTTP $status"
[ "$status" = 200 ]
