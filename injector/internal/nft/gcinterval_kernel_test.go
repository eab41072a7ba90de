package nft

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/injector/internal/kerneltest"
	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// TestGCInterval checks that the kernel has taken what it was asked for.
func TestGCInterval(t *testing.T) {
	if major, minor := KernelVersion(); major < 6 || major == 6 && minor < 2 {
		t.Skipf("Linux %d.%d does not change a set any more, 6.2 does", major, minor)
	}
	rs := compile(faults.Diversion{SYN: true, Idle: 8 * time.Second})
	a := install(t, kerneltest.NetNS(t), rs)
	if err := a.TuneSets(rs); err != nil {
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
		attrs, err := netlink.UnmarshalAttributes(m.Data[4:])
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

// BenchmarkIdleSet is what a million flows in the kernel's idle set take: memory
// an element, and how much of a core the kernel needs to look for expired ones,
// as often as it would and as often as we ask for.
func BenchmarkIdleSet(b *testing.B) {
	for name, every := range map[string]time.Duration{"default": time.Second, "ours": ruleset.GCInterval(time.Hour)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				idleSet(b, every)
			}
		})
	}
}

func idleSet(b *testing.B, every time.Duration) {
	const elements, step = 1_000_000, 1000
	a := install(b, kerneltest.NetNS(b), compile(faults.Diversion{SYN: true, Idle: time.Hour}))
	live := a.sets["live0_ip4"]
	if err := a.setGCIntervals([]*nftables.Set{live}, func(time.Duration) time.Duration { return every }); err != nil {
		b.Fatal(err)
	}
	idle := core(b, 10*time.Second) // what else they do
	before := meminfo(b, "SUnreclaim")
	for i := 0; i < elements; i += step {
		var elems []nftables.SetElement
		for n := i; n < i+step; n++ {
			key := make([]byte, 16) // address, port, address, port, each padded to 4 bytes
			binary.BigEndian.PutUint32(key, uint32(n))
			key[4], key[8], key[12] = 1, 10, 2
			elems = append(elems, nftables.SetElement{Key: key})
		}
		if err := a.conn.SetAddElements(live, elems); err != nil {
			b.Fatal(err)
		}
		if err := a.conn.Flush(); err != nil {
			b.Fatalf("add elements: %v", err)
		}
	}
	b.ReportMetric(float64(meminfo(b, "SUnreclaim")-before)/elements, "B/element")
	for range 30 { // what else the kernel still has to do: grow the set's table, give back an older one
		if core(b, 2*time.Second) < idle+25 {
			break
		}
	}
	b.ReportMetric(max(0, core(b, 20*time.Second)-idle), "core-%") // two of our intervals
}

// core is how much of a core the kernel's work queues take, in percent.
func core(b *testing.B, watch time.Duration) float64 {
	start := kernelWorkers(b)
	time.Sleep(watch)
	return 100 * (kernelWorkers(b) - start).Seconds() / watch.Seconds()
}

func meminfo(b *testing.B, name string) int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, name+": %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	b.Fatalf("/proc/meminfo has no %s", name)
	return 0
}

// kernelWorkers is the processor time that the kernel's work queues have taken.
func kernelWorkers(b *testing.B) (total time.Duration) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		head, rest, found := strings.Cut(string(text), ") ")
		if err != nil || !found || !strings.Contains(head, "(kworker") {
			continue
		}
		var user, system int64
		words := strings.Fields(rest)
		fmt.Sscan(words[11]+" "+words[12], &user, &system)
		total += time.Duration(user+system) * (time.Second / 100) // USER_HZ
	}
	return total
}
