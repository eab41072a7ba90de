// Package capture reads the TCP packets of capture files: pcap and pcapng of any
// byte order and resolution, compressed with gzip or not, with any of the link
// types that tcpdump and Wireshark meet on Linux. It reads streams, and keeps
// nothing.
package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/faultctl/faultctl/explain"
	"github.com/faultctl/faultctl/internal/ownpcap"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// ErrNotCapture says that a file is neither pcap nor pcapng.
var ErrNotCapture = errors.New("this is no capture: it is neither pcap nor pcapng")

// BrokenError says that a capture cannot be read beyond a point. What comes
// before it was read.
type BrokenError struct {
	Frame int // the last frame that was whole
	Err   error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("the capture is broken after frame %d: %v", e.Frame, e.Err)
}

func (e *BrokenError) Unwrap() error { return e.Err }

// Skipped counts the frames that are no whole TCP packets.
type Skipped struct {
	NotTCP    int
	Fragments int // of IP packets: they are not put together
	Short     int // cut before the TCP flags
	Link      int // of a link type that is not known
}

// Reader reads one capture. It is used by one goroutine.
type Reader struct {
	Parser
	src   source
	ng    *pcapgo.NgReader // src, if it is pcapng
	frame int
}

// source is what both formats have in common.
type source interface {
	ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	LinkType() layers.LinkType
}

// New reads the beginning of a capture. The error is ErrNotCapture, or that of r.
func New(r io.Reader) (*Reader, error) {
	src, err := begin(r)
	if err != nil {
		return nil, err
	}
	ng, _ := src.(*pcapgo.NgReader)
	return &Reader{src: src, ng: ng}, nil
}

// begin reads the header of a capture.
func begin(r io.Reader) (source, error) {
	buffered := bufio.NewReaderSize(r, 1<<16)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(magic) < 4 {
		return nil, ErrNotCapture
	}
	var src source
	if [4]byte(magic) == [4]byte{0x0a, 0x0d, 0x0d, 0x0a} {
		src, err = guarded(func() (source, error) {
			return pcapgo.NewNgReader(buffered, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		})
	} else {
		src, err = guarded(func() (source, error) { return pcapgo.NewReader(buffered) })
		if err != nil && magic[0] == 0x1f && magic[1] == 0x8b {
			return nil, fmt.Errorf("it is compressed, and what is inside is no pcap: unpack a pcapng file first (gunzip): %w", ErrNotCapture)
		}
	}
	if err != nil {
		return nil, ErrNotCapture
	}
	return src, nil
}

// guarded turns a panic of the reader, which a broken file can cause, into an
// error.
func guarded[T any](read func() (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the file is malformed: %v", r)
		}
	}()
	return read()
}

// Next returns the next TCP packet, or ICMP error about one. It is valid until the
// next call. The error is io.EOF at the end, else a [*BrokenError].
func (r *Reader) Next() (explain.Packet, error) {
	for {
		var ci gopacket.CaptureInfo
		data, err := guarded(func() (data []byte, err error) {
			data, ci, err = r.src.ZeroCopyReadPacketData()
			return data, err
		})
		if err == io.EOF {
			return explain.Packet{}, io.EOF
		}
		if err != nil {
			return explain.Packet{}, &BrokenError{r.frame, err}
		}
		r.frame++
		link := r.src.LinkType()
		if len(ci.AncillaryData) > 0 {
			if l, ok := ci.AncillaryData[0].(layers.LinkType); ok {
				link = l
			}
		}
		ip, iface, ok := strip(link, data)
		if !ok {
			r.Skipped.Link++
			continue
		}
		p, ok := r.Parse(ip)
		if !ok {
			continue
		}
		p.At, p.Frame, p.Fate = ci.Timestamp, r.frame, r.fate(ci.InterfaceIndex)
		if p.Iface = iface; iface == 0 {
			p.Iface = ci.InterfaceIndex
		}
		return p, nil
	}
}

// fate is what became of a packet in a capture that faultctl wrote.
func (r *Reader) fate(iface int) explain.Fate {
	if r.ng == nil || !strings.HasPrefix(r.ng.SectionInfo().Application, ownpcap.Application) {
		return explain.Seen
	}
	switch i, err := r.ng.Interface(iface); {
	case err == nil && i.Name == ownpcap.Put:
		return explain.Put
	case err == nil && i.Name == ownpcap.Withheld:
		return explain.Withheld
	}
	return explain.Seen
}
