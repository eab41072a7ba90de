// Command chaos does to faultctl what happens to programs in production, from outside,
// and writes what came of it to docs/RELIABILITY.md:
//
//	go run ./integration/chaos -n 1000        # kills, and everything else that can go wrong
//	go run ./integration/chaos -soak 1h       # one run under load for a long time
//
// Each writes its own part of the page. It runs in its own namespaces, as root or without.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/faultctl/faultctl/lab"
)

func main() { os.Exit(lab.Main(run)) }

func run() int {
	n := flag.Int("n", 200, "how `many` instances of faultctl are started and harmed")
	soak := flag.Duration("soak", 0, "instead, run one for that `long` under load")
	page := flag.String("o", "docs/RELIABILITY.md", "the `page` to write; - prints the part instead")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the order and the moments")
	flag.Parse()
	dir, err := os.MkdirTemp("", "faultctl-chaos")
	if err == nil {
		defer os.RemoveAll(dir)
		exe := filepath.Join(dir, "faultctl")
		if out, e := exec.Command("go", "build", "-o", exe, ".").CombinedOutput(); e != nil {
			err = fmt.Errorf("go build: %v\n%s", e, out)
		} else if *soak > 0 {
			err = soakFor(exe, *soak, *page)
		} else {
			err = harm(exe, *n, *seed, *page)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	return 0
}

// harm harms n instances, and writes its part of the page. The error is of what must not
// have happened, too.
func harm(exe string, n int, seed uint64, page string) error {
	begun := time.Now()
	w, err := newWorld(exe)
	if err != nil {
		return err
	}
	defer w.close()
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		k := &w.kinds[i%len(w.kinds)] // each as often
		k.played++
		if err := k.play(w, k, rng); err != nil {
			k.failed = append(k.failed, fmt.Sprintf("instance %d (seed %d): %v", i, seed, err))
		}
	}
	w.quiesce()
	if err := write(page, "harm", w.text(n, time.Since(begun))); err != nil {
		return err
	}
	return w.verdict()
}
