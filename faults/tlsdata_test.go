package faults_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/faultctl/faultctl/faults"
	"github.com/faultctl/faultctl/faults/packet"
)

// chunk is what one end of a TLS connection wrote at once.
type chunk struct {
	dir     faults.Direction
	payload []byte
	request int // of the client: which request this is, from 1 on; 0: the handshake
}

// tap notes what an end writes.
type tap struct {
	net.Conn
	dir faults.Direction
	to  *conversationTLS
}

type conversationTLS struct {
	mu      sync.Mutex
	chunks  []chunk
	request int
}

func (t tap) Write(b []byte) (int, error) {
	t.to.mu.Lock()
	c := chunk{t.dir, slices.Clone(b), 0}
	if t.dir == faults.Original {
		c.request = t.to.request
	}
	t.to.chunks = append(t.to.chunks, c)
	t.to.mu.Unlock()
	return t.Conn.Write(b)
}

// talkTLS has two requests answered inside TLS.
func talkTLS(t *testing.T, client, server *tls.Config) []chunk {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	talk := new(conversationTLS)
	var served sync.WaitGroup
	served.Go(func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		s := tls.Server(tap{c, faults.Reply, talk}, server)
		defer s.Close()
		for buf := make([]byte, 4); ; {
			if _, err := io.ReadFull(s, buf); err != nil {
				return
			}
			s.Write([]byte("pong"))
		}
	})
	defer served.Wait()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := tls.Client(tap{c, faults.Original, talk}, client)
	defer s.Close()
	s.SetDeadline(time.Now().Add(10 * time.Second))
	if err := s.Handshake(); err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		talk.mu.Lock()
		talk.request = n + 1
		talk.mu.Unlock()
		if _, err := s.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
	}
	talk.mu.Lock()
	defer talk.mu.Unlock()
	return slices.Clone(talk.chunks)
}

// TestTLSData holds that at=tls-data strikes the first request inside TLS, as a
// genuine implementation speaks it, however its stream is cut into segments.
func TestTLSData(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"x"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	for _, c := range []struct {
		name    string
		version uint16
		asks    bool        // the server asks for a certificate
		curve   tls.CurveID // what the server insists on
		suite   []uint16    // of TLS 1.2
		size    int         // of segments
	}{
		{"1.2", tls.VersionTLS12, false, 0, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, 1448},
		{"1.2, CBC", tls.VersionTLS12, false, 0, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}, 1448},
		{"1.2, ChaCha", tls.VersionTLS12, false, 0, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305}, 1448},
		{"1.2, with a client certificate", tls.VersionTLS12, true, 0, nil, 1448},
		{"1.3", tls.VersionTLS13, false, 0, nil, 1448},
		{"1.3, with a client certificate", tls.VersionTLS13, true, 0, nil, 1448},
		{"1.3, with HelloRetryRequest", tls.VersionTLS13, false, tls.CurveP384, nil, 1448},
		{"1.3, in small segments", tls.VersionTLS13, true, 0, nil, 7},
		{"1.2, in small segments", tls.VersionTLS12, true, 0, nil, 7},
	} {
		server := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: c.version, MaxVersion: c.version}
		client := &tls.Config{InsecureSkipVerify: true, ServerName: "x", MinVersion: c.version, MaxVersion: c.version, CipherSuites: c.suite}
		if c.asks {
			server.ClientAuth, client.Certificates = tls.RequireAnyClientCert, []tls.Certificate{pair}
		}
		if c.curve != 0 {
			server.CurvePreferences = []tls.CurveID{c.curve}
		}
		if got := struckRequest(t, talkTLS(t, client, server), c.size); got != 1 {
			t.Errorf("%s: it strikes request %d", c.name, got)
		}
	}
}

// struckRequest is the request at which reset:at=tls-data strikes; 0 is the
// handshake, -1 none. Each chunk is sent in segments of at most that size.
func struckRequest(t *testing.T, chunks []chunk, size int) int {
	t.Helper()
	ends := [2]netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:443")}
	chain := faults.NewChain([]faults.Instance{model(t, "reset:at=tls-data").Start()})
	flow := faults.Flow{Client: ends[0], Server: ends[1]}
	ev := faults.Event{Flow: &flow, Rand: mathrand.New(mathrand.NewPCG(1, 1))}
	var out faults.Effects
	next := [2]packet.Seq{1, 1}
	for _, c := range chunks {
		for part := range slices.Chunk(c.payload, size) {
			f := packet.Fields{Src: ends[c.dir], Dst: ends[c.dir.Flip()], TTL: 64, DF: true, Flags: packet.ACK, Seq: next[c.dir], Ack: next[c.dir.Flip()], Window: 500}
			seg, err := packet.Parse(f.Append(nil, part))
			if err != nil {
				t.Fatal(err)
			}
			next[c.dir] = seg.End()
			out.Reset()
			ev.Seg, ev.Dir = seg, c.dir
			ev.Fresh = flow.Observe(ev.At, ev.Dir, seg)
			if chain.OnSegment(&ev, &out); len(out.Notes) > 0 {
				if !strings.Contains(out.Notes[0].Reason, "reset") || c.dir != faults.Original {
					t.Errorf("%+v to %v", out.Notes, c.dir)
				}
				return c.request
			}
		}
	}
	return -1
}
