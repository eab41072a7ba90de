package cli

import (
	"bytes"
	"testing"
)

// TestCataloguePage holds that the page in docs says what the code says. With
// -update it is written anew, which is what make docs does.
func TestCataloguePage(t *testing.T) {
	var b bytes.Buffer
	catalogue(&b)
	golden(t, "../../docs/FAULTS.md", b.String())

	w := newWorld(t)
	if code := w.faultctl("faults -o markdown"); code != exitOK || w.out.String() != b.String() {
		t.Errorf("faultctl faults -o markdown: exit %d, %d bytes; the page has %d", code, w.out.Len(), b.Len())
	}
}
