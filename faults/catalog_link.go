package faults

import "time"

// linkFaults are what a bad path does to a connection that lives.
var linkFaults = []Kind{
	kind(Kind{
		Name: "loss", Group: "link",
		Cause:   "Segments vanish on the way: a full queue, a bad cable, radio.",
		Symptom: "Nothing fails at first. TCP sends again: latency jumps by the retransmission timeout (200 ms and more), throughput falls; when everything is lost, ETIMEDOUT after a quarter of an hour.",
		Remedy:  "Deadlines at the application's level, hedged requests for what is idempotent, TCP_USER_TIMEOUT; watch retransmissions in tcp_info.",
		Example: "faultctl inject loss --rate 10% --to :5432",
	}, Loss{}),
	kind(Kind{
		Name: "delay", Group: "link",
		Cause:   "The way is longer: another region, a satellite, a queue that never empties.",
		Symptom: "Every round trip takes longer by that much; protocols that talk often multiply it. connect and reads run into timeouts.",
		Remedy:  "Fewer round trips (pipelining, batching, connection reuse), timeouts with room above the real latency.",
		Example: "faultctl inject delay --by 50ms --jitter 10ms --to :6379",
	}, Delay{Distribution: "uniform"}),
	kind(Kind{
		Name: "duplicate", Group: "link",
		Cause:   "A segment arrives twice: a link that repeats, a route that changes, a retransmission that was not needed.",
		Symptom: "The application sees nothing; TCP answers a duplicate with D-SACK.",
		Remedy:  "None is needed: this is the control experiment. What breaks reads packets below TCP.",
		Example: "faultctl inject duplicate --rate 5% --to :8080",
	}, Duplicate{}),
	kind(Kind{
		Name: "reorder", Group: "link",
		Cause:   "A segment is overtaken by those behind it: several paths, parallel queues, a route that changes.",
		Symptom: "The application sees nothing but lower throughput: TCP may take it for loss and send again.",
		Remedy:  "None in the application; SACK and RACK in the kernel.",
		Example: "faultctl inject reorder --rate 5% --by 10ms --to :8080",
	}, Reorder{By: 10 * time.Millisecond}),
	kind(Kind{
		Name: "corrupt", Group: "link",
		Cause:   "Bits flip on the way: bad memory in a switch, a device that computes the checksum anew over what it broke.",
		Symptom: "With a wrong checksum it is loss. With a right one the application reads bytes that nobody sent: a protocol error, or silent damage.",
		Remedy:  "TLS, or a checksum of the application's own: TCP's is 16 bits and made anew at each hop that rewrites.",
		Example: "faultctl inject corrupt --what payload --rate 0.1% --to :5432",
	}, Corrupt{What: "checksum"}),
	kind(Kind{
		Name: "throttle", Group: "link",
		Cause:   "A narrow link, or a rate limit, that all connections share.",
		Symptom: "Throughput stays at the limit, and latency grows by the wait in the link's queue; short requests wait behind long ones.",
		Remedy:  "Deadlines, backpressure, and a limit on what is under way; separate connections for bulk.",
		Example: "faultctl inject throttle --rate 1mbit --to :443",
	}, Throttle{Queue: time.Second}),
	kind(Kind{
		Name: "mtu-hole", Group: "link",
		Cause:   "A tunnel with a smaller MTU, behind a firewall that drops the ICMP message which would say so.",
		Symptom: "connect succeeds and small requests work; the first large answer hangs for ever.",
		Remedy:  "Clamp the MSS on the tunnel, let ICMP pass, or turn on net.ipv4.tcp_mtu_probing.",
		Example: "faultctl inject mtu-hole --above 1400 --to :443",
	}, MTUHole{Above: 1400}),
	kind(Kind{
		Name: "partition", Group: "link",
		Cause:   "The network falls in two, or one direction of a link dies.",
		Symptom: "Writes succeed until the send buffer is full, reads hang, ETIMEDOUT after a quarter of an hour. connect hangs.",
		Remedy:  "A deadline on every call, heartbeats, TCP_USER_TIMEOUT; fail over by quorum, not by silence of one.",
		Example: "faultctl inject partition --dir server --to :2379",
	}, Partition{At: At("now")}),
	kind(Kind{
		Name: "slice", Group: "link",
		Cause:   "What was sent in one piece arrives in many: small MTUs, middleboxes, a sender under pressure.",
		Symptom: "recv returns less than a message. A reader that takes one read for one message breaks.",
		Remedy:  "Read until the message is whole: TCP carries bytes, not messages.",
		Example: "faultctl inject slice --size 1 --to :8080",
	}, Slice{Size: 1}),
}
