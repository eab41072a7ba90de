package target

import "testing"

// TestCgroupMount checks what is read of /proc/self/mountinfo.
func TestCgroupMount(t *testing.T) {
	for name, tc := range map[string]struct{ mountinfo, dir, root string }{
		"alone":         {"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup", "/"},
		"beside v1":     {"30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n32 30 0:28 / /sys/fs/cgroup/unified rw shared:3 - cgroup2 none rw\n", "/sys/fs/cgroup/unified", "/"},
		"in part":       {"30 24 0:26 /a/b /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "/sys/fs/cgroup", "/a/b"},
		"part and all":  {"30 24 0:26 /a /mnt/a rw - cgroup2 cgroup2 rw\n31 24 0:26 / /mnt/all rw - cgroup2 cgroup2 rw\n", "/mnt/all", "/"},
		"with a blank":  {"30 24 0:26 / /mnt/c\\040g rw - cgroup2 cgroup2 rw\n", "/mnt/c g", "/"},
		"covered":       {"30 24 0:26 / /covered rw - cgroup2 cgroup2 rw\n31 24 0:26 /a /mnt/a rw - cgroup2 cgroup2 rw\n", "/mnt/a", "/a"},
		"none":          {"30 24 0:26 / / rw - ext4 /dev/vda rw\n", "", ""},
		"cut short":     {"30 24 - cgroup2 x rw\n", "", ""},
		"name misleads": {"30 24 0:26 / /cgroup2 rw - tmpfs cgroup2 rw\n", "", ""},
	} {
		if dir, root := cgroupMount([]byte(tc.mountinfo), func(dir string) bool { return dir != "/covered" }); dir != tc.dir || root != tc.root {
			t.Errorf("%s: %q, %q; want %q, %q", name, dir, root, tc.dir, tc.root)
		}
	}
}
