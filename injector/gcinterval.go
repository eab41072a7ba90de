package injector

import (
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// gcInterval is how often the kernel should look for expired elements of a set:
// each time it walks over all of them, and a million each second, its default,
// are a ninth of a core. What has expired is not found in the meantime, it only
// takes up memory and room.
func gcInterval(timeout time.Duration) time.Duration {
	return min(max(time.Second, timeout/4), 10*time.Second)
}

// setGCInterval changes it for a set that is there, by a message of its own on
// the connection that owns the table: google/nftables has no word for it.
// Kernels before 6.2 do not change a set any more, and say nothing; there the
// default stays.
func (a *applier) setGCInterval(s *nftables.Set) error {
	size, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_SET_DESC_SIZE, Data: binaryutil.BigEndian.PutUint32(s.Size)},
	})
	if err != nil {
		return err
	}
	ms := gcInterval(s.Timeout).Milliseconds()
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_SET_TABLE, Data: []byte(s.Table.Name + "\x00")},
		{Type: unix.NFTA_SET_NAME, Data: []byte(s.Name + "\x00")},
		{Type: unix.NFTA_SET_FLAGS, Data: binaryutil.BigEndian.PutUint32(unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL)},
		{Type: unix.NFTA_SET_KEY_TYPE, Data: binaryutil.BigEndian.PutUint32(s.KeyType.GetNFTMagic())},
		{Type: unix.NFTA_SET_KEY_LEN, Data: binaryutil.BigEndian.PutUint32(s.KeyType.Bytes)},
		{Type: unix.NFTA_SET_ID, Data: binaryutil.BigEndian.PutUint32(s.ID)},
		{Type: unix.NFTA_SET_TIMEOUT, Data: binaryutil.BigEndian.PutUint64(uint64(s.Timeout.Milliseconds()))},
		{Type: unix.NFTA_SET_GC_INTERVAL, Data: binaryutil.BigEndian.PutUint32(uint32(ms))},
		{Type: unix.NLA_F_NESTED | unix.NFTA_SET_DESC, Data: size},
	})
	if err != nil {
		return err
	}
	head := func(family, subsystem byte) []byte { return []byte{family, unix.NFNETLINK_V0, 0, subsystem} }
	batch := []netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: head(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)},
		{
			Header: netlink.Header{
				Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSET,
				Flags: netlink.Request | netlink.Acknowledge | netlink.Create,
			},
			Data: append(head(byte(s.Table.Family), 0), attrs...),
		},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: head(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)},
	}
	if _, err := a.netlink.SendMessages(batch); err != nil {
		return fmt.Errorf("change set %s: %w", s.Name, err)
	}
	if _, err := a.netlink.Receive(); err != nil {
		return fmt.Errorf("change set %s: %w", s.Name, err)
	}
	return nil
}
