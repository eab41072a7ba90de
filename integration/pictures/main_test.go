package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// wellFormed reports what keeps a text from being XML.
func wellFormed(text string) error {
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// TestPicture holds that a picture is SVG whatever was printed, and moves only if it
// is to.
func TestPicture(t *testing.T) {
	for _, motion := range []bool{false, true} {
		p := picture("a <command> & more", "1 < 2 && \"x\"\n  FAILED", motion)
		if err := wellFormed(p); err != nil || strings.Contains(p, "animation") != motion || !strings.Contains(p, `<tspan class="bad">FAILED</tspan>`) {
			t.Errorf("%v: %s", err, p)
		}
	}
}

// TestReadmePictures holds that the pictures of the README are there.
func TestReadmePictures(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"demo.svg", "verify.svg", "report.png"} {
		b, err := os.ReadFile("../../docs/" + name)
		if err != nil || len(b) < 1000 || !strings.Contains(string(readme), "](docs/"+name+")") {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
		if strings.HasSuffix(name, ".svg") {
			if err := wellFormed(string(b)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
