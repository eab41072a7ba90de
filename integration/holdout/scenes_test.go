package holdout

import (
	"fmt"
	"strings"
)

// Servers and clients in Python, which is everywhere. All listen on the service's
// port, or connect to it.
const (
	// lingerServer answers a request and closes with SO_LINGER 0, as Tomcat does when it
	// swallows no more (socket.soLingerTime, maxSwallowSize).
	lingerServer = `
import socket,struct
s=socket.socket(); s.bind(("",8080)); s.listen(8)
while True:
    c,_=s.accept(); c.recv(9999)
    c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    c.setsockopt(socket.SOL_SOCKET,socket.SO_LINGER,struct.pack("ii",1,0)); c.close()
`
	// refusingServer answers an upload before it has read it, nor all of its header, and
	// closes.
	refusingServer = `
import socket
s=socket.socket(); s.bind(("",8080)); s.listen(8)
while True:
    c,_=s.accept(); c.recv(10)
    c.sendall(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"); c.close()
`
	// endlessServer sends without end.
	endlessServer = `
import socket,threading
s=socket.socket(); s.bind(("",8080)); s.listen(8)
def serve(c):
    try:
        c.recv(9999); c.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True: c.sendall(b"x"*10000)
    except OSError: pass
while True:
    threading.Thread(target=serve,args=(s.accept()[0],)).start()
`
	// echoServer answers whatever comes.
	echoServer = `
import socket,threading
s=socket.socket(); s.bind(("",8080)); s.listen(8)
def serve(c):
    while True:
        b=c.recv(9999)
        if not b: break
        c.sendall(b)
while True:
    threading.Thread(target=serve,args=(s.accept()[0],)).start()
`
	// deafServer never accepts, and has room for one connection.
	deafServer = `
import socket,time
s=socket.socket(); s.bind(("",8080)); s.listen(0); time.sleep(60)
`
	// idleClient sends, is silent for as long as its argument says, or until a line
	// comes on its standard input, and sends again.
	idleClient = `
import socket,sys,time
c=socket.create_connection(("10.77.2.1",8080)); c.settimeout(3)
first=sys.argv[2].encode().decode("unicode_escape").encode() if len(sys.argv)>2 else b"one"
c.sendall(first); c.recv(999); print("idle",flush=True)
if sys.argv[1]=="-": sys.stdin.readline()
else: time.sleep(float(sys.argv[1]))
try:
    c.sendall(first)
    if not c.recv(999): c.sendall(first); time.sleep(.2); c.recv(999)
except OSError as e: print(e)
`
)

// nginxConf has nginx serve one location from a directory of its own.
func nginxConf(dir, server string) string {
	temps := ""
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temps += fmt.Sprintf("%s_temp_path %s/%s;\n", what, dir, what)
	}
	return fmt.Sprintf("daemon off; master_process off; pid %s/pid; error_log stderr;\nevents {}\nhttp { access_log off;\n%sserver { listen 8080; %s } }\n", dir, temps, server)
}

const proxyConf = `
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen service
  bind :8080
  %s
`

const url = "http://10.77.2.1:8080/"

// nat makes the router a NAT that forgets a connection after two seconds of silence, and
// does with its packets what the rule says.
func nat(s *scene, rule ...string) {
	s.run(s.lab.Router, "iptables", "-t", "nat", "-A", "POSTROUTING", "-o", "s0", "-j", "MASQUERADE")
	s.sysctl(s.lab.Router, "net/netfilter/nf_conntrack_tcp_loose", "0")
	s.sysctl(s.lab.Router, "net/netfilter/nf_conntrack_tcp_timeout_established", "2")
	if len(rule) > 0 {
		s.run(s.lab.Router, "iptables", append(strings.Fields("-A FORWARD -p tcp -m conntrack --ctstate INVALID -j"), rule...)...)
	}
}

// scenes are what is recorded.
var scenes = []sceneOf{
	{name: "nginx closes a connection with RST (`return 444`, `reset_timedout_connection on`)", truth: "rst-close linger-reset", needs: "nginx curl", play: func(s *scene) {
		s.serve("nginx", "-c", s.file("nginx.conf", nginxConf(s.dir, "reset_timedout_connection on; location / { return 444; }")))
		s.try(s.lab.Client, "curl", "-s", "-m", "5", url)
	}},
	{name: "nginx closes an idle connection (`keepalive_timeout 1s`), and the client goes on", truth: "idle-expire closed-socket", needs: "nginx python3", play: func(s *scene) {
		s.serve("nginx", "-c", s.file("nginx.conf", nginxConf(s.dir, "keepalive_timeout 1s; location / { return 200; }")))
		s.try(s.lab.Client, "python3", "-c", idleClient, "2", `GET / HTTP/1.1\r\nhost: x\r\n\r\n`)
	}},
	{name: "HAProxy closes with RST (`option nolinger`)", truth: "rst-close linger-reset", needs: "haproxy python3", play: func(s *scene) {
		s.serve("haproxy", "-db", "-f", s.file("haproxy.cfg", fmt.Sprintf(proxyConf, "option nolinger\n  option httpclose\n  http-request return status 200")))
		s.try(s.lab.Client, "python3", "-c", idleClient, "1", `GET / HTTP/1.1\r\nhost: x\r\n\r\n`) // curl would close at the same time
	}},
	{name: "HAProxy closes an idle connection (`timeout http-keep-alive 1s`), and the client goes on", truth: "idle-expire closed-socket", needs: "haproxy python3", play: func(s *scene) {
		s.serve("haproxy", "-db", "-f", s.file("haproxy.cfg", fmt.Sprintf(proxyConf, "timeout http-keep-alive 1s\n  http-request return status 200")))
		s.try(s.lab.Client, "python3", "-c", idleClient, "2", `GET / HTTP/1.1\r\nhost: x\r\n\r\n`)
	}},
	{name: "a server with SO_LINGER 0, as Tomcat may have it", truth: "linger-reset", needs: "python3", play: func(s *scene) {
		s.serve("python3", "-c", lingerServer)
		s.try(s.lab.Client, "python3", "-c", idleClient, "1", `GET / HTTP/1.1\r\nhost: x\r\n\r\n`)
	}},
	{name: "a server answers an upload early and closes", truth: "unread-close", needs: "python3 curl", play: func(s *scene) {
		s.serve("python3", "-c", refusingServer)
		s.try(s.lab.Client, "curl", "-s", "-m", "5", "-H", "Expect:", "--data-binary", "@"+s.file("body", strings.Repeat("x", 300_000)), url)
	}},
	{name: "curl gives up a download (`-m 1`)", truth: "unread-close", needs: "python3 curl", play: func(s *scene) {
		s.serve("python3", "-c", endlessServer)
		s.try(s.lab.Client, "curl", "-s", "-m", "1", "--limit-rate", "50k", "-o", "/dev/null", url)
	}},
	{name: "a full backlog: nobody accepts", truth: "syn-drop accept-overflow", needs: "python3 curl", play: func(s *scene) {
		s.sysctl(s.lab.Client, "net/ipv4/tcp_timestamps", "0") // of which Linux draws where they begin: half of all SYNs look older than the one before
		s.serve("python3", "-c", deafServer)
		first := s.start(s.lab.Client, "python3", "-c", idleClient, "60")
		defer s.kill(first)
		s.connected()
		s.try(s.lab.Client, "curl", "-s", "--connect-timeout", "4", url)
	}},
	{name: "nothing listens", truth: "refuse", needs: "curl", play: func(s *scene) {
		s.try(s.lab.Client, "curl", "-s", "-m", "5", url)
	}},
	{name: "an idle NAT that answers with RST (conntrack, `REJECT --reject-with tcp-reset`)", truth: "idle-expire", needs: "python3 iptables", play: func(s *scene) {
		nat(s, "REJECT", "--reject-with", "tcp-reset")
		s.serve("python3", "-c", echoServer)
		s.try(s.lab.Client, "python3", "-c", idleClient, "4")
	}},
	{name: "an idle NAT that drops (conntrack, `DROP`)", truth: "idle-expire", needs: "python3 iptables", play: func(s *scene) {
		nat(s, "DROP")
		s.serve("python3", "-c", echoServer)
		s.try(s.lab.Client, "python3", "-c", idleClient, "4")
	}},
	{name: "an idle NAT that forwards untranslated (conntrack, no rule)", truth: "idle-expire nat-leak", needs: "python3 iptables", play: func(s *scene) {
		nat(s)
		s.serve("python3", "-c", echoServer)
		s.try(s.lab.Client, "python3", "-c", idleClient, "4")
	}},
	{name: "the server reboots", truth: "half-open", needs: "python3", play: func(s *scene) {
		s.serve("python3", "-c", echoServer)
		c := s.start(s.lab.Client, "python3", "-c", idleClient, "-")
		s.says(c, "idle")
		s.must(s.lab.Reboot())
		c.answer()
		s.ended(c)
	}},
	{name: "the cable of the server is pulled", truth: "partition", needs: "python3", play: func(s *scene) {
		s.serve("python3", "-c", echoServer)
		c := s.start(s.lab.Client, "python3", "-c", idleClient, "-")
		s.says(c, "idle")
		s.must(s.lab.Unplug())
		c.answer()
		s.ended(c)
	}},
	{name: "a firewall prohibits the host (`REJECT --reject-with icmp-host-prohibited`)", truth: "unreachable", needs: "iptables curl", play: func(s *scene) {
		s.run(s.lab.Router, "iptables", strings.Fields("-A FORWARD -p tcp --dport 8080 -j REJECT --reject-with icmp-host-prohibited")...)
		s.try(s.lab.Client, "curl", "-s", "-m", "5", url)
	}},
	{name: "a firewall drops the port", truth: "syn-drop partition", needs: "iptables curl", play: func(s *scene) {
		s.run(s.lab.Router, "iptables", strings.Fields("-A FORWARD -p tcp --dport 8080 -j DROP")...)
		s.try(s.lab.Client, "curl", "-s", "--connect-timeout", "4", url)
	}},
	{name: "packets of more than 1200 bytes vanish", truth: "mtu-hole", needs: "python3 iptables curl", play: func(s *scene) {
		s.run(s.lab.Router, "iptables", strings.Fields("-A FORWARD -m length --length 1201:65535 -j DROP")...)
		s.serve("python3", "-c", deafServer) // its kernel acknowledges what arrives
		s.try(s.lab.Client, "curl", "-s", "-m", "4", "-H", "Expect:", "--data-binary", "@"+s.file("body", strings.Repeat("x", 100_000)), url)
	}},
	{name: "Redis ends an idle client (`CLIENT KILL`), which goes on", truth: "closed-socket", needs: "redis-server redis-cli python3", play: func(s *scene) {
		s.serve("redis-server", "--port", "8080", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", s.dir)
		c := s.start(s.lab.Client, "python3", "-c", idleClient, "-", `PING\r\n`)
		s.says(c, "idle")
		s.run(s.lab.Server, "redis-cli", "-p", "8080", "CLIENT", "KILL", "SKIPME", "yes")
		c.answer()
		s.ended(c)
	}},
	{name: "somebody destroys the server's socket (`ss -K`)", truth: "reset", needs: "python3 ss", play: func(s *scene) {
		s.serve("python3", "-c", echoServer)
		c := s.start(s.lab.Client, "python3", "-c", idleClient, "-")
		s.says(c, "idle")
		s.run(s.lab.Server, "ss", "-K", "state", "established", "( sport = :8080 )")
		c.answer()
		s.ended(c)
	}},
}
