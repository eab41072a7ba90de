package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunUnderSudo checks that a command under sudo runs as the user who called sudo,
// with that user's PATH and HOME, and as root only if somebody says so. sudo is the
// real one, as Debian sets it up: it passes on neither.
func TestRunUnderSudo(t *testing.T) {
	t.Parallel()
	if !realRoot() {
		lacks(t, "sudo needs root of the machine")
	}
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		lacks(t, "sudo is not installed")
	}
	bin := program(t)
	dir := filepath.Dir(bin)
	for name, text := range map[string]string{
		"caller-tool": "#!/bin/sh\necho \"uid $(id -u) home $HOME word $WORD more $MORE sudo $SUDO_UID.\"\n",
		// Only this process sees the other accounts and settings.
		"under-sudo": `set -e
			mount --make-rprivate /
			mkdir "$0/etc"
			for f in passwd group shadow nsswitch.conf pam.d security login.defs ld.so.cache ld.so.conf ld.so.conf.d sudo.conf alternatives; do
				[ ! -e /etc/$f ] || cp -a /etc/$f "$0/etc/"
			done
			mount --bind "$0/etc" /etc
			echo "dev:x:4711:4711:dev:$0/home:/bin/sh" >>/etc/passwd
			echo "dev:*:19000:0:99999:7:::" >>/etc/shadow
			printf 'Defaults env_reset, use_pty\nDefaults secure_path="/usr/sbin:/usr/bin:/sbin:/bin"\nroot ALL=(ALL:ALL) ALL\ndev ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers
			chmod 440 /etc/sudoers
			exec setpriv --reuid 4711 --regid 4711 --clear-groups env -i HOME="$0/home" WORD=mine PATH="$0:/usr/bin:/bin" sh -c "$1"`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n := newTestbed(t, loopback, false).node()
	for _, c := range []struct{ line, says string }{
		{"MORE=too %s run observe --allow-idle -- caller-tool", "uid 4711 home " + dir + "/home word mine more too sudo ."},
		{"%s run observe --allow-idle --isolate -- caller-tool", "uid 4711 home " + dir + "/home word mine more  sudo ."},
		{"%s run observe --allow-idle --user root -- id -u", "0"},
		{"%s run observe --allow-idle --user nobody -- id -u", "65534"},
		{"%s verify --faults observe --allow-idle -- caller-tool", "the command runs as dev, who called sudo"},
	} {
		faultctl := fmt.Sprintf("%s=faultctl %s", roleEnvVar, bin)
		cmd := exec.Command("unshare", "-m", "sh", "-c", `exec sh -c "$(cat "$0/under-sudo")" "$0" "$1"`, dir, sudo+" "+fmt.Sprintf(c.line, faultctl))
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		err := n.Do(cmd.Run)
		if said := strings.ReplaceAll("\n"+out.String(), "\r", ""); !strings.Contains(said, "\n"+c.says) || err != nil {
			t.Errorf("%s: %v; want %q in\n%s", c.line, err, c.says, &out)
		}
		os.RemoveAll(filepath.Join(dir, "etc"))
	}
}
