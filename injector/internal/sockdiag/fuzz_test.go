package sockdiag

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzAnswer checks that no answer of the kernel's makes its reader panic.
func FuzzAnswer(f *testing.F) {
	head := make([]byte, nlHeader)
	binary.NativeEndian.PutUint32(head[8:], 1)
	f.Add(append(head[:nlHeader:nlHeader], make([]byte, msgSize+8)...))
	failed := append([]byte(nil), head...)
	binary.NativeEndian.PutUint16(failed[4:], unix.NLMSG_ERROR)
	f.Add(failed)
	f.Add(append(failed[:nlHeader:nlHeader], 0xfe, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := &Conn{seq: 1}
		c.request(netip.MustParseAddrPort("[fd00::2]:1"), netip.MustParseAddrPort("[fd00::1]:2"))
		if _, err, ours := c.answer(b); !ours && err != nil {
			t.Errorf("an error of somebody else's answer: %v", err)
		}
	})
}
