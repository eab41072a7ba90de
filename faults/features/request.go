package features

// FNV-1a, 64 bits: package hash/fnv would allocate.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// digest adds payload of the client to the hash of its turn.
func (f *Flow) digest(b []byte) {
	n := min(len(b), hashLength-int(f.hashed))
	for _, c := range b[:n] {
		f.hash = (f.hash ^ uint64(c)) * fnvPrime
	}
	f.hashed += uint16(n)
}

// Request tells the client's present or last request from others, by the first
// kilobyte of it. It is 0 if nothing of it was seen: a copy of headers holds no
// payload.
func (f *Flow) Request() uint64 {
	if f.hashed == 0 {
		return 0
	}
	return f.hash
}

// Repeats counts requests that came again, the same bytes on whichever
// connection, after their answer was lost. It remembers the last 64 of them.
// The zero Repeats is ready to use; it is for one goroutine.
type Repeats struct {
	Lost  int // requests that were delivered whole and whose answer was lost
	Again int // how often one of them was sent again

	lost [64]uint64
	next int
}

// Lose takes into account that the answer to a request was lost.
func (r *Repeats) Lose(request uint64) {
	r.Lost++
	if request == 0 {
		return
	}
	r.lost[r.next] = request
	r.next = (r.next + 1) % len(r.lost)
}

// Ask takes a request into account and reports whether it was sent before and
// its answer lost. Each loss is matched once.
func (r *Repeats) Ask(request uint64) bool {
	if request == 0 {
		return false
	}
	for i, l := range r.lost {
		if l == request {
			r.lost[i] = 0
			r.Again++
			return true
		}
	}
	return false
}
