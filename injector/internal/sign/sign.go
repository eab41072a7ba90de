// Package sign says how a run recognizes the packets that it sent itself, by their
// priority (SO_PRIORITY), and how runs in one network namespace get along.
//
// Runs have an order: that of their levels, which is that of their chains in a hook. A
// packet that a run sends passes the hooks like any other. The run that sent it must
// not judge it again, nor may the runs before that one, which have judged what it was
// made of or had no part in it; otherwise two runs would send each other's packets
// again forever. The runs behind it must judge it, as they judge what it was made of.
// So a run passes packets that carry a sign of its own level or a higher one, and
// judges all others.
//
// A sign contains a tag that nobody else has, made from the machine's boot and the
// namespace: a socket that happens to set a priority is not spared.
package sign

import (
	"fmt"
	"hash/fnv"
	"os"

	"github.com/faultctl/faultctl/injector/internal/fsmount"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const (
	// Levels is the most runs that a namespace can have.
	Levels = 1 << levelBits

	// Mask is the part of a priority that is the same in all signs of a namespace.
	Mask uint32 = ^uint32(Levels - 1)

	levelBits = 5
	tagBits   = 19

	// base is set in every sign. With the tag and the level it takes up the lower
	// 25 bits: those above are the signals of verdicts.
	base = 1 << 24
)

// Tag is what all signs of a namespace have in common. The zero Tag is used where none
// can be made; then others may have it too.
type Tag uint32

// TagOf returns the tag of a network namespace; nil means the caller's own. All
// processes of the machine get the same one.
func TagOf(netns *os.File) (Tag, error) {
	proc, err := openProc()
	if err != nil {
		return 0, fmt.Errorf("make a sign: %w: mount proc on /proc", err)
	}
	defer proc.Close()
	var boot [36]byte
	id, err := unix.Openat(int(proc.Fd()), "sys/kernel/random/boot_id", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Read(id, boot[:])
		unix.Close(id)
	}
	if err != nil {
		return 0, fmt.Errorf("make a sign: read sys/kernel/random/boot_id: %w", err)
	}
	var st unix.Stat_t
	if netns != nil {
		err = unix.Fstat(int(netns.Fd()), &st)
	} else {
		err = os.NewSyscallError("stat thread-self/ns/net", unix.Fstatat(int(proc.Fd()), "thread-self/ns/net", &st, 0))
	}
	if err != nil {
		return 0, fmt.Errorf("make a sign: %w", err)
	}
	h := fnv.New32a()
	fmt.Fprintf(h, "%s%d", boot[:], st.Ino)
	sum := h.Sum32()
	return Tag((sum ^ sum>>tagBits) & (1<<tagBits - 1)), nil
}

// openProc opens the root of proc. If none is mounted, as in an empty root, it is
// mounted for this process alone, which needs CAP_SYS_ADMIN.
func openProc() (*os.File, error) {
	if fd, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		var st unix.Statfs_t
		if err := unix.Fstatfs(fd, &st); err == nil && st.Type == unix.PROC_SUPER_MAGIC {
			return os.NewFile(uintptr(fd), "/proc"), nil
		}
		unix.Close(fd)
	}
	fd, err := fsmount.Open("proc", unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "proc"), nil
}

// Of returns the priority of packets that a run of that level, 0 to Levels-1, sends.
func (t Tag) Of(level int) uint32 {
	return base | uint32(t)<<levelBits | uint32(level)&(Levels-1)
}

// Passes reports whether a run of that level lets a packet with that priority
// pass unjudged.
func (t Tag) Passes(level int, priority uint32) bool {
	return priority&Mask == t.Of(0) && int(priority&(Levels-1)) >= level
}

const r0 = unix.NFT_REG32_00

// Ours returns expressions that match packets of any run. They come first: a packet
// that is not ours costs no more than these.
func (t Tag) Ours() []expr.Any {
	host := binaryutil.NativeEndian.PutUint32
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: r0},
		&expr.Bitwise{SourceRegister: r0, DestRegister: r0, Len: 4, Mask: host(Mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: r0, Data: host(t.Of(0))},
	}
}

// AtLeast returns expressions that match, among packets of ours, those that a run of
// that level lets pass.
func AtLeast(level int) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPRIORITY, Register: r0},
		&expr.Bitwise{SourceRegister: r0, DestRegister: r0, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(Levels - 1), Xor: make([]byte, 4)},
		// The priority is in the host's byte order; greater and less compare bytes.
		&expr.Byteorder{SourceRegister: r0, DestRegister: r0, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGte, Register: r0, Data: binaryutil.BigEndian.PutUint32(uint32(level))},
	}
}
