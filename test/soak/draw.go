package main

// The drawing itself: lines with smooth edges, and text.

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"
	"strconv"
	"time"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// Where things are, in pixels.
const (
	width, height = 1200, 900
	left, right   = 78, width - 24
	top, bottom   = 70, height - 36 // of all panels together
	headHeight    = 30              // of a panel, above its axes
	gap           = 12              // below a panel
)

const (
	lineWidth = 1.6
	titleSize = 19
	textSize  = 13.5
)

var (
	white = color.NRGBA{0xff, 0xff, 0xff, 0xff}
	black = color.NRGBA{0x22, 0x22, 0x22, 0xff}
	faint = color.NRGBA{0x66, 0x66, 0x66, 0xff}
	grid  = color.NRGBA{0xe2, 0xe2, 0xe2, 0xff}
	shade = color.NRGBA{0xf0, 0xf0, 0xea, 0xff} // the warm-up
)

// A canvas is drawn on.
type canvas struct {
	*image.RGBA // drawn into as such: the drawing packages are fast with this type alone
	title, text font.Face
}

// writePNG draws the picture.
func (p *picture) writePNG(out io.Writer) error {
	c := &canvas{RGBA: image.NewRGBA(image.Rect(0, 0, width, height))}
	parsed, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return err
	}
	if c.title, err = opentype.NewFace(parsed, &opentype.FaceOptions{Size: titleSize, DPI: 72, Hinting: font.HintingFull}); err != nil {
		return err
	}
	if c.text, err = opentype.NewFace(parsed, &opentype.FaceOptions{Size: textSize, DPI: 72, Hinting: font.HintingFull}); err != nil {
		return err
	}
	c.fill(c.Bounds(), white)
	c.write(c.title, left, 30, p.title, black)
	c.write(c.text, left, 53, p.subtitle, faint)
	each := (bottom - top) / len(p.panels)
	var r image.Rectangle
	for i, panel := range p.panels {
		y := top + i*each
		r = image.Rect(left, y+headHeight, right, y+each-gap)
		c.panel(p, panel, r)
	}
	c.timeLabels(p, r)
	return png.Encode(out, c.RGBA)
}

// panel draws a panel, whose axes enclose r.
func (c *canvas) panel(p *picture, panel panel, r image.Rectangle) {
	warm := r
	warm.Max.X = across(p, p.warmUp, r)
	c.fill(warm, shade)
	ticks, _, _ := timeTicks(p.length)
	for _, tick := range ticks {
		x := across(p, tick, r)
		c.fill(image.Rect(x, r.Min.Y, x+1, r.Max.Y), grid)
	}
	axis := panel.axisOf(p.samples)
	for _, tick := range axis.ticks {
		y := up(axis, tick, r)
		c.fill(image.Rect(r.Min.X, y, r.Max.X, y+1), grid)
		label := grouped(tick)
		c.write(c.text, r.Min.X-8-c.measure(label), y+5, label, faint)
	}
	for _, l := range panel.lines {
		c.line(p, l, axis, r)
	}
	c.head(panel, r)
}

// head writes what a panel shows, the names of its lines, and what is said of it.
func (c *canvas) head(panel panel, r image.Rectangle) {
	base := r.Min.Y - 9
	c.write(c.text, r.Min.X, base, panel.title, black)
	x := r.Min.X + c.measure(panel.title) + 28
	for _, l := range panel.lines {
		c.fill(image.Rect(x, base-6, x+18, base-3), l.ink)
		c.write(c.text, x+24, base, l.name, l.ink)
		x += 24 + c.measure(l.name) + 24
	}
	c.write(c.text, r.Max.X-c.measure(panel.note), base, panel.note, faint)
}

// timeLabels writes the axis of time below the last panel, whose axes enclose r, and what the shade means.
func (c *canvas) timeLabels(p *picture, r image.Rectangle) {
	ticks, unit, name := timeTicks(p.length)
	for _, tick := range ticks {
		label := strconv.FormatFloat(float64(tick)/float64(unit), 'f', -1, 64)
		c.write(c.text, across(p, tick, r)-c.measure(label)/2, r.Max.Y+18, label, faint)
	}
	c.write(c.text, (left+right-c.measure(name))/2, r.Max.Y+38, name, faint)
	c.fill(image.Rect(left, r.Max.Y+28, left+18, r.Max.Y+39), shade)
	c.write(c.text, left+24, r.Max.Y+38, "warm-up", faint)
}

// across is where a time stands, and up where a value does.
func across(p *picture, t time.Duration, r image.Rectangle) int {
	return r.Min.X + int(float64(t)/float64(p.length)*float64(r.Dx()-1))
}

func up(a axis, v float64, r image.Rectangle) int {
	return r.Max.Y - 1 - int(math.Round(a.place(v)*float64(r.Dy()-1)))
}

// line draws a line, with its gaps.
func (c *canvas) line(p *picture, l line, a axis, r image.Rectangle) {
	r = r.Inset(-2) // a line along the edge is drawn with its whole width
	pen := vector.NewRasterizer(r.Dx(), r.Dy())
	var before [2]float64
	drawn := false
	for _, s := range p.samples {
		v := l.at(s)
		if math.IsNaN(v) {
			drawn = false
			continue
		}
		here := [2]float64{
			2.5 + float64(s.at)/float64(p.length)*float64(r.Dx()-5),
			float64(r.Dy()) - 2.5 - a.place(v)*float64(r.Dy()-5),
		}
		if drawn {
			stroke(pen, before, here)
		} else {
			dot(pen, here)
		}
		before, drawn = here, true
	}
	pen.Draw(c.RGBA, r, image.NewUniform(l.ink), image.Point{})
}

// stroke adds a segment, and dot a point, which is seen where there is no other beside it. Both go round in the same direction, so that they add up.
func stroke(pen *vector.Rasterizer, from, to [2]float64) {
	dx, dy := to[0]-from[0], to[1]-from[1]
	length := math.Hypot(dx, dy)
	if length == 0 {
		return
	}
	nx, ny := -dy/length*lineWidth/2, dx/length*lineWidth/2
	polygon(pen, [][2]float64{{from[0] - nx, from[1] - ny}, {to[0] - nx, to[1] - ny}, {to[0] + nx, to[1] + ny}, {from[0] + nx, from[1] + ny}})
}

func dot(pen *vector.Rasterizer, at [2]float64) {
	const corners = 12
	var points [][2]float64
	for i := range corners {
		sin, cos := math.Sincos(2 * math.Pi * float64(i) / corners)
		points = append(points, [2]float64{at[0] + cos*lineWidth/2, at[1] + sin*lineWidth/2})
	}
	polygon(pen, points)
}

func polygon(pen *vector.Rasterizer, points [][2]float64) {
	pen.MoveTo(float32(points[0][0]), float32(points[0][1]))
	for _, p := range points[1:] {
		pen.LineTo(float32(p[0]), float32(p[1]))
	}
	pen.ClosePath()
}

func (c *canvas) fill(r image.Rectangle, ink color.NRGBA) {
	draw.Draw(c.RGBA, r, image.NewUniform(ink), image.Point{}, draw.Src)
}

func (c *canvas) measure(text string) int { return font.MeasureString(c.text, text).Ceil() }

func (c *canvas) write(face font.Face, x, y int, text string, ink color.NRGBA) {
	d := font.Drawer{Dst: c.RGBA, Src: image.NewUniform(ink), Face: face, Dot: fixed.P(x, y)}
	d.DrawString(text)
}
