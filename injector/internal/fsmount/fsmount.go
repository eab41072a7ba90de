// Package fsmount mounts a file system for this process alone, without a place in
// the tree of files (fsopen and fsmount, Linux 5.2).
package fsmount

import (
	"fmt"

	"github.com/faultctl/faultctl/internal/rights"
	"golang.org/x/sys/unix"
)

// Open mounts a file system of that type, with MOUNT_ATTR_ flags, and returns the
// descriptor of its root. The mount lasts as long as the descriptor, or any that
// was opened below it.
//
// It needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace. Without
// that it returns EPERM and makes no call: the filter of system calls that systemd has
// for services (@system-service) ends a process that calls fsopen.
func Open(fstype string, attrs int) (int, error) {
	if !rights.Has(unix.CAP_SYS_ADMIN) {
		return -1, fmt.Errorf("mount %s: %w", fstype, unix.EPERM)
	}
	ctx, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", fstype, err)
	}
	defer unix.Close(ctx)
	if err := unix.FsconfigCreate(ctx); err != nil {
		return -1, fmt.Errorf("open %s: %w", fstype, err)
	}
	fd, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", fstype, err)
	}
	return fd, nil
}
