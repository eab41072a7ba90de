package experiment

import "testing"

// FuzzParseSpec checks that no text makes the reader of Specs panic, and that a Spec that is
// understood is the same when it is written as data and read again.
func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{
		`{"fault":"delay:by=50ms","target":{"to":":5432"}}`,
		"fault: idle-expire:after=300s\ntarget: {to: ':5432', percent: 10}\nduration: 60s",
		"fault: [{reset: {at: request}}, observe]\ntarget:\n  from: [10.0.0.0/8]\n  percent: 5%/1m\ncommand: [go, test]",
		"fault: reset\nwhile: http://x/\nwhile-fails: 3", "{", "fault: &a [*a]", "fault: \x00", "target: 1", "fault: {reset: {at: []}}",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSpec(text)
		if err != nil {
			return
		}
		again, err := ParseSpec(s.Data())
		if err != nil || string(again.Data()) != string(s.Data()) {
			t.Errorf("%s is read as %s, %v", s.Data(), again.Data(), err)
		}
	})
}
