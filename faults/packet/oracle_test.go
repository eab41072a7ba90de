package packet

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// seen is what gopacket reads in a packet: an independent opinion.
type seen struct {
	ip4 *layers.IPv4
	ip6 *layers.IPv6
	tcp *layers.TCP
}

// oracle reads a packet with gopacket. It reports false if gopacket finds no
// TCP header, or complains.
func oracle(b []byte) (o seen, ok bool) {
	first := layers.LayerTypeIPv4
	if len(b) > 0 && b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	p := gopacket.NewPacket(b, first, gopacket.DecodeOptions{NoCopy: true})
	o.ip4, _ = p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	o.ip6, _ = p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	o.tcp, _ = p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	return o, o.tcp != nil && (o.ip4 != nil || o.ip6 != nil)
}

// fields are the header fields by gopacket's account.
func (o seen) fields() Fields {
	t := o.tcp
	f := Fields{Seq: Seq(t.Seq), Ack: Seq(t.Ack), Window: t.Window, Urgent: t.Urgent}
	for i, set := range []bool{t.FIN, t.SYN, t.RST, t.PSH, t.ACK, t.URG, t.ECE, t.CWR} {
		if set {
			f.Flags |= 1 << i
		}
	}
	f.OptionsLen = copy(f.Options[:], t.Contents[tcpHeader:])
	var src, dst netip.Addr
	if ip := o.ip4; ip != nil {
		f.TTL, f.TOS, f.ID, f.DF = ip.TTL, ip.TOS, ip.Id, ip.Flags&layers.IPv4DontFragment != 0
		src, dst = netip.AddrFrom4([4]byte(ip.SrcIP.To4())), netip.AddrFrom4([4]byte(ip.DstIP.To4()))
	} else {
		ip := o.ip6
		f.TTL, f.TOS, f.FlowLabel = ip.HopLimit, ip.TrafficClass, ip.FlowLabel
		src, dst = netip.AddrFrom16([16]byte(ip.SrcIP)), netip.AddrFrom16([16]byte(ip.DstIP))
	}
	f.Src = netip.AddrPortFrom(src, uint16(t.SrcPort))
	f.Dst = netip.AddrPortFrom(dst, uint16(t.DstPort))
	return f
}

// checksumsOK verifies the checksums.
func (o seen) checksumsOK(t testing.TB) bool {
	t.Helper()
	if o.ip4 != nil {
		if err, r := o.ip4.VerifyChecksum(); err != nil || !r.Valid {
			return false
		}
		o.tcp.SetNetworkLayerForChecksum(o.ip4)
	} else {
		o.tcp.SetNetworkLayerForChecksum(o.ip6)
	}
	err, r := o.tcp.VerifyChecksum()
	return err == nil && r.Valid
}

// agree checks that a segment is what gopacket takes it for.
func agree(t *testing.T, s Segment, o seen) {
	t.Helper()
	if got, want := FieldsOf(s), o.fields(); got != want {
		t.Errorf("% x\nread  %+v\noracle %+v", s.Bytes(), got, want)
	}
	if string(s.Payload()) != string(o.tcp.Payload) {
		t.Errorf("% x\npayload % x\noracle  % x", s.Bytes(), s.Payload(), o.tcp.Payload)
	}
	if got, want := s.Checksum(), o.tcp.Checksum; got != want {
		t.Errorf("checksum %#x, oracle %#x", got, want)
	}
}

// TestUnreachable holds that ICMP's messages are read by an independent parser,
// checksums and all, and quote what they are about.
func TestUnreachable(t *testing.T) {
	long := string(make([]byte, 2000))
	for _, payload := range []string{"", "hello", long} {
		s := build(t, fields(false), payload)
		b := AppendUnreachable(nil, netip.MustParseAddr("192.0.2.1"), 1, 7, s)
		p := gopacket.NewPacket(b, layers.LayerTypeIPv4, gopacket.Default)
		ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if ip == nil || icmp == nil || p.ErrorLayer() != nil {
			t.Fatalf("not read: %v", p)
		}
		if ip.TOS != 0xc0|0x48&0x1e || ip.TTL != 64 || ip.Id != 7 || ip.Flags != 0 || ip.SrcIP.String() != "192.0.2.1" || ip.DstIP.String() != "10.0.0.1" {
			t.Errorf("IP header %+v", ip)
		}
		if icmp.TypeCode != layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeHost) {
			t.Errorf("type and code %v", icmp.TypeCode)
		}
		if fold(sum(b[:ipv4Header], 0)) != 0 || fold(sum(b[ipv4Header:], 0)) != 0 {
			t.Error("a checksum is wrong")
		}
		if want := s.Bytes()[:min(len(s.Bytes()), 576-28)]; string(icmp.Payload) != string(want) {
			t.Errorf("quotes %d bytes, want %d", len(icmp.Payload), len(want))
		}

		s = build(t, fields(true), payload)
		b = AppendUnreachable(nil, netip.MustParseAddr("2001:db8::1"), 3, 7, s)
		p = gopacket.NewPacket(b, layers.LayerTypeIPv6, gopacket.Default)
		ip6, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		icmp6, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
		if ip6 == nil || icmp6 == nil {
			t.Fatalf("not read: %v", p)
		}
		if ip6.TrafficClass != 0 || ip6.FlowLabel == 0 || ip6.HopLimit != 64 || ip6.SrcIP.String() != "2001:db8::1" || ip6.DstIP.String() != "fd00::1" {
			t.Errorf("IPv6 header %+v", ip6)
		}
		if icmp6.TypeCode != layers.CreateICMPv6TypeCode(layers.ICMPv6TypeDestinationUnreachable, 3) {
			t.Errorf("type and code %v", icmp6.TypeCode)
		}
		icmp6.SetNetworkLayerForChecksum(ip6)
		if err, r := icmp6.VerifyChecksum(); err != nil || !r.Valid {
			t.Errorf("checksum: %v, %+v", err, r)
		}
		if want := s.Bytes()[:min(len(s.Bytes()), 1280-48)]; string(b[48:]) != string(want) {
			t.Errorf("quotes %d bytes, want %d", len(b)-48, len(want))
		}
	}
}
