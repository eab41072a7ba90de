package fsmount

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/faultctl/faultctl/internal/rights"
	"golang.org/x/sys/unix"
)

// TestOpen mounts proc, and then loses the capability for it.
func TestOpen(t *testing.T) {
	if !rights.Has(unix.CAP_SYS_ADMIN) {
		t.Skip("needs CAP_SYS_ADMIN")
	}
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		fd, err := Open("proc", unix.MOUNT_ATTR_RDONLY)
		if err != nil {
			ended <- err
			return
		}
		defer unix.Close(fd)
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&h, &none[0]); err != nil {
			ended <- os.NewSyscallError("capset", err)
			return
		}
		if _, err := Open("proc", unix.MOUNT_ATTR_RDONLY); !errors.Is(err, unix.EPERM) {
			ended <- errors.New("no EPERM without the capability")
			return
		}
		ended <- nil
	}()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
