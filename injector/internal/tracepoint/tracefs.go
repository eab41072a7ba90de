package tracepoint

import (
	"fmt"
	"io"
	"os"
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
	return nil
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
			case err != nil:
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
