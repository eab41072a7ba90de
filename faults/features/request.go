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
