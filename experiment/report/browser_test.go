package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPageNeedsNothingElse holds that the page names nothing outside of itself.
func TestPageNeedsNothingElse(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, sample()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"src=", "url(", "@import", "<script", "<iframe", "<object", "http://", "https://", " style="} {
		if strings.Contains(b.String(), bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	for _, want := range []string{"Content-Security-Policy", "default-src 'none'", "prefers-color-scheme: dark", `name="viewport"`, "<svg", "&lt;&amp;&gt;"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
}

// TestPageInBrowser loads the page in a real browser, as wide as a phone and as
// wide as a desk, and holds that nothing sticks out to the side and that the
// browser asks for nothing but the page. FAULTCTL_SCREENSHOTS names a directory
// for pictures of it.
func TestPageInBrowser(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("FAULTCTL_REQUIRE") == "1" {
			t.Fatal("chromium is missing: make deps installs it")
		}
		t.Skip("chromium is missing")
	}
	var page bytes.Buffer
	if err := HTML(&page, everything()); err != nil {
		t.Fatal(err)
	}
	widths := []int{320, 390, 768, 1200, 1280}
	asked := &requests{pages: map[string]string{"/": frames(page.String(), widths)}}
	server := httptest.NewServer(asked)
	defer server.Close()

	dom := string(browse(t, chromium, "--dump-dom", server.URL+"/"))
	found := regexp.MustCompile(`<pre id="measures">(.*?)</pre>`).FindStringSubmatch(dom)
	if found == nil {
		t.Fatalf("the browser measured nothing:\n%.2000s", dom)
	}
	var measures []struct {
		Width, Scroll, Rows, Height int
		Out, Broken                 []string
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(found[1])), &measures); err != nil {
		t.Fatalf("%v: %s", err, found[1])
	}
	if len(measures) != len(widths) {
		t.Fatalf("%d widths measured, want %d", len(measures), len(widths))
	}
	for i, m := range measures {
		if m.Width != widths[i] || m.Rows < len(everything().Cases) || m.Height < 500 {
			t.Errorf("at %d: %d wide, %d high, %d rows: the page is not what it should be", widths[i], m.Width, m.Height, m.Rows)
		}
		if m.Scroll > m.Width || len(m.Out) > 0 {
			t.Errorf("at %d the page is %d wide; sticking out: %q", m.Width, m.Scroll, m.Out)
		}
		if m.Width >= 1200 && len(m.Broken) > 0 {
			t.Errorf("at %d these words are broken: %q", m.Width, m.Broken)
		}
	}
	asked.mu.Lock()
	defer asked.mu.Unlock()
	for _, path := range asked.paths {
		if path != "/" && path != "/favicon.ico" { // the measuring page has no icon of its own
			t.Errorf("the browser asked for %s", path)
		}
	}
	if dir := os.Getenv("FAULTCTL_SCREENSHOTS"); dir != "" {
		file := filepath.Join(dir, "page.html")
		if err := os.WriteFile(file, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, scheme := range []string{"light", "dark"} {
			for name, size := range map[string]string{"phone": "500,4200", "desk": "1280,3400"} {
				browse(t, chromium, "--window-size="+size, "--blink-settings=preferredColorScheme="+map[string]string{"light": "1", "dark": "0"}[scheme],
					"--screenshot="+filepath.Join(dir, name+"-"+scheme+".png"), "file://"+file)
			}
		}
	}
}

// requests serves pages and takes down what was asked for.
type requests struct {
	pages map[string]string
	mu    sync.Mutex
	paths []string
}

func (r *requests) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.paths = append(r.paths, req.URL.Path)
	r.mu.Unlock()
	body, ok := r.pages[req.URL.Path]
	if !ok {
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, body)
}

// frames is a page that shows another one at several widths and measures it.
func frames(page string, widths []int) string {
	var b strings.Builder
	b.WriteString("<!doctype html><body>")
	for _, w := range widths {
		fmt.Fprintf(&b, `<iframe style="border:0;width:%dpx;height:900px" srcdoc="%s"></iframe>`, w, html.EscapeString(page))
	}
	b.WriteString(`<script>
onload = () => {
  const all = [...document.querySelectorAll('iframe')].map(f => {
    const d = f.contentDocument, e = d.documentElement, w = e.clientWidth;
    const out = [...d.querySelectorAll('body *')].filter(x => !x.closest('svg') && x.getBoundingClientRect().right > w + 0.5)
      .map(x => x.tagName + '.' + x.className).slice(0, 5);
    const broken = [], words = d.createTreeWalker(d.body, NodeFilter.SHOW_TEXT);
    while (words.nextNode()) {
      const node = words.currentNode;
      if (!node.parentElement.closest('td, th')) continue;
      for (const m of node.data.matchAll(/\S+/g)) {
        const r = d.createRange();
        r.setStart(node, m.index);
        r.setEnd(node, m.index + m[0].length);
        if (new Set([...r.getClientRects()].map(x => Math.round(x.top))).size > 1) broken.push(m[0]);
      }
    }
    return {Broken: broken.slice(0, 5), Width: w, Scroll: e.scrollWidth, Height: e.scrollHeight, Rows: d.querySelectorAll('tbody tr').length, Out: out};
  });
  document.body.innerHTML = '<pre id="measures"></pre>';
  document.getElementById('measures').textContent = JSON.stringify(all);
};
</script>`)
	return b.String()
}

// browse runs the browser, with a profile of its own. A browser that hangs, as
// one may on a busy machine, is tried again.
func browse(t *testing.T, chromium string, args ...string) []byte {
	t.Helper()
	var errs bytes.Buffer
	var err error
	for range 3 {
		var out []byte
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		cmd := exec.CommandContext(ctx, chromium, append([]string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
			"--user-data-dir=" + t.TempDir(),
		}, args...)...)
		cmd.Stderr, cmd.WaitDelay = &errs, 5*time.Second
		out, err = cmd.Output()
		cancel()
		if err == nil {
			return out
		}
	}
	t.Fatalf("chromium: %v\n%.2000s", err, errs.String())
	return nil
}
