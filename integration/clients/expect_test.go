package clients

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// reports is what a client reports when the kernel returns that to it. Alternatives
// are separated by a bar, the most common one first.
type reports map[errno]string

const (
	pyReset     = "ConnectionResetError: [Errno 104] Connection reset by peer"
	pyPipe      = "BrokenPipeError: [Errno 32] Broken pipe"
	pyRefused   = "ConnectionRefusedError: [Errno 111] Connection refused"
	pyTimeout   = "TimeoutError: [Errno 110] Connection timed out"
	pyClosed    = "http.client.RemoteDisconnected: Remote end closed connection without response"
	javaSE      = "java.net.SocketException: "
	javaReset   = "read: " + javaSE + "Connection reset"
	javaPipe    = "; then write: " + javaSE + "Broken pipe"
	javaWrite   = "write: " + javaSE + "Connection reset by peer; then read: "
	javaNothing = "java.io.IOException: HTTP/1.1 header parser received no bytes, cause: "
	javaRefused = "java.net.ConnectException, cause: java.nio.channels.ClosedChannelException"
	tooLarge    = "HTTP/1.1 413 Request Entity Too Large"
	goDeadline  = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
	goReset     = `Get "http://server/": read tcp client->server: read: connection reset by peer`
	goWrite     = `readfrom tcp client->server: write tcp client->server: write: connection reset by peer`
	psqlClosed  = "server closed the connection unexpectedly"
	psqlFailed  = `psql: error: connection to server at "server", port 5432 failed: `
	redisFailed = "Could not connect to Redis at server: "
	redisReset  = "Error: Connection reset by peer"
	curlConnect = "curl: (7) Failed to connect to server after N ms: Couldn't connect to server"
	curlReset   = "curl: (56) Recv failure: Connection reset by peer"
	curlSend    = "curl: (55) Send failure: Connection reset by peer"
)

var expected = map[string]reports{
	"Python socket": {
		refused:        "connect: " + pyRefused,
		portUnreach:    "connect: " + pyRefused,
		hostUnreach:    "connect: OSError: [Errno 113] No route to host",
		netUnreach:     "connect: OSError: [Errno 101] Network is unreachable",
		forbidden:      "connect: PermissionError: [Errno 13] Permission denied",
		connectLate:    "connect: TimeoutError: timed out",
		connectTimeout: "connect: " + pyTimeout,
		readReset:      "read: " + pyReset + "; then write: " + pyPipe,
		firstReset:     "read: " + pyReset + "; then write: " + pyPipe + "|write: " + pyReset + "; then read: end of stream|connect: " + pyReset,
		writeReset:     "write: " + pyReset + "; then read: end of stream",
		idleReset:      "write: " + pyReset + "; then read: end of stream",
		earlyReset:     "write: " + pyReset + "; then read: " + tooLarge,
		endReset:       "read: " + pyReset,
		lateReset:      "read: " + pyReset + "; then write: " + pyPipe,
		stream:         "read: end of stream; then write: " + pyPipe,
		idleStream:     "read: end of stream; then write: " + pyPipe,
		readLate:       "read: TimeoutError: timed out",
		idleLate:       "read: TimeoutError: timed out",
		readTimeout:    "read: " + pyTimeout + "; then write: " + pyPipe,
		writeStuck:     "write: TimeoutError: timed out",
	},
	"Python http.client": {
		refused:        pyRefused,
		portUnreach:    pyRefused,
		hostUnreach:    "OSError: [Errno 113] No route to host",
		netUnreach:     "OSError: [Errno 101] Network is unreachable",
		forbidden:      "PermissionError: [Errno 13] Permission denied",
		connectLate:    "TimeoutError: timed out",
		connectTimeout: pyTimeout,
		readReset:      pyReset,
		firstReset:     pyReset,
		writeReset:     pyReset,
		idleReset:      pyReset,
		earlyReset:     pyReset,
		endReset:       pyReset,
		lateReset:      pyReset,
		stream:         pyClosed,
		idleStream:     pyClosed,
		readLate:       "TimeoutError: timed out",
		idleLate:       "TimeoutError: timed out",
		readTimeout:    pyTimeout,
		writeStuck:     "TimeoutError: timed out",
	},
	"Java Socket": {
		refused:        "connect: java.net.ConnectException: Connection refused",
		portUnreach:    "connect: java.net.ConnectException: Connection refused",
		hostUnreach:    "connect: java.net.NoRouteToHostException: No route to host",
		netUnreach:     "connect: " + javaSE + "Network is unreachable",
		forbidden:      "connect: java.net.BindException: Permission denied",
		connectLate:    "connect: java.net.SocketTimeoutException: Connect timed out",
		connectTimeout: "connect: java.net.ConnectException: Connection timed out",
		readReset:      javaReset + javaPipe,
		firstReset:     javaReset + javaPipe + "|" + javaWrite + "end of stream|connect: " + javaSE + "Connection reset by peer",
		writeReset:     javaWrite + "end of stream",
		idleReset:      javaWrite + "end of stream",
		earlyReset:     javaWrite + tooLarge,
		endReset:       javaReset,
		lateReset:      javaReset + javaPipe,
		stream:         "read: end of stream" + javaPipe,
		idleStream:     "read: end of stream" + javaPipe,
		readLate:       "read: java.net.SocketTimeoutException: Read timed out",
		idleLate:       "read: java.net.SocketTimeoutException: Read timed out",
		readTimeout:    "read: " + javaSE + "Connection timed out" + javaPipe,
		writeStuck:     waiting,
	},
	"Java HttpClient": {
		refused:        javaRefused,
		portUnreach:    javaRefused,
		hostUnreach:    "java.net.ConnectException: No route to host, cause: java.net.NoRouteToHostException: No route to host",
		netUnreach:     "java.net.ConnectException: Network is unreachable, cause: " + javaSE + "Network is unreachable",
		forbidden:      "java.net.ConnectException: Permission denied, cause: java.net.BindException: Permission denied",
		connectLate:    "java.net.http.HttpConnectTimeoutException: HTTP connect timed out, cause: java.net.ConnectException: HTTP connect timed out",
		connectTimeout: javaRefused,
		readReset:      javaNothing + javaSE + "Connection reset",
		firstReset:     "java.net.ConnectException: Connection reset by peer, cause: " + javaSE + "Connection reset by peer|" + javaNothing + javaSE + "Connection reset|" + javaNothing + "java.io.IOException: Connection reset by peer|" + javaNothing + "java.io.EOFException: EOF reached while reading",
		writeReset:     javaNothing + javaSE + "Connection reset|" + javaNothing + "java.io.IOException: Connection reset by peer|" + javaNothing + "java.io.EOFException: EOF reached while reading|" + javaNothing + "java.io.IOException: Broken pipe",
		idleReset:      retried,
		earlyReset:     "HTTP 413|" + javaNothing + "java.io.IOException: Connection reset by peer",
		endReset:       "java.io.IOException: http1_0 content, bytes received: 5, cause: " + javaSE + "Connection reset",
		lateReset:      retried,
		stream:         javaNothing + "java.io.EOFException: EOF reached while reading|" + javaNothing + javaSE + "Connection reset",
		idleStream:     retried,
		readLate:       "java.net.http.HttpTimeoutException: request timed out",
		idleLate:       "java.net.http.HttpTimeoutException: request timed out",
		readTimeout:    javaNothing + "java.io.IOException: Connection timed out",
		writeStuck:     "java.net.http.HttpTimeoutException: request timed out",
	},
	"Node net.Socket": {
		refused:        "error event: connect ECONNREFUSED server",
		portUnreach:    "error event: connect ECONNREFUSED server",
		hostUnreach:    "error event: connect EHOSTUNREACH server",
		netUnreach:     "error event: connect ENETUNREACH server",
		forbidden:      "error event: connect EACCES server",
		connectLate:    "timeout event while connecting",
		connectTimeout: "error event: connect ETIMEDOUT server",
		readReset:      "error event: read ECONNRESET",
		firstReset:     "error event: read ECONNRESET|error event: write ECONNRESET|error event: connect ECONNRESET server|error event: write EPIPE",
		writeReset:     "error event: read ECONNRESET|error event: write ECONNRESET|error event: write EPIPE",
		idleReset:      "error event: read ECONNRESET|end event",
		earlyReset:     "data event: " + tooLarge + "|error event: write ECONNRESET|error event: write EPIPE",
		endReset:       "error event: read ECONNRESET|" + fine,
		lateReset:      "error event: read ECONNRESET",
		stream:         "end event",
		idleStream:     "end event",
		readLate:       "timeout event",
		idleLate:       "timeout event",
		readTimeout:    "error event: read ETIMEDOUT",
		writeStuck:     "timeout event",
	},
	"Node http, keep-alive agent": {
		refused:        "error event: connect ECONNREFUSED server",
		portUnreach:    "error event: connect ECONNREFUSED server",
		hostUnreach:    "error event: connect EHOSTUNREACH server",
		netUnreach:     "error event: connect ENETUNREACH server",
		forbidden:      "error event: connect EACCES server",
		connectLate:    "timeout event",
		connectTimeout: "error event: connect ETIMEDOUT server",
		readReset:      "error event: read ECONNRESET",
		firstReset:     "error event: read ECONNRESET|error event: write ECONNRESET|error event: connect ECONNRESET server|error event: write EPIPE",
		writeReset:     "error event: read ECONNRESET|error event: write ECONNRESET|error event: write EPIPE",
		idleReset:      retried,
		earlyReset:     "HTTP 413|error event: write ECONNRESET|error event: write EPIPE",
		endReset:       "error event: read ECONNRESET|" + fine,
		lateReset:      retried,
		stream:         "error event: socket hang up (ECONNRESET)",
		idleStream:     retried,
		readLate:       "timeout event",
		idleLate:       "timeout event",
		readTimeout:    "error event: read ETIMEDOUT",
		writeStuck:     "timeout event",
	},
}

const (
	fine    = "no error"
	retried = "no error, on a second connection"
	waiting = "still waiting"
)

// rarely is what a client reports in about one of several hundred runs, in words
// that are not in the table.
//
// An ICMP error wakes a poll before the socket has its errno (ip_icmp_error and
// sock_queue_err_skb, called by tcp_v4_err). A program that reads SO_ERROR
// in between takes the socket for connected, and gets the errno from its next
// call. A RST right after the handshake may be seen by any of the first calls, and
// one that arrives during a write may be seen by a concurrent read.
var rarely = map[errno]*regexp.Regexp{
	writeReset:  regexp.MustCompile(`(?i)connection reset|ECONNRESET|broken pipe|EPIPE|HTTP 50[23]`),
	earlyReset:  regexp.MustCompile(`(?i)connection reset|ECONNRESET|broken pipe|EPIPE|HTTP 50[23]|HTTP/1.1 413|HTTP 413`),
	firstReset:  regexp.MustCompile(`(?i)connection reset|ECONNRESET|broken pipe|EPIPE|HTTP 50[23]`),
	portUnreach: regexp.MustCompile(`(?i)connection refused|ECONNREFUSED|HTTP 50[23]`),
	hostUnreach: regexp.MustCompile(`(?i)no route to host|EHOSTUNREACH|HTTP 50[23]`),
	netUnreach:  regexp.MustCompile(`(?i)network is unreachable|ENETUNREACH|HTTP 50[23]`),
	forbidden:   regexp.MustCompile(`(?i)permission denied|EACCES|HTTP 50[23]`),
}

// want lists what the client may report.
func want(c cause, p program) []string {
	if c.meets == nothing {
		return []string{fine}
	}
	texts, own := expected[p.name][c.meets]
	if !own {
		texts = expected[p.name][alike[c.meets]]
	}
	return strings.Split(texts, "|")
}

// alike maps an errno to another one that most clients report in the same words.
var alike = map[errno]errno{probeTimeout: readTimeout, firstLate: readLate, readHeld: readLate}

// check compares a report with what is expected, and returns what is wrong.
func (c *trial) check(got string) string {
	want := want(c.cause, c.prog)
	if slices.Contains(want, got) {
		return ""
	}
	if re := rarely[c.cause.meets]; re != nil && re.MatchString(got) {
		return ""
	}
	return fmt.Sprintf("the kernel returned %s and the client reports\n\t%s\nwant\n\t%s", c.cause.meets, got, strings.Join(want, "\nor\t"))
}
