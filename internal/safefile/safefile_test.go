package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// place makes a directory with these permissions, and a file outside of it.
func place(t *testing.T, mode os.FileMode) (dir, outside string) {
	t.Helper()
	top := t.TempDir()
	dir, outside = filepath.Join(top, "dir"), filepath.Join(top, "outside")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, mode), os.WriteFile(outside, []byte("before"), 0o644)); err != nil {
		t.Fatal(err)
	}
	return dir, outside
}

// link makes a symbolic link that belongs to a user.
func link(t *testing.T, to, at string, uid int) {
	t.Helper()
	if err := errors.Join(os.Symlink(to, at), os.Lchown(at, uid, uid)); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			t.Skip("only root can make files of others")
		}
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// write writes to a path by Create.
func write(path string) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString("after")
	return errors.Join(err, f.Close())
}

// TestLinks holds which symbolic links are followed.
func TestLinks(t *testing.T) {
	for name, tc := range map[string]struct {
		mode    os.FileMode
		owner   int
		sudo    string
		refused bool
	}{
		"of another in a directory like /tmp":   {0o777 | os.ModeSticky, 1234, "", true},
		"of another without the sticky bit":     {0o777, 1234, "", true},
		"of another where the group may write":  {0o775, 1234, "", true},
		"of another in a directory of our own":  {0o755, 1234, "", false},
		"of our own in a directory like /tmp":   {0o777 | os.ModeSticky, os.Geteuid(), "", false},
		"of who called sudo, in one like /tmp":  {0o777 | os.ModeSticky, 1234, "1234", false},
		"of another than who called sudo, same": {0o777 | os.ModeSticky, 1234, "1235", true},
	} {
		t.Setenv("SUDO_UID", tc.sudo)
		dir, outside := place(t, tc.mode)
		at := filepath.Join(dir, "report.html")
		link(t, outside, at, tc.owner)
		err := write(at)
		if refused := errors.Is(err, ErrUntrusted); refused != tc.refused || !refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := map[bool]string{true: "before", false: "after"}[tc.refused]; content(t, outside) != want {
			t.Errorf("%s: the file outside has %q", name, content(t, outside))
		}
	}
}

// TestDirectories holds that a symbolic link in the middle of a path counts as well,
// for either way to write.
func TestDirectories(t *testing.T) {
	t.Setenv("SUDO_UID", "")
	dir, outside := place(t, 0o777|os.ModeSticky)
	link(t, filepath.Dir(outside), filepath.Join(dir, "sub"), 1234)
	through := filepath.Join(dir, "sub", "outside")
	if err := write(through); !errors.Is(err, ErrUntrusted) {
		t.Errorf("Create: %v", err)
	}
	if err := Replace(through, []byte("after")); !errors.Is(err, ErrUntrusted) {
		t.Errorf("Replace: %v", err)
	}
	if content(t, outside) != "before" {
		t.Error("it was written")
	}
	if err := os.Lchown(filepath.Join(dir, "sub"), 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(through), Replace(through, []byte("again"))); err != nil || content(t, outside) != "again" {
		t.Errorf("%v, %q", err, content(t, outside))
	}
}

// TestForeignFile holds that a file which another user has put into a directory like
// /tmp is not written, and is replaced.
func TestForeignFile(t *testing.T) {
	t.Setenv("SUDO_UID", "")
	dir, _ := place(t, 0o777|os.ModeSticky)
	at := filepath.Join(dir, "run.pcapng")
	if err := os.WriteFile(at, []byte("theirs"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(at, 1234, 1234); err != nil {
		t.Skip("only root can make files of others")
	}
	if err := write(at); err == nil || content(t, at) != "theirs" { // by us, or by fs.protected_regular
		t.Errorf("%v, %q", err, content(t, at))
	}
	if err := Replace(at, []byte("ours")); err != nil || content(t, at) != "ours" {
		t.Errorf("%v, %q", err, content(t, at))
	}
	if info, err := os.Stat(at); err != nil || info.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
		t.Errorf("%v, %v", info, err)
	}
}

// TestReplaceLink holds that a symbolic link is replaced, and what it leads to stays.
func TestReplaceLink(t *testing.T) {
	dir, outside := place(t, 0o755)
	at := filepath.Join(dir, "report.xml")
	if err := os.Symlink(outside, at); err != nil {
		t.Fatal(err)
	}
	if err := Replace(at, []byte("after")); err != nil || content(t, outside) != "before" || content(t, at) != "after" {
		t.Errorf("%v, %q, %q", err, content(t, outside), content(t, at))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestPermissions holds that new files have what the umask leaves, and that others
// keep what they have.
func TestPermissions(t *testing.T) {
	old := unix.Umask(0o027)
	defer unix.Umask(old)
	dir := t.TempDir()
	for name, write := range map[string]func(string) error{
		"created": write, "replaced": func(path string) error { return Replace(path, []byte("x")) },
	} {
		at := filepath.Join(dir, name)
		for _, want := range []os.FileMode{0o640, 0o600} {
			if err := write(at); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(at); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
			}
			os.Chmod(at, 0o600)
		}
	}
}

// TestSpecial holds that devices, pipes and open files can be written to by name.
func TestSpecial(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, path := range []string{"/dev/null", "/proc/self/fd/" + itoa(w.Fd()), "/dev/fd/" + itoa(w.Fd())} {
		if err := write(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	w.Close()
	got := make([]byte, 100)
	if n, _ := r.Read(got); string(got[:n]) != "afterafter" {
		t.Errorf("the pipe got %q", got[:n])
	}
}

// TestWrong holds the errors of paths that lead nowhere.
func TestWrong(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		filepath.Join(dir, "none", "x"): fs.ErrNotExist, dir: syscall.EISDIR, loop: syscall.ELOOP, filepath.Join(loop, "x"): syscall.ELOOP, "/": syscall.EISDIR, filepath.Join(dir, "new") + "/": syscall.EISDIR, "": fs.ErrNotExist,
	} {
		if err := write(path); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", path, err, want)
		}
	}
	if err := Replace(filepath.Join(dir, "none", "x"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func itoa(n uintptr) string {
	s := ""
	for ; n > 0 || s == ""; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}
