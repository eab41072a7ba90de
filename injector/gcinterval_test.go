package injector

import (
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// TestGCInterval holds that the kernel has taken what it was asked for.
func TestGCInterval(t *testing.T) {
	if major, minor := kernelVersion(); major < 6 || major == 6 && minor < 2 {
		t.Skipf("Linux %d.%d does not change a set any more, 6.2 does", major, minor)
	}
	a, err := openNftables(inKernel(t))
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	rs := newRuleset(&Config{Rules: []Rule{{Faults: fake(faults.Diversion{SYN: true, Idle: 8 * time.Second})}}}, "faultctl_1", firstQueue)
	if err := a.apply(rs); err != nil {
		t.Fatal(err)
	}
	want := map[string]uint64{"live0_ip4": 2000, "live0_ip6": 2000, "released0_ip4": 10_000, "released0_ip6": 10_000}
	msgs, err := a.netlink.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETSET, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, m := range msgs {
		attrs, err := netlink.UnmarshalAttributes(m.Data[nfHeader:])
		if err != nil {
			t.Fatal(err)
		}
		name, interval := "", uint64(0)
		for _, at := range attrs {
			switch at.Type {
			case unix.NFTA_SET_NAME:
				name = unix.ByteSliceToString(at.Data)
			case unix.NFTA_SET_GC_INTERVAL:
				interval = uint64(binaryutil.BigEndian.Uint32(at.Data))
			}
		}
		got[name] = interval
	}
	for name, ms := range want {
		if got[name] != ms {
			t.Errorf("%s is looked through every %d ms, want %d", name, got[name], ms)
		}
	}
}
