package nft

import (
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// setGCIntervals changes the garbage collection interval of existing sets, with
// messages of our own on the connection that owns the table, because google/nftables
// cannot. Kernels before 6.2 ignore the change, and keep the default.
func (t *Table) setGCIntervals(sets []*nftables.Set, interval func(timeout time.Duration) time.Duration) error {
	if len(sets) == 0 {
		return nil
	}
	batch := []netlink.Message{nftMessage(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)}
	for i, s := range sets {
		attrs, err := setAttributes(s, interval(s.Timeout))
		if err != nil {
			return fmt.Errorf("change set %s: %w", s.Name, err)
		}
		flags := netlink.Create
		if i == len(sets)-1 {
			flags |= netlink.Acknowledge
		}
		batch = append(batch, nftMessage(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWSET, flags, byte(s.Table.Family), 0, attrs))
	}
	batch = append(batch, nftMessage(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil))
	if _, err := t.netlink.SendMessages(batch); err != nil {
		return fmt.Errorf("change sets: %w", err)
	}
	if _, err := t.netlink.Receive(); err != nil {
		return fmt.Errorf("change sets: %w", err)
	}
	return nil
}

func nftMessage(kind netlink.HeaderType, flags netlink.HeaderFlags, family, subsystem byte, attrs []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request | flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, subsystem}, attrs...),
	}
}

// setAttributes describes a set as addSet created it, with an interval.
func setAttributes(s *nftables.Set, interval time.Duration) ([]byte, error) {
	size, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_SET_DESC_SIZE, Data: binaryutil.BigEndian.PutUint32(s.Size)},
	})
	if err != nil {
		return nil, err
	}
	return netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_SET_TABLE, Data: []byte(s.Table.Name + "\x00")},
		{Type: unix.NFTA_SET_NAME, Data: []byte(s.Name + "\x00")},
		{Type: unix.NFTA_SET_FLAGS, Data: binaryutil.BigEndian.PutUint32(unix.NFT_SET_TIMEOUT | unix.NFT_SET_EVAL)},
		{Type: unix.NFTA_SET_KEY_TYPE, Data: binaryutil.BigEndian.PutUint32(s.KeyType.GetNFTMagic())},
		{Type: unix.NFTA_SET_KEY_LEN, Data: binaryutil.BigEndian.PutUint32(s.KeyType.Bytes)},
		{Type: unix.NFTA_SET_ID, Data: binaryutil.BigEndian.PutUint32(s.ID)},
		{Type: unix.NFTA_SET_TIMEOUT, Data: binaryutil.BigEndian.PutUint64(uint64(s.Timeout.Milliseconds()))},
		{Type: unix.NFTA_SET_GC_INTERVAL, Data: binaryutil.BigEndian.PutUint32(uint32(interval.Milliseconds()))},
		{Type: unix.NLA_F_NESTED | unix.NFTA_SET_DESC, Data: size},
	})
}
