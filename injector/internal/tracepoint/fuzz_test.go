package tracepoint

import (
	"testing"
)

// FuzzSample checks that neither a format file nor a sample makes its reader panic,
// whatever is in it.
func FuzzSample(f *testing.F) {
	format := "field:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\nfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n" +
		"field:__u16 sport;\toffset:16;\tsize:2;\tsigned:0;\nfield:__u8 saddr[4];\toffset:20;\tsize:4;\tsigned:0;\nfield:__u16 family;\toffset:18;\tsize:2;\tsigned:0;\n"
	sample := make([]byte, 80)
	sample[16] = 60 // bytes of raw data
	f.Add(format, sample)
	f.Add("field:x saddr;\toffset:-8;\tsize:4;\nfield:x ret;\toffset:9223372036854775807;\tsize:4;\n", sample)
	f.Fuzz(func(t *testing.T, format string, b []byte) {
		s := &Source{points: []point{{fields: parseFormat(format)}}}
		s.event(b)
		if len(b) > 64 { // as a ring
			s.rec = make([]byte, len(b))
			if rec := s.record(b, uint64(b[0])); len(rec) > len(b) {
				t.Errorf("a record of %d bytes in a ring of %d", len(rec), len(b))
			}
		}
	})
}
