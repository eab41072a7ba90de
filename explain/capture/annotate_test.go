package capture_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/faultctl/faultctl/explain/capture"
	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/injector/pcap"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// TestAnnotate holds that a capture which is written again has the same packets, at
// the same times, of the same link types and interfaces, and the comments.
func TestAnnotate(t *testing.T) {
	for link, wrap := range links {
		for _, ng := range []bool{false, true} {
			var frames [][]byte
			for _, ip := range closed(false) {
				frames = append(frames, wrap(ip))
			}
			from := file(t, link, ng, 1<<16, frames)
			var to bytes.Buffer
			if err := capture.Annotate(bytes.NewReader(from), &to, map[int][]string{2: {"one", "two"}}); err != nil {
				t.Fatal(err)
			}
			was, _ := names(t, from)
			if got, _ := names(t, to.Bytes()); got != was || got == "" {
				t.Errorf("%v, pcapng %v: %q, was %q", link, ng, got, was)
			}
			r, err := pcapgo.NewNgReader(&to, pcapgo.NgReaderOptions{WantMixedLinkType: true})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range frames {
				data, ci, opts, err := r.ReadPacketDataWithOptions()
				if err != nil || !bytes.Equal(data, want) || ci.AncillaryData[0] != link || (len(opts.Comments) == 2) != (i == 1) {
					t.Errorf("%v, pcapng %v, frame %d: %v, %v, %q", link, ng, i+1, err, ci, opts.Comments)
				}
			}
		}
	}
}

// TestAnnotateOwn holds that a capture of faultctl's own stays one, with its
// comments, and that what comes before a broken end is written.
func TestAnnotateOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.pcapng")
	f, err := pcap.Create(path, "test")
	if err != nil {
		t.Fatal(err)
	}
	fates := []injector.Fate{injector.Passed, injector.Dropped, injector.Forged}
	for i, ip := range closed(false)[:3] {
		f.Write(injector.Packet{Time: start.Add(time.Duration(i) * time.Millisecond), Fate: fates[i], Bytes: ip, Length: len(ip)})
	}
	if err := f.Close(0); err != nil {
		t.Fatal(err)
	}
	from, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fate := func(b []byte) (out []string) {
		r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r.SectionInfo().Application)
		for {
			_, ci, opts, err := r.ReadPacketDataWithOptions()
			if err != nil {
				return out
			}
			about, err := r.Interface(ci.InterfaceIndex)
			if err != nil {
				t.Fatal(err)
			}
			out = append(append(out, about.Name), opts.Comments...)
		}
	}
	var to bytes.Buffer
	if err := capture.Annotate(bytes.NewReader(from), &to, map[int][]string{3: {"more"}}); err != nil {
		t.Fatal(err)
	}
	was, got := fate(from), fate(to.Bytes())
	if len(got) != len(was)+1 || got[len(got)-1] != "more" || got[0] != was[0] || got[1] != was[1] {
		t.Errorf("%q, was %q", got, was)
	}

	ethernet := file(t, layers.LinkTypeRaw, false, 1<<16, closed(false))
	to.Reset()
	var broken *capture.BrokenError
	if err := capture.Annotate(bytes.NewReader(ethernet[:len(ethernet)-5]), &to, nil); !errors.As(err, &broken) || len(fate(to.Bytes())) != len(closed(false)) {
		t.Errorf("of a broken capture: %v, %d frames", err, len(fate(to.Bytes()))-1)
	}
	to.Reset()
	if err := capture.Annotate(bytes.NewReader([]byte("no capture")), &to, nil); err != capture.ErrNotCapture || to.Len() != 0 {
		t.Errorf("of no capture: %v", err)
	}
}
