package capture

import (
	"errors"
	"io"
	"time"

	"github.com/faultctl/faultctl/explain"
)

// Totals is what a capture had.
type Totals struct {
	explain.Counts
	Skipped Skipped
	Frames  int
	Lost    uint64   // packets that came too fast to be read; only live
	Unseen  []string // what could not be seen, in words, and what it takes; only live
	Kernel  []string // what the host's kernel counted meanwhile, in words; only live
	Broken  error    // a [*BrokenError] if the capture could not be read to its end
}

// Explain reads a capture to its end and hands over what happened to each
// connection, in no particular order. progress, if it is not nil, is called now and
// then with the number of frames so far. The error is that of [New].
func Explain(r io.Reader, found func(explain.Finding), progress func(frames int)) (Totals, error) {
	src, err := New(r)
	if err != nil {
		return Totals{}, err
	}
	const often = 1 << 14
	table := explain.New(found)
	var broken error
	for n := 0; ; n++ {
		p, err := src.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			broken = err
			break
		}
		table.Add(p)
		if progress != nil && n%often == 0 {
			progress(src.frame)
		}
	}
	table.End(time.Time{})
	return Totals{Counts: table.Counts, Skipped: src.Skipped, Frames: src.frame, Broken: broken}, nil
}
