package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// head begins the page.
const head = `# Reliability, as measured

` + "`make chaos N=1000` and `make soak D=1h`" + ` write this page: no figure on it is typed. [SAFETY](SAFETY.md) says why it is so.
`

// write puts a part of the page in its place, and keeps the others; a - prints it instead.
func write(page, part, text string) error {
	if page == "-" {
		fmt.Print(text)
		return nil
	}
	begin, end := "<!-- "+part+" -->\n", "<!-- end of "+part+" -->\n"
	old, err := os.ReadFile(page)
	if err != nil {
		old = []byte(head)
	}
	body := string(old)
	text = begin + text + end
	if before, rest, has := strings.Cut(body, begin); has {
		_, after, _ := strings.Cut(rest, end)
		body = before + text + after
	} else {
		body += "\n" + text
	}
	return os.WriteFile(page, []byte(body), 0o644)
}

// where says on what it was measured.
func where() string {
	var u unix.Utsname
	unix.Uname(&u)
	load, _ := os.ReadFile("/proc/loadavg")
	busy, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%s, Linux %s, %d processors, load %s at the end", time.Now().UTC().Format("2006-01-02"), unix.ByteSliceToString(u.Release[:]), runtime.NumCPU(), busy)
}

// text is the part of the page about harm.
func (w *world) text(n int, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## Harm from outside\n\n%d instances, one after the other, in %v (%s). Each judged every segment of a connection that never stopped talking,\nbeside one that it was not to touch.\n\n", n, took.Round(time.Second), where())
	fmt.Fprintf(&b, "| what was done | times | what must come of it | times that it did |\n|---|---|---|---|\n")
	for _, k := range w.merged() {
		did := fmt.Sprint(k.played - k.skipped - len(k.failed))
		if k.skipped > 0 {
			did += fmt.Sprintf("; %d not played: %s", k.skipped, k.why)
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", k.name, k.played, k.expect, did)
	}
	fmt.Fprintf(&b, "\nOf the %d that died suddenly with their rules in, the rules were gone after %v in the median, %v at the 99th percentile and %v at most.\n",
		len(w.clears), percentile(w.clears, 50).Round(100*time.Microsecond), percentile(w.clears, 99).Round(100*time.Microsecond), percentile(w.clears, 100).Round(100*time.Microsecond))
	fmt.Fprintf(&b, "The struck connection carried %d bytes there and back, the bystander %d; broken: %s.\n\n", w.struck.bytes.Load(), w.bystander.bytes.Load(), w.broken())
	return b.String()
}

// merged are the kinds, each once.
func (w *world) merged() (all []kind) {
next:
	for _, k := range w.kinds {
		for i := range all {
			if all[i].name == k.name {
				all[i].played += k.played
				all[i].skipped += k.skipped
				all[i].failed = append(all[i].failed, k.failed...)
				continue next
			}
		}
		all = append(all, k)
	}
	return all
}

func (w *world) broken() string {
	var all []string
	for name, t := range map[string]*talk{"the struck one": w.struck, "the bystander": w.bystander} {
		if err := t.broken(); err != nil {
			all = append(all, name+" ("+err.Error()+")")
		}
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ", ")
}

// verdict is all that must not have happened.
func (w *world) verdict() error {
	var errs []error
	for _, k := range w.merged() {
		for _, f := range k.failed {
			errs = append(errs, fmt.Errorf("%s: %s", k.name, f))
		}
	}
	if b := w.broken(); b != "none" {
		errs = append(errs, errors.New("broken: "+b))
	}
	return errors.Join(errs...)
}
