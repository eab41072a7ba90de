package faults_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/faultctl/faultctl/faults/internal/trace"
)

// FuzzTrace holds that no trace makes the player panic, whatever is typed in it.
func FuzzTrace(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.trace")
	if len(files) == 0 {
		f.Fatal("no traces")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("fault reset\n0 C>S [S] data=\x00\n")
	f.Fuzz(func(_ *testing.T, text string) {
		if len(text) < 1<<12 {
			trace.Play(text, false)
		}
	})
}
