package main

import (
	"fmt"
	"math"
	"strings"
)

const (
	ink, faint, ours, others = "#24292f", "#d0d7de", "#1f6feb", "#8c959f"
	width                    = 720
)

// bar is one setup in a picture.
type bar struct {
	name  string
	value float64
}

// bars returns the setups' figures as ratios to direct.
func (r *results) bars(f func(*figures) float64) (bs []bar) {
	for _, w := range r.setups {
		if v := r.share(w.name, f); v > 0 {
			bs = append(bs, bar{w.name, v})
		}
	}
	return bs
}

func svg(height int, title, body string) string {
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="%s">
<rect width="100%%" height="100%%" fill="#ffffff"/>
<text x="12" y="22" font-size="14" font-weight="bold">%s</text>
%s</svg>
`, width, height, ink, title, body)
}

// bars draws one bar per setup, with a line at direct.
func bars(title string, bs []bar) string {
	const left, row = 230, 22
	top := 1.0
	for _, b := range bs {
		top = max(top, b.value)
	}
	scale := (width - left - 70) / top
	var s strings.Builder
	for i, b := range bs {
		y, color := 38+i*row, ours
		if b.name == "direct" || b.name == cLoop || b.name == goLoopWay || b.name == toxi {
			color = others
		}
		fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="14" fill="%s"/><text x="%.1f" y="%d">%.2f</text>`+"\n",
			left-8, y+11, b.name, left, y, b.value*scale, color, left+b.value*scale+6, y+11, b.value)
	}
	height := 48 + len(bs)*row
	fmt.Fprintf(&s, `<line x1="%.1f" x2="%.1f" y1="32" y2="%d" stroke="%s" stroke-dasharray="4 3"/>`+"\n", left+scale, left+scale, height-10, ink)
	return svg(height, title, s.String())
}

// memory draws the total memory by the number of flows, with logarithmic axes,
// beside the target.
func (r *results) memory() string {
	const left, right, top, bottom = 80.0, width - 30.0, 44.0, 300.0
	x := func(n float64) float64 { return left + (right-left)*(math.Log10(n)-3)/3 }
	y := func(b float64) float64 { return bottom - (bottom-top)*(math.Log10(b)-5)/4 } // 100 kB to 1 GB
	var s strings.Builder
	for e := 5; e <= 9; e++ {
		v := math.Pow10(e)
		fmt.Fprintf(&s, `<line x1="%.0f" x2="%.0f" y1="%.1f" y2="%.1f" stroke="%s"/><text x="%.0f" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, right, y(v), y(v), faint, left-8, y(v)+4, []string{"100 kB", "1 MB", "10 MB", "100 MB", "1 GB"}[e-5])
	}
	for _, n := range flowCounts {
		fmt.Fprintf(&s, `<text x="%.1f" y="%.0f" text-anchor="middle">%d</text>`+"\n", x(float64(n)), bottom+20, n)
	}
	fmt.Fprintf(&s, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-dasharray="4 3"/><text x="%.1f" y="%.1f" text-anchor="end">256 bytes per flow</text>`+"\n",
		x(1e3), y(256e3), x(1e6), y(256e6), others, x(1e6)-4, y(256e6)-10)
	var points []string
	for _, n := range flowCounts {
		if b := r.micro[fmt.Sprintf("Flows/%d", n)]["B/flow"] * float64(n); b > 0 {
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(float64(n)), y(b)))
			fmt.Fprintf(&s, `<circle cx="%.1f" cy="%.1f" r="4" fill="%s"/>`+"\n", x(float64(n)), y(b), ours)
		}
	}
	fmt.Fprintf(&s, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), ours)
	return svg(340, "User-space memory by the number of tracked flows", s.String())
}
