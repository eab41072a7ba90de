// Package safefile opens files for writing without being led elsewhere. As root, or
// for anybody else, a program that writes to /tmp/report.html must not write to what
// another user made that name a symbolic link to, nor into a file that another user
// has put there to read it. The kernel has the same rules as sysctls
// (fs.protected_symlinks, fs.protected_regular, fs.protected_fifos), which may be off,
// and which stop at directories that have no sticky bit.
package safefile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUntrusted is why a name is not followed or a file is not written.
var ErrUntrusted = errors.New("another user may have put it there")

// maxLinks is how many symbolic links a path may have, as in the kernel.
const maxLinks = 40

// overflowUID is the owner of what belongs to nobody in this user namespace.
const overflowUID = 65534

// Create opens a file for writing as os.Create does: one that exists is emptied and
// keeps its permissions, and a new one has those that the umask leaves. The error
// wraps ErrUntrusted if the path leads through a symbolic link, or to a file, that
// another user may have put into a directory in which others can create files. A
// link of this user or of root, and of the user who called sudo, is followed.
func Create(path string) (*os.File, error) {
	dir, name, err := walk(path)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: err}
	}
	defer dir.Close()
	f, err := create(dir, name, path)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: err}
	}
	return f, nil
}

func create(dir *os.File, name, path string) (*os.File, error) {
	flags := unix.O_WRONLY | unix.O_CREAT | unix.O_CLOEXEC
	if !isProc(dir) { // there a name stands for what is open already
		flags |= unix.O_NOFOLLOW
	}
	fd, err := retry(func() (int, error) { return unix.Openat(int(dir.Fd()), name, flags, 0o666) })
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	var file, above unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &file), unix.Fstat(int(dir.Fd()), &above)); err != nil {
		f.Close()
		return nil, err
	}
	if !isProc(dir) && shared(&above) && !trusted(file.Uid) {
		f.Close()
		return nil, fmt.Errorf("it belongs to user %d, in a directory in which others can create files: %w", file.Uid, ErrUntrusted)
	}
	if file.Mode&unix.S_IFMT == unix.S_IFREG {
		if err := f.Truncate(0); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// Replace writes a file whole or not at all: one of that name is replaced in one
// step, and so is a symbolic link, which is not followed. A new file has the
// permissions that the umask leaves, one that replaces a file those of that file.
// The links in the path to it are followed as Create does.
func Replace(path string, content []byte) (err error) {
	dir, err := directory(filepath.Dir(path))
	if err != nil {
		return &os.PathError{Op: "write to", Path: filepath.Dir(path), Err: err}
	}
	defer dir.Close()
	name := filepath.Base(path)
	temp := "." + name + "." + rand.Text()[:10]
	fd, err := unix.Openat(int(dir.Fd()), temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o666)
	if err != nil {
		return &os.PathError{Op: "create", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() {
		if err != nil {
			unix.Unlinkat(int(dir.Fd()), temp, 0)
		}
	}()
	var was unix.Stat_t
	if unix.Fstatat(int(dir.Fd()), name, &was, unix.AT_SYMLINK_NOFOLLOW) == nil && was.Mode&unix.S_IFMT == unix.S_IFREG && trusted(was.Uid) {
		err = f.Chmod(os.FileMode(was.Mode & 0o777))
	}
	if err == nil {
		_, err = f.Write(content)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = unix.Renameat(int(dir.Fd()), temp, int(dir.Fd()), name)
	}
	return err
}

// Check reports whether Replace may go where a path leads. It touches nothing.
func Check(path string) error {
	dir, err := directory(filepath.Dir(path))
	if err != nil {
		return &os.PathError{Op: "write to", Path: filepath.Dir(path), Err: err}
	}
	return dir.Close()
}

// walk opens the directory that a path leads to, and returns the name of its last
// part there, which is no symbolic link that may be followed.
func walk(path string) (dir *os.File, name string, err error) {
	return follow(path, false)
}

// directory opens the directory that a path leads to.
func directory(path string) (*os.File, error) {
	dir, _, err := follow(path, true)
	return dir, err
}

// follow goes along a path part by part. If whole, the last part is a directory, too.
func follow(path string, whole bool) (dir *os.File, name string, err error) {
	switch {
	case path == "":
		return nil, "", unix.ENOENT
	case strings.HasSuffix(path, "/") && !whole:
		return nil, "", unix.EISDIR
	}
	at, rest := ".", parts(path)
	if strings.HasPrefix(path, "/") {
		at = "/"
	}
	if dir, err = openDir(unix.AT_FDCWD, at); err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			dir.Close()
			dir = nil
		}
	}()
	for links := 0; len(rest) > 0; {
		part := rest[0]
		var st unix.Stat_t
		err := unix.Fstatat(int(dir.Fd()), part, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case len(rest) == 1 && !whole && (errors.Is(err, unix.ENOENT) || isProc(dir)):
			return dir, part, nil
		case err != nil:
			return dir, "", err
		case st.Mode&unix.S_IFMT == unix.S_IFLNK && !isProc(dir):
			if err := mayFollow(dir, part, st.Uid); err != nil {
				return dir, "", err
			}
			to, err := readlink(dir, part)
			if links++; err != nil || links > maxLinks {
				return dir, "", errors.Join(err, unix.ELOOP)
			}
			rest = slices.Concat(parts(to), rest[1:])
			if strings.HasPrefix(to, "/") {
				dir.Close()
				if dir, err = openDir(unix.AT_FDCWD, "/"); err != nil {
					return dir, "", err
				}
			}
			continue
		case len(rest) == 1 && !whole:
			return dir, part, nil
		}
		next, err := openDir(int(dir.Fd()), part)
		if err != nil {
			return dir, "", err
		}
		dir.Close()
		dir, rest = next, rest[1:]
	}
	if !whole {
		return dir, "", unix.EISDIR
	}
	return dir, "", nil
}

// parts are the names in a path.
func parts(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

func openDir(at int, name string) (*os.File, error) {
	flags := unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(at, name, flags, 0) })
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func readlink(dir *os.File, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// mayFollow reports why a symbolic link in a directory must not be followed.
func mayFollow(dir *os.File, name string, owner uint32) error {
	var above unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &above); err != nil {
		return err
	}
	if open(&above) && !trusted(owner) {
		return fmt.Errorf("%s is a symbolic link of user %d, in a directory in which others can create files: %w", name, owner, ErrUntrusted)
	}
	return nil
}

// open reports whether others than this user and root can create files in a
// directory.
func open(dir *unix.Stat_t) bool {
	return dir.Mode&0o022 != 0 || !trusted(dir.Uid) && dir.Uid != overflowUID
}

// shared reports whether a directory is for everybody, as /tmp is, and no place in
// which a group works on the same files.
func shared(dir *unix.Stat_t) bool {
	return dir.Mode&0o002 != 0 || dir.Mode&0o020 != 0 && dir.Mode&unix.S_ISVTX != 0
}

// trusted reports whether a user is this one, root, or who called sudo.
func trusted(uid uint32) bool {
	me := uint32(os.Geteuid())
	if uid == 0 || uid == me {
		return true
	}
	sudo, err := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 32)
	return me == 0 && err == nil && uid == uint32(sudo)
}

// isProc reports whether a directory is in a proc file system, whose links lead to
// what a process has open and have no path.
func isProc(dir *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(dir.Fd()), &st) == nil && st.Type == unix.PROC_SUPER_MAGIC
}

func retry(do func() (int, error)) (n int, err error) {
	for {
		if n, err = do(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
