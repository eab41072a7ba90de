package clients

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/faultctl/faultctl/lab"
)

// house is a kind of server that bugs need, on a host of its own.
type house struct {
	needs []string
	start func(h *lodging) error
}

// lodging is a lab in which that server runs. Bugs that need the same server share
// it: faultctl strikes only the connections of its command.
type lodging struct {
	once    sync.Once
	err     error
	lab     *lab.Lab
	dir     string // which every user may enter
	closers []func()
}

var lodgings struct {
	sync.Mutex
	made map[string]*lodging
}

var houses = map[string]house{
	"http":     {start: (*lodging).serveHTTP},
	"rabbitmq": {needs: []string{"/usr/lib/rabbitmq/bin/rabbitmq-server", "epmd"}, start: (*lodging).serveRabbitMQ},
	"mariadb":  {needs: []string{"mariadbd"}, start: (*lodging).serveMariaDB},
	"redis":    {needs: []string{"redis-server"}, start: (*lodging).serveRedis},
	"postgres": {needs: []string{"postgres"}, start: (*lodging).servePostgres},
	"kafka":    {needs: []string{"goclients"}, start: (*lodging).serveKafka},
	"grpc":     {needs: []string{"goclients"}, start: (*lodging).serveGRPC},
	"ws":       {needs: []string{"node", "node:ws"}, start: (*lodging).serveWebSocket},
}

// enter returns the lab of a bug with its server, and starts it if it is the first to
// ask. A remedy that is a setting of a host has a lab of its own.
func (b *bug) enter(t *testing.T, remedied bool) *lodging {
	t.Helper()
	key := b.house
	if remedied && b.host != nil {
		key += " of " + b.name
	}
	lodgings.Lock()
	if lodgings.made == nil {
		lodgings.made = map[string]*lodging{}
	}
	h := lodgings.made[key]
	if h == nil {
		h = &lodging{}
		lodgings.made[key] = h
	}
	lodgings.Unlock()
	h.once.Do(func() {
		if h.lab, h.err = lab.NewIPv4(); h.err != nil {
			return
		}
		if h.dir, h.err = os.MkdirTemp(base, ""); h.err != nil {
			return
		}
		h.err = os.Chmod(h.dir, 0o711)
		if remedied && b.host != nil {
			h.err = errors.Join(h.err, b.host(h.lab))
		}
		h.err = errors.Join(h.err, houses[b.house].start(h))
	})
	if h.err != nil {
		t.Fatalf("%s: %v", key, h.err)
	}
	return h
}

// closeHouses stops the servers.
func closeHouses() {
	lodgings.Lock()
	defer lodgings.Unlock()
	for key, h := range lodgings.made {
		for _, c := range h.closers {
			c()
		}
		if h.lab != nil {
			h.lab.Close()
		}
		delete(lodgings.made, key)
	}
}

// host is the server's address.
func (h *lodging) host() string { return h.lab.Server.V4.String() }

// run starts a server on the server's host.
func (h *lodging) run(port string, end syscall.Signal, cmd *exec.Cmd) error {
	s, err := listens(h.lab.Server, h.host()+":"+port, end, cmd, filepath.Join(h.dir, filepath.Base(cmd.Path)+".log"))
	if err != nil {
		return err
	}
	h.closers = append([]func(){func() { s.stop(end) }}, h.closers...)
	return nil
}

// as makes a user the owner of a new directory, and the one who runs a command in it.
func (h *lodging) as(user *syscall.Credential, name string) (string, error) {
	dir := filepath.Join(h.dir, name)
	return dir, errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, int(user.Uid), int(user.Gid)))
}

func (h *lodging) serveRabbitMQ() error {
	user, err := userNamed("rabbitmq")
	if err != nil {
		return err
	}
	dir, err := h.as(user, "rabbitmq")
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "rabbitmq.conf")
	if err := errors.Join(os.WriteFile(config, []byte("loopback_users = none\nlisteners.tcp.1 = "+h.host()+":5672\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "plugins"), []byte("[].\n"), 0o644)); err != nil {
		return err
	}
	env := []string{
		"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + dir, "LC_ALL=C.UTF-8", "RABBITMQ_NODENAME=bugs@localhost", "RABBITMQ_CONFIG_FILE=" + config,
		"RABBITMQ_MNESIA_BASE=" + dir + "/data", "RABBITMQ_LOG_BASE=" + dir, "RABBITMQ_LOGS=-", "RABBITMQ_PID_FILE=" + dir + "/pid",
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + dir + "/plugins", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+S 1:1 +sbwt none",
	}
	for _, server := range []struct{ path, at, port string }{{"epmd", "127.0.0.1", "4369"}, {"/usr/lib/rabbitmq/bin/rabbitmq-server", "", "5672"}} {
		cmd := exec.Command(server.path)
		cmd.Env, cmd.Dir, cmd.SysProcAttr = env, dir, &syscall.SysProcAttr{Credential: user}
		if err := h.run(server.port, syscall.SIGTERM, cmd); err != nil {
			return err
		}
	}
	return nil
}

func (h *lodging) serveMariaDB() error {
	dir := filepath.Join(h.dir, "mariadb")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return h.run("3306", syscall.SIGTERM, exec.Command("mariadbd", "--no-defaults", "--user=root", "--datadir="+dir, "--bind-address="+h.host(),
		"--port=3306", "--socket="+filepath.Join(dir, "socket"), "--pid-file="+filepath.Join(dir, "pid"), "--skip-grant-tables", "--skip-name-resolve",
		"--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0"))
}

func (h *lodging) serveRedis() error {
	return h.run("6379", syscall.SIGTERM, exec.Command("redis-server", "--bind", h.host(), "--port", "6379", "--dir", h.dir, "--save", "",
		"--protected-mode", "no", "--tcp-keepalive", "0"))
}

func (h *lodging) servePostgres() error {
	user, err := postgresUser()
	if err != nil {
		return err
	}
	dir := filepath.Join(h.dir, "postgres")
	if err := newCluster(dir, user); err != nil {
		return err
	}
	return h.run("5432", syscall.SIGINT, postgres(dir, h.host(), user))
}

func (h *lodging) serveKafka() error { return h.goServer("kafka", "9092") }
func (h *lodging) serveGRPC() error  { return h.goServer("grpc", "50051") }

func (h *lodging) goServer(kind, port string) error {
	bin, err := goClients()
	if err != nil {
		return err
	}
	return h.run(port, syscall.SIGTERM, exec.Command(bin, kind+"-server", h.host()+":"+port))
}

func (h *lodging) serveWebSocket() error {
	cmd := exec.Command("node", filepath.Join(testdata, "bugs", "ws_server.js"), h.host())
	cmd.Env = append(os.Environ(), "NODE_PATH="+nodeModules())
	return h.run("8080", syscall.SIGTERM, cmd)
}

// sysctls are a remedy that is settings of the client's host, or of the server's.
func sysctls(of func(*lab.Lab) *lab.Node, settings ...string) func(*lab.Lab) error {
	return func(l *lab.Lab) error {
		for _, s := range settings {
			name, value, _ := strings.Cut(s, "=")
			if err := of(l).Sysctl(name, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
}

func theClient(l *lab.Lab) *lab.Node { return l.Client }
func theServer(l *lab.Lab) *lab.Node { return l.Server }
