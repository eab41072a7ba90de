/* The simplest loop over a netfilter queue in C, on libmnl and
 * libnetfilter_queue: one receive and one verdict per packet. It accepts
 * everything, and prints the number of packets at the end.
 *
 *	cc -O2 -o loop loop.c -lnetfilter_queue -lmnl
 *	./loop QUEUE            # until SIGTERM
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <libnetfilter_queue/libnetfilter_queue.h>

static struct mnl_socket *nl;
static unsigned long packets;
static volatile sig_atomic_t over;

static void end(int sig)
{
	(void)sig;
	over = 1;
}

static void must(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static int judge(const struct nlmsghdr *nlh, void *data)
{
	struct nlattr *attr[NFQA_MAX + 1] = {};
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nfqnl_msg_packet_hdr *ph;
	struct nfgenmsg *nfg = mnl_nlmsg_get_payload(nlh);
	struct nlmsghdr *out;

	(void)data;
	if (nfq_nlmsg_parse(nlh, attr) < 0 || !attr[NFQA_PACKET_HDR])
		return MNL_CB_OK;
	ph = mnl_attr_get_payload(attr[NFQA_PACKET_HDR]);
	packets++;
	out = nfq_nlmsg_put(buf, NFQNL_MSG_VERDICT, ntohs(nfg->res_id));
	nfq_nlmsg_verdict_put(out, ntohl(ph->packet_id), NF_ACCEPT);
	must(mnl_socket_sendto(nl, out, out->nlmsg_len) >= 0, "send verdict");
	return MNL_CB_OK;
}

int main(int argc, char **argv)
{
	static char buf[0xffff + 4096];
	struct sigaction sa = { .sa_handler = end };
	int one = 1, size = 32 << 20;
	struct nlmsghdr *nlh;
	unsigned queue;
	ssize_t n;

	if (argc != 2)
		return 2;
	queue = atoi(argv[1]);
	sigaction(SIGTERM, &sa, NULL);
	nl = mnl_socket_open(NETLINK_NETFILTER);
	must(nl != NULL, "open");
	must(mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) >= 0, "bind");

	nlh = nfq_nlmsg_put(buf, NFQNL_MSG_CONFIG, queue);
	nfq_nlmsg_cfg_put_cmd(nlh, AF_INET, NFQNL_CFG_CMD_BIND);
	must(mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) >= 0, "bind queue");
	nlh = nfq_nlmsg_put(buf, NFQNL_MSG_CONFIG, queue);
	nfq_nlmsg_cfg_put_params(nlh, NFQNL_COPY_PACKET, 0xffff);
	nfq_nlmsg_cfg_put_qmaxlen(nlh, 1 << 16);
	must(mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) >= 0, "configure queue");
	mnl_socket_setsockopt(nl, NETLINK_NO_ENOBUFS, &one, sizeof(one));
	setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	puts("ready");
	fflush(stdout);

	while (!over) {
		n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		must(n >= 0, "receive");
		mnl_cb_run(buf, n, 0, mnl_socket_get_portid(nl), judge, NULL);
	}
	printf("%lu\n", packets);
	return 0;
}
