package explain_test

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/clue"
	"github.com/faultctl/faultctl/faults/packet"
)

var (
	client = netip.MustParseAddrPort("10.0.0.9:40000")
	server = netip.MustParseAddrPort("10.0.0.5:5432")
	start  = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
)

const ms = time.Millisecond

// isns are where the numbers of the client and the server begin.
type isns struct{ client, server uint32 }

var low = isns{1000, 5000}

// seg is a segment of a test. Its numbers are relative to where they begin.
type seg struct {
	at       time.Duration
	from     string // C or S
	flags    string // as tcpdump has them
	seq, ack uint32
	len      int
	ttl      uint8 // 0: 64 of the client, 61 of the server
	win      int   // 0: 500; -1: 0
	client   netip.AddrPort
	stamp    uint32 // its timestamp; 0: it has none
}

func (s seg) packet(t testing.TB, frame int, from isns) explain.Packet {
	t.Helper()
	flags, err := packet.ParseFlags(s.flags)
	if err != nil {
		t.Fatal(err)
	}
	client := cmp.Or(s.client, client)
	f := packet.Fields{Src: client, Dst: server, TTL: 64, Flags: flags, Seq: packet.Seq(from.client + s.seq), Ack: packet.Seq(from.server + s.ack), Window: 500, ID: uint16(frame), DF: true}
	if s.from == "S" {
		f.Src, f.Dst, f.TTL, f.Seq, f.Ack = server, client, 61, packet.Seq(from.server+s.seq), packet.Seq(from.client+s.ack)
	}
	if s.ttl != 0 {
		f.TTL = s.ttl
	}
	if s.win != 0 {
		f.Window = uint16(max(s.win, 0))
	}
	if !flags.Has(packet.ACK) {
		f.Ack = 0
	}
	if s.stamp != 0 {
		f.SetTimestamps(s.stamp, 0)
	}
	if s.flags == "R" {
		f.Window = 0
	}
	if s.flags == "R." && s.seq == 0 { // a refusal
		f.Seq, f.Window = 0, 0
	}
	p, err := packet.Parse(f.Append(nil, make([]byte, s.len)))
	if err != nil {
		t.Fatal(err)
	}
	return explain.Packet{At: start.Add(s.at), Frame: frame, Segment: p}
}

// judge explains a conversation that is seen up to a second after its last segment.
func judge(t testing.TB, segs ...seg) []explain.Finding {
	t.Helper()
	return judgeFrom(t, low, segs...)
}

func judgeFrom(t testing.TB, from isns, segs ...seg) []explain.Finding {
	t.Helper()
	var found []explain.Finding
	table := explain.New(func(f explain.Finding) { found = append(found, f) })
	for i, s := range segs {
		table.Add(s.packet(t, i+1, from))
	}
	table.End(start.Add(segs[len(segs)-1].at + time.Second))
	return found
}

// opened is a handshake over a round trip of 10 ms, and a request with its answer.
var opened = []seg{
	{at: 0, from: "C", flags: "S"},
	{at: 10 * ms, from: "S", flags: "S.", ack: 1},
	{at: 10 * ms, from: "C", flags: ".", seq: 1, ack: 1},
	{at: 11 * ms, from: "C", flags: "P.", seq: 1, ack: 1, len: 100},
	{at: 22 * ms, from: "S", flags: "P.", seq: 1, ack: 101, len: 200},
	{at: 22 * ms, from: "C", flags: ".", seq: 101, ack: 201},
}

func then(segs ...seg) []seg { return slices.Concat(opened, segs) }

// exchanges are that many further requests with their answers, one a second.
func exchanges(n int) (out []seg) {
	for i := range n {
		at, seq, ack := time.Duration(i+1)*time.Second, uint32(101+100*i), uint32(201+200*i)
		out = append(out, seg{at: at, from: "C", flags: "P.", seq: seq, ack: ack, len: 100},
			seg{at: at + 10*ms, from: "S", flags: "P.", seq: ack, ack: seq + 100, len: 200},
			seg{at: at + 10*ms, from: "C", flags: ".", seq: seq + 100, ack: ack + 200})
	}
	return out
}

// again is a segment that is sent again after 200, 400 and 800 ms.
func again(s seg) []seg {
	out := []seg{s}
	for _, d := range []time.Duration{200, 600, 1400} {
		r := s
		r.at += d * ms
		out = append(out, r)
	}
	return out
}

// TestJudge holds what is said of conversations of known causes.
func TestJudge(t *testing.T) {
	hour := time.Hour
	for name, c := range map[string]struct {
		segs   []seg
		want   string // the certainty and the names, or nothing
		repeat string
	}{
		"in use":          {opened, "", ""},
		"closed in order": {then(seg{at: hour, from: "C", flags: "F.", seq: 101, ack: 201}, seg{at: hour + 10*ms, from: "S", flags: "F.", seq: 201, ack: 102}, seg{at: hour + 10*ms, from: "C", flags: ".", seq: 102, ack: 202}), "", ""},
		"idle, a device answers": {then(
			seg{at: 350 * time.Second, from: "C", flags: "P.", seq: 101, ack: 201, len: 50},
			seg{at: 350*time.Second + ms, from: "S", flags: "R", seq: 201, ttl: 254}),
			"sure idle-expire", "idle-expire:after=5m49s"},
		"idle, the host answers": {then(
			seg{at: 350 * time.Second, from: "C", flags: "P.", seq: 101, ack: 201, len: 50},
			seg{at: 350*time.Second + 10*ms, from: "S", flags: "R", seq: 201}),
			"likely half-open", "half-open:peer=rebooted"},
		"reset to both at the timeout": {then(
			seg{at: 240 * time.Second, from: "S", flags: "R", seq: 201, ttl: 254}),
			"sure idle-expire", ""},
		"peer rebooted": {then(
			seg{at: 100 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 50},
			seg{at: 110 * ms, from: "S", flags: "R", seq: 201}),
			"likely half-open", "half-open:peer=rebooted"},
		"a firewall resets": {then(
			seg{at: 100 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 50},
			seg{at: 102 * ms, from: "S", flags: "R", seq: 201, ttl: 253}),
			"sure reset", "reset:at=request,hit=client,shape=b"},
		"a firewall resets in mid-answer": {then(
			seg{at: 100 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 50},
			seg{at: 111 * ms, from: "S", flags: "P.", seq: 201, ack: 151, len: 500},
			seg{at: 111 * ms, from: "S", flags: "R", seq: 701, ttl: 253}),
			"sure reset", "reset:at=response,hit=client,shape=b"},
		"in mid-answer, long after the beginning": {then(append(exchanges(20),
			seg{at: 21 * time.Second, from: "C", flags: "P.", seq: 2101, ack: 4201, len: 50},
			seg{at: 21*time.Second + 11*ms, from: "S", flags: "P.", seq: 4201, ack: 2151, len: 500},
			seg{at: 21*time.Second + 11*ms, from: "S", flags: "R", seq: 4701, ttl: 253})...),
			"sure reset", "reset:at=response,hit=client,shape=b"},
		"the capture begins in mid-answer": {[]seg{
			{at: 0, from: "C", flags: ".", seq: 101, ack: 201},
			{at: ms, from: "S", flags: "P.", seq: 701, ack: 101, len: 500},
			{at: ms, from: "S", flags: "R", seq: 1201}},
			"likely reset", ""},
		"closed before": {then(
			seg{at: 100 * ms, from: "S", flags: "F.", seq: 201, ack: 101},
			seg{at: 100 * ms, from: "C", flags: ".", seq: 101, ack: 202},
			seg{at: 200 * ms, from: "C", flags: "P.", seq: 101, ack: 202, len: 50},
			seg{at: 210 * ms, from: "S", flags: "R", seq: 202}),
			"sure closed-socket", "closed-socket"},
		"a socket aborts": {then(
			seg{at: 100 * ms, from: "S", flags: "R.", seq: 201, ack: 101}),
			"cannot tell rst-close reset linger-reset unread-close", ""},
		"a socket aborts, an answer is due": {then(
			seg{at: 100 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 50},
			seg{at: 110 * ms, from: "S", flags: "R.", seq: 201, ack: 151}),
			"cannot tell reset linger-reset unread-close", ""},
		"a socket aborts, the client has shut its sending side down": {then(
			seg{at: 100 * ms, from: "C", flags: "FP.", seq: 101, ack: 201, len: 50},
			seg{at: 110 * ms, from: "S", flags: "R.", seq: 201, ack: 152}),
			"cannot tell reset linger-reset unread-close half-close-intolerant", ""},
		"the accept queue had room soon": {[]seg{
			{at: 0, from: "C", flags: "S"},
			{at: 10 * ms, from: "S", flags: "S.", ack: 1},
			{at: 10 * ms, from: "C", flags: ".", seq: 1, ack: 1},
			{at: 11 * ms, from: "C", flags: "P.", seq: 1, ack: 1, len: 100},
			{at: 211 * ms, from: "C", flags: "P.", seq: 1, ack: 1, len: 100},
			{at: 221 * ms, from: "S", flags: ".", seq: 1, ack: 101},
			{at: 222 * ms, from: "S", flags: "P.", seq: 1, ack: 101, len: 200},
			{at: 222 * ms, from: "C", flags: ".", seq: 101, ack: 201}},
			"cannot tell accept-overflow loss", ""},
		"a socket aborts that has shut its sending side down": {then(
			seg{at: 100 * ms, from: "S", flags: "F.", seq: 201, ack: 101},
			seg{at: 100 * ms, from: "C", flags: ".", seq: 101, ack: 202},
			seg{at: 200 * ms, from: "C", flags: "P.", seq: 101, ack: 202, len: 50},
			seg{at: 210 * ms, from: "S", flags: "R.", seq: 202, ack: 151}),
			"cannot tell reset linger-reset unread-close", ""},
		"probes in vain": {then(
			seg{at: 60 * time.Second, from: "C", flags: ".", seq: 100, ack: 201},
			seg{at: 70 * time.Second, from: "C", flags: ".", seq: 100, ack: 201},
			seg{at: 80 * time.Second, from: "C", flags: "R.", seq: 101, ack: 201}),
			"sure keepalive-drop", ""},
		"nothing listens": {[]seg{
			{at: 0, from: "C", flags: "S"},
			{at: 10 * ms, from: "S", flags: "R.", ack: 1}},
			"sure refuse", ""},
		"SYN in vain": {again(seg{from: "C", flags: "S"}), "likely syn-drop", ""},
		"the accept queue is full": {append([]seg{
			{at: 0, from: "C", flags: "S"},
			{at: 10 * ms, from: "S", flags: "S.", ack: 1},
			{at: 10 * ms, from: "C", flags: ".", seq: 1, ack: 1},
			{at: 11 * ms, from: "C", flags: "P.", seq: 1, ack: 1, len: 100},
			{at: 211 * ms, from: "C", flags: "P.", seq: 1, ack: 1, len: 100},
			{at: 611 * ms, from: "C", flags: "P.", seq: 1, ack: 1, len: 100}},
			seg{at: 1010 * ms, from: "S", flags: "S.", ack: 1}, seg{at: 1010 * ms, from: "C", flags: ".", seq: 101, ack: 1}),
			"likely accept-overflow", ""},
		"large packets vanish": {then(again(seg{at: 100 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 1400})...),
			"sure mtu-hole", "mtu-hole:above=140"},
		"the second SYN is answered": {[]seg{
			{at: 0, from: "C", flags: "S"},
			{at: 1000 * ms, from: "C", flags: "S"},
			{at: 1010 * ms, from: "S", flags: "S.", ack: 1},
			{at: 1010 * ms, from: "C", flags: ".", seq: 1, ack: 1}},
			"cannot tell syn-drop loss", ""},
		"the accept queue had no room for a while": {[]seg{
			{at: 0, from: "C", flags: "S"},
			{at: 10 * ms, from: "S", flags: "S.", ack: 1},
			{at: 10 * ms, from: "C", flags: ".", seq: 1, ack: 1},
			{at: 11 * ms, from: "C", flags: "P.", seq: 1, ack: 1, len: 100},
			{at: 211 * ms, from: "C", flags: "P.", seq: 1, ack: 1, len: 100},
			{at: 1010 * ms, from: "S", flags: "S.", ack: 1},
			{at: 1010 * ms, from: "C", flags: ".", seq: 101, ack: 1},
			{at: 1100 * ms, from: "C", flags: "P.", seq: 1, ack: 1, len: 100},
			{at: 1110 * ms, from: "S", flags: ".", seq: 1, ack: 101},
			{at: 1111 * ms, from: "S", flags: "P.", seq: 1, ack: 101, len: 200},
			{at: 1111 * ms, from: "C", flags: ".", seq: 101, ack: 201}},
			"likely accept-overflow", ""},
		"a RST for what the capture does not show": {then(
			seg{at: 100 * ms, from: "C", flags: ".", seq: 101, ack: 701},
			seg{at: 110 * ms, from: "S", flags: "R", seq: 701}),
			"likely reset", ""},
		"an old segment of another connection": {then(
			seg{at: 100 * ms, from: "S", flags: "S.", seq: 1 << 20, ack: 1},
			seg{at: 101 * ms, from: "C", flags: ".", seq: 101, ack: 201}),
			"sure bad-seq", ""},
		"nothing arrives any more": {then(again(seg{at: 100 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 50})...),
			"cannot tell half-open partition", ""},
		"the window is shut": {then(
			seg{at: 100 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 50},
			seg{at: 110 * ms, from: "S", flags: ".", seq: 201, ack: 151, win: -1}),
			"sure stall", "stall"},
		"no answer": {then(
			seg{at: 100 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 50},
			seg{at: 110 * ms, from: "S", flags: ".", seq: 201, ack: 151}),
			"cannot tell stall", ""},
		"a RST that nobody accepts": {then(
			seg{at: 100 * ms, from: "S", flags: "R", seq: 250},
			seg{at: 100 * ms, from: "C", flags: ".", seq: 101, ack: 201},
			seg{at: 200 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 50},
			seg{at: 210 * ms, from: "S", flags: "P.", seq: 201, ack: 151, len: 50}),
			"sure bad-seq", ""},
		"the SYN-ACK comes too late": {[]seg{
			{at: 0, from: "C", flags: "S"},
			{at: 5 * time.Second, from: "S", flags: "S.", ack: 1},
			{at: 5 * time.Second, from: "C", flags: "R", seq: 1}},
			"sure connect-stall", ""},
		"only the end was seen": {[]seg{
			{at: 0, from: "C", flags: "P.", seq: 101, ack: 201, len: 50},
			{at: 10 * ms, from: "S", flags: "R", seq: 201}},
			"cannot tell half-open idle-expire reset closed-socket", ""},
		"one direction, the RST": {[]seg{{at: 0, from: "S", flags: "R", seq: 201}}, "cannot tell half-open reset accept-overflow connect-stall idle-expire closed-socket", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, from := range []isns{low, {1<<32 - 50, 1<<32 - 100}, {1<<32 - 1, 1<<32 - 1}} { // the numbers wrap at once, or later
				got, repeat := "", ""
				found := judgeFrom(t, from, c.segs...)
				if len(found) > 0 {
					v := found[0].Verdict
					got, repeat = strings.Join(append([]string{v.Certainty.String(), v.Cause}, v.Twins...), " "), v.Repeat.String()
				}
				if got != c.want || c.repeat != "" && repeat != c.repeat {
					t.Errorf("from %v: %q, %s; want %q, %s\n%+v", from, got, repeat, c.want, c.repeat, found)
				}
			}
		})
	}
}

// of are these segments on the connection of another client, and later.
func of(client netip.AddrPort, later time.Duration, segs ...seg) []seg {
	out := slices.Clone(segs)
	for i := range out {
		out[i].client, out[i].at = client, out[i].at+later
	}
	return out
}

// TestOthers holds what other connections tell: that the server answers them, the TTL of
// its segments, and that a SYN's timestamp is older than that of one before.
func TestOthers(t *testing.T) {
	other := netip.MustParseAddrPort("10.0.0.9:40001")
	silent := then(again(seg{at: 100 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 50})...)
	refused := []seg{{at: time.Second, from: "C", flags: "S"}, {at: 1002 * ms, from: "S", flags: "R.", ack: 1, ttl: 254}}
	for name, c := range map[string]struct {
		segs []seg
		yes  clue.Clue
		no   clue.Clue
		n    int // how many connections come to an end
	}{
		"others are answered meanwhile": {append(silent, of(other, 2*time.Second, opened...)...), clue.OthersLive, clue.Reset, 1},
		"others were answered before":   {append(of(other, 0, opened...), of(client, time.Second, silent...)...), clue.Silence, clue.OthersLive, 1},
		"its TTL is known of another":   {append(of(other, 0, opened...), refused...), clue.DeviceTTL, clue.HostTTL, 1},
		"an old timestamp":              {append([]seg{{from: "C", flags: "S", stamp: 5000, client: other}}, again(seg{at: ms, from: "C", flags: "S", stamp: 4000})...), clue.OldTimestamp, clue.Reset, 1},
		"the ports are used again":      {append(slices.Concat(refused, of(client, 5*time.Second, refused...)), of(client, 10*time.Second, opened...)...), clue.RefusalRST, clue.Silence, 2},
	} {
		found := judge(t, c.segs...)
		if len(found) != c.n || !found[len(found)-1].Facts.Yes.Has(c.yes) || !found[len(found)-1].Facts.No.Has(c.no) {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// TestProvoker holds what is said of the segment that a RST answers. A FIN with data
// is both.
func TestProvoker(t *testing.T) {
	rst := seg{at: 110 * ms, from: "S", flags: "R", seq: 201}
	for want, s := range map[string][]seg{
		"a SYN-ACK":       {{from: "C", flags: "S"}, {at: 10 * ms, from: "S", flags: "S.", ack: 1}, {at: 20 * ms, from: "C", flags: "R", seq: 1}},
		"a SYN":           {{from: "C", flags: "S"}, {at: 10 * ms, from: "S", flags: "R.", ack: 1}},
		"an ACK":          {{from: "C", flags: "S"}, {at: 10 * ms, from: "S", flags: "S.", ack: 1}, {at: 10 * ms, from: "C", flags: ".", seq: 1, ack: 1}, {at: 20 * ms, from: "S", flags: "R", seq: 1}},
		"data":            then(seg{at: 100 * ms, from: "C", flags: "P.", seq: 101, ack: 201, len: 50}, rst),
		"a keepalive":     then(seg{at: 100 * ms, from: "C", flags: ".", seq: 100, ack: 201}, rst),
		"a FIN":           then(seg{at: 100 * ms, from: "C", flags: "F.", seq: 101, ack: 201}, rst),
		"a FIN with data": then(seg{at: 100 * ms, from: "C", flags: "FP.", seq: 101, ack: 201, len: 50}, rst),
	} {
		for range 20 { // what depends on the order of a map would differ
			found := judge(t, s...)
			if len(found) != 1 || !slices.ContainsFunc(found[0].Evidence(), func(e string) bool { return strings.HasSuffix(e, "before: "+want) }) {
				t.Fatalf("%s: %+v", want, found)
			}
		}
	}
}

// TestPredictions holds that each fault that ends connections says what it shows,
// and that what it says can be used.
func TestPredictions(t *testing.T) {
	for _, k := range faults.Catalog {
		if k.Group == "reset" && k.Shows == nil {
			t.Errorf("%s does not say what a capture shows of it", k.Name)
		}
		for i, p := range k.Shows {
			if p.Must == 0 || p.Settles == "" || p.Must&p.Cannot != 0 || p.Likely&p.Cannot != 0 {
				t.Errorf("%s, prediction %d: %+v", k.Name, i, p)
			}
			text := strings.NewReplacer("{idle}", "1s", "{above}", "1200").Replace(p.Repeat)
			if text != "" {
				text = ":" + text
			}
			specs, err := faults.ParseSpecs(k.Name + text)
			if err != nil {
				t.Errorf("%s, prediction %d: %v", k.Name, i, err)
				continue
			}
			if _, err := specs[0].Model(); err != nil && !strings.Contains(p.Repeat, "{") && p.Repeat != "" {
				t.Errorf("%s, prediction %d: %v", k.Name, i, err)
			}
		}
	}
	if clue.Count > 64 {
		t.Errorf("%d clues do not fit into a Set", clue.Count)
	}
}
