package capture

import (
	"errors"
	"fmt"
	"io"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Annotate writes the packets of a capture again, as pcapng, with these comments
// on the frames of these numbers, which count from 1. Interfaces, times, and the
// comments that packets have already are kept; of other blocks of a pcapng file,
// such as keys and names, nothing is. The error is that of [New], a [*BrokenError]
// if the capture cannot be read to its end, what comes before being written, or
// that of w.
func Annotate(r io.Reader, w io.Writer, comments map[int][]string) error {
	src, err := begin(r)
	if err != nil {
		return err
	}
	c := copier{src: src, to: w, ids: map[face]int{}}
	c.ng, _ = src.(*pcapgo.NgReader)
	frame := 0
	for {
		data, ci, opts, err := c.next()
		if errors.Is(err, io.EOF) {
			return c.close()
		}
		if err != nil {
			return errors.Join(&BrokenError{frame, err}, c.close())
		}
		frame++
		opts.Comments = append(opts.Comments, comments[frame]...)
		if err := c.write(data, ci, opts); err != nil {
			return err
		}
	}
}

// copier copies a capture.
type copier struct {
	src source
	ng  *pcapgo.NgReader // src, if it is pcapng
	to  io.Writer
	w   *pcapgo.NgWriter // nil before the first packet
	ids map[face]int
}

// face is an interface of the capture that is read. A file may have several
// sections, each of which counts its interfaces anew.
type face struct {
	index      int
	name, text string
	link       layers.LinkType
}

func (c *copier) next() (data []byte, ci gopacket.CaptureInfo, opts pcapgo.NgPacketOptions, err error) {
	data, err = guarded(func() (data []byte, err error) {
		if c.ng != nil {
			data, ci, opts, err = c.ng.ZeroCopyReadPacketDataWithOptions()
		} else {
			data, ci, err = c.src.ZeroCopyReadPacketData()
		}
		return data, err
	})
	return data, ci, opts, err
}

// header writes the header of the file, with its first interface, if it is not
// there yet.
func (c *copier) header(first pcapgo.NgInterface) (fresh bool, err error) {
	if c.w != nil {
		return false, nil
	}
	options := pcapgo.DefaultNgWriterOptions
	if c.ng != nil {
		options.SectionInfo = c.ng.SectionInfo() // it tells a capture of faultctl's own
	}
	c.w, err = pcapgo.NewNgWriterInterface(c.to, first, options)
	return true, err
}

// iface returns the number of the packet's interface in the file that is written.
func (c *copier) iface(ci gopacket.CaptureInfo) (int, error) {
	about := pcapgo.NgInterface{LinkType: c.src.LinkType()}
	if c.ng != nil {
		var err error
		if about, err = c.ng.Interface(ci.InterfaceIndex); err != nil {
			return 0, err
		}
	}
	about.TimestampOffset = 0 // it is part of the packets' times
	key := face{ci.InterfaceIndex, about.Name, about.Description, about.LinkType}
	if id, ok := c.ids[key]; ok {
		return id, nil
	}
	fresh, err := c.header(about)
	if err != nil {
		return 0, err
	}
	id := 0
	if !fresh {
		if id, err = c.w.AddInterface(about); err != nil {
			return 0, err
		}
	}
	c.ids[key] = id
	return id, nil
}

func (c *copier) write(data []byte, ci gopacket.CaptureInfo, opts pcapgo.NgPacketOptions) error {
	id, err := c.iface(ci)
	if err != nil {
		return fmt.Errorf("write an interface: %w", err)
	}
	ci.InterfaceIndex, ci.Length = id, max(ci.Length, len(data))
	return c.w.WritePacketWithOptions(ci, data, opts)
}

// close writes what is buffered. A capture without a packet has one interface.
func (c *copier) close() error {
	if _, err := c.header(pcapgo.NgInterface{LinkType: layers.LinkTypeRaw}); err != nil {
		return err
	}
	return c.w.Flush()
}
