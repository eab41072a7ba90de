// Pictures makes the pictures of the README from the real thing: it runs faultctl,
// and draws what it prints as a terminal (SVG), the demo in motion, and the report as a
// browser shows it (PNG). It is part of make docs, and needs chromium.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"html"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

func main() {
	log.SetFlags(0)
	bin := flag.String("faultctl", "./faultctl", "the program")
	docs := flag.String("docs", "docs", "where the pictures go")
	flag.Parse()
	if err := run(*bin, *docs); err != nil {
		log.Fatal(err)
	}
}

func run(bin, docs string) error {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "faultctl-pictures-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	demo, err := output(dir, bin, "demo", "idle-expire")
	if err != nil {
		return err
	}
	if err := write(docs, "demo.svg", picture("faultctl demo idle-expire", demo, true)); err != nil {
		return err
	}
	pool, report := filepath.Join(dir, "pool"), filepath.Join(dir, "report.html")
	if out, err := exec.Command("go", "build", "-o", pool, "./examples/pool").CombinedOutput(); err != nil {
		return fmt.Errorf("build the example: %w\n%s", err, out)
	}
	const faults = "reset,idle-expire:after=1s,refuse,half-open,syn-drop,stall"
	verify, err := output(dir, bin, "verify", "--isolate", "--jobs", "3", "--faults", faults, "--report", report, "--", "./pool")
	if err != nil {
		return err
	}
	matrix, _, _ := strings.Cut(verify, "\n\nfailed ")
	if err := write(docs, "verify.svg", picture("faultctl verify --isolate --jobs 3 --faults "+faults+" -- ./pool", matrix, false)); err != nil {
		return err
	}
	return screenshot(dir, report, filepath.Join(docs, "report.png"))
}

// output is what a command prints in a directory. A verify that finds something fails.
func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if len(out) == 0 {
		return "", fmt.Errorf("%s printed nothing: %w\n%s", strings.Join(cmd.Args, " "), err, &errs)
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// screenshot shows the top of a page as a browser does.
func screenshot(dir, page, to string) error {
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--user-data-dir="+filepath.Join(dir, "profile"),
		"--window-size=1120,1180", "--screenshot="+to, "file://"+page)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("chromium: %w\n%s", err, out)
	}
	return nil
}

func write(dir, name, content string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)
}

// The terminal that is drawn.
const (
	advance = 7.8 // width of a character
	line    = 17.0
	edge    = 18.0
)

// words are what is coloured in a line.
var words = []struct{ word, class string }{
	{"FAILED", "bad"}, {"ECONNRESET", "bad"}, {"EPIPE", "bad"}, {"INJECTED", "act"}, {"DROPPED", "act"}, {"survived", "good"}, {"passed", "good"},
	{"prevented", "good"}, {"never fired", "warn"}, {"unfelt", "warn"},
}

// picture is a terminal in which a command printed a text, as SVG. In motion, its lines
// appear one after the other.
func picture(command, text string, motion bool) string {
	lines := append([]string{"$ " + command, ""}, strings.Split(text, "\n")...)
	widest := 0
	for _, l := range lines {
		widest = max(widest, utf8.RuneCountInString(l))
	}
	width, height := 2*edge+advance*float64(widest), 2*edge+line*float64(len(lines))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img" aria-label="%s in a terminal">`+"\n",
		width, height, width, height, html.EscapeString(command))
	b.WriteString("<style>text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d5dbe3;white-space:pre}" +
		".good{fill:#62d28c}.bad{fill:#ff8a80}.warn{fill:#f2b95c}.act{fill:#c4a1f2}.prompt{fill:#7db7f5}")
	if motion {
		b.WriteString("@keyframes on{from,to{opacity:1}}@media (prefers-reduced-motion:no-preference){g{opacity:0;animation:on 1s steps(1) forwards}}")
	}
	fmt.Fprintf(&b, "</style>\n<rect width=\"100%%\" height=\"100%%\" rx=\"10\" fill=\"#12161b\"/>\n")
	for i, l := range lines {
		delay := ""
		if motion {
			delay = fmt.Sprintf(` style="animation-delay:%.1fs"`, 0.3*float64(i))
		}
		class := ""
		if i == 0 {
			class = ` class="prompt"`
		}
		fmt.Fprintf(&b, "<g%s><text x=\"%.0f\" y=\"%.1f\"%s xml:space=\"preserve\">%s</text></g>\n", delay, edge, edge+line*float64(i)+12, class, coloured(l, i == 0))
	}
	return b.String() + "</svg>\n"
}

// coloured is a line with its words coloured.
func coloured(l string, plain bool) string {
	l = html.EscapeString(l)
	if plain {
		return l
	}
	for _, w := range words {
		l = strings.ReplaceAll(l, w.word, `<tspan class="`+w.class+`">`+w.word+"</tspan>")
	}
	return l
}
