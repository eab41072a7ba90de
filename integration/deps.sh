#!/bin/sh
# Installs what the tests need besides Go and a C compiler, on Debian and
# derivatives, with one apt call if anything is missing. Without root it lists what
# is missing, and fails.
#
# No service is started: the tests start and stop what they need, in their own
# namespaces.
set -eu

packages=
want() { # want PROGRAM PACKAGE...: the packages, unless the program is there
	program=$1
	shift
	command -v "$program" >/dev/null 2>&1 || packages="$packages $*"
}
PATH=$PATH:/usr/sbin:/sbin

# Hosts in namespaces, and genuine causes to compare with.
want ip iproute2
want nft nftables
want iptables iptables
want conntrack conntrack

# The path of a user who has sudo.
want sudo sudo
want setpriv util-linux

# integration/clients: real clients and servers.
want curl curl
want python3 python3
want pytest-3 python3-pytest
want node nodejs
want java default-jre-headless
want javac default-jdk-headless
want nginx nginx-light
want haproxy haproxy
want redis-server redis-server
want redis-cli redis-tools
want psql postgresql-client
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || packages="$packages postgresql"

# integration/clients: the clients of public bug reports, and their servers. Clients
# of npm and of Go are fetched by the test, as their lock files name them.
want npm npm
want rabbitmq-server rabbitmq-server
want mariadbd mariadb-server-core
for module in pika pymysql redis psycopg2 sqlalchemy confluent_kafka grpc:grpcio boto3 requests aiohttp; do
	/usr/bin/python3 -c "import importlib.util as u, sys; sys.exit(u.find_spec('${module%:*}') is None)" 2>/dev/null ||
		packages="$packages python3-$(echo "${module#*:}" | tr _ -)"
done
for jar in HikariCP:libhikaricp postgresql:libpostgresql-jdbc slf4j-api:libslf4j okhttp:libokhttp okio:libokio; do
	[ -e "/usr/share/java/${jar%:*}.jar" ] || packages="$packages ${jar#*:}-java"
done

# Programs that read reports and captures.
want tshark tshark
want tcpdump tcpdump
want chromium chromium

# Packages and man pages.
want rpm rpm
want groff groff-base
want systemd-analyze systemd

# Containers.
want dockerd docker.io
want runc runc
want podman podman
want newuidmap uidmap

# The loop in C that the injector is compared with.
want pkg-config pkg-config
pkg-config --exists libnetfilter_queue libmnl 2>/dev/null || packages="$packages libnetfilter-queue-dev libmnl-dev"

if [ -z "$packages" ]; then
	echo "deps: nothing is missing"
	exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
	echo "deps: missing, as Debian's packages:$packages" >&2
	echo "deps: run make deps as root, or install them" >&2
	exit 1
fi

# With this file, package scripts start no services.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $packages
