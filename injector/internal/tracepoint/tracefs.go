package tracepoint

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/faultctl/faultctl/injector/internal/fsmount"
	"golang.org/x/sys/unix"
)

type field struct{ offset, size int }

// tracefs returns a descriptor of the root of tracefs.
func tracefs() (int, error) {
	for _, path := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if _, err := readAt(fd, "events/tcp/tcp_receive_reset/id"); err == nil {
			return fd, nil
		}
		unix.Close(fd)
	}
	return fsmount.Open("tracefs", unix.MOUNT_ATTR_RDONLY)
}

func readAt(root int, path string) (string, error) {
	fd, err := unix.Openat(root, path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s in tracefs: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	b, err := io.ReadAll(f)
	return string(b), err
}

// read reads the number of the tracepoint and its fields.
func (p *point) read(root int) error {
	id, err := readAt(root, "events/"+p.name+"/id")
	if err != nil {
		return err
	}
	if p.id, err = strconv.ParseUint(strings.TrimSpace(id), 10, 64); err != nil {
		return fmt.Errorf("tracepoint %s: %w", p.name, err)
	}
	format, err := readAt(root, "events/"+p.name+"/format")
	if err != nil {
		return err
	}
	p.fields = parseFormat(format)
	if p.kind == SentReset || p.kind == Dropped {
		p.reasons = parseReasons(format)
	}
	if p.kind == Dropped {
		if p.filter = dropFilter(p.reasons); p.filter == "" {
			return fmt.Errorf("tracepoint %s tells no reason: %w", p.name, unix.ENOENT) // before Linux 5.17
		}
	}
	return nil
}

// parseReasons reads the words for the values of the field reason, of which the last
// line of a format file has a list such as
// "__print_symbolic(REC->reason, { 1, "NO_SOCKET" }, { 2, ... })".
func parseReasons(format string) map[uint64]string {
	out := map[uint64]string{}
	_, list, ok := strings.Cut(format, "__print_symbolic(REC->reason, ")
	if !ok {
		return out
	}
	list, _, _ = strings.Cut(list, ")")
	for entry := range strings.SplitSeq(list, "}") {
		number, word, ok := strings.Cut(strings.Trim(entry, "{, "), ",")
		n, err := strconv.ParseUint(number, 10, 64)
		if ok && err == nil {
			out[n] = strings.Trim(word, `" `)
		}
	}
	return out
}

// dropsOfTCP are reasons to drop a packet that say something of a connection. What is
// dropped in the ordinary course, such as old data, is not among them.
var dropsOfTCP = []string{
	"TCP_LISTEN_OVERFLOW", "TCP_ABORT_ON_DATA", "TCP_ZEROWINDOW", "TCP_OVERWINDOW", "TCP_FLAGS", "TCP_CSUM", "TCP_MINTTL",
	"TCP_RFC7323_PAWS", "TCP_RFC7323_PAWS_ACK", "TCP_RFC7323_TW_PAWS", "TCP_RFC7323_TSECR", "TCP_OLD_SEQUENCE", "TCP_INVALID_SEQUENCE",
	"TCP_INVALID_END_SEQUENCE", "TCP_INVALID_ACK_SEQUENCE", "TCP_INVALID_SYN", "TCP_TOO_OLD_ACK", "TCP_ACK_UNSENT_DATA", "TCP_OFO_QUEUE_PRUNE",
	"TCP_AUTH_HDR", "TCP_MD5NOTFOUND", "TCP_MD5UNEXPECTED", "TCP_MD5FAILURE", "TCP_AONOTFOUND", "TCP_AOUNEXPECTED", "TCP_AOKEYNOTFOUND", "TCP_AOFAILURE",
	"SOCKET_BACKLOG", "SOCKET_RCVBUFF", "PROTO_MEM", "NETFILTER_DROP", "IP_RPFILTER", "NEIGH_FAILED", "IP_OUTNOROUTES",
}

// dropFilter selects these reasons; empty if the kernel knows none of them.
func dropFilter(reasons map[uint64]string) string {
	var parts []string
	for n, word := range reasons {
		if slices.Contains(dropsOfTCP, word) {
			parts = append(parts, fmt.Sprintf("reason == %d", n))
		}
	}
	if parts == nil {
		return ""
	}
	slices.Sort(parts)
	return fmt.Sprintf("(protocol == %d || protocol == %d) && (%s)", unix.ETH_P_IP, unix.ETH_P_IPV6, strings.Join(parts, " || "))
}

// parseFormat reads the lines of a format file such as
// "field:__u16 sport;	offset:16;	size:2;	signed:0;".
func parseFormat(text string) map[string]field {
	fields := map[string]field{}
	for line := range strings.Lines(text) {
		decl, rest, ok := strings.Cut(strings.TrimSpace(line), ";")
		decl, is := strings.CutPrefix(decl, "field:")
		if !ok || !is {
			continue
		}
		name := decl[strings.LastIndexAny(decl, " \t*")+1:]
		name, _, _ = strings.Cut(name, "[")
		var f field
		for _, kv := range strings.Split(rest, ";") {
			k, v, _ := strings.Cut(strings.TrimSpace(kv), ":")
			n, err := strconv.Atoi(v)
			switch {
			case err != nil, n < 0, n > 1<<16:
			case k == "offset":
				f.offset = n
			case k == "size":
				f.size = n
			}
		}
		fields[name] = f
	}
	return fields
}
