package nft

import (
	"errors"
	"fmt"

	"github.com/faultctl/faultctl/injector/internal/ruleset"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Reads makes a read the table that b maintains, on its own connection.
func (t *Table) Reads(b *Table) {
	b.mu.Lock()
	table, sets, left := b.table, b.sets, b.left
	b.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.table, t.sets, t.left = table, sets, left
}

// ErrNotWatched says that no chains behind the other rules remember what has left.
var ErrNotWatched = errors.New("no chain remembers what leaves this host")

// Left reports whether a segment with one of Install's signs and these numbers has
// passed all rules of this host within the last minute. It takes 20 µs, and longer
// while rules are being changed.
func (t *Table) Left(seq, ack uint32) (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.left == nil || t.table == nil {
		return false, ErrNotWatched
	}
	_, left, err := t.left.Left(t.conn, seq, ack)
	return left, err
}

// Counts reads the counters of the rules: how many packets were queued, including those
// that passed because the queue was full, and how often a flow found no room in the
// sets of a kind. rs is what is installed.
func (t *Table) Counts(rs *ruleset.Ruleset) (queued uint64, full map[ruleset.SetKind]uint64, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	full = map[ruleset.SetKind]uint64{}
	for _, c := range rs.Chains {
		if c.Hook != "" || c.Only != ruleset.EitherFamily {
			continue
		}
		rules, err := t.conn.GetRules(t.table, t.chains[c.Name])
		if err != nil {
			return 0, nil, fmt.Errorf("read counters of chain %s: %w", c.Name, err)
		}
		for i, r := range c.Rules {
			if i >= len(rules) {
				break
			}
			n := packets(rules[i])
			if r.Queues() {
				queued += n
			} else if set := r.FullSet(); set != ruleset.NoSet {
				full[set] += n
			}
		}
	}
	return queued, full, nil
}

// packets returns how many packets the counter of a rule has seen.
func packets(r *nftables.Rule) uint64 {
	for _, e := range r.Exprs {
		if c, ok := e.(*expr.Counter); ok {
			return c.Packets
		}
	}
	return 0
}
