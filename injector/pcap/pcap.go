// Package pcap writes what a run did to packets into a pcapng file that
// Wireshark opens: each packet of a chosen connection as it came, and what was
// sent in its place or in addition, with a comment on each packet that a fault
// changed.
package pcap

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/faultctl/faultctl/injector"
	"github.com/faultctl/faultctl/internal/ownpcap"
	"github.com/faultctl/faultctl/internal/safefile"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// flushEvery limits how much of a capture is lost if the process is killed.
const flushEvery = 250 * time.Millisecond

// The interfaces of a file.
const (
	judged   = iota // packets that went on as they came
	put             // packets that were sent
	withheld        // packets as they came that did not go on so
)

// File is a capture that is being written. Its methods may be called from
// several goroutines.
type File struct {
	path string
	end  chan struct{}
	wait sync.WaitGroup

	mu    sync.Mutex
	file  *os.File
	w     *pcapgo.NgWriter
	ahead queue // packets that have yet to leave
	order int
	err   error // the first that happened; nothing is written after it
}

// Create makes the file, or empties the one that is there, and writes its
// header. version is that of the program, for the header.
func Create(path, version string) (*File, error) {
	file, err := safefile.Create(path)
	if err != nil {
		return nil, err
	}
	face := func(name, text string) pcapgo.NgInterface {
		return pcapgo.NgInterface{Name: name, Description: text, LinkType: layers.LinkTypeLinuxSLL, TimestampResolution: 9}
	}
	w, err := pcapgo.NewNgWriterInterface(&blocks{w: file},
		face(ownpcap.Judged, "packets of chosen connections that went on as they came"),
		pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: ownpcap.Application + version, OS: "linux"}})
	if err == nil {
		_, err = w.AddInterface(face(ownpcap.Put, "what was put on its way instead or besides: forged, rewritten and delayed packets"))
	}
	if err == nil {
		_, err = w.AddInterface(face(ownpcap.Withheld, "packets of chosen connections that did not go on as they came"))
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	f := &File{path: path, file: file, w: w, end: make(chan struct{})}
	f.wait.Go(f.flush)
	return f, nil
}

// Write adds a packet. A packet that leaves later is written when it leaves.
// The signature is that of injector.Config.OnPacket.
func (f *File) Write(p injector.Packet) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := &record{at: p.Time, length: p.Length, face: judged, comment: p.Comment(), hook: p.Hook}
	switch {
	case !p.Fate.Came():
		e.face = put
	case p.Fate != injector.Passed:
		e.face = withheld
	}
	f.due(time.Now())
	if p.Delay > 0 && e.face == put {
		e.data = append([]byte(nil), p.Bytes...)
		f.order++
		e.order = f.order
		heap.Push(&f.ahead, e)
		return
	}
	e.data = p.Bytes
	f.record(e)
}

// cooked is the header of a packet of link type SLL. libpcap up to 1.10 refuses a
// second interface of raw IP (LINKTYPE_RAW), because its own number for that type is
// another one; SLL has one number, and says which way a packet went.
func cooked(b []byte, direction pcapgo.NgEpbFlag) []byte {
	const sllHeader, sent, noHardware, ipv4, ipv6 = 16, 4, 0xfffe, 0x0800, 0x86dd
	frame := make([]byte, sllHeader, sllHeader+len(b))
	if direction == pcapgo.NgEpbFlagDirectionOutbound {
		binary.BigEndian.PutUint16(frame, sent)
	}
	binary.BigEndian.PutUint16(frame[2:], noHardware)
	binary.BigEndian.PutUint16(frame[14:], ipv4)
	if len(b) > 0 && b[0]>>4 == 6 {
		binary.BigEndian.PutUint16(frame[14:], ipv6)
	}
	return append(frame, b...)
}

// blocks passes on whole blocks only, so that a file can be read to its end even if
// the process was killed. Each block says how long it is behind its type.
type blocks struct {
	w    io.Writer
	kept []byte
}

func (b *blocks) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p...)
	whole := 0
	for rest := b.kept; len(rest) >= 8; rest = b.kept[whole:] {
		length := int(binary.LittleEndian.Uint32(rest[4:]))
		if length < 12 || length > len(rest) {
			break
		}
		whole += length
	}
	if _, err := b.w.Write(b.kept[:whole]); err != nil {
		return 0, err
	}
	b.kept = append(b.kept[:0], b.kept[whole:]...)
	return len(p), nil
}

// due writes the packets that have left by now.
func (f *File) due(now time.Time) {
	for len(f.ahead) > 0 && !f.ahead[0].at.After(now) {
		f.record(heap.Pop(&f.ahead).(*record))
	}
}

func (f *File) record(e *record) {
	if f.err != nil {
		return
	}
	var opts pcapgo.NgPacketOptions
	if e.comment != "" {
		opts.Comments = []string{e.comment}
	}
	flags := &pcapgo.NgEpbFlags{}
	switch {
	case e.face == put || e.hook == injector.Output:
		flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
	case e.hook == injector.Input:
		flags.Direction = pcapgo.NgEpbFlagDirectionInbound
	}
	opts.Flags = flags
	frame := cooked(e.data, flags.Direction)
	header := len(frame) - len(e.data)
	f.err = f.w.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp: e.at, CaptureLength: len(frame), Length: max(e.length, len(e.data)) + header, InterfaceIndex: e.face,
	}, frame, opts)
}

// flush writes out what is buffered, so that the file can be read even if the
// process is killed.
func (f *File) flush() {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			f.mu.Lock()
			f.due(now)
			if f.err == nil {
				f.err = f.w.Flush()
			}
			f.mu.Unlock()
		case <-f.end:
			return
		}
	}
}

// Close writes what is left and closes the file. lost is how many packets
// were lost on the way here; the file records the number. It returns the
// first error.
func (f *File) Close(lost uint64) error {
	close(f.end)
	f.wait.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for len(f.ahead) > 0 { // at the end of a run every held packet leaves
		e := heap.Pop(&f.ahead).(*record)
		if e.at.After(now) {
			e.at = now
		}
		f.record(e)
	}
	if f.err == nil {
		f.err = f.w.WriteInterfaceStats(judged, pcapgo.NgInterfaceStatistics{
			LastUpdate: now, PacketsReceived: pcapgo.NgNoValue64, PacketsDropped: lost,
		})
	}
	if f.err == nil {
		f.err = f.w.Flush()
	}
	if err := f.file.Close(); f.err == nil {
		f.err = err
	}
	err := f.err
	f.err = os.ErrClosed // for packets that still come
	var p *os.PathError
	if errors.As(err, &p) {
		err = p.Err // the path is said below
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	return nil
}

// record is a packet on its way into the file.
type record struct {
	at      time.Time
	face    int
	hook    injector.Hook
	length  int
	data    []byte
	comment string
	order   int // of writing, for equal times
}

// queue is a heap of records by time.
type queue []*record

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*record)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}
