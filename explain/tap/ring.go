package tap

import (
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is the memory that the kernel shares: blocks that it fills with packets, and
// hands over when they are full or a while has passed (TPACKET_V3, packet(7)). A packet
// costs no system call.
type ring struct {
	mem  []byte
	next int // the block that comes next
}

const (
	blockSize  = 1 << 20
	blockCount = 16
	handOver   = 50 // milliseconds after which a block is handed over that is not full
)

// open makes the ring of a socket.
func (r *ring) open(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return os.NewSyscallError("choose TPACKET_V3", err)
	}
	const frame = 1 << 11 // blocks are filled whatever this is, but it must divide them
	req := unix.TpacketReq3{Block_size: blockSize, Block_nr: blockCount, Frame_size: frame, Frame_nr: blockSize / frame * blockCount, Retire_blk_tov: handOver}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return os.NewSyscallError("make a ring", err)
	}
	mem, err := unix.Mmap(fd, 0, blockSize*blockCount, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("map the ring", err)
	}
	r.mem = mem
	return nil
}

func (r *ring) close() {
	if r.mem != nil {
		unix.Munmap(r.mem)
	}
}

// heard is a packet as the kernel hands it over. Its bytes are valid until the function
// returns that gets it.
type heard struct {
	at     time.Time
	data   []byte // from the IP header on, as much as the filter lets through
	length int    // of the whole packet
	iface  int
}

// The offsets of struct tpacket_block_desc, with its struct tpacket_hdr_v1, and of
// struct tpacket3_hdr and the struct sockaddr_ll behind it (include/uapi/linux/if_packet.h).
const (
	blockStatus, blockPackets, blockFirst         = 8, 12, 16
	nextOffset, packetSec, packetNsec             = 0, 4, 8
	packetSnap, packetLen, packetNet              = 12, 16, 26
	afterPacket                                   = 48 // TPACKET_ALIGN(sizeof(struct tpacket3_hdr))
	llIndex                                       = afterPacket + 4
	statusOffset                          uintptr = blockStatus
)

// wait waits until a block is handed over, or the time is up.
func (r *ring) wait(fd int, d time.Duration) error {
	if r.status().Load()&unix.TP_STATUS_USER != 0 {
		return nil
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLERR}}
	_, err := unix.Poll(fds, int(d.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	return os.NewSyscallError("poll", err)
}

func (r *ring) status() *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(uintptr(unsafe.Pointer(&r.mem[r.next*blockSize])) + statusOffset))
}

// read calls f for each packet of the blocks that were handed over, at most once around.
func (r *ring) read(f func(heard) error) error {
	for range blockCount {
		status := r.status()
		if status.Load()&unix.TP_STATUS_USER == 0 {
			return nil
		}
		err := r.block(r.mem[r.next*blockSize:][:blockSize], f)
		status.Store(unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % blockCount
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *ring) block(b []byte, f func(heard) error) error {
	u32 := binary.NativeEndian.Uint32
	at := int(u32(b[blockFirst:]))
	for range u32(b[blockPackets:]) {
		if at+llIndex+4 > len(b) {
			return nil
		}
		p := b[at:]
		net, snap := int(binary.NativeEndian.Uint16(p[packetNet:])), int(u32(p[packetSnap:]))
		if net+snap <= len(p) {
			h := heard{
				at: time.Unix(int64(u32(p[packetSec:])), int64(u32(p[packetNsec:]))), data: p[net : net+snap],
				length: int(u32(p[packetLen:])), iface: int(u32(p[llIndex:])),
			}
			if err := f(h); err != nil {
				return err
			}
		}
		next := int(u32(p[nextOffset:]))
		if next == 0 {
			return nil
		}
		at += next
	}
	return nil
}
