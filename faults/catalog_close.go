package faults

import "time"

// closeCauses are the ways in which a close, a handshake or a silent peer ends
// a connection.
var closeCauses = []Kind{
	kind(Kind{
		Name: "closed-socket", Group: "reset",
		Cause:   "The server called close, which means that it neither sends nor reads; its FIN only says that it sends no more, and the client goes on sending.",
		Symptom: "The first send succeeds, the next fails with EPIPE (Java: Broken pipe); recv returns 0. ECONNRESET only if the FIN was lost.",
		Remedy:  "Read until the end of the stream before reusing a connection; drain before close (shutdown, read to the end, close); retry what is idempotent on a fresh connection.",
		Example: "faultctl inject closed-socket --pass-response --to :8080",
	}, ClosedSocket{At: At("request"), FINTimeout: time.Minute}),
	kind(Kind{
		Name: "linger-reset", Group: "reset",
		Cause:   "A close with SO_LINGER on and a time of zero: a RST where a FIN would go, and what was not yet sent is thrown away.",
		Symptom: "What has arrived is read first, then recv fails with ECONNRESET (Java: Connection reset); a writer gets ECONNRESET, then EPIPE.",
		Remedy:  "Do not set SO_LINGER to zero where the peer still needs data; as the peer, take an answer as whole only by its length, never by the end of the stream.",
		Example: "faultctl inject linger-reset --discard 1k --to :8080",
	}, LingerReset{Side: Server}),
	kind(Kind{
		Name: "unread-close", Group: "reset",
		Cause:   "A server closes while data that it has not read waits in its socket: two requests sent and one read, or an upload that is answered early.",
		Symptom: "The answer can be read, then recv fails with ECONNRESET. A client that is still sending gets ECONNRESET from send although the answer waits in its buffer.",
		Remedy:  "Server: read to the end, or shut down for writing and drain, before close. Client: after an error on send, read what has arrived.",
		Example: "faultctl inject unread-close --to :8080",
	}, UnreadClose{}),
	kind(Kind{
		Name: "rst-close", Group: "reset",
		Cause:   "A proxy closes with a RST instead of a FIN to save packets and be rid of TIME_WAIT, as HAProxy does towards servers.",
		Symptom: "Nothing is lost, but where the end of the stream was expected recv fails with ECONNRESET.",
		Remedy:  "Take a message as whole by its length; treat ECONNRESET on an idle pooled connection as a close.",
		Example: "faultctl inject rst-close --side server --to :8080",
	}, RSTClose{Side: Server}),
	kind(Kind{
		Name: "accept-overflow", Group: "reset",
		Cause:   "The accept queue is full when the handshake's last ACK arrives: the server drops it, the client believes that it is connected.",
		Symptom: "connect succeeds, the first send as well, and then nothing comes back: the kernel sends again for a minute, then ECONNRESET. With tcp_abort_on_overflow=1 ECONNRESET at once.",
		Remedy:  "A deadline on the first answer, not only on connect; accept faster, or raise the backlog and net.core.somaxconn.",
		Example: "faultctl inject accept-overflow --room-after 5s --to :8080",
	}, AcceptOverflow{}),
	kind(Kind{
		Name: "refuse", Group: "reset",
		Cause:   "Nobody listens on the port: the service is down, restarting, or somewhere else.",
		Symptom: "connect fails at once with ECONNREFUSED (Java: Connection refused).",
		Remedy:  "Retry with backoff and jitter, against another address if there is one.",
		Example: "faultctl inject refuse --percent 50 --to :5432",
	}, Refuse{}),
	kind(Kind{
		Name: "unreachable", Group: "reset",
		Cause:   "A router says that the host, the network or the port cannot be reached, or must not be.",
		Symptom: "connect fails with EHOSTUNREACH, ENETUNREACH, ECONNREFUSED or, IPv6 and forbidden, EACCES (Java: No route to host). An established connection goes on trying and reports it instead of ETIMEDOUT.",
		Remedy:  "Treat it as a failed attempt, not as final: routes come back. Try the next address.",
		Example: "faultctl inject unreachable --code host --to 10.0.0.5:443",
	}, Unreachable{Code: "host"}),
	kind(Kind{
		Name: "connect-stall", Group: "reset",
		Cause:   "The handshake is not finished when the application gives up: a far or overloaded server, a slow firewall.",
		Symptom: "connect runs into the application's own timeout; the SYN-ACK that comes later meets no socket and is answered with a RST.",
		Remedy:  "A connect timeout above the worst honest handshake, and a retry; connection pools with spare connections.",
		Example: "faultctl inject connect-stall --for 5s --to :443",
	}, ConnectStall{For: 5 * time.Second}),
	kind(Kind{
		Name: "paws-reject", Group: "reset",
		Cause:   "A server with tcp_tw_recycle=1 (Linux before 4.12) refuses SYNs whose timestamp lies before the last one from the same address: clients behind one NAT.",
		Symptom: "Some clients cannot connect, at random: connect hangs like with a full backlog, others behind the same address succeed.",
		Remedy:  "Turn tcp_tw_recycle off, or upgrade the kernel; a connect timeout and a retry.",
		Example: "faultctl inject paws-reject --regress 10s --percent 30 --to :80",
	}, PAWSReject{Window: time.Minute, Answer: "drop"}),
	kind(Kind{
		Name: "keepalive-drop", Group: "reset",
		Cause:   "A node on the way does not carry TCP keepalive probes, as some mobile core networks do not.",
		Symptom: "An idle connection with keepalive dies although both ends live: ETIMEDOUT at the prober, ECONNRESET at the other end, at the same moment.",
		Remedy:  "Heartbeats in the application's own protocol instead of TCP keepalive.",
		Example: "faultctl inject keepalive-drop --to :5222",
	}, KeepaliveDrop{}),
	kind(Kind{
		Name: "bad-seq", Group: "reset",
		Cause:   "Segments with wrong numbers and old duplicates: a confused middlebox, an attacker who guesses, a connection that was closed already.",
		Symptom: "None: a healthy connection survives them, with a challenge ACK now and then.",
		Remedy:  "None is needed: this is the control experiment.",
		Example: "faultctl inject bad-seq --kind rst-in-window --interval 1s --to :5432",
	}, BadSeq{Kind: "rst-in-window", Hit: Client}),
	kind(Kind{
		Name: "stall", Group: "reset",
		Cause:   "The peer has stopped reading: it hangs, collects garbage, or waits for something itself. Its window closes, and it does not answer.",
		Symptom: "A request is acknowledged by the peer's kernel and not answered: reads wait. Writes succeed until window and send buffer are full, then block, or fail with EAGAIN. No error ever, since the peer's kernel answers probes. What the peer had written before comes all the same.",
		Remedy:  "A deadline on reads and on writes; backpressure instead of unbounded buffers; TCP_USER_TIMEOUT counts a closed window too, but not a request that is acknowledged.",
		Example: "faultctl inject stall --for 30s --to :6379",
	}, Stall{Side: Server, At: At("request")}),
	kind(Kind{
		Name: "observe", Group: "control",
		Cause:   "Nothing goes wrong: only SYN, FIN and RST are looked at, and each connection's end is told.",
		Symptom: "None.",
		Remedy:  "Use it beside a fault, or before one, to see how connections end by themselves.",
		Example: "faultctl inject observe --to :5432 -o json",
	}, Observe{}),
}
